"""What nearest neighbours say of generated pictures: whether they are real, whether they are varied, whether they are
copies. Of features, or of the pixels themselves, one picture a row.

Precision: the share of generated pictures that fall within some real picture's ball, which reaches to its k-th nearest
real neighbour; recall: the share of real ones within some generated picture's ball. Kynkaanniemi et al. 2019
(1904.06991).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from jielong.base.errors import UserError
from jielong.evals.fid import Floats, features_of

CHUNK = 1024  # rows whose distances to all others are held at a time
ALARM = 0.5


@dataclass(frozen=True)
class Spread:
    """Both between 0 and 1; the numbers of pictures are part of them."""

    precision: float
    recall: float
    real: int
    made: int
    k: int

    @property
    def f(self) -> float:
        """Harmonic mean."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


@dataclass(frozen=True)
class Memory:
    """`made` and `fresh`: mean distance to the nearest training picture, of generated ones and of real ones that were
    not trained on. `ratio` of the two; `copies`: the share of generated ones nearer than half the median fresh one;
    `by_chance`: that share among the fresh ones themselves."""

    made: float
    fresh: float
    ratio: float
    copies: float
    by_chance: float

    @property
    def alarm(self) -> bool:
        """Nearer to the training set, on the whole, than half as far as real pictures are."""
        return self.ratio < ALARM


def distances(a: Floats, b: Floats) -> Floats:
    """(N, M) Euclidean."""
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(a, b))


def reach(x: Floats, k: int) -> Floats:
    """(N,) how far each row's k-th nearest other row is."""
    return np.concatenate([
        np.partition(distances(x[i : i + CHUNK], x), k, axis=1)[:, k] for i in range(0, len(x), CHUNK)
    ])  # fmt: skip


def nearest(x: Floats, among: Floats) -> Floats:
    """(N,) distance of each row of x to the nearest row of the others."""
    return np.concatenate([distances(x[i : i + CHUNK], among).min(1) for i in range(0, len(x), CHUNK)])


def precision_recall(real: ArrayLike, made: ArrayLike, k: int = 3) -> Spread:
    """Features (N, D) and (M, D), more than k of each; as many of each as of the other, or the two do not compare."""
    x, y = features_of(real, k + 1), features_of(made, k + 1)
    if k < 1 or x.shape[1] != y.shape[1]:
        raise UserError("precision and recall need k of 1 or more, and features of one network")
    return Spread(_inside(y, x, reach(x, k)), _inside(x, y, reach(y, k)), len(x), len(y), k)


def memory(training: ArrayLike, made: ArrayLike, fresh: ArrayLike) -> Memory:
    """All (n, D). `fresh` are real pictures that were not trained on, drawn as the training ones were: where a world
    has few pictures they meet training pictures too, and the ratio is fair. It is 1 where every distance is 0."""
    seen, new, real = (features_of(v, 1) for v in (training, made, fresh))
    ours, theirs = nearest(new, seen), nearest(real, seen)
    ratio = ours.mean() / theirs.mean() if theirs.mean() else 1.0 if not ours.mean() else np.inf
    close = np.median(theirs) / 2
    shares = (ours < close).mean(), (theirs < close).mean()
    return Memory(*(float(v) for v in (ours.mean(), theirs.mean(), ratio, *shares)))


def _inside(points: Floats, centres: Floats, radii: Floats) -> float:
    """Share of the points in some centre's ball."""
    found = [(distances(points[i : i + CHUNK], centres) <= radii).any(1) for i in range(0, len(points), CHUNK)]
    return float(np.concatenate(found).mean())
