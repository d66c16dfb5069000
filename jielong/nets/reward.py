"""A reward model: a Transformer that reads an answer, and one number a head for what it is worth.

    model = RewardModel(body, heads=("helpful", "safe"))
    save("folder", model, codec)                # transformers reads it as a model for sequence classification
    loaded = load("folder")                     # UserError for a folder of a model that writes

Each head is a row of `head`, read at an answer's last token (Ouyang et al. 2022, arXiv 2203.02155, section 3.5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jielong.base import files
from jielong.base.errors import UserError
from jielong.nets import checkpoint, ops, weights
from jielong.nets.adapters import folder as adapters
from jielong.nets.adapters.attach import attach
from jielong.nets.checkpoint import REWARD
from jielong.nets.config import TransformerConfig
from jielong.nets.families import known
from jielong.nets.families.family import Part
from jielong.nets.transformer import Transformer
from jielong.units.codec import Tokenizer

WEIGHT = "score.weight"  # transformers' name
HEADS = ("reward",)


class RewardModel(nn.Module):
    """Every answer is worth 0 at the start."""

    def __init__(self, body: Transformer, heads: Sequence[str] = HEADS, head: nn.Parameter | None = None) -> None:
        """`head`: the one of an adapter that the body wears (`adapters.adapter.Adapter.judges`)."""
        super().__init__()
        if not heads or len(set(heads)) < len(heads) or not all(heads):
            raise UserError(f"the heads of a reward model need a name each, not {', '.join(heads) or 'none'}")
        self.body, self.heads = body, tuple(heads)
        zero = torch.zeros(len(heads), body.config.dim, dtype=body.embed.dtype, device=body.device)
        self.head = nn.Parameter(zero) if head is None else head

    @property
    def config(self) -> TransformerConfig:
        """The Transformer's."""
        return self.body.config

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.body.device

    def forward(self, hidden: Tensor) -> Tensor:
        """(N, D) of the Transformer's stream -> (N, heads), float32 or more."""
        scores = ops.linear(hidden, self.head, None)
        return scores.to(torch.promote_types(scores.dtype, torch.float32))


@dataclass(frozen=True)
class Loaded:
    """A reward model in memory; `info` is its `jielong.json`."""

    model: RewardModel
    codec: Tokenizer
    info: Mapping[str, Any] = field(default_factory=dict)
    path: Path = Path()


def save(
    folder: str | Path, model: RewardModel, codec: Tokenizer, info: Mapping[str, Any] | None = None,
    overwrite: bool = False, extra: Mapping[str, Tensor] | None = None,
) -> None:  # fmt: skip
    """Write the folder whole or not at all; arguments as of `checkpoint.save`."""
    names = dict(enumerate(model.heads))
    family, _ = known.fitting(model.config)
    kind = family.architecture if family else ""
    said: dict[str, Any] = {
        **({"architectures": [kind.replace("ForCausalLM", "ForSequenceClassification")]} if kind else {}),
        "id2label": {str(number): name for number, name in names.items()},
        "label2id": {name: number for number, name in names.items()},
    }
    told = {**(info or {}), REWARD: {"heads": list(model.heads)}}
    more = {WEIGHT: model.head.detach().cpu().contiguous()}
    checkpoint.save(folder, model.body, codec, told, overwrite, extra, more, said)


def load(path: str | Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Loaded:
    """Read a reward model's folder, or the newest of a run; that of an adapter with a head upon the base that it names.
    UserError for a folder of another kind of model."""
    adapter = adapters.find(path)
    if adapter is not None:
        return _worn(adapter, device, dtype)
    loaded = checkpoint.load(path, device, dtype, spare=(WEIGHT,))
    told = loaded.info.get(REWARD)
    if not isinstance(told, Mapping) or WEIGHT not in loaded.stored.files:
        raise UserError(f"{path} is no reward model, which judges answers: make one with `jielong train reward`")
    model = RewardModel(loaded.model, [str(name) for name in told.get("heads", ())])
    shape = loaded.stored.shapes[WEIGHT]
    if tuple(shape) != tuple(model.head.shape):
        raise UserError(f"{path}: {WEIGHT} has shape {list(shape)}, its heads are {', '.join(model.heads)}")
    weights.fill(model, [Part(WEIGHT, "head")], loaded.stored, {WEIGHT: WEIGHT})
    return Loaded(model.eval(), loaded.codec, loaded.info, loaded.path)


def _worn(folder: Path, device: str, dtype: torch.dtype) -> Loaded:
    info = files.read_json(folder / checkpoint.INFO) if (folder / checkpoint.INFO).is_file() else {}
    if not info.get("model") or info.get(REWARD) is None:
        raise UserError(f"{folder} is no reward model, which judges answers, or does not say of which base")
    base = checkpoint.load(str(info["model"]), device, dtype)
    found = adapters.upon(base).load(folder, base.codec)
    adapter = attach(base.model, found.model)
    return Loaded(RewardModel(base.model, adapter.heads, adapter.head).eval(), base.codec, info, folder)
