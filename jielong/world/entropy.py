"""Exact entropy of a kind of text, from its law."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Entropy:
    """What a perfect model would still pay.

    `nats`: of one document with its end. `bytes`: mean UTF-8 length of a document. `bits_per_byte`: nats in
    bits over bytes (the end mark counts no bytes). `strings`: how many different documents there are.
    """

    nats: float
    bytes: float
    bits_per_byte: float
    strings: int


def entropy(law: Iterable[tuple[float, str]]) -> Entropy:
    """H = -sum p log p over different strings: derivations of the same string are merged first.

    The end of a document adds nothing, because the string determines it. Raises ValueError if the
    probabilities do not sum to 1.
    """
    parts: dict[str, list[float]] = {}
    for p, text in law:
        parts.setdefault(text, []).append(p)
    mass = {text: math.fsum(each) for text, each in parts.items()}
    total = math.fsum(mass.values())
    if not math.isclose(total, 1.0, abs_tol=1e-9):
        raise ValueError(f"a law must sum to 1, and sums to {total}")
    nats = -math.fsum(p * math.log(p) for p in mass.values() if p > 0)
    size = math.fsum(p * len(text.encode()) for text, p in mass.items())
    return Entropy(nats, size, nats / math.log(2) / size if size else 0.0, len(mass))
