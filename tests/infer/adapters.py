"""Adapters of a small model for the tests of engine and server: every kind that can share a batch, and not zero."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

from jielong.nets.adapters import attach
from jielong.nets.adapters.adapter import Adapter
from jielong.nets.adapters.config import Bitfit, Config, Ia3, Lora
from jielong.nets.transformer import Transformer

KINDS: Mapping[str, Config] = {
    "lora": Lora(rank=8), "rslora": Lora(rank=3, rslora=True), "pissa": Lora(rank=2, pissa=True),
    "dora": Lora(rank=4, dora=True), "values": Lora(rank=5, targets=("v_proj", "down_proj")), "ia3": Ia3(),
    "bitfit": Bitfit(),
}  # fmt: skip


def trained(model: Transformer, config: Config, seed: int = 0, spread: float = 0.05) -> Adapter:
    """As after training: none of its numbers is where it began."""
    adapter = attach.fresh(model, config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in adapter.parameters():
        parameter.data.add_(torch.empty_like(parameter).normal_(0.0, spread, generator=generator))
    return adapter.eval().requires_grad_(False)


def several(model: Transformer, seed: int = 0) -> dict[str, Adapter]:
    """One of each kind, by its name."""
    return {name: trained(model, config, seed + i) for i, (name, config) in enumerate(KINDS.items())}


def merged(model: Transformer, adapter: Adapter) -> Any:
    """A copy of the model with an adapter written into it."""
    own = copy.deepcopy(model)
    attach.attach(own, copy.deepcopy(adapter))
    attach.merge(own)
    return own
