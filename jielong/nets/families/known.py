"""The families that are read and written, and the one that fits a shape."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from jielong.base.errors import UserError
from jielong.nets.config import TransformerConfig
from jielong.nets.families.family import Family, differences, read
from jielong.nets.families.gemma import GEMMA2, GEMMA3
from jielong.nets.families.llama import LLAMA, MISTRAL
from jielong.nets.families.others import GPT2, OLMO2, PHI3
from jielong.nets.families.qwen import QWEN2, QWEN3

# A shape that several of them have is saved as the first.
FAMILIES: tuple[Family, ...] = (QWEN3, LLAMA, QWEN2, MISTRAL, PHI3, OLMO2, GEMMA2, GEMMA3, GPT2)


def named(name: object) -> Family | None:
    """The family of this `model_type`."""
    return next((family for family in FAMILIES if family.name == name), None)


def fitting(config: TransformerConfig, preferred: object = None) -> tuple[Family | None, str]:
    """The family that has this shape, the `preferred` model_type first; or None and the options that prevent it.

    The options are those in the way of the nearest family.
    """
    first = named(preferred)
    order = (first, *FAMILIES) if first else FAMILIES
    found: list[tuple[Family, list[str]]] = []
    for family in order:
        with suppress(UserError):  # a shape that this one cannot even be asked about
            found.append((family, differences(family, config)))
    family, reasons = min(found, key=lambda one: len(one[1]))
    return (None, f"{', '.join(reasons)} (no {family.name} has that)") if reasons else (family, "")


def read_known(data: Mapping[str, Any]) -> tuple[Family, TransformerConfig]:
    """The family and our configuration of a `config.json`. Raises UserError naming what is not honoured."""
    kind = data.get("model_type")
    family = named(kind)
    if family is None:
        near = " (gemma3_text, its text part, is)" if kind == "gemma3" else ""
        names = ", ".join(sorted(family.name for family in FAMILIES))
        raise UserError(f"model_type {kind!r:.60} is not read here{near}; these are: {names}, jielong")
    return family, read(family, data)
