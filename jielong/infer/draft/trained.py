"""Drafters that `jielong train draft` made, from their folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from jielong.base.errors import UserError
from jielong.infer.draft.types import Drafter
from jielong.nets import drafts
from jielong.nets.drafts.folder import Beside
from jielong.nets.transformer import Transformer
from jielong.units.codec import Tokenizer


def trained(path: Path, model: Any, codec: Tokenizer) -> Drafter:
    """The drafter in a folder. UserError where it was trained for another model, or this one is no Transformer."""
    if not isinstance(model, Transformer):
        raise UserError(f"the drafter in {path} watches a Transformer's stream, and this model has none: leave --draft "
                        "out, or give another")  # fmt: skip
    loaded = Beside(model.config).load(path, codec)
    return beside(loaded.kind, loaded.model.to(model.device), model, loaded.kind)


def beside(kind: str, head: Any, model: Transformer, name: str) -> Drafter:
    """The drafter that guesses with a head of this kind."""
    if kind == "medusa":
        from jielong.infer.draft.medusa import MedusaDrafter

        return MedusaDrafter(head, model, name)
    if kind == "eagle":
        from jielong.infer.draft.eagle import EagleDrafter

        return EagleDrafter(head, model, name)
    if kind == "block":
        from jielong.infer.draft.block import BlockDrafter

        return BlockDrafter(head, model, name)
    raise UserError(f"no drafter of kind {kind!r}")


def untrained(kind: str, model: Transformer, reach: int, seed: int = 3) -> Drafter:
    """The same with drawn weights: what it guesses depends on all that it sees, and is worth nothing. For proofs."""
    head = drafts.fresh(kind, model.config, reach, seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in head.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.2, generator=generator)
    return beside(kind, head.to(model.embed.dtype).eval(), model, kind)
