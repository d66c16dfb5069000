"""How much of an enumerable world was drawn, and how evenly: a histogram beside the true law.

KL(true || drawn) with a half added to every cell, total variation, and how many cells were hit; each beside the same
number for as many real draws, since what is attainable is not 0. Drawings that are none of the world's (unparseable)
are a cell of their own: they add to the total variation and thin out all others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from jielong.base.errors import UserError
from jielong.base.noise import rng

ADDED = 0.5


@dataclass(frozen=True)
class Coverage:
    """`bits`: KL(true || drawn); `apart`: total variation, 0 to 1; `hit` of `cells`; `outside`: drawings that are none
    of the world's, among n."""

    bits: float
    apart: float
    hit: int
    cells: int
    outside: int
    n: int


def coverage(drawn: Iterable[Hashable], law: Mapping[Hashable, float]) -> Coverage:
    """`drawn`: one outcome a drawing, None or any other that the law does not have for "none of the world's". `law`:
    the true probabilities, which sum to 1."""
    counts = Counter(drawn)
    n = counts.total()
    if not n:
        raise UserError("coverage is of one drawing or more")
    if any(p <= 0 for p in law.values()) or abs(math.fsum(law.values()) - 1) > 1e-6:
        raise UserError("a law gives each of its outcomes a probability above 0, and they sum to 1")
    outside = n - sum(counts[cell] for cell in law)
    whole = n + ADDED * len(law)
    bits = math.fsum(p * math.log2(p * whole / (counts[cell] + ADDED)) for cell, p in law.items())
    apart = (math.fsum(abs(p - counts[cell] / n) for cell, p in law.items()) + outside / n) / 2
    return Coverage(bits, apart, sum(counts[cell] > 0 for cell in law), len(law), outside, n)


def attainable(law: Mapping[Hashable, float], n: int, seed: int = 0) -> Coverage:
    """The same of n draws from the law itself: the control."""
    cells = list(law)
    weights = [law[cell] for cell in cells]
    total = math.fsum(weights)
    found = rng("coverage", seed, n).choice(len(cells), n, p=[weight / total for weight in weights])
    return coverage((cells[i] for i in found), law)
