"""Fréchet distance between two sets of features, each taken for one Gaussian.

    |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1^1/2 S2 S1^1/2)^1/2

The matrix in the root is symmetric and not negative, so its root's trace is the sum of the roots of its eigenvalues:
float64 `eigvalsh`, never a matrix root of S1 S2, which is not symmetric and comes back complex or inexact when a
covariance is singular. For S1^1/2 stands any H with H H^T = S1, here of the eigenvectors that are not mere rounding.
Heusel et al. 2017 (1706.08500). It is biased upwards, by about 1 / N, and the bias depends on the model (Chong &
Forsyth 2020, 1911.07023), so N is part of the number and `curve` extrapolates.
With another net's features than Inception's it is not "FID": `pictures.named`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jielong.base.errors import UserError
from jielong.base.noise import permutation

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gaussian:
    """mean (D,), covariance (D, D), and of how many features; 0: known exactly."""

    mean: Floats
    covariance: Floats
    n: int = 0


@dataclass(frozen=True)
class Curve:
    """The distance at N, at N/2 and N/4 (means over the disjoint parts), and where their line over 1 / N meets 0.
    `real`: how many real features stood on the other side, unchanged, whose own share of the bias remains."""

    n: int
    real: int
    whole: float
    half: float
    quarter: float
    limit: float


def features_of(values: ArrayLike, least: int = 2) -> Floats:
    """(N, D) float64. Raises UserError for another shape, fewer rows than `least`, or what is not finite."""
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 2 or len(found) < least or not found.shape[1]:
        raise UserError(f"features stand one picture a row, {least} or more of them: this has the shape {found.shape}")
    if not np.isfinite(found).all():
        raise UserError("features must be finite: the network gave nan or infinity for some picture")
    return found


def fit(values: ArrayLike) -> Gaussian:
    """Mean and unbiased covariance (divided by N - 1) of features (N, D)."""
    found = features_of(values)
    return Gaussian(found.mean(0), np.cov(found, rowvar=False, ddof=1).reshape(found.shape[1], -1), len(found))


def frechet(a: Gaussian, b: Gaussian) -> float:
    """The formula above; 0 or more."""
    if a.mean.shape != b.mean.shape:
        raise UserError(f"features of {len(a.mean)} and {len(b.mean)} numbers were not made by the same network")
    fewer, other = (b, a) if 0 < b.n < a.n else (a, b)
    values, vectors = np.linalg.eigh(fewer.covariance)
    real = values > values[-1] * len(values) * np.finfo(np.float64).eps  # the rest is rounding, whose root is not small
    half = vectors[:, real] * np.sqrt(values[real])
    crossed = np.sqrt(np.linalg.eigvalsh(half.T @ other.covariance @ half).clip(min=0)).sum()
    apart = a.mean - b.mean
    return float(max(0.0, apart @ apart + np.trace(a.covariance) + np.trace(b.covariance) - 2 * crossed))


def fid(real: ArrayLike, made: ArrayLike) -> float:
    """Between features (N, D) and (M, D)."""
    return frechet(fit(real), fit(made))


def curve(real: ArrayLike | Gaussian, made: ArrayLike, seed: int = 0) -> Curve:
    """At N, N/2 and N/4 generated pictures, which parts of them the seed draws; 8 or more are needed."""
    target = real if isinstance(real, Gaussian) else fit(real)
    found = features_of(made, 8)
    order = permutation(seed, len(found), "fid")

    def at(parts: int) -> float:
        return float(np.mean([frechet(target, fit(found[rows])) for rows in np.array_split(order, parts)]))

    whole, half, quarter = (at(parts) for parts in (1, 2, 4))
    limit = np.polyfit(np.array([1.0, 2.0, 4.0]) / len(found), [whole, half, quarter], 1)[1]
    return Curve(len(found), target.n, whole, half, quarter, float(limit))
