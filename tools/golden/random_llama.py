"""Makes a small random Llama and its logits by transformers: python3 random_llama.py OUTPUT_FOLDER

The folder gets config.json, model.safetensors (bf16), golden.json (tokens, versions) and logits.safetensors: for each
sequence of n tokens `tokens.n` (I32, [n]) and `logits.n` (F32, [n, vocab]), computed in float32 on the CPU from the bf16
weights. Its head_dim is not hidden / heads and its head is not tied, unlike tiny-coder's.
"""

import json
import pathlib
import platform
import sys

import safetensors.torch
import torch
import transformers

SEED = 20261121
LENGTHS = (1, 5, 70, 200)
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-06,
    "rope_theta": 50000.0,
    "rope_scaling": None,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "torch_dtype": "bfloat16",
}


def versions():
    return {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__, "safetensors": safetensors.__version__}


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    generator = torch.Generator().manual_seed(SEED)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig.from_pretrained(folder))
    weights = {}
    for name, tensor in model.state_dict().items():
        draw = torch.randn(tensor.shape, generator=generator)
        # Wide enough that attention is not flat and the logits differ; norms near one, but not one.
        weights[name] = (1 + 0.2 * draw if "norm" in name else 0.18 * draw).to(torch.bfloat16).contiguous()
    safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    model = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    out, sequences = {}, {}
    with torch.no_grad():
        for length in LENGTHS:
            tokens = torch.randint(0, CONFIG["vocab_size"], (length,), generator=generator)
            logits = model(tokens[None]).logits[0]
            assert logits.dtype == torch.float32 and torch.isfinite(logits).all()
            out[f"tokens.{length}"] = tokens.to(torch.int32)
            out[f"logits.{length}"] = logits.contiguous()
            sequences[str(length)] = tokens.tolist()
            print(length, "logits: deviation", round(logits.std().item(), 3), "largest", round(logits.abs().max().item(), 3))
    safetensors.torch.save_file(out, folder / "logits.safetensors")
    golden = {"made_by": "tools/golden/random_llama.py", "seed": SEED, "compute": "float32, CPU, from bf16 weights", "versions": versions(), "tokens": sequences}
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
