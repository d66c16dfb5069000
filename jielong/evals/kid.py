"""Kernel distance between two sets of features: unbiased, and needing no Gaussian.

    MMD^2 = mean_(i != j) k(x_i, x_j) + mean_(i != j) k(y_i, y_j) - 2 mean_(i, j) k(x_i, y_j),   k = (x . y / D + 1)^3

averaged over subsets, since it grows with the square of their size. Binkowski et al. 2018 (1801.01401). It may come
out a little below 0 where the two are alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jielong.base.errors import UserError
from jielong.base.noise import permutation
from jielong.evals.fid import Floats, features_of

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Kid:
    """Mean over the subsets, their standard deviation (divided by their number, as torch-fidelity prints it: not an
    error of the mean, for subsets overlap), how many there were and of how many pictures each."""

    mean: float
    spread: float
    subsets: int
    size: int


def mmd(x: Floats, y: Floats) -> float:
    """Unbiased, of x (N, D) and y (M, D)."""
    n, m, width = len(x), len(y), x.shape[1]

    def kernel(a: Floats, b: Floats) -> Floats:
        return np.asarray((a @ b.T / width + 1) ** 3)

    xx, yy = kernel(x, x), kernel(y, y)
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * kernel(x, y).mean())


def subsets(n: int, m: int, count: int = 100, size: int = 1000, seed: int = 0) -> Iterator[tuple[Rows, Rows]]:
    """`count` pairs of row numbers, `size` of n and of m each, without replacement; fewer where there are fewer."""
    size = min(size, n, m)
    for index in range(count):
        yield permutation(seed, n, "kid", index, 0)[:size], permutation(seed, m, "kid", index, 1)[:size]


def kid(
    real: ArrayLike, made: ArrayLike, count: int = 100, size: int = 1000, seed: int = 0,
    chosen: Iterable[tuple[Rows, Rows]] | None = None,
) -> Kid:  # fmt: skip
    """Features (N, D), (M, D). `chosen`: subsets made elsewhere, to compare with another program's."""
    x, y = features_of(real), features_of(made)
    if x.shape[1] != y.shape[1]:
        raise UserError(f"features of {x.shape[1]} and {y.shape[1]} numbers were not made by the same network")
    pairs = chosen if chosen is not None else subsets(len(x), len(y), count, size, seed)
    sizes, values = zip(*((len(a), mmd(x[a], y[b])) for a, b in pairs))
    return Kid(float(np.mean(values)), float(np.std(values)), len(values), sizes[0])
