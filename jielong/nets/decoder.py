"""The Transformer written out for running: few calls a token, no branches that training needs.

    decoder = Decoder(model)
    logits_RV = decoder.step(feed, pages)

The same function as `Transformer` (tests hold them together for every option of a layer), over a flat list of tokens
of many rows, with keys and values in pages. `native/` holds the same step in one call, where a compiler is at hand.
Shapes: N tokens of all rows, R rows wanted, D width, H query heads, K key heads, G = H / K, C head size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from jielong.base.errors import UserError
from jielong.nets import kernels, layout, quant, rope
from jielong.nets.adapters.adapter import Adapter
from jielong.nets.adapters.targets import MATRICES
from jielong.nets.adapters.thin import Thins, thins
from jielong.nets.beside import Beside, Several
from jielong.nets.block import ACTIVATIONS, Block, Norm
from jielong.nets.config import TransformerConfig
from jielong.nets.pages import SIZE, Pages
from jielong.nets.transformer import Transformer

TILE = 128  # keys that exact mode multiplies at a time: a product's order of summing must not depend on the rest
ROWS = 4  # and the queries that each thread gets come in fours, for the same reason
FUSED = 32  # tokens a row from which fast mode uses torch's fused attention


@dataclass(frozen=True)
class Group:
    """Rows that are fed equally many tokens: tokens `start` to `start + rows * width` of the flat list."""

    start: int
    rows: int
    width: int
    table: Tensor  # (rows * pages,) the rows' pages, each row's filled up with page 0
    numbers: tuple[int, ...] = ()  # what a tap calls the rows

    @property
    def stop(self) -> int:
        """The first token after this group."""
        return self.start + self.rows * self.width


@dataclass(frozen=True)
class Feed:
    """What one step reads."""

    ids: Tensor  # (N,)
    positions: Tensor  # (N,) absolute
    slots: Tensor  # (N,) where their keys and values go
    groups: tuple[Group, ...]
    wanted: Tensor  # (R,) tokens whose logits are wanted
    texts: tuple[Any, ...] = ()  # each row's tokens, for models that read the whole text again
    table: Tensor | None = None  # (n, D) float32: what `ids` are rows of, in place of the model's own embedding
    adapters: Tensor | None = None  # (N,) which of the decoder's adapters each token has, from 1; 0: none


@dataclass
class _Step:
    """What all layers of one step share."""

    feed: Feed
    pages: Pages
    index: Tensor
    turns: dict[Any, Tensor] = field(default_factory=dict)
    biases: dict[Any, list[Tensor]] = field(default_factory=dict)
    rows: dict[int, Tensor] = field(default_factory=dict)  # of each adapter that some have


def check(model: Transformer) -> None:
    """UserError for a model that is no decoder, and for one whose adapters would be passed over."""
    reason = layout.refuses(model.config)
    if reason:
        raise UserError(f"this model cannot be run as a language model: it has {reason}")
    if layout.changed(model):
        raise UserError("an adapter is attached and not merged: merge it, or detach it and give it to the decoder")


class Decoder:
    """`exact`: float32 only; a row's bits depend on that row alone. `adapters`: those that tokens of a feed may have,
    not attached. UserError for a model that is no decoder."""

    def __init__(self, model: Transformer, exact: bool = False, adapters: Sequence[Adapter] = ()) -> None:
        check(model)
        self.config, self.exact = model.config, exact
        config = self.config
        self.embed, self.kind = model.embed.detach(), None if model.kind is None else model.kind.detach()[0]
        self.place = layout.places(model)
        self.embed_norm, self.norm = _norm(model.embed_norm), _norm(model.norm)
        packed = exact or sum(p.numel() for p in model.parameters()) >= kernels.LARGE
        whole = quant.kept(model)
        if exact and whole:
            raise UserError("exact mode is float32, and this model's weights are quantised: use mode fast")
        head = whole.get("embed" if model.head is None else "head")
        self.head = _matrix(model.head_weight, model.head_bias, packed, head)
        blocks = cast(Iterable[Block], model.blocks)
        beside = [thins(model, adapter) for adapter in adapters]
        self.blocks = [
            _Block(block, config, number, exact, packed, whole, beside) for number, block in enumerate(blocks)
        ]
        self.turns = layout.turns(config)
        alibi = config.position == "alibi"
        self.slopes = rope.alibi_slopes(config.heads).view(config.kv_heads, 1, 1, -1, 1) if alibi else None

    @torch.no_grad()
    def step(self, feed: Feed, pages: Pages) -> Tensor:
        """Logits (R, V) of the wanted tokens; keys and values of all tokens are stored in `pages`."""
        return self.look(feed, pages)[0]

    @torch.no_grad()
    def look(self, feed: Feed, pages: Pages) -> tuple[Tensor, Tensor]:
        """The same, and the stream after the last norm (N, D). In exact mode a feed has two tokens or more."""
        hidden = self._hidden(feed, pages)
        return self.logits(hidden.index_select(0, feed.wanted)), hidden

    def logits(self, hidden_RD: Tensor) -> Tensor:
        """(R, D) -> (R, V)."""
        if self.exact and hidden_RD.shape[0] == 1:
            return self.logits(hidden_RD.expand(2, -1).contiguous())[:1]
        logits = self.head(hidden_RD)
        cap = self.config.softcap
        return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)

    def _hidden(self, feed: Feed, pages: Pages) -> Tensor:
        x = F.embedding(feed.ids, self.embed if feed.table is None else feed.table)
        if self.config.embed_scale != 1.0:
            x = x * self.config.embed_scale
        if self.place is not None:
            x = x + self.place.index_select(0, feed.positions)
        if self.kind is not None:
            x = x + self.kind
        x = x if self.embed_norm is None else self.embed_norm(x)
        step = self._share(feed, pages)
        for block in self.blocks:
            x = block(x, step)
        return x if self.norm is None else self.norm(x)

    def turn(self, pages: Pages, moved: list[int], back: int) -> None:
        """Turn the keys in some pages to positions `back` earlier."""
        layout.turn_back(self.config, self.turns, pages, moved, back)

    def _share(self, feed: Feed, pages: Pages) -> _Step:
        step = _Step(feed, pages, pages.index(feed.slots))
        if feed.adapters is not None:
            present = [int(each) for each in feed.adapters.unique() if each]
            step.rows = {each: (feed.adapters == each).nonzero()[:, 0] for each in present}
        for key, table in self.turns.items():
            step.turns[key] = table.index_select(0, feed.positions).unsqueeze(1)
        for window in {layer.window for layer in self.config.blocks}:
            step.biases[window] = [self._bias(group, feed.positions, window) for group in feed.groups]
        return step

    def _bias(self, group: Group, positions_N: Tensor, window: int | None) -> Tensor:
        """Additive mask over the group's pages, (1 or K, rows, T, 1 or G, S); one token a row: (K rows, 1 or G, S)."""
        here = positions_N[group.start : group.stop].view(group.rows, group.width, 1)
        keys = torch.arange(len(group.table) // group.rows * SIZE)
        hidden = keys > here
        if window is not None:
            hidden |= keys <= here - window
        bias = torch.zeros(hidden.shape).masked_fill_(hidden, -math.inf)[None, :, :, None]
        if self.slopes is not None:
            bias = bias - self.slopes * (here - keys).abs()[None, :, :, None]
        if group.width == 1:
            kv = self.config.kv_heads
            bias = bias.squeeze(2).expand(kv, -1, -1, -1).reshape(kv * group.rows, -1, bias.shape[-1])
        return bias


class _Block:
    """One block's matrices, ready to run."""

    def __init__(
        self, block: Block, config: TransformerConfig, number: int, exact: bool, packed: bool,
        whole: Mapping[str, quant.Quantised], beside: Sequence[Thins],
    ) -> None:  # fmt: skip
        attention, feed, layer = block.attention, block.feed, block.layer
        self.config, self.layer, self.number, self.exact = config, layer, number, exact
        ours = f"blocks.{number}."
        rows = layout.head_rows(layer, config)
        bias = None if attention.qkv_bias is None else attention.qkv_bias[rows]
        qkv = whole.get(f"{ours}attention.qkv")
        self.qkv = _matrix(attention.qkv[rows], bias, packed, None if qkv is None else qkv.rows(rows))
        self.out = _matrix(attention.out, attention.out_bias, packed, whole.get(f"{ours}attention.out"))
        self.up = _matrix(feed.up, feed.up_bias, packed, whole.get(f"{ours}feed.up"))
        self.down = _matrix(feed.down, feed.down_bias, packed, whole.get(f"{ours}feed.down"))
        self.head_norm = _head_norm(block, config)
        self.before, self.between = _norm(block.attention_norm), _norm(block.feed_norm)
        self.after, self.last = _norm(block.attention_after), _norm(block.feed_after)
        self.scale = attention.scale
        self.activate = _activation(config)
        self.changes = {
            name: {i + 1: Beside(each[number, name], rows if name == "qkv" else None, exact)
                   for i, each in enumerate(beside) if (number, name) in each}
            for name in MATRICES
        }  # fmt: skip

    def __call__(self, x: Tensor, step: _Step) -> Tensor:
        qkv, out, up, down = (self._with(name, step) for name in MATRICES)
        inner = x if self.before is None else self.before(x)
        mixed = self._attend(qkv(inner), step)
        if self.config.parallel:
            return down.onto(out.onto(x, mixed), self.activate(up(inner)))
        x = self._add(x, mixed, out, self.after)
        inner = x if self.between is None else self.between(x)
        return self._add(x, self.activate(up(inner)), down, self.last)

    def _with(self, name: str, step: _Step) -> kernels.Matrix:
        """A matrix as the adapters of this step's rows have it. Exact mode always adds to the stream afterwards: rows
        without an adapter must not be rounded otherwise when others have one."""
        matrix: kernels.Matrix = getattr(self, name)
        changes = [(rows, self.changes[name][each]) for each, rows in step.rows.items() if each in self.changes[name]]
        return Several(matrix, changes) if changes or self.exact else matrix

    def _add(self, x: Tensor, y: Tensor, matrix: kernels.Matrix, after: Callable[[Tensor], Tensor] | None) -> Tensor:
        if after is None:
            return matrix.onto(x, y)
        return after(matrix.onto(x, y)) if self.layer.norm == "post" else x + after(matrix(y))

    def _attend(self, both: Tensor, step: _Step) -> Tensor:
        """Queries, keys and values side by side (N, (H + 2 K) C) -> (N, H C)."""
        heads, kv, size = self.config.heads, self.config.kv_heads, self.config.head_dim
        both = both.view(-1, heads + 2 * kv, size)
        turning = both[:, : heads + kv]
        if self.head_norm is not None:
            self.head_norm(turning)
        if self.layer.rope in step.turns:
            torch.view_as_complex(turning.unflatten(-1, (-1, 2))).mul_(step.turns[self.layer.rope])
        step.pages.write(self.number, step.index, both[:, heads:])
        biases = step.biases[self.layer.window]
        parts = []
        for group, bias in zip(step.feed.groups, biases, strict=True):
            found = step.pages.read(self.number, group.table)
            q = both[group.start : group.stop, :heads]
            parts.append(self._mix(q, found, bias, group))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _mix(self, q: Tensor, found: Tensor, bias: Tensor, group: Group) -> Tensor:
        """softmax(q k^T scale + bias) v of one group: q (rows T, H, C), found (2 K, rows S, C) -> (rows T, H C)."""
        kv, size, rows, width = self.config.kv_heads, self.config.head_dim, group.rows, group.width
        shares = self.config.heads // kv
        plain = self.layer.softcap is None and self.config.position != "alibi"
        if width >= FUSED and plain and not self.exact:
            k, v = found.view(2, kv, rows, -1, size).transpose(1, 2)
            q = q.view(rows, width, -1, size).transpose(1, 2)
            mixed = F.scaled_dot_product_attention(
                q, k, v, attn_mask=bias.view(rows, 1, width, -1), scale=self.scale, enable_gqa=shares > 1
            )
            return mixed.transpose(1, 2).reshape(rows * width, -1)
        k, v = found.view(2, kv * rows, -1, size)
        q = q.view(rows, width, kv, shares, size).permute(2, 0, 1, 3, 4).reshape(kv * rows, width * shares, size)
        few = -(width * shares) % (ROWS * torch.get_num_threads()) if self.exact else 0
        if few:
            q = F.pad(q, (0, 0, 0, few))
        if width == 1 and self.layer.softcap is None and not self.exact:
            scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=self.scale)
        else:
            scores = self._scores(q, k, bias, group, shares)
        mixed = self._values(torch.softmax(scores, -1), v)
        if few:
            mixed = mixed[:, : width * shares]
        return mixed.view(kv, rows, width, shares, size).permute(1, 2, 0, 3, 4).reshape(rows * width, -1)

    def _scores(self, q: Tensor, k: Tensor, bias: Tensor, group: Group, shares: int) -> Tensor:
        scores = torch.bmm(q, k.transpose(1, 2)).mul_(self.scale)
        if self.layer.softcap is not None:
            scores.div_(self.layer.softcap).tanh_().mul_(self.layer.softcap)
        kv, keys = self.config.kv_heads, k.shape[1]
        if group.width == 1:
            bias = bias.view(kv, group.rows, 1, -1, keys)
        real = scores[:, : group.width * shares].view(kv, group.rows, group.width, shares, keys)
        real.add_(bias)
        return scores

    def _values(self, pattern: Tensor, v: Tensor) -> Tensor:
        if not self.exact:
            return torch.bmm(pattern, v)
        tiles = zip(pattern.split(TILE, -1), v.split(TILE, 1), strict=True)
        first, then = next(tiles)
        mixed = torch.bmm(first, then)
        for first, then in tiles:
            mixed = torch.baddbmm(mixed, first, then)
        return mixed


def _matrix(
    weight: Tensor, bias: Tensor | None, packed: bool, whole: quant.Quantised | None
) -> kernels.Matrix:  # fmt: skip
    return kernels.matrix(weight, bias, packed) if whole is None else kernels.integer(whole, bias)


def _norm(norm: Norm | None) -> Callable[[Tensor], Tensor] | None:
    """The norm as one function. RMS is written out in fewer calls than torch's own takes on a CPU."""
    if norm is None:
        return None
    weight = norm.weight.detach() + norm.offset
    if norm.bias is not None:
        bias, shape, eps = norm.bias.detach(), weight.shape, norm.eps
        return lambda x: torch.layer_norm(x, shape, weight, bias, eps)
    return _rms(weight, norm.eps)


def _rms(weight: Tensor, eps: float) -> Callable[[Tensor], Tensor]:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis."""
    scale = _inverse(weight.shape[-1], eps)
    return lambda x: (x * scale(x)).mul_(weight)


def _inverse(size: int, eps: float) -> Callable[[Tensor], Tensor]:
    """1 / sqrt(mean(x^2) + eps) over the last axis of `size`, kept."""
    floor = torch.tensor(eps)

    def scale(x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return torch.addcmul(floor, length, length, value=1 / size).rsqrt_()

    return scale


def _head_norm(block: Block, config: TransformerConfig) -> Callable[[Tensor], object] | None:
    """The norm of queries and keys (N, H + K, C): written over them."""
    weights = layout.head_norms(block, config)
    if weights is None:
        return None
    heads, size = config.heads, config.head_dim
    if block.layer.qk_norm == "head":
        scale = _inverse(size, config.norm_eps)
        return lambda x: x.mul_(scale(x)).mul_(weights)
    wide_q, wide_k = (_rms(w.flatten(), config.norm_eps) for w in (weights[:heads], weights[heads:]))

    def whole(x: Tensor) -> Tensor:
        parts = wide_q(x[:, :heads].flatten(1)), wide_k(x[:, heads:].flatten(1))
        return x.copy_(torch.cat(parts, 1).view_as(x))

    return whole


def _activation(config: TransformerConfig) -> Callable[[Tensor], Tensor]:
    if config.activation != "swiglu" and not config.gated:
        return ACTIVATIONS[config.activation]
    act = F.silu if config.activation == "swiglu" else ACTIVATIONS[config.activation]

    def gated(wide: Tensor) -> Tensor:
        gate, up = wide.chunk(2, -1)
        return act(gate).mul_(up)

    return gated
