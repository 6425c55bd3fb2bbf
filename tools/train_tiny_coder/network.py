"""The network of tiny-coder for training: Llama's decoder over packed documents, attention restricted to the document.

Products are fused (q, k, v in one, gate and up in one); `export` gives the tensors Hugging Face's names and shapes.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention.varlen import varlen_attn


def attend(q, k, v, starts, longest):
    """Causal attention within each document of a pack: [tokens, heads, head_dim] each."""
    if q.is_cuda:
        return varlen_attn(q, k, v, starts, starts, longest, longest, window_size=(-1, 0))
    repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
    document = torch.bucketize(torch.arange(q.shape[0]), starts[1:], right=True)
    mask = (document[:, None] == document[None]).tril()
    return F.scaled_dot_product_attention(q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1), attn_mask=mask).transpose(0, 1)


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
        hidden, inner = config["hidden_size"], config["intermediate_size"]
        self.attention_norm = nn.RMSNorm(hidden, config["rms_norm_eps"])
        self.mlp_norm = nn.RMSNorm(hidden, config["rms_norm_eps"])
        self.qkv = nn.Linear(hidden, (self.heads + 2 * self.kv_heads) * self.head_dim, bias=False)
        self.o = nn.Linear(self.heads * self.head_dim, hidden, bias=False)
        self.gate_up = nn.Linear(hidden, 2 * inner, bias=False)
        self.down = nn.Linear(inner, hidden, bias=False)

    def forward(self, x, cos, sin, starts, longest):
        qkv = self.qkv(self.attention_norm(x)).view(-1, self.heads + 2 * self.kv_heads, self.head_dim)
        q, k, v = qkv.split((self.heads, self.kv_heads, self.kv_heads), 1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        x = x + self.o(attend(q.to(v.dtype), k.to(v.dtype), v.contiguous(), starts, longest).flatten(1))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Network(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        hidden = config["hidden_size"]
        self.embedding = nn.Embedding(config["vocab_size"], hidden)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))
        self.norm = nn.RMSNorm(hidden, config["rms_norm_eps"])
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                scale = 1 / math.sqrt(2 * len(self.layers)) if name.endswith(("o.weight", "down.weight")) else 1
                nn.init.normal_(parameter, std=0.02 * scale)
        half = config["head_dim"] // 2
        angle = torch.arange(config["max_position_embeddings"])[:, None] * config["rope_theta"] ** (-torch.arange(half) / half)[None]
        angle = torch.cat((angle, angle), -1)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, tokens, positions, labels, starts, longest):
        """Mean loss over the labels that are not -100."""
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, cos, sin, starts, longest)
        logits = F.linear(self.norm(x), self.embedding.weight)
        return F.cross_entropy(logits.float(), labels, ignore_index=-100)

    def export(self, dtype):
        """Name -> tensor, as LlamaForCausalLM has them (the tied head left out)."""
        out = {"model.embed_tokens.weight": self.embedding.weight, "model.norm.weight": self.norm.weight}
        for i, layer in enumerate(self.layers):
            at = f"model.layers.{i}."
            q, k, v = layer.qkv.weight.split((layer.heads * layer.head_dim, layer.kv_heads * layer.head_dim, layer.kv_heads * layer.head_dim))
            gate, up = layer.gate_up.weight.chunk(2)
            out |= {at + "input_layernorm.weight": layer.attention_norm.weight, at + "post_attention_layernorm.weight": layer.mlp_norm.weight,
                    at + "self_attn.q_proj.weight": q, at + "self_attn.k_proj.weight": k, at + "self_attn.v_proj.weight": v,
                    at + "self_attn.o_proj.weight": layer.o.weight, at + "mlp.gate_proj.weight": gate, at + "mlp.up_proj.weight": up,
                    at + "mlp.down_proj.weight": layer.down.weight}
        return {name: tensor.detach().to(dtype).cpu().contiguous() for name, tensor in out.items()}
