"""The face of step.cpp: the same step as `Decoder`, all layers in one call.

    decoder = native.decoder(model)            # None where it cannot be had: then use Decoder(model)
    logits_RV = decoder.step(feed, pages)

A row's bits do not depend on the other rows, so one object serves fast and exact mode.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from ctypes import Structure, c_float, c_int32, c_int64, c_void_p
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from jielong.nets import layout, quant, rope
from jielong.nets.adapters import thin as beside
from jielong.nets.adapters.adapter import Adapter
from jielong.nets.adapters.targets import MATRICES
from jielong.nets.adapters.thin import Thins, thins
from jielong.nets.block import Block
from jielong.nets.block import Norm as NormModule
from jielong.nets.decoder import Feed, check
from jielong.nets.native import build
from jielong.nets.pages import Pages
from jielong.nets.transformer import Transformer

FOURS = 4  # ranks of a change come in
ACTIVATIONS = {"swiglu": 0, "geglu": 1, "gelu": 1, "geglu_tanh": 2, "gelu_tanh": 2, "relu": 3, "relu2": 4}


class Norm(Structure):
    """Field by field as in products.h; so are the others."""

    _fields_ = (("weight", c_void_p), ("bias", c_void_p), ("eps", c_float))


class Matrix(Structure):
    _fields_ = (("packed", c_void_p), ("bias", c_void_p), ("scales", c_void_p), ("sums", c_void_p), ("n", c_int64),
                ("k", c_int64))  # fmt: skip


class Thin(Structure):
    _fields_ = (*((name, c_void_p) for name in ("read", "a", "b", "factor", "shift", "spans")), ("ranks", c_int64))


class Layer(Structure):
    _fields_ = (
        *((name, Norm) for name in ("before", "between", "after", "last")),
        *((name, Matrix) for name in ("qkv", "out", "up", "down")),
        *((name, c_void_p) for name in ("head_norm", "turns", "pages")),
        ("window", c_int64), ("scale", c_float), ("softcap", c_float), ("whole", c_int32), ("post", c_int32),
    )  # fmt: skip


class Group(Structure):
    _fields_ = (*((name, c_int64) for name in ("start", "rows", "width", "pages")), ("table", c_void_p))


class Model(Structure):
    _fields_ = (
        ("layers", c_void_p), *((name, c_void_p) for name in ("embed", "place", "kind", "slopes")),
        ("embed_norm", Norm), ("norm", Norm), ("head", Matrix),
        *((name, c_int64) for name in ("count", "dim", "heads", "kv", "size", "hidden", "pool")),
        ("thins", c_void_p), ("most", c_int64),
        *((name, c_float) for name in ("embed_scale", "softcap", "eps")),
        *((name, c_int32) for name in ("activation", "gated", "parallel")),
    )  # fmt: skip


class Fed(Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("groups", "ids", "positions", "slots", "wanted", "adapters", "hidden",
                                          "logits")),
        *((name, c_int64) for name in ("groups_count", "tokens", "wanted_count")),
    )


def decoder(model: Transformer, bits: int = 32, adapters: Sequence[Adapter] = ()) -> NativeDecoder | None:
    """The native decoder, where there is a compiler and it knows the model: float32 or one scale a row in 8 bits, a
    cache of 32 bits. UserError as `Decoder` raises it."""
    check(model)
    whole = quant.kept(model)
    if bits != 32 or any(each.bits != 8 for each in whole.values()):
        return None
    library = build.library()
    if library is None:
        return None
    return NativeDecoder(model, whole, library, [thins(model, adapter) for adapter in adapters])


class NativeDecoder:
    """Weights in panels; made once, fed many times."""

    def __init__(
        self, model: Transformer, whole: Mapping[str, quant.Quantised], library: ctypes.CDLL,
        adapters: Sequence[Thins] = (),
    ) -> None:
        self.config, self.library = model.config, library
        self.vector: int = library.jielong_vector()
        self.held: list[Tensor] = []  # what the pointers point to
        self.turns = layout.turns(self.config)
        self.pages: Pages | None = None
        config, self.whole = self.config, whole
        self.hidden_width = -(-config.hidden // self.vector) * self.vector if config.gated else config.hidden
        tables = {each: self._at(torch.view_as_real(table)) for each, table in self.turns.items()}
        blocks = cast(Iterable[Block], model.blocks)
        made = [self._layer(block, number, tables) for number, block in enumerate(blocks)]
        self.layers = (Layer * len(made))(*made)
        made_thin = [self._thin(each.get((number, name)), number, name) for each in adapters
                  for number in range(config.layers) for name in MATRICES]  # fmt: skip
        self.thins = (Thin * len(made_thin))(*made_thin)
        self.embed = self._at(model.embed)
        slopes = rope.alibi_slopes(config.heads) if config.position == "alibi" else None
        kind = None if model.kind is None else model.kind[0]
        self.model = Model(
            layers=ctypes.addressof(self.layers), embed=None, place=self._at(layout.places(model)),
            kind=self._at(kind), slopes=self._at(slopes), embed_norm=self._norm(model.embed_norm),
            norm=self._norm(model.norm), count=config.layers, dim=config.dim, heads=config.heads, kv=config.kv_heads,
            size=config.head_dim, hidden=self.hidden_width, embed_scale=config.embed_scale,
            softcap=config.softcap or 0.0, eps=config.norm_eps, activation=ACTIVATIONS[config.activation],
            gated=config.gated, parallel=config.parallel, thins=ctypes.addressof(self.thins),
            most=max((each.ranks for each in made_thin), default=0),
            head=self._matrix("embed" if model.head is None else "head", model.head_weight, model.head_bias),
        )  # fmt: skip
        self.whole = {}

    def step(self, feed: Feed, pages: Pages) -> Tensor:
        """Logits (R, V) of the wanted tokens; keys and values of all tokens are stored in `pages`."""
        return self._run(feed, pages, None)

    def look(self, feed: Feed, pages: Pages) -> tuple[Tensor, Tensor]:
        """The same, and the stream after the last norm (N, D)."""
        hidden = torch.empty(len(feed.ids), self.config.dim)
        return self._run(feed, pages, hidden), hidden

    def turn(self, pages: Pages, moved: list[int], back: int) -> None:
        """Turn the keys in some pages to positions `back` earlier."""
        layout.turn_back(self.config, self.turns, pages, moved, back)

    def _run(self, feed: Feed, pages: Pages, hidden: Tensor | None) -> Tensor:
        if pages is not self.pages:
            self._point(pages)
        self.model.embed = self.embed if feed.table is None else feed.table.data_ptr()
        logits = torch.empty(len(feed.wanted), self.config.vocab)
        tables = [g.table.contiguous() for g in feed.groups]
        each = (Group(g.start, g.rows, g.width, len(table) // g.rows, table.data_ptr())
                for g, table in zip(feed.groups, tables))  # fmt: skip
        groups = (Group * len(feed.groups))(*each)
        fed = Fed(
            groups=ctypes.addressof(groups), groups_count=len(groups), tokens=len(feed.ids), ids=feed.ids.data_ptr(),
            positions=feed.positions.data_ptr(), slots=feed.slots.data_ptr(), wanted=feed.wanted.data_ptr(),
            adapters=None if feed.adapters is None else feed.adapters.data_ptr(),
            hidden=None if hidden is None else hidden.data_ptr(), wanted_count=len(logits), logits=logits.data_ptr(),
        )  # fmt: skip
        self.library.jielong_step(ctypes.byref(self.model), ctypes.byref(fed), c_int32(torch.get_num_threads()))
        return logits

    def _point(self, pages: Pages) -> None:
        """From now on, the cache lies there."""
        self.pages = pages
        for layer, pool in zip(self.layers, pages.layers, strict=True):
            layer.pages = pool.data_ptr()
        self.model.pool = pages.layers[0].shape[1]

    def _layer(self, block: Block, number: int, tables: Mapping[Any, int | None]) -> Layer:
        attention, feed, layer, ours = block.attention, block.feed, block.layer, f"blocks.{number}."
        rows, gated = layout.head_rows(layer, self.config), self.config.gated
        return Layer(
            before=self._norm(block.attention_norm), between=self._norm(block.feed_norm),
            after=self._norm(block.attention_after), last=self._norm(block.feed_after),
            qkv=self._matrix(f"{ours}attention.qkv", attention.qkv, attention.qkv_bias, rows),
            out=self._matrix(f"{ours}attention.out", attention.out, attention.out_bias),
            up=self._matrix(f"{ours}feed.up", feed.up, feed.up_bias, gated=gated),
            down=self._matrix(f"{ours}feed.down", feed.down, feed.down_bias, inputs=self.hidden_width),
            head_norm=self._at(layout.head_norms(block, self.config)), turns=tables.get(layer.rope),
            window=layer.window or 0, scale=attention.scale, softcap=layer.softcap or 0.0,
            whole=layer.qk_norm == "whole", post=layer.norm == "post",
        )  # fmt: skip

    def _thin(self, thin: beside.Thin | None, number: int, name: str) -> Thin:
        """What an adapter changes in a matrix, its rows in the matrix's own order and panels."""
        if thin is None:
            return Thin()
        gated = name == "up" and self.config.gated
        rows = layout.head_rows(self.config.blocks[number], self.config) if name == "qkv" else None

        def packed(values: Tensor) -> Tensor:
            values = values.view(len(values), -1).float()
            return self._pack(values if rows is None else values[rows], values.shape[1], gated)

        def column(values: Tensor | None) -> int | None:
            return None if values is None else self._at(packed(values))

        read = thin.read
        if read is not None and name == "down":
            read = F.pad(read, (0, self.hidden_width - len(read)))
        made = Thin(read=self._at(read), factor=column(thin.factor), shift=column(thin.shift))
        if thin.a is not None and thin.b is not None and thin.spans is not None:
            ranks, columns = thin.a.shape
            made.ranks = -(-ranks // FOURS) * FOURS
            more = self.hidden_width - columns if name == "down" else 0
            made.a = self._at(F.pad(thin.a, (0, more, 0, made.ranks - ranks)))
            made.b, made.spans = (self._at(each) for each in self._dense(*map(packed, (
                thin.b, ranks - thin.spans[:, 0], thin.spans[:, 1]))))  # fmt: skip
        return made

    def _dense(self, b: Tensor, before: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """A matrix in panels without the ranks that a vector of columns has not: (numbers, V), and for each vector
        its first rank and where its numbers begin. `before` (ranks - first rank) and `last` by column, in panels."""
        first, last = (each.view(-1, self.vector).amax(1) for each in (before, last))  # what fills up is 0: no say
        ranks = b.numel() // before.numel()
        first = (ranks - first).minimum(last)
        whole = b.view(-1, ranks, 2, self.vector).transpose(1, 2).reshape(-1, ranks, self.vector)
        place = torch.arange(ranks)
        own = (place >= first[:, None]) & (place < last[:, None])
        begins = F.pad((last - first).cumsum(0), (1, 0))
        return whole[own], torch.stack([F.pad(first, (0, 1)), begins], 1).to(torch.int32)

    def _matrix(self, name: str, weight: Tensor, bias: Tensor | None, rows: Tensor | None = None,
                gated: bool = False, inputs: int = 0) -> Matrix:  # fmt: skip
        """In panels: the rows in this order, `inputs` columns (zeros beyond those there are)."""
        whole = self.whole.get(name)
        source = weight.detach() if whole is None else whole.q
        source = (source if rows is None else source[rows]).contiguous()
        n, k = len(source), inputs or source.shape[1]

        def column(values: Tensor | None) -> int | None:
            if values is None:
                return None
            values = values.detach().float().view(-1, 1)
            return self._at(self._pack(values if rows is None else values[rows], 1, gated))

        scales = sums = None
        if whole is not None:
            scales = column(whole.scales)
            zeros = source.float().sum(1, keepdim=True) * 128
            sums = self._at(self._pack(zeros, 1, gated).to(torch.int32))
        return Matrix(packed=self._at(self._pack(source, k, gated)), bias=column(bias), scales=scales, sums=sums,
                      n=self._columns(n, gated) if gated else n, k=k)  # fmt: skip

    def _pack(self, values: Tensor, inputs: int, gated: bool) -> Tensor:
        """A matrix (n, at most `inputs`) in panels."""
        values, whole = values.contiguous(), values.dtype == torch.int8
        n, columns = values.shape
        padded = -(-inputs // 4) * 4 if whole else inputs
        place = torch.empty(self._columns(n, gated) * padded, dtype=values.dtype)
        pack = self.library.jielong_pack8 if whole else self.library.jielong_pack
        pack(c_void_p(place.data_ptr()), c_void_p(values.data_ptr()), c_int64(n), c_int64(columns), c_int64(inputs),
             c_int32(gated))  # fmt: skip
        return place

    def _columns(self, n: int, gated: bool) -> int:
        """Columns of all panels: as many gates as what they let through, each to whole vectors."""
        if gated:
            return 2 * (-(-n // 2 // self.vector) * self.vector)
        return -(-n // (2 * self.vector)) * 2 * self.vector

    def _norm(self, norm: NormModule | None) -> Norm:
        if norm is None:
            return Norm()
        return Norm(self._at(norm.weight.detach() + norm.offset), self._at(norm.bias), norm.eps)

    def _at(self, values: Tensor | None) -> int | None:
        """Where these values lie, for as long as this object lives."""
        if values is None:
            return None
        self.held.append(values.detach().contiguous())
        return self.held[-1].data_ptr()
