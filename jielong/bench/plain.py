"""The peer: our shape as anybody would write it in plain PyTorch, with torch's own kernels and autograd.

Same matrices, grouped queries, RMSNorm, rotary positions and SwiGLU as the default shape. `flash` chooses between
torch's fused attention and the three plain products: on a CPU now the one, now the other is faster, so both run.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.nets import rope
from jielong.nets.config import TransformerConfig


class PlainBlock(nn.Module):
    """Attention and feed-forward."""

    def __init__(self, config: TransformerConfig, flash: bool) -> None:
        super().__init__()
        self.config, self.flash = config, flash
        heads, kv, size = config.heads, config.kv_heads, config.head_dim
        self.qkv = nn.Linear(config.dim, (heads + 2 * kv) * size, bias=False)
        self.out = nn.Linear(heads * size, config.dim, bias=False)
        self.up = nn.Linear(config.dim, 2 * config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.dim, bias=False)
        self.norms = nn.ModuleList([nn.RMSNorm(config.dim, 1e-6), nn.RMSNorm(config.dim, 1e-6)])
        self.q_norm, self.k_norm = nn.RMSNorm(size, 1e-6), nn.RMSNorm(size, 1e-6)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, D) -> (B, T, D)."""
        heads, kv, size = self.config.heads, self.config.kv_heads, self.config.head_dim
        q, k, v = self.qkv(self.norms[0](x)).split([heads * size, kv * size, kv * size], -1)
        q = turn(self.q_norm(q.unflatten(-1, (heads, size))).transpose(1, 2), cos, sin)
        k = turn(self.k_norm(k.unflatten(-1, (kv, size))).transpose(1, 2), cos, sin)
        v = v.unflatten(-1, (kv, size)).transpose(1, 2)
        if self.flash:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        else:
            k, v = (t.repeat_interleave(heads // kv, 1) for t in (k, v))
            mixed = (q @ k.mT * size**-0.5 + mask.to(q.dtype)).softmax(-1) @ v
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        gate, up = self.up(self.norms[1](x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions, as in every public implementation."""
    first, second = x.chunk(2, -1)
    return (x * cos + torch.cat((-second, first), -1) * sin).to(x.dtype)


class PlainTransformer(nn.Module):
    """The whole model; `forward(ids, targets)` is the mean loss."""

    cos: Tensor
    sin: Tensor
    mask: Tensor

    def __init__(self, config: TransformerConfig, flash: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(config.vocab, config.dim)
        self.blocks = nn.ModuleList(PlainBlock(config, flash) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.dim, 1e-6)
        layer = config.layer.rope
        assert layer is not None
        cos, sin = rope.tables(layer, config.head_dim, config.context, config.context)
        self.register_buffer("cos", torch.cat((cos, cos), -1), persistent=False)
        self.register_buffer("sin", torch.cat((sin, sin), -1), persistent=False)
        triangle = torch.full((config.context, config.context), float("-inf")).triu(1)
        self.register_buffer("mask", triangle, persistent=False)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        """ids, targets (B, T) -> mean nats."""
        length = ids.shape[1]
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, self.cos[:length], self.sin[:length], self.mask[:length, :length])
        logits = F.linear(self.norm(x), self.embed.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
