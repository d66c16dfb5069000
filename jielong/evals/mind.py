"""Monge Inception distance: how far features must be carried, averaged over directions.

    MIND = 3 D mean_u W2^2(u . x, u . y),   u uniform on the unit sphere of R^D

W2^2 of two rows of N numbers is the mean squared difference once both are sorted. Unlike a Fréchet distance it sees
more than mean and covariance, and needs fewer pictures. Berthet et al. 2026 (2605.06797); torch-fidelity's definition.
A shift by m alone gives 3 |m|^2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from jielong.base.errors import UserError
from jielong.base.noise import permutation, rng
from jielong.evals.fid import Floats, features_of

CHUNK = 64  # directions whose sorted rows are held at a time


def directions(width: int, count: int = 1000, seed: int = 0) -> Floats:
    """(count, width) unit vectors."""
    found = rng("mind", seed, width).standard_normal((count, width))
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def mind(
    real: ArrayLike, made: ArrayLike, count: int = 1000, seed: int = 0, along: Floats | None = None
) -> float:
    """Features (N, D), (M, D); of the larger set as many are taken as the smaller has. `along`: unit vectors (count, D)
    drawn elsewhere."""
    x, y = features_of(real), features_of(made)
    if x.shape[1] != y.shape[1]:
        raise UserError(f"features of {x.shape[1]} and {y.shape[1]} numbers were not made by the same network")
    n, width = min(len(x), len(y)), x.shape[1]
    x, y = (v if len(v) == n else v[permutation(seed, len(v), "mind")[:n]] for v in (x, y))
    along = directions(width, count, seed) if along is None else along
    total = 0.0
    for some in np.split(along, range(CHUNK, len(along), CHUNK)):
        total += ((np.sort(x @ some.T, axis=0) - np.sort(y @ some.T, axis=0)) ** 2).sum()
    return float(3 * width * total / (n * len(along)))
