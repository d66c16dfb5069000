"""Which matrices an adapter changes, by the names that the base's family gives its modules.

    found = chosen(targets(model, family), ("q_proj", "v_proj"))

Queries, keys and values lie in one matrix here and are three modules in most families: a target is some rows of ours.
Both sides of that map are the family's own plan of tensors (`families.family.plan`), so a family that is read is also
one whose adapters are. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jielong.base.errors import UserError
from jielong.nets.config import TransformerConfig
from jielong.nets.families import known
from jielong.nets.families.family import Family, plan
from jielong.nets.families.llama import LLAMA

MATRICES = ("qkv", "out", "up", "down")


@dataclass(frozen=True)
class Target:
    """One module of theirs: rows `start` to `start + rows` of the matrix `half`.`matrix` of ours, (rows, inputs)."""

    name: str  # in full, as in their model: model.layers.0.self_attn.q_proj
    half: str  # blocks.0.attention
    matrix: str  # qkv
    start: int
    rows: int
    inputs: int

    @property
    def stop(self) -> int:
        """The first row after it."""
        return self.start + self.rows


def family_of(config: TransformerConfig, said: Mapping[str, Any] | None = None) -> Family:
    """Whose names a base's modules have: those of the family it was read as (`said` is its config.json), else of the
    first that has this shape. A shape that is nobody's has Llama's names."""
    found = known.named((said or {}).get("model_type")) or known.fitting(config)[0]
    if found is not None:
        return found
    if config.gated:
        return replace(LLAMA, name="jielong")
    block = {theirs: ours for theirs, ours in LLAMA.block.items() if ours not in ("feed.gate", "feed.wide")}
    return replace(LLAMA, name="jielong", block=block | {"mlp.up_proj": "feed.up"})


def targets(config: TransformerConfig, family: Family) -> list[Target]:
    """All matrices of all blocks, in the order of the blocks."""
    shapes = {
        "qkv": ((config.heads + 2 * config.kv_heads) * config.head_dim, config.dim),
        "out": (config.dim, config.heads * config.head_dim),
        "up": (config.hidden * (2 if config.gated else 1), config.dim),
        "down": (config.dim, config.hidden),
    }
    halves = {"qkv": "attention", "out": "attention", "up": "feed", "down": "feed"}
    names = [f"blocks.{i}.{halves[matrix]}.{matrix}" for i in range(config.layers) for matrix in MATRICES]
    found = []
    for part in plan(family, config, names):
        half, _, matrix = part.ours.rpartition(".")
        rows, inputs = shapes[matrix]
        name = part.theirs.removesuffix(".weight")
        found.append(Target(name, half, matrix, part.start, part.rows or rows, inputs))
    return found


def chosen(among: Sequence[Target], wanted: Sequence[str]) -> list[Target]:
    """Those whose name is, or ends in, one of the `wanted` (none: all), as PEFT's `target_modules` chooses.

    Raises UserError for a name that is none's.
    """
    unknown = [each for each in wanted if not any(_is(target, each) for target in among)]
    if unknown:
        raise UserError(f"this model has no module {', '.join(unknown)}; it has {', '.join(endings(among))}")
    return [target for target in among if not wanted or any(_is(target, each) for each in wanted)]


def scaled(among: Sequence[Target], config: TransformerConfig) -> list[Target]:
    """What IA3 scales where nothing else is asked: keys, values, and what the feed-forward's second matrix reads."""
    keys = config.heads * config.head_dim
    return [t for t in among if t.matrix == "down" or (t.matrix == "qkv" and t.stop > keys)]


def halves(
    config: TransformerConfig, kinds: Sequence[str] = ("attention", "feed"), matrix: str = ""
) -> list[Target]:
    """Halves of all blocks as wholes, by our own names."""
    names = [f"blocks.{i}.{kind}" for i in range(config.layers) for kind in kinds]
    return [Target(name, name, matrix, 0, config.dim, config.dim) for name in names]


def endings(among: Sequence[Target]) -> list[str]:
    """The last part of the targets' names; with what stands before it where two kinds of module share it."""
    kinds: dict[tuple[str, ...], None] = {}
    for target in among:
        kinds[tuple(target.name.split(".")[-2:])] = None
    lasts = [kind[-1] for kind in kinds]
    return [kind[-1] if lasts.count(kind[-1]) == 1 else ".".join(kind) for kind in kinds]


def _is(target: Target, wanted: str) -> bool:
    return target.name == wanted or target.name.endswith("." + wanted)
