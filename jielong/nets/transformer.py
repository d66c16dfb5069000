"""The one Transformer: tokens or embeddings in, logits out.

    model = Transformer(TransformerConfig(vocab=512))
    logits = model(torch.tensor([[1, 2, 3]]))          # (B, T, V)

Parameters stay float32; `dtype=torch.bfloat16` lets the arithmetic of one call run in bf16.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.base.errors import UserError
from jielong.nets import ops, rope
from jielong.nets.block import Block, Norm, Scene
from jielong.nets.cache import KVCache
from jielong.nets.config import Layer, TransformerConfig
from jielong.nets.quant import Quantised
from jielong.nets.tap import Tap, Where


class Transformer(nn.Module):
    """Vaswani et al. 2017 with what has lasted since; see `TransformerConfig` for every option."""

    def __init__(self, config: TransformerConfig, seed: int | None = 0) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Parameter(torch.empty(config.vocab, config.dim))
        learned = config.position == "learned"
        self.place = nn.Parameter(torch.empty(config.context, config.dim)) if learned else None
        self.kind = nn.Parameter(torch.empty(config.types, config.dim)) if config.types else None
        self.embed_norm = Norm(config) if config.embed_norm else None
        self.blocks = nn.ModuleList(Block(config, layer) for layer in config.blocks)
        self.norm = Norm(config) if config.final_norm else None
        self.head = None if config.tied else nn.Parameter(torch.empty(config.vocab, config.dim))
        self.head_bias = nn.Parameter(torch.zeros(config.vocab)) if config.head_bias else None
        self._tables: dict[tuple[object, int], Tensor] = {}
        self.quantised: dict[str, Quantised] = {}  # integers that some parameters stand for: `nets/quant.py`
        self.adapters: dict[str, nn.Module] = {}  # by name, in the order they were attached: `nets/adapters`
        self.merged: list[str] = []  # those of them that are written into the matrices
        self.changes: dict[str, tuple[Callable[..., list[Scene]], ...]] = {}  # as a `Half` has; of all
        self.unbiased: TransformerConfig | None = None  # the configuration without a merged adapter's biases
        if seed is not None:
            self.initialise(seed)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Matrices N(0, 1 / fan-in), what is added to the stream starts at zero, embeddings N(0, 0.02^2).

        Zeroed outputs leave the stream as it is at the start (Zhang et al. 2019; kept by every speed run since).
        """
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            last = name.rsplit(".", 1)[-1]
            if last in ("embed", "place", "kind"):
                parameter.normal_(0.0, 0.02, generator=generator)
            elif last in ("out", "down", "head"):
                parameter.zero_()
            elif last in ("qkv", "up", "q", "kv"):
                parameter.normal_(0.0, parameter.shape[1] ** -0.5, generator=generator)
        if self.head is not None:
            self.head.normal_(0.0, 0.02, generator=generator)

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.embed.device

    def forward(
        self,
        ids: Tensor | None = None,
        *,
        embeds: Tensor | None = None,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        cache: KVCache | None = None,
        lengths: Tensor | None = None,
        tap: Tap | None = None,
        rows: Tensor | None = None,
        types: Tensor | None = None,
        memory: Tensor | None = None,
        condition: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Logits (B, T, V) float32 for ids (B, T) or embeds (B, T, D).

        documents (B, T): positions attend only within the same number; (2, B, T): also to those whose number is
        theirs in the second. cache: keys and values so far, extended;
        lengths (B,): real tokens of each right-padded row. rows (B,): what a tap calls the rows. The rest as in
        `hidden`. Raises UserError for text longer than the context.
        """
        x = self.hidden(
            ids, embeds=embeds, positions=positions, documents=documents, cache=cache, lengths=lengths,
            tap=tap, rows=rows, types=types, memory=memory, condition=condition, dtype=dtype,
        )  # fmt: skip
        logits = self.logits(x)
        if tap is not None:
            logits = tap("logits", logits, self._where(logits, positions, cache, lengths, rows))
        return logits

    def hidden(
        self,
        ids: Tensor | None = None,
        *,
        embeds: Tensor | None = None,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        cache: KVCache | None = None,
        lengths: Tensor | None = None,
        tap: Tap | None = None,
        rows: Tensor | None = None,
        types: Tensor | None = None,
        memory: Tensor | None = None,
        condition: Tensor | None = None,
        dtype: torch.dtype | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """The stream after the last norm, (B, T, D): what the head reads and what embeds a text. at (N,): the flat
        places of it that are wanted, (1, N, D); the last block then does no more than these need."""
        if cache is not None:
            if documents is not None:
                raise UserError("a cache holds one document a row: pass documents or cache, not both")
            positions = cache.positions((ids if ids is not None else embeds).shape[1])  # type: ignore[union-attr]
        x = self._embed(ids, embeds, positions, types, dtype)
        where = None
        if tap is not None:
            where = self._where(x, positions, None, None, rows)
            x = tap("embed", x, where)
        scenes = self._scenes(x, positions, documents, cache, tap, where, memory, condition)
        for before in self.changes.get("before", ()):
            scenes = before(self, scenes, x.dtype)
        last = cast(Any, self.blocks[-1]) if len(self.blocks) else None
        sooner = at is not None and tap is None and last is not None and last.narrows
        if sooner:
            scenes[-1] = replace(scenes[-1], at=at)
        for block, scene in zip(self.blocks, scenes, strict=True):
            x = block(x, scene)
        if at is not None and not sooner:
            x = x.flatten(0, 1)[at][None]
        if cache is not None:
            cache.advance(x.shape[1], lengths)
        if self.norm is not None:
            x = self.norm(x)
        return x if tap is None or where is None else tap("norm", x, where)

    def through(self, embeds: Tensor, tap: Tap, dtype: torch.dtype) -> None:
        """Run embeddings (B, T, D) through the blocks with nothing before them, for what these show to `tap`."""
        x = self._embed(None, embeds, None, None, dtype)
        scenes = self._scenes(x, None, None, None, tap, self._where(x, None, None, None, None), None, None)
        for block, scene in zip(self.blocks, scenes, strict=True):
            x = block.forward(x, scene)  # not compiled, as they are for rows of training's own length

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, V) float32."""
        logits = ops.linear(hidden, self.head_weight, self.head_bias).float()
        cap = self.config.softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    @property
    def head_weight(self) -> Tensor:
        """The matrix of the head (V, D): the embedding's own where tied."""
        return self.embed if self.head is None else self.head

    def _embed(
        self, ids: Tensor | None, embeds: Tensor | None, positions: Tensor | None, types: Tensor | None,
        dtype: torch.dtype | None,
    ) -> Tensor:  # fmt: skip
        if (ids is None) == (embeds is None):
            raise UserError("pass either ids or embeds")
        x = F.embedding(ids, self.embed) if ids is not None else embeds
        assert x is not None
        length = x.shape[1]
        if positions is None and length > self.config.context and self.place is not None:
            raise UserError(f"{length} tokens are more than the model's context of {self.config.context}")
        if self.config.embed_scale != 1.0:
            x = x * torch.tensor(self.config.embed_scale, dtype=x.dtype)
        if self.place is not None:
            x = x + (self.place[:length] if positions is None else F.embedding(positions, self.place))
        elif self.config.position == "sinusoid":
            table = rope.sinusoids(max(self.config.context, length), self.config.dim).to(x)
            x = x + (table[:length] if positions is None else table[positions])
        if self.kind is not None:
            x = x + F.embedding(
                torch.zeros_like(x[..., 0], dtype=torch.long) if types is None else types, self.kind
            )
        x = x if dtype is None else x.to(dtype)
        x = x if self.embed_norm is None else self.embed_norm(x)
        return F.dropout(x, self.config.dropout) if self.config.dropout and self.training else x

    def _scenes(
        self, x: Tensor, positions: Tensor | None, documents: Tensor | None, cache: KVCache | None, tap: Tap | None,
        where: Where | None, memory: Tensor | None, condition: Tensor | None,
    ) -> list[Scene]:  # fmt: skip
        scenes: list[Scene] = []
        biases: dict[int | None, Tensor | None] = {}
        tables: dict[object, Tensor | None] = {None: None}
        for number, layer in enumerate(self.config.blocks):
            turning = layer.rope if self.config.position == "rope" else None
            if turning not in tables:
                tables[turning] = self._table(layer, x, positions, cache is not None)
            if layer.window not in biases:
                biases[layer.window] = self._bias(x, positions, documents, cache, layer.window)
            bias = biases[layer.window]
            scenes.append(
                Scene(number, tables[turning], bias, where, positions, cache, tap, memory, condition)
            )
        return scenes

    def _table(self, layer: Layer, x: Tensor, positions: Tensor | None, cached: bool) -> Tensor:
        """Rotation for these positions, (2, B or 1, T, C / 2); tables are kept a power of two long."""
        assert layer.rope is not None
        context = self.config.context
        turning = rope.settled(layer.rope, context, context if cached else x.shape[1])
        reach = x.shape[1] if positions is None else int(positions.max()) + 1
        length = 1 << max(reach - 1, 63).bit_length()
        key = (turning, length)
        if key not in self._tables:
            table = rope.tables(turning, self.config.head_dim, context, length)
            self._tables[key] = table.to(x.device)
        table = self._tables[key]
        return table[:, None, : x.shape[1]] if positions is None else table[:, positions]

    def _bias(
        self,
        x: Tensor,
        positions: Tensor | None,
        documents: Tensor | None,
        cache: KVCache | None,
        window: int | None,
    ) -> Tensor | None:
        """Additive mask (B or 1, H or 1, T, S) in x's dtype: 0 where a key may be seen, -inf where not."""
        length = x.shape[1]
        if cache is not None:
            assert positions is not None
            here, keys = (
                positions[:, :, None],
                torch.arange(cache.longest + length, device=x.device)[None, None],
            )
        else:
            place = torch.arange(length, device=x.device)
            here, keys = place[None, :, None], place[None, None, :]
        seen = keys <= here if self.config.causal else torch.ones_like(keys <= here)
        if window is not None:
            seen = seen & ((here - keys).abs() < window if not self.config.causal else here - keys < window)
        if documents is not None:
            own, above = documents if documents.ndim == 3 else (documents, None)
            same = own[:, :, None] == own[:, None, :]
            seen = seen & (same if above is None else same | (above[:, :, None] == own[:, None, :]))
        bias = (
            torch.zeros(seen.shape, dtype=x.dtype, device=x.device)
            .masked_fill_(~seen, -math.inf)
            .unsqueeze(1)
        )
        if self.config.position == "alibi":
            slopes = rope.alibi_slopes(self.config.heads).to(x.device)[None, :, None, None]
            bias = bias - (slopes * (here - keys).abs().unsqueeze(1)).to(x.dtype)
        elif not x.is_cpu and cache is None and window is None and documents is None and self.config.causal:
            return None  # the plain lower triangle: the fused kernels know it
        return bias

    def _where(
        self,
        x: Tensor,
        positions: Tensor | None,
        cache: KVCache | None,
        lengths: Tensor | None,
        rows: Tensor | None,
    ) -> Where:
        batch, length = x.shape[:2]
        if positions is None:
            positions = torch.arange(length, device=x.device).expand(batch, length)
            if cache is not None:  # the cache has moved on: these are the positions it was asked for
                grown = torch.full((batch,), length, device=x.device) if lengths is None else lengths
                positions = positions + (cache.lengths - grown)[:, None]
        return Where(positions, torch.arange(batch, device=x.device) if rows is None else rows)


TABLES = ("embed", "place", "kind", "head")  # looked up by row, not multiplied through: not for Muon


def matrices(model: nn.Module) -> list[tuple[nn.Parameter, int, int]]:
    """(parameter, first row, rows) of every matrix a stream passes through; fused weights as their parts."""
    fused = {path: module.config for path, module in model.named_modules() if isinstance(module, Transformer)}
    found = []
    for name, parameter in model.named_parameters():
        last = name.rsplit(".", 1)[-1]
        if parameter.ndim == 2 and last not in TABLES and parameter.requires_grad:
            start = 0
            for rows in _spans(name, last, fused) or (parameter.shape[0],):
                found.append((parameter, start, rows))
                start += rows
    return found


def _spans(name: str, last: str, fused: Mapping[str, TransformerConfig]) -> tuple[int, ...]:
    """Rows of each part of a Transformer's fused weight; none of any other parameter."""
    config = next((config for path, config in fused.items() if name.startswith(path)), None)
    if config is None:
        return ()
    query, key = config.heads * config.head_dim, config.kv_heads * config.head_dim
    spans = {"qkv": (query, key, key), "kv": (key, key)}
    spans |= {"up": (config.hidden, config.hidden)} if config.gated else {}
    return spans.get(last, ())


def count(model: nn.Module) -> int:
    """Number of parameters; a tied head counts once."""
    return sum(parameter.numel() for parameter in model.parameters())
