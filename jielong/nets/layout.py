"""How a Transformer's weights are laid out for running: rotated pairs side by side, tables of turns, places.

Heads are stored with the two halves of each rotated pair beside each other, so that a rotation is one complex
product; queries and keys agree about it, and nobody else looks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor

from jielong.nets import rope
from jielong.nets.block import Block
from jielong.nets.config import Layer, Rope, TransformerConfig
from jielong.nets.pages import Pages
from jielong.nets.transformer import Transformer


def refuses(config: TransformerConfig) -> str:
    """What keeps a shape from being run token by token; empty for language models."""
    if not config.causal:
        return "causal=False (an encoder)"
    for layer in config.blocks:
        if layer.cross or layer.adaln:
            return "cross-attention" if layer.cross else "adaln"
    return ""


def changed(model: Transformer) -> bool:
    """Whether adapters that are not merged change what the model's products give."""
    if getattr(model, "changes", None):  # of what stands before every text
        return True
    blocks = cast(Iterable[Block], getattr(model, "blocks", ()))
    return any(half.changes for block in blocks for half in (block.attention, block.feed))


def head_rows(layer: Layer, config: TransformerConfig) -> Tensor:
    """The rows of the fused weight of queries, keys and values in the order for running, ((H + 2 K) C,)."""
    rows = torch.arange((config.heads + 2 * config.kv_heads) * config.head_dim)
    turned = (config.heads + config.kv_heads) * config.head_dim
    heads = rows[:turned].unflatten(0, (-1, config.head_dim))[:, _order(layer, config)]
    return torch.cat([heads.flatten(), rows[turned:]])


def head_norms(block: Block, config: TransformerConfig) -> Tensor | None:
    """The weights of the norms of queries and keys in that order, (H + K, C); None where there are none."""
    attention, kind = block.attention, block.layer.qk_norm
    if kind is None or attention.q_norm is None or attention.k_norm is None:
        return None
    heads, kv, size = config.heads, config.kv_heads, config.head_dim
    q, k = (w.detach() + config.norm_offset for w in (attention.q_norm, attention.k_norm))
    if kind == "head":
        weights = torch.cat([q.expand(heads, size), k.expand(kv, size)])
    else:
        weights = torch.cat([q.view(heads, size), k.view(kv, size)])
    return weights[:, _order(block.layer, config)].contiguous()


def _order(layer: Layer, config: TransformerConfig) -> Tensor:
    """Where each place of a head comes from, so that rotated pairs lie side by side."""
    if config.position != "rope" or layer.rope is None:
        return torch.arange(config.head_dim)
    half = int(config.head_dim * layer.rope.fraction) // 2
    pairs = torch.stack([torch.arange(half), torch.arange(half, 2 * half)], 1).flatten()
    return torch.cat([pairs, torch.arange(2 * half, config.head_dim)])


def turns(config: TransformerConfig) -> dict[Rope | None, Tensor]:
    """For each rotation of the layers exp(i angle) of every position and pair of a head, complex (positions, C / 2);
    pairs that do not turn have 1."""
    ropes = {layer.rope for layer in config.blocks if config.position == "rope" and layer.rope is not None}
    found: dict[Rope | None, Tensor] = {}
    for each in ropes:
        cos, sin = rope.tables(rope.settled(each, config.context, config.context), config.head_dim, config.context,
                               config.context)  # fmt: skip
        still = torch.ones(config.context, config.head_dim // 2 - cos.shape[1], dtype=torch.complex64)
        found[each] = torch.cat([torch.complex(cos, sin), still], 1)
    return found


def turn_back(
    config: TransformerConfig, tables: dict[Rope | None, Tensor], pages: Pages, moved: list[int], back: int
) -> None:
    """Turn the keys in some pages to positions `back` earlier: R(p - b) k = R(-b) R(p) k (Su et al. 2021)."""
    for number, layer in enumerate(config.blocks):
        table = tables.get(layer.rope)
        if table is not None:
            turn = table[back] / table[back].abs() * (table[0].abs() > 0)
            pages.turn(number, moved, turn.conj())


def places(model: Transformer) -> Tensor | None:
    """What is added to the embedding at every position, (context, D); None where nothing is."""
    if model.place is not None:
        return model.place.detach()
    if model.config.position == "sinusoid":
        return rope.sinusoids(model.config.context, model.config.dim)
    return None
