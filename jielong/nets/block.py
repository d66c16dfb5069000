"""One block: attention, feed-forward, and the norms around them, every option from the layer's own spec."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.base.errors import UserError
from jielong.nets import ops
from jielong.nets.cache import KVCache
from jielong.nets.config import Layer, TransformerConfig
from jielong.nets.quant import Quantised
from jielong.nets.tap import Tap, Where

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "geglu": F.gelu,
    "geglu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
}


@dataclass(frozen=True)
class Scene:
    """What one block of a forward pass is given beside the stream. A block does not know its own number: blocks
    of one shape are then one piece of code to a compiler."""

    number: int
    table: Tensor | None = None  # rotation (2, B or 1, T, C / 2)
    bias: Tensor | None = None  # additive attention mask; None: plain lower triangle
    where: Where | None = None
    positions: Tensor | None = None
    cache: KVCache | None = None
    tap: Tap | None = None
    memory: Tensor | None = None  # (B, S, D) for cross-attention
    condition: Tensor | None = None  # (B, condition) for adaLN
    at: Tensor | None = None  # (N,) flat places that are wanted: what follows attention is run there alone
    past: tuple[Tensor, Tensor] | None = None  # keys and values (1, K, n, C) that stand before every text

    def show(self, site: str, value: Tensor) -> Tensor:
        """Show `value` to the tap, where there is one."""
        if self.tap is None or self.where is None:
            return value
        return self.tap(f"block.{self.number}.{site}", value, self.where)


class Norm(nn.Module):
    """RMSNorm or LayerNorm over the last axis, as the configuration says."""

    def __init__(self, config: TransformerConfig, dim: int | None = None) -> None:
        super().__init__()
        dim = dim or config.dim
        self.eps, self.offset = config.norm_eps, config.norm_offset
        self.weight = nn.Parameter(torch.full((dim,), 1.0 - self.offset))
        self.bias = nn.Parameter(torch.zeros(dim)) if config.norm == "layer" else None

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x."""
        weight = self.weight + self.offset if self.offset else self.weight
        if self.bias is not None:
            return F.layer_norm(x, (x.shape[-1],), weight.to(x.dtype), self.bias.to(x.dtype), self.eps)
        return ops.rms_norm(x, weight, self.eps)


Inner = Callable[[Tensor], Tensor]
# An adapter's part in one product: (x, the product as it was before, its weight and bias) -> what comes of x. Around a
# whole half: (x, the half as it was before)
Change = Callable[..., Tensor]


class Half(nn.Module):
    """What attention and feed-forward share: their products, and what adapters make of these (`nets/adapters`)."""

    def __init__(self) -> None:
        super().__init__()
        # by matrix; "" for the half as a whole, "past" for more keys and values; no modules of ours: weights stay
        self.changes: dict[str, tuple[Change, ...]] = {}
        self.integers: dict[str, Quantised] = {}  # of matrices whose floats were let go of: `quant.lean`

    def forward(self, x: Tensor, scene: Scene) -> Tensor:
        """x (B, T, D), already normalised -> (B, T, D)."""
        around = self.changes.get("")
        return self.run(x, scene) if not around else _changed(x, lambda seen: self.run(seen, scene), (), around)

    def run(self, x: Tensor, scene: Scene) -> Tensor:
        """The half without what stands around it."""
        raise NotImplementedError

    def product(self, name: str, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x (..., K) times a matrix (N, K) of this half, as adapters have changed it, the later ones outermost."""
        changes, whole = self.changes.get(name, ()), self.integers.get(name)
        if whole is not None:
            return _changed(x, lambda seen: whole.product(seen, bias), (whole, bias), changes)
        if not changes:
            return ops.linear(x, weight, bias)
        return _changed(x, lambda seen: ops.linear(seen, weight, bias), (weight, bias), changes)


def _changed(x: Tensor, plain: Inner, about: tuple[Any, ...], changes: tuple[Change, ...]) -> Tensor:
    """The last change of what those before it have left."""
    if not changes:
        return plain(x)
    return changes[-1](x, lambda seen: _changed(seen, plain, about, changes[:-1]), *about)


class Attention(Half):
    """Self-attention with grouped queries; weights of queries, keys and values lie in one matrix."""

    def __init__(self, config: TransformerConfig, layer: Layer) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        heads, kv, size = config.heads, config.kv_heads, config.head_dim
        self.qkv = nn.Parameter(torch.empty((heads + 2 * kv) * size, config.dim))
        self.qkv_bias = nn.Parameter(torch.zeros((heads + 2 * kv) * size)) if config.qkv_bias else None
        self.out = nn.Parameter(torch.empty(config.dim, heads * size))
        self.out_bias = nn.Parameter(torch.zeros(config.dim)) if config.out_bias else None
        width = {"head": (size, size), "whole": (heads * size, kv * size), None: (0, 0)}[layer.qk_norm]
        fresh = 1.0 - config.norm_offset
        self.q_norm = nn.Parameter(torch.full((width[0],), fresh)) if layer.qk_norm else None
        self.k_norm = nn.Parameter(torch.full((width[1],), fresh)) if layer.qk_norm else None
        self.scale = config.attention_scale or size**-0.5

    def run(self, x: Tensor, scene: Scene) -> Tensor:
        """x (B, T, D), already normalised -> (B, T, D)."""
        q, k, v = self._project(x, scene)
        q, k, v = scene.show("q", q), scene.show("k", k), scene.show("v", v)
        if scene.cache is not None and scene.positions is not None:
            k, v = scene.cache.write(scene.number, k, v, scene.positions)
            k, v = k.to(q.dtype), v.to(q.dtype)
        if scene.past is not None:
            k, v, scene = with_past(*scene.past, q, k, v, scene)
        for past in self.changes.get("past", ()):
            k, v, scene = past(q, k, v, scene)
        mixed = self._attend(q, k, v, scene).transpose(1, 2).flatten(2)
        mixed = scene.show("heads", mixed)
        return scene.show("attn_out", self.product("out", mixed, self.out, self.out_bias))

    def _project(self, x: Tensor, scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
        heads, kv, size = self.config.heads, self.config.kv_heads, self.config.head_dim
        table = scene.table
        both = self.product("qkv", x, self.qkv, self.qkv_bias)
        if self.layer.qk_norm == "whole":
            q, k, _ = both.split([heads * size, kv * size, kv * size], -1)
            q = ops.rms_norm(q, self._offset(self.q_norm), self.config.norm_eps)
            k = ops.rms_norm(k, self._offset(self.k_norm), self.config.norm_eps)
            both = torch.cat([q, k, both[..., (heads + kv) * size :]], -1)
        both = both.unflatten(-1, (heads + 2 * kv, size))
        qk, v = both.split([heads + kv, kv], 2)
        v = v.transpose(1, 2)
        if self.layer.qk_norm == "head":
            weights = self._offset(self.q_norm), self._offset(self.k_norm)
            return *ops.norm_rotate(qk, *weights, heads, table, self.config.norm_eps), v
        turned = qk.transpose(1, 2) if table is None else ops.rotate(qk.transpose(1, 2), table)
        return turned[:, :heads], turned[:, heads:], v

    def _offset(self, weight: nn.Parameter | None) -> Tensor:
        assert weight is not None  # for the type checker: only called where qk_norm is set
        return weight + self.config.norm_offset if self.config.norm_offset else weight

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, scene: Scene) -> Tensor:
        bias = scene.bias
        watched = scene.tap is not None and scene.tap.wants(f"block.{scene.number}.pattern")
        dropout = self.config.dropout if self.training else 0.0
        if not watched and self.layer.softcap is None and not dropout:
            return ops.attention(q, k, v, bias, self.scale, self.config.causal)
        if bias is None and self.config.causal:
            bias = causal_bias(q.shape[2], k.shape[2], q.dtype, q.device)
        pattern = ops.attention_pattern(q, k, bias, self.scale, self.layer.softcap)
        pattern = scene.show("pattern", pattern)
        return ops.mix_values(F.dropout(pattern, dropout), v)


class Cross(nn.Module):
    """Attention from each position to `memory` (B, S, D): an encoder's output, or a prompt of another kind."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        width, kv = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.q = nn.Parameter(torch.empty(width, config.dim))
        self.kv = nn.Parameter(torch.empty(2 * kv, config.dim))
        self.out = nn.Parameter(torch.empty(config.dim, width))

    def forward(self, x: Tensor, scene: Scene) -> Tensor:
        """x (B, T, D) -> (B, T, D)."""
        if scene.memory is None:
            raise UserError("this model attends to a memory: pass memory=(B, S, D)")
        size = self.config.head_dim
        q = ops.linear(x, self.q).unflatten(-1, (-1, size)).transpose(1, 2)
        k, v = (
            ops.linear(scene.memory.to(x.dtype), self.kv)
            .unflatten(-1, (-1, size))
            .transpose(1, 2)
            .chunk(2, 1)
        )
        return ops.linear(
            ops.attention(q, k, v, None, size**-0.5, False).transpose(1, 2).flatten(2), self.out
        )


class FeedForward(Half):
    """down(activation(up x)), or with a gate beside it; gate and up lie in one matrix."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.activation, self.gated = config.activation, config.gated
        self.up = nn.Parameter(torch.empty(config.hidden * (2 if config.gated else 1), config.dim))
        self.down = nn.Parameter(torch.empty(config.dim, config.hidden))
        self.up_bias = nn.Parameter(torch.zeros(self.up.shape[0])) if config.mlp_bias else None
        self.down_bias = nn.Parameter(torch.zeros(config.dim)) if config.mlp_bias else None

    def run(self, x: Tensor, scene: Scene) -> Tensor:
        """x (B, T, D) -> (B, T, D)."""
        wide = self.product("up", x, self.up, self.up_bias)
        if self.activation == "swiglu":
            active = ops.swiglu(wide)
        elif self.gated:
            gate, up = wide.chunk(2, -1)
            active = ACTIVATIONS[self.activation](gate) * up
        else:
            active = ACTIVATIONS[self.activation](wide)
        active = scene.show("mlp_act", active)
        return scene.show("mlp_out", self.product("down", active, self.down, self.down_bias))


class Block(nn.Module):
    """Attention, perhaps cross-attention, and feed-forward, each added to the stream that runs through."""

    def __init__(self, config: TransformerConfig, layer: Layer) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.attention = Attention(config, layer)
        self.feed = FeedForward(config)
        self.cross = Cross(config) if self.layer.cross else None
        self.cross_norm = Norm(config) if self.layer.cross else None
        before, after = self.layer.norm in ("pre", "sandwich"), self.layer.norm != "pre"
        self.attention_norm = Norm(config) if before else None
        self.feed_norm = Norm(config) if before and not config.parallel else None
        self.attention_after = Norm(config) if after else None
        self.feed_after = Norm(config) if after else None
        self.modulation = (
            nn.Parameter(torch.zeros(6 * config.dim, config.condition)) if self.layer.adaln else None
        )

    def forward(self, x: Tensor, scene: Scene) -> Tensor:
        """x (B, T, D) -> (B, T, D); (1, N, D) where the scene says which places are wanted."""
        x = scene.show("resid_in", x)
        shifts = self._modulate(scene, x)
        inner = scene.show("attn_in", self._before(x, self.attention_norm, shifts[:2]))
        attended = self.attention(inner, scene)
        if self.config.parallel:
            return scene.show("resid_out", x + attended + self.feed(inner, scene))
        x = self._add(x, attended, self.attention_after, shifts[2:3])
        if self.cross is not None and self.cross_norm is not None:
            x = x + self.cross(self.cross_norm(x), scene)
        if scene.at is not None:
            x = x.flatten(0, 1)[scene.at][None]
        x = scene.show("resid_mid", x)
        inner = scene.show("mlp_in", self._before(x, self.feed_norm, shifts[3:5]))
        x = self._add(x, self.feed(inner, scene), self.feed_after, shifts[5:])
        return scene.show("resid_out", x)

    @property
    def narrows(self) -> bool:
        """Whether what follows attention can be run at some places alone: one after the other, not conditioned, and as
        it is written (compiled code is made for one number of places)."""
        plain = not self.config.parallel and self.cross is None and self.modulation is None
        return plain and self._compiled_call_impl is None

    def _modulate(self, scene: Scene, x: Tensor) -> tuple[Tensor, ...]:
        """adaLN-zero (Peebles and Xie 2022): shift, scale and gate for both halves, all zero at the start."""
        if self.modulation is None:
            return ()
        if scene.condition is None:
            raise UserError("this model is conditioned: pass condition=(B, width)")
        return ops.linear(F.silu(scene.condition.to(x.dtype)), self.modulation).unsqueeze(1).chunk(6, -1)

    @staticmethod
    def _before(x: Tensor, norm: Norm | None, shift: tuple[Tensor, ...]) -> Tensor:
        x = x if norm is None else norm(x)
        return x * (1 + shift[1]) + shift[0] if shift else x

    def _add(self, x: Tensor, out: Tensor, after: Norm | None, gate: tuple[Tensor, ...]) -> Tensor:
        if self.config.dropout and self.training:
            out = F.dropout(out, self.config.dropout)
        if after is not None and self.layer.norm == "post":
            return after(x + out)
        out = out if after is None else after(out)
        return x + (gate[0] * out if gate else out)


def with_past(
    keys: Tensor, values: Tensor, q: Tensor, k: Tensor, v: Tensor, scene: Scene
) -> tuple[Tensor, Tensor, Scene]:
    """k, v (B, K, S, C) with keys and values (1, K, n, C) before them, and a scene whose mask shows these to all."""
    bias = scene.bias
    if bias is None:
        bias = causal_bias(q.shape[2], k.shape[2], q.dtype, q.device)
    bias = F.pad(bias, (keys.shape[2], 0))
    k, v = (torch.cat([old.expand(len(new), -1, -1, -1), new], 2) for old, new in ((keys, k), (values, v)))
    return k, v, replace(scene, bias=bias)


def causal_bias(length: int, keys: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(1, 1, length, keys): -inf above the diagonal that ends in the last key."""
    seen = torch.ones(length, keys, dtype=torch.bool, device=device).tril(keys - length)
    return torch.zeros(length, keys, dtype=dtype, device=device).masked_fill_(~seen, -math.inf)[None, None]
