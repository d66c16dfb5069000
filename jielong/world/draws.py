"""Many draws at a time: rows of uniforms whose beginning does not depend on how many are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from jielong.base import noise

T = TypeVar("T")
BLOCK = 4096


def rows(n: int, width: int, *key: Any) -> Iterator[NDArray[np.float64]]:
    """Blocks of up to 4096 rows, `n` rows in all: (b, width) uniforms in [0, 1)."""
    seed = noise.seed_of("world", *key)
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        yield noise.uniform(seed, start // BLOCK, n=size * width).reshape(size, width)


def picks(n: int, sizes: Sequence[int], *key: Any) -> Iterator[list[int]]:
    """`n` lists of independent indices, the i-th below sizes[i]."""
    scale = np.array(sizes, dtype=np.float64)
    for block in rows(n, len(sizes), *key):
        yield from (block * scale).astype(np.int64).tolist()


def stream(n: int, table: Sequence[T], *key: Any) -> Iterator[T]:
    """`n` items of `table`, each as likely: the fastest way to write a law of equal weights."""
    size = len(table)
    for block in rows(n, 1, *key):
        yield from map(table.__getitem__, (block[:, 0] * size).astype(np.int64).tolist())


def shuffled(n: int, table: Sequence[T], *key: Any) -> list[T]:
    """The first `n` of `table` in random order, none twice."""
    order = noise.permutation(noise.seed_of("world", *key), len(table))[:n].tolist()
    return [table[i] for i in order]


def langs(lang: str | None) -> tuple[str, ...]:
    """The languages that `lang` (None: both) stands for."""
    return ("en", "zh") if lang is None else (lang,)
