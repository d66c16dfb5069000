"""Rotary positions and windows as Hugging Face configurations say them, old and new.

transformers 5 keeps all of it in `rope_parameters`; before, there were `rope_theta` and `rope_scaling`. Both are
read; both are written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jielong.base.errors import UserError
from jielong.nets.config import Rope, TransformerConfig

# their rope_type -> ours ("su" is what longrope was called at first)
KINDS = {"default": "none", "linear": "linear", "dynamic": "dynamic", "yarn": "yarn", "llama3": "llama3",
         "longrope": "longrope", "su": "longrope"}  # fmt: skip
# their name -> ours
FIELDS = {
    "factor": "factor", "original_max_position_embeddings": "original", "beta_fast": "beta_fast",
    "beta_slow": "beta_slow", "low_freq_factor": "low_frequency", "high_freq_factor": "high_frequency",
    "attention_factor": "attention", "short_factor": "short", "long_factor": "long",
    "partial_rotary_factor": "fraction",
}  # fmt: skip
# what each of ours reads
USED = {
    "none": (), "linear": ("factor",), "dynamic": ("factor",), "ntk": ("factor",),
    "yarn": ("factor", "original", "beta_fast", "beta_slow", "attention"),
    "llama3": ("factor", "original", "low_frequency", "high_frequency"),
    "longrope": ("factor", "original", "short", "long", "attention"),
}  # fmt: skip
NEEDED = ("factor", "low_frequency", "high_frequency", "short", "long")
FULL, SLIDING = "full_attention", "sliding_attention"


def read(said: Mapping[str, Any], given: Mapping[str, Any] | None = None, base: float = 0.0) -> Rope:
    """The rotation of a configuration, or of one part of it (`given`, whose base is `base` where it says none)."""
    if given is None:
        given = said.get("rope_scaling") or said.get("rope_parameters") or {}
    values = {key: value for key, value in given.items() if value is not None}
    kind = values.pop("rope_type", values.get("type", "default"))
    values.pop("type", None)
    base = float(values.pop("rope_theta", base or said.get("rope_theta") or 10_000.0))
    if said.get("partial_rotary_factor"):  # of Phi-3: the others turn whole heads
        values.setdefault("partial_rotary_factor", said["partial_rotary_factor"])
    elif values.get("partial_rotary_factor") == 1.0:
        del values["partial_rotary_factor"]
    scaling = KINDS.get(kind)
    allowed = {*USED.get(scaling or "", ()), "original", *(["fraction"] if "partial_rotary_factor" in said else [])}
    unknown = sorted(key for key in values if FIELDS.get(key) not in allowed)
    if scaling is None or unknown:
        raise UserError(f"config.json has rope {kind!r} with {', '.join(unknown) or 'no known rule'}: not honoured")
    context = said["max_position_embeddings"]
    original = values.pop("original_max_position_embeddings", context)
    options = {FIELDS[key]: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    if "original" in USED[scaling]:  # Phi-3 says it outside, and that counts more
        options["original"] = said.get("original_max_position_embeddings") or original
    elif scaling == "dynamic":
        options["original"] = context
    if scaling == "longrope":
        options.setdefault("factor", context / options["original"])
    missing = [key for key, ours in FIELDS.items() if ours in USED[scaling] and ours in NEEDED and ours not in options]
    if missing:
        raise UserError(f"config.json has rope {kind!r} without {', '.join(missing)}")
    return Rope(base=base, scaling=scaling, **options)  # type: ignore[arg-type]


def parameters(rope: Rope | None, config: TransformerConfig) -> dict[str, Any]:
    """One `rope_parameters` object."""
    rope = canonical(rope, config) or Rope()
    if rope.scaling not in KINDS.values():
        rope = Rope(base=rope.base)
    theirs = {ours: key for key, ours in FIELDS.items()}
    kind = next(key for key, ours in KINDS.items() if ours == rope.scaling)
    made: dict[str, Any] = {"rope_type": kind, "rope_theta": rope.base}
    for name in USED[rope.scaling]:
        value = getattr(rope, name)
        if name != "attention" or value:
            made[theirs[name]] = list(value) if isinstance(value, tuple) else value
    return made


def write(config: TransformerConfig) -> dict[str, Any]:
    """The fields of a configuration all of whose blocks turn alike (the first one's are written)."""
    made = parameters(config.blocks[0].rope, config)
    plain = made["rope_type"] == "default"
    return {"rope_theta": made["rope_theta"], "rope_scaling": None if plain else made, "rope_parameters": made}


def canonical(rope: Rope | None, config: TransformerConfig) -> Rope | None:
    """The same rotation: what its kind does not read at the default, the trained context spelt out."""
    if rope is None:
        return None
    kept = {name: getattr(rope, name) for name in USED[rope.scaling]}
    if "original" in kept or rope.scaling == "dynamic":
        kept["original"] = rope.original or config.context
    if rope.scaling == "longrope" and rope.factor == 1.0:
        kept["factor"] = max(1.0, config.context / kept["original"])
    return replace(Rope(base=rope.base, scaling=rope.scaling, fraction=rope.fraction), **kept)


def windows(said: Mapping[str, Any], kinds: Sequence[str]) -> list[int | None]:
    """The window of each block; `kinds` where the configuration has no `layer_types`."""
    layers = said["num_hidden_layers"]
    kinds = said.get("layer_types") or kinds
    if len(kinds) != layers:
        raise UserError(f"config.json has {len(kinds)} layer_types for {layers} layers")
    odd = sorted(set(kinds) - {FULL, SLIDING})
    if odd:
        raise UserError(f"config.json has layer_types {', '.join(odd)}, which are not honoured")
    window = said.get("sliding_window")
    if SLIDING in kinds and not isinstance(window, int):
        raise UserError(f"config.json has sliding layers and sliding_window={window!r:.60}: give it a number")
    return [window if kind == SLIDING else None for kind in kinds]


def layer_types(config: TransformerConfig) -> dict[str, Any]:
    """`layer_types` and the one `sliding_window`."""
    kinds = [SLIDING if layer.window else FULL for layer in config.blocks]
    return {"layer_types": kinds, "sliding_window": first_window(config)}


def first_window(config: TransformerConfig) -> int | None:
    """The window of the first block that has one."""
    return next((layer.window for layer in config.blocks if layer.window), None)
