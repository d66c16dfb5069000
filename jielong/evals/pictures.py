"""Figures of generated pictures from features of a stated network: all of them at once, each with its N.

The network is part of a figure's name. Only Inception's features make an "FID"; those of a classifier trained on the
built-in world make a "wFID", which can be compared with itself alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from jielong.base.errors import UserError
from jielong.base.noise import permutation
from jielong.evals import fid, kid, mind, neighbours
from jielong.evals.fid import Floats

INCEPTION = "inception-v3"


@dataclass(frozen=True)
class Figures:
    """Of features of `network`: `real` real pictures beside `made` generated ones."""

    network: str
    real: int
    made: int
    frechet: fid.Curve
    kernel: kid.Kid
    monge: float
    spread: neighbours.Spread

    def named(self) -> dict[str, float]:
        """One number a figure, under the names it may bear."""
        return {
            named("FID", self.network): self.frechet.whole,
            named("FID", self.network) + " at N -> infinity": self.frechet.limit,
            named("KID", self.network): self.kernel.mean,
            named("MIND", self.network): self.monge,
            "precision": self.spread.precision,
            "recall": self.spread.recall,
        }


def named(figure: str, network: str) -> str:
    """`figure`'s name for a network's features: its own for Inception's, "w" before it for others."""
    return figure if network == INCEPTION else "w" + figure


def figures(real: ArrayLike, made: ArrayLike, network: str, seed: int = 0) -> Figures:
    """Features (N, D), (M, D) of one network -> all figures. Precision and recall take as many of each."""
    x, y = fid.features_of(real, 8), fid.features_of(made, 8)
    n = min(len(x), len(y))
    some_x, some_y = (v[permutation(seed, len(v), "figures")[:n]] for v in (x, y))
    return Figures(
        network, len(x), len(y), fid.curve(x, y, seed), kid.kid(x, y, seed=seed), mind.mind(x, y, seed=seed),
        neighbours.precision_recall(some_x, some_y),
    )  # fmt: skip


def inception_score(probabilities: ArrayLike, splits: int = 1) -> tuple[float, float]:
    """exp mean_i KL(p(y | x_i) || mean p(y)) of class probabilities (N, classes): mean over `splits` runs of pictures
    and their standard deviation. From 1 (all alike, or all unsure) to the number of classes. Salimans et al. 2016
    (1606.03498), who take ten splits of 50,000. It never sees a real picture."""
    p = fid.features_of(probabilities, max(1, splits))
    if (p < 0).any() or (abs(p.sum(1) - 1) > 1e-4).any():
        raise UserError("an inception score takes probabilities, which sum to 1 in each row: apply softmax first")
    scores = []
    for rows in np.split(p, [i * len(p) // splits for i in range(1, splits)]):
        mean = rows.mean(0)
        ratios = np.divide(rows, mean, out=np.ones_like(rows), where=rows > 0)
        scores.append(np.exp((rows * np.log(ratios)).sum(1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def clip_scores(pictures: ArrayLike, texts: ArrayLike) -> Floats:
    """Embeddings (N, D) of pictures and of their captions -> (N,) 100 max(0, cosine). Hessel et al. 2021 (2104.08718)
    multiply by 2.5; 100 is what tables print. A value says something beside the same net's other values only."""
    x, y = fid.features_of(pictures, 1), fid.features_of(texts, 1)
    if x.shape != y.shape:
        raise UserError(f"one caption a picture, of one network: {x.shape} beside {y.shape}")
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    if not lengths.all():
        raise UserError("an embedding of length 0 has no direction")
    return np.asarray(100 * np.maximum(0, (x * y).sum(1) / lengths))
