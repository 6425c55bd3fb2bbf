"""Trains tiny-coder on the shards that pack.py writes, while it writes them.

    python3 pack.py /dev/shm/shards --shards 400 & python3 train.py --shards /dev/shm/shards --steps 6000 --out OUTPUT

OUTPUT/model.safetensors is the network in bf16 by Hugging Face's names; train.json says how it was made. With --state, the optimizer and what
bf16 rounds off are saved as well (three files under 16 MiB each), and --resume FOLDER goes on from there at the step where it
stopped: give the same --steps, and pack from the shard that train.json names as `next_shard`.
The learning rate warms up, stays, and falls to zero over the last 40 % of the steps.
"""

import argparse
import json
import pathlib
import queue
import threading
import time

import numpy
import safetensors.torch
import torch

import network
import pack

SEED = 20261122
DOCUMENTS_MAX = 3072        # of one batch; fixed, so that the step is compiled once
WARM_UP = 200
FALL = 0.4


def batches(folder, first, tokens_batch, stop):
    """(shard number, tokens, positions, labels, starts) of exactly `tokens_batch` tokens each, whole documents, padded at the end."""
    number = first
    while not stop.is_set():
        path = folder / f"{number:05d}.npz"
        while not path.exists():
            if stop.wait(0.05):
                return
        with numpy.load(path) as file:
            tokens, starts = file["tokens"], file["starts"]
        begin = 0
        while begin < len(starts) - 1:
            end = int(numpy.searchsorted(starts, starts[begin] + tokens_batch, side="right")) - 1
            end = min(end, begin + DOCUMENTS_MAX - 1)
            if end == len(starts) - 1 and starts[end] - starts[begin] < tokens_batch * 0.9:
                break   # the shard's rest is too small to fill a batch
            part = tokens[starts[begin]:starts[end]]
            local = starts[begin:end + 1] - starts[begin]
            ids = numpy.full(tokens_batch, 5, numpy.int64)
            ids[:len(part)] = part & (pack.LEARN - 1)
            labels = numpy.full(tokens_batch, -100, numpy.int64)
            learnt = (part & pack.LEARN) != 0
            labels[:len(part) - 1] = numpy.where(learnt[1:], ids[1:len(part)], -100)
            positions = numpy.zeros(tokens_batch, numpy.int64)
            positions[:len(part)] = numpy.arange(len(part)) - numpy.repeat(local[:-1], numpy.diff(local))
            # The padding is documents of its own, short enough for the table of positions; the rest are empty.
            edges = list(local) + list(range(len(part) + pack.CONTEXT, tokens_batch, pack.CONTEXT))
            cumulative = numpy.full(DOCUMENTS_MAX + 64, tokens_batch, numpy.int32)
            cumulative[:len(edges)] = edges
            yield number, ids, positions, labels, cumulative
            begin = end
        number += 1


def prefetch(source, device, stop, depth=8):
    ready = queue.Queue(depth)

    def fill():
        for number, *arrays in source:
            tensors = [torch.from_numpy(a) for a in arrays]
            if device == "cuda":
                tensors = [t.pin_memory().to(device, non_blocking=True) for t in tensors]
            while not stop.is_set():
                try:
                    ready.put((number, tensors), timeout=0.2)
                    break
                except queue.Full:
                    pass
    threading.Thread(target=fill, daemon=True).start()
    while True:
        yield ready.get()


def rate(step, steps, peak):
    if step < WARM_UP:
        return peak * (step + 1) / WARM_UP
    left = (steps - step) / (FALL * steps)
    return peak * min(1.0, left)


def save(model, optimizer, out, report, state):
    out.mkdir(parents=True, exist_ok=True)
    exported = model.export(torch.bfloat16)
    safetensors.torch.save_file(exported, out / "model.safetensors", metadata={"format": "pt"})
    if state:
        full = {n: p.detach() for n, p in model.named_parameters()}
        safetensors.torch.save_file({n: (p - p.to(torch.bfloat16).float()).to(torch.bfloat16).cpu() for n, p in full.items()}, out / "state-rest.safetensors")
        moments = {n: optimizer.state[p] for n, p in model.named_parameters()}
        for key in ("exp_avg", "exp_avg_sq"):
            # Second moments span many magnitudes, which bf16 keeps; their roots keep more digits.
            safetensors.torch.save_file({n: (m[key] if key == "exp_avg" else m[key].sqrt()).to(torch.bfloat16).cpu() for n, m in moments.items()}, out / f"state-{key}.safetensors")
    (out / "train.json").write_text(json.dumps(report, indent=1) + "\n")


def resume(model, optimizer, folder):
    exported = safetensors.torch.load_file(folder / "model.safetensors")
    rest = safetensors.torch.load_file(folder / "state-rest.safetensors")
    with torch.no_grad():
        parts = {"embedding.weight": exported["model.embed_tokens.weight"], "norm.weight": exported["model.norm.weight"]}
        for i in range(len(model.layers)):
            at, to = f"model.layers.{i}.", f"layers.{i}."
            parts |= {to + "attention_norm.weight": exported[at + "input_layernorm.weight"], to + "mlp_norm.weight": exported[at + "post_attention_layernorm.weight"],
                      to + "qkv.weight": torch.cat([exported[at + f"self_attn.{n}_proj.weight"] for n in "qkv"]), to + "o.weight": exported[at + "self_attn.o_proj.weight"],
                      to + "gate_up.weight": torch.cat([exported[at + f"mlp.{n}_proj.weight"] for n in ("gate", "up")]), to + "down.weight": exported[at + "mlp.down_proj.weight"]}
        for name, parameter in model.named_parameters():
            parameter.copy_(parts[name].float() + rest[name].float())
    report = json.loads((folder / "train.json").read_text())
    first, second = (safetensors.torch.load_file(folder / f"state-{key}.safetensors") for key in ("exp_avg", "exp_avg_sq"))
    for name, p in model.named_parameters():
        optimizer.state[p] = {"step": torch.tensor(float(report["step"]), device=p.device), "exp_avg": first[name].float().to(p.device), "exp_avg_sq": second[name].float().square().to(p.device)}
    return report


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=pathlib.Path, default=pathlib.Path(__file__).parents[2] / "models/tiny-coder", help="folder with config.json")
    parser.add_argument("--shards", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--stop-at", type=int, help="save and end at this step of the schedule")
    parser.add_argument("--seconds", type=float, help="set --steps, as a maximum, to what this time is enough for, as measured from step 100 to 200")
    parser.add_argument("--batch", type=int, default=131_072, help="tokens")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--state", action="store_true")
    parser.add_argument("--resume", type=pathlib.Path)
    arguments = parser.parse_args()

    torch.manual_seed(SEED)
    torch.set_float32_matmul_precision("high")
    config = json.loads((arguments.model / "config.json").read_text())
    model = network.Network(config).to(arguments.device)
    count = sum(p.numel() for p in model.parameters())
    decay = [p for p in model.parameters() if p.ndim == 2]
    plain = [p for p in model.parameters() if p.ndim != 2]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}], lr=arguments.rate, betas=(0.9, 0.95), fused=arguments.device == "cuda")
    begin, shard, losses, seconds = 0, 0, [], 0.0
    if arguments.resume:
        before = resume(model, optimizer, arguments.resume)
        begin, shard, losses, seconds = before["step"], before["next_shard"], before["losses"], before["seconds"]
    step_function = torch.compile(model, fullgraph=True) if arguments.device == "cuda" else model

    stop = threading.Event()
    source = prefetch(batches(arguments.shards, shard, arguments.batch, stop), arguments.device, stop)
    started, recent, step, waited, early = time.monotonic(), [], begin, 0.0, None
    until = min(arguments.steps, arguments.stop_at or arguments.steps)
    while step < until:
        for group in optimizer.param_groups:
            group["lr"] = rate(step, arguments.steps, arguments.rate)
        asked = time.monotonic()
        shard, (tokens, positions, labels, starts) = next(source)
        waited += time.monotonic() - asked
        with torch.autocast(arguments.device, torch.bfloat16, enabled=True):
            loss = step_function(tokens, positions, labels, starts, pack.CONTEXT)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        recent.append(loss.detach())
        step += 1
        if step % 100 == 0 or step == until or step == begin + 1:
            mean = torch.stack(recent).mean().item()
            if not mean == mean:
                raise SystemExit(f"the loss is not a number at step {step}")
            losses.append([step, round(mean, 4)])
            recent = []
            gone = time.monotonic() - started
            print(f"step {step} loss {mean:.4f} rate {rate(step - 1, arguments.steps, arguments.rate):.2e} {gone:.1f} s, {(step - begin) * arguments.batch / gone / 1e6:.2f} M tokens/s, waited {waited:.1f} s, shard {shard}", flush=True)
            if arguments.seconds and step == 100:
                early = gone
            if arguments.seconds and step == 200 and early:
                until = arguments.steps = min(arguments.steps, 200 + int((arguments.seconds - gone) / (gone - early) * 100))
                print(f"{arguments.steps} steps", flush=True)
    stop.set()
    report = {"step": step, "steps": arguments.steps, "tokens": step * arguments.batch, "batch": arguments.batch, "rate": arguments.rate, "seed": SEED, "parameters": count,
              "next_shard": shard + 1, "seconds": round(seconds + time.monotonic() - started, 1), "loss": losses[-1][1], "losses": losses,
              "versions": {"torch": torch.__version__, "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"}}
    save(model, optimizer, arguments.out, report, arguments.state)


if __name__ == "__main__":
    main()
