"""Makes small random models of every family and their logits by transformers: python3 families.py OUTPUT_FOLDER [NAME ...]

A folder each, with config.json, model.safetensors (or shards and their index), golden.json and logits.safetensors. golden.json has, of
each sequence, the `prompt` and 12 `greedy` tokens after it, and `context`: how many tokens a sequence may hold where the model is served
(it decides which of longrope's factors are taken). logits.safetensors has `logits.N`, F32 [len(prompt) + 11, vocab]: of every position of
sequence N's prompt and greedy tokens but the last, computed in float32 on the CPU from the weights as they are stored.
"""

import json
import pathlib
import platform
import sys

import safetensors.torch
import torch
import transformers

GREEDY = 12
LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 131, "hidden_size": 48, "intermediate_size": 72, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "silu", "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
    "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 1,
}
MISTRAL = LLAMA | {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": None}
QWEN2 = LLAMA | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "rope_theta": 1e6, "use_sliding_window": False, "sliding_window": 4096}
QWEN3 = QWEN2 | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 32, "attention_bias": False}
PHI3 = LLAMA | {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "rms_norm_eps": 1e-5, "original_max_position_embeddings": 256, "sliding_window": None, "pad_token_id": 1}
GPT2 = {
    "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 131, "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 128, "n_ctx": 128,
    "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "bos_token_id": 0, "eos_token_id": 1,
}
LLAMA3_ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
SHORT_FACTORS = [1.0, 1.05, 1.1, 1.2, 1.4, 1.7]
LONG_FACTORS = [1.0, 1.3, 2.0, 3.5, 6.0, 9.0]
LONGROPE = {"type": "longrope", "short_factor": SHORT_FACTORS, "long_factor": LONG_FACTORS}

# name: (config, dtype, lengths of the prompts, further options)
MODELS = {
    "llama": (LLAMA | {"vocab_size": 317, "rope_theta": 50000.0}, "bfloat16", (1, 70), {}),
    "llama-head-dim": (LLAMA | {"head_dim": 24, "num_attention_heads": 3, "num_key_value_heads": 3}, "bfloat16", (5, 68), {}),
    "llama-tied-mqa": (LLAMA | {"num_attention_heads": 6, "num_key_value_heads": 1, "head_dim": 20, "tie_word_embeddings": True}, "float16", (3, 66), {}),
    "llama-llama3-rope": (LLAMA | {"rope_theta": 500000.0, "rope_scaling": LLAMA3_ROPE, "tie_word_embeddings": True, "head_dim": 32}, "bfloat16", (9, 120), {}),
    "llama-biases": (LLAMA | {"attention_bias": True, "mlp_bias": True, "num_attention_heads": 4, "num_key_value_heads": 1}, "bfloat16", (2, 67), {}),
    "llama-sharded": (LLAMA | {"num_hidden_layers": 3, "hidden_size": 40, "num_attention_heads": 5, "num_key_value_heads": 5}, "bfloat16", (4, 40), {"shard_bytes": 40000}),
    "mistral": (MISTRAL | {"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 16}, "bfloat16", (6, 65), {}),
    "mistral-window": (MISTRAL | {"sliding_window": 21}, "bfloat16", (10, 110), {}),
    "qwen2": (QWEN2 | {"num_attention_heads": 7, "num_key_value_heads": 1, "hidden_size": 56, "tie_word_embeddings": True}, "bfloat16", (1, 66), {}),
    "qwen2-window": (QWEN2 | {"use_sliding_window": True, "sliding_window": 30, "max_window_layers": 1, "num_hidden_layers": 3}, "bfloat16", (7, 100), {}),
    "qwen3": (QWEN3 | {"num_attention_heads": 4, "num_key_value_heads": 1, "tie_word_embeddings": True}, "bfloat16", (3, 66), {}),
    "qwen3-biases-window": (QWEN3 | {"attention_bias": True, "head_dim": 18, "use_sliding_window": True, "sliding_window": 40,
                                     "layer_types": ["full_attention", "sliding_attention"]}, "float16", (8, 90), {}),
    "phi3": (PHI3 | {"num_key_value_heads": 4}, "bfloat16", (5, 66), {}),
    "phi3-window": (PHI3 | {"sliding_window": 25}, "bfloat16", (5, 96), {}),
    "phi3-longrope-short": (PHI3 | {"num_key_value_heads": 4, "original_max_position_embeddings": 96, "rope_scaling": LONGROPE}, "bfloat16", (11, 80), {"context": 96}),
    "phi3-longrope-long": (PHI3 | {"num_key_value_heads": 4, "original_max_position_embeddings": 40, "rope_scaling": LONGROPE}, "bfloat16", (60, 90), {}),
    "phi3-partial": (PHI3 | {"partial_rotary_factor": 0.75, "num_attention_heads": 3, "num_key_value_heads": 1, "original_max_position_embeddings": 48,
                             "rope_scaling": LONGROPE | {"attention_factor": 1.15}}, "float32", (50, 72), {}),
    "gpt2": (GPT2 | {"n_embd": 36, "n_head": 3, "n_positions": 96}, "float32", (1, 70), {}),
    "gpt2-bare": (GPT2 | {"n_head": 2, "n_embd": 30, "n_inner": 50, "activation_function": "gelu", "vocab_size": 317}, "float16", (5, 66), {"bare": True, "buffers": True}),
    "gpt2-untied": (GPT2 | {"n_head": 3, "n_embd": 45, "tie_word_embeddings": False}, "bfloat16", (4, 66), {}),
}


def versions():
    return {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__, "safetensors": safetensors.__version__}


def draw(name, tensor, generator):
    """Wide enough that attention is not flat and the logits differ; norms near one, but not one."""
    values = torch.randn(tensor.shape, generator=generator)
    if name.endswith(".bias"):
        return 0.3 * values
    if "norm" in name or ".ln_" in name:
        return 1 + 0.2 * values
    return 0.18 * values


def stored_weights(model, dtype, generator, options):
    weights = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        weights[name] = draw(name, tensor, generator).to(dtype).contiguous()
    if options.get("buffers"):  # as GPT-2's first files have them
        size = model.config.n_positions
        for layer in range(model.config.n_layer):
            weights[f"transformer.h.{layer}.attn.bias"] = torch.ones(size, size, dtype=torch.bool).tril()[None, None]
            weights[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-10000.0)
    if options.get("bare"):
        weights = {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}
    return weights


def save_weights(weights, folder, shard_bytes):
    for old in folder.glob("model*"):
        old.unlink()
    if shard_bytes is None:
        safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return
    shards, size = [{}], 0
    for name, tensor in weights.items():
        bytes_ = tensor.numel() * tensor.element_size()
        if size + bytes_ > shard_bytes:
            shards, size = shards + [{}], 0
        shards[-1][name] = tensor
        size += bytes_
    index = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        safetensors.torch.save_file(shard, folder / file, metadata={"format": "pt"})
        index |= {name: file for name in shard}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}, indent=1) + "\n")


def make(name, seed, folder):
    config, dtype, lengths, options = MODELS[name]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config | {"torch_dtype": dtype}, indent=1) + "\n")
    generator = torch.Generator().manual_seed(seed)
    kind = getattr(transformers, config["architectures"][0])
    weights = stored_weights(kind(kind.config_class.from_pretrained(folder)), getattr(torch, dtype), generator, options)
    save_weights(weights, folder, options.get("shard_bytes"))

    model, info = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    model.eval()
    out, sequences = {}, []
    with torch.no_grad():
        for number, length in enumerate(lengths):
            tokens = torch.randint(0, config["vocab_size"], (length,), generator=generator).tolist()
            for _ in range(GREEDY):
                logits = model(torch.tensor([tokens]), use_cache=False).logits[0]
                tokens.append(logits[-1].argmax().item())
            assert logits.dtype == torch.float32 and torch.isfinite(logits).all() and len(logits) == length + GREEDY - 1
            out[f"logits.{number}"] = logits.contiguous()
            sequences.append({"prompt": tokens[:length], "greedy": tokens[length:]})
            print(name, length, "logits: deviation", round(logits.std().item(), 3), "largest", round(logits.abs().max().item(), 3))
    safetensors.torch.save_file(out, folder / "logits.safetensors")
    context = options.get("context", config.get("max_position_embeddings", config.get("n_positions")))
    golden = {"made_by": "tools/golden/families.py", "seed": seed, "compute": f"float32, CPU, from {dtype} weights", "versions": versions(), "context": context, "sequences": sequences}
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")


def main():
    wanted = sys.argv[2:] or list(MODELS)
    for number, name in enumerate(MODELS):
        if name in wanted:
            make(name, 20261125 + number, pathlib.Path(sys.argv[1]) / name)


if __name__ == "__main__":
    main()
