"""Figures of pictures: closed forms, and the bugs of other projects put in, which must be seen."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from jielong.base.errors import UserError
from jielong.base.noise import rng
from jielong.evals import fid, kid, mind, neighbours, pictures
from jielong.evals.coverage import attainable, coverage
from jielong.evals.fid import Gaussian, curve, frechet

Frechet = Callable[[np.ndarray, np.ndarray], float]


def normals(n: int, width: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    return rng("test", seed).standard_normal((n, width)) * scale + shift


def turned(width: int, seed: int) -> np.ndarray:
    return np.linalg.qr(normals(width, width, seed))[0]


def test_frechet_of_known_gaussians():
    """Covariances that commute: |m1 - m2|^2 + sum (s1 - s2)^2; in two dimensions tr root = sqrt(tr + 2 sqrt det)."""
    axes = turned(6, 1)
    a, b = np.array([0.0, 0.3, 1, 2, 3, 5]), np.array([2.0, 0, 1, 0.1, 4, 5])
    first, second = Gaussian(np.zeros(6), axes * a**2 @ axes.T), Gaussian(np.arange(6.0), axes * b**2 @ axes.T)
    assert frechet(first, second) == pytest.approx(55 + ((a - b) ** 2).sum(), rel=1e-10)
    assert frechet(first, first) == pytest.approx(0, abs=1e-6)
    one, two = Gaussian(np.zeros(2), ONE), Gaussian(np.ones(2), TWO)
    assert frechet(one, two) == pytest.approx(2 + 3 + 4 - 2 * CROSSED, rel=1e-12)
    assert frechet(two, one) == pytest.approx(2 + 3 + 4 - 2 * CROSSED, rel=1e-12)


def exactly(covariance: np.ndarray, seed: int, n: int = 40) -> np.ndarray:
    """Features (n, D) of mean 0 with this covariance, but for rounding."""
    found = normals(n, len(covariance), seed)
    white = np.linalg.qr(found - found.mean(0))[0] * math.sqrt(n - 1)
    return white @ np.linalg.cholesky(covariance).T


ONE, TWO = np.array([[2.0, 0.6], [0.6, 1.0]]), np.array([[1.0, -0.5], [-0.5, 3.0]])
CROSSED = math.sqrt(np.trace(ONE @ TWO) + 2 * math.sqrt(np.linalg.det(ONE) * np.linalg.det(TWO)))


def holds(distance: Frechet) -> bool:
    """What any Fréchet distance of features must satisfy; one that raises, or is not real, does not."""
    few = np.round(normals(6, 48, 4) @ turned(48, 3) * 1024)  # fewer pictures than numbers: singular
    truth = (few.mean(0) ** 2).sum() + few.var(axis=0, ddof=1).sum()
    plain = exactly(ONE, 1), exactly(TWO, 2, 50) + 1
    cases = [
        (few, 2 * few, truth),
        (few, few + 1, 48.0),
        (np.array([[0.0], [2.0]]), np.array([[0.0], [4.0]]), 1 + (math.sqrt(2) - math.sqrt(8)) ** 2),
        (*plain, 2 + 3 + 4 - 2 * CROSSED),
        (plain[0] + 1000, plain[1] + 1000, 2 + 3 + 4 - 2 * CROSSED),
    ]
    try:
        found = [distance(a, b) for a, b, _ in cases]
    except ValueError:
        return False
    return all(isinstance(v, float) and abs(v - true) <= 1e-8 * true for v, (_, _, true) in zip(found, cases))


def by_root(a: np.ndarray, b: np.ndarray, imaginary: str = "dropped", ddof: int = 1, rowvar: bool = False) -> float:
    """The usual way: a matrix root of S1 S2."""
    from scipy.linalg import sqrtm

    (m1, s1), (m2, s2) = ((v.mean(0), np.cov(v, rowvar=rowvar, ddof=ddof).reshape(-1, v.shape[1])) for v in (a, b))
    root = sqrtm(s1 @ s2)
    if imaginary == "refused" and np.abs(np.imag(np.diagonal(root))).max() > 1e-3:
        raise ValueError("Imaginary component")
    crossed = np.trace(root.real if imaginary != "size" else np.abs(root))
    return float(((m1 - m2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * crossed)


MUTANTS: dict[str, Frechet] = {
    "covariance divided by N": lambda a, b: by_root(a, b, ddof=0),
    "covariance of pictures, not of numbers": lambda a, b: by_root(a, b, rowvar=True),
    "imaginary part dropped": by_root,
    "imaginary part refused": lambda a, b: by_root(a, b, "refused"),
    "absolute values": lambda a, b: by_root(a, b, "size"),
    "root of the mean forgotten": lambda a, b: by_root(a, b) + float(np.linalg.norm(a.mean(0) - b.mean(0))),
    "only the diagonals": lambda a, b: float(
        ((a.mean(0) - b.mean(0)) ** 2).sum() + ((a.std(0, ddof=1) - b.std(0, ddof=1)) ** 2).sum()
    ),
}


def test_ours_holds():
    assert holds(fid.fid)


@pytest.mark.parametrize("name", MUTANTS)
def test_known_bugs_are_seen(name):
    assert not holds(MUTANTS[name])


def test_the_bias_of_a_finite_number_and_its_removal():
    """Against the true N(0, I): about D / N of the mean and D (D + 1) / 4 N of the covariance; none in the limit."""
    width, n = 12, 800
    truth = Gaussian(np.zeros(width), np.eye(width))
    curves = [curve(truth, normals(n, width, seed)) for seed in range(12)]
    for parts, name in ((1, "whole"), (2, "half"), (4, "quarter")):
        expected = (width + width * (width + 1) / 4) * parts / n
        assert np.mean([getattr(c, name) for c in curves]) == pytest.approx(expected, rel=0.1)
    assert abs(np.mean([c.limit for c in curves])) < 0.1 * np.mean([c.whole for c in curves])
    assert (curves[0].n, curves[0].real) == (n, 0)
    shifted = curve(truth, normals(n, width, 1, shift=0.5))
    assert shifted.limit == pytest.approx(0.25 * width, rel=0.1)
    assert curve(normals(50, 3, 1), normals(40, 3, 2), seed=4) == curve(normals(50, 3, 1), normals(40, 3, 2), seed=4)


def test_kernel_distance_by_hand():
    """k = (x . y / D + 1)^3; points that never differ; and one number a picture, where it compares three moments."""
    x, y = np.tile([1.0, 2.0], (3, 1)), np.tile([0.0, -1.0], (4, 1))
    assert kid.mmd(x, y) == pytest.approx(3.5**3 + 1.5**3 - 2 * 0.0**3)
    a, b = np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]])
    assert kid.mmd(a, b) == pytest.approx(1 + 7**3 - 2 * (1 + 1 + 3**3 + 4**3) / 4)


def test_kernel_distance_is_unbiased_and_a_biased_one_is_not():
    """E x^j of N(0, 1): 0, 1, 0; of N(1/2, 1): 1/2, 5/4, 13/8. MMD^2 = 3 (1/2)^2 + 3 (1/4)^2 + (13/8)^2."""

    def biased(x: np.ndarray, y: np.ndarray) -> float:
        k = [((u @ v.T / x.shape[1] + 1) ** 3).mean() for u, v in ((x, x), (y, y), (x, y))]
        return float(k[0] + k[1] - 2 * k[2])

    truth = 3 / 4 + 3 / 16 + (13 / 8) ** 2
    pairs = [(normals(20, 1, 2 * i), normals(30, 1, 2 * i + 1, shift=0.5)) for i in range(1500)]
    for distance, right in ((kid.mmd, True), (biased, False)):
        values = np.array([distance(x, y) for x, y in pairs])
        z = (values.mean() - truth) / values.std() * len(values) ** 0.5
        assert (abs(z) < 2.6) == right  # 1 %


def test_kernel_distance_over_subsets():
    x, y = normals(120, 4, 1), normals(90, 4, 2)
    found = kid.kid(x, y, count=7, size=50, seed=3)
    chosen = list(kid.subsets(120, 90, 7, 50, 3))
    values = [kid.mmd(x[a], y[b]) for a, b in chosen]
    assert found == kid.Kid(float(np.mean(values)), float(np.std(values)), 7, 50)
    assert all(len(set(rows.tolist())) == 50 for pair in chosen for rows in pair) and found.size == 50
    assert kid.kid(x, y, 3, 1000).size == 90  # of as many as there are


def test_mind_in_closed_form():
    """A shift by m gives 3 |m|^2 exactly, averaged over any whole set of axes; a scaling by 2 of N(0, I) 3 D."""
    x, shift = normals(50, 6, 1), np.arange(6.0)
    assert mind.mind(x, x[::-1] + shift, along=turned(6, 2)) == pytest.approx(3 * (shift**2).sum(), rel=1e-12)
    assert mind.mind(x, x + shift, count=4000) == pytest.approx(3 * (shift**2).sum(), rel=0.1)
    assert mind.mind(x, x[::-1]) == 0
    wide = normals(4000, 8, 3), 2 * normals(4000, 8, 4)
    assert mind.mind(*wide, count=200) == pytest.approx(24, rel=0.05)
    assert mind.mind(*wide[::-1], count=200) == pytest.approx(mind.mind(*wide, count=200))
    assert mind.mind(wide[0], wide[1][:1000], count=200) == pytest.approx(24, rel=0.1)
    assert np.allclose(np.linalg.norm(mind.directions(8), axis=1), 1)


def test_mind_sees_what_a_gaussian_does_not():
    two = np.sign(normals(4000, 1, 1))  # mean 0, variance 1, like N(0, 1)
    assert fid.fid(normals(4000, 1, 2), two) < 0.01 and mind.mind(normals(4000, 1, 2), two, count=1) > 0.5


def test_precision_and_recall_by_hand():
    real, made = (np.array(v)[:, None] for v in ([-20.0, 0, 1, 2, 10], [0.4, 5, 10.2, 30]))
    assert neighbours.precision_recall(real, made, k=1) == neighbours.Spread(0.75, 0.8, 5, 4, 1)
    assert neighbours.precision_recall(real, made, k=1).f == pytest.approx(2 * 0.75 * 0.8 / 1.55)


def test_precision_and_recall_tell_two_faults_apart(monkeypatch: pytest.MonkeyPatch):
    real = np.concatenate([normals(150, 5, 1), normals(150, 5, 2, shift=20)])
    half = normals(300, 5, 3)  # one of two modes
    mixed = np.concatenate([normals(150, 5, 4), normals(150, 5, 5, shift=-20)])  # and one that there is not
    lost, strange = neighbours.precision_recall(real, half), neighbours.precision_recall(real, mixed)
    assert lost.precision > 0.8 and lost.recall < 0.55 and 0.3 < strange.precision < 0.55
    monkeypatch.setattr(neighbours, "CHUNK", 7)
    assert neighbours.precision_recall(real, half) == lost


def test_copies_raise_the_alarm_and_fresh_draws_do_not():
    training, fresh = normals(400, 6, 1), normals(200, 6, 2)
    other = neighbours.memory(training, normals(200, 6, 3), fresh)
    assert not other.alarm and other.ratio == pytest.approx(1, abs=0.1) and other.copies < 0.05
    copied = neighbours.memory(training, training[:200] + 1e-3 * normals(200, 6, 4), fresh)
    assert copied.alarm and copied.copies == 1 and copied.by_chance < 0.05
    mixed = neighbours.memory(training, np.concatenate([training[:60], normals(140, 6, 5)]), fresh)
    assert not mixed.alarm and mixed.copies == pytest.approx(0.3, abs=0.05)  # too few for the mean, seen by the share
    few = np.arange(4.0)[:, None].repeat(2, 1)  # a world of four pictures
    assert neighbours.memory(few, few, few).ratio == 1 and not neighbours.memory(few, few, few).alarm


def test_coverage_by_hand():
    law = {"a": 0.5, "b": 0.25, "c": 0.25}
    found = coverage(["a", "a", "b", None, "a", "d"], law)
    bits = 0.5 * math.log2(0.5 * 7.5 / 3.5) + 0.25 * math.log2(0.25 * 7.5 / 1.5) + 0.25 * math.log2(0.25 * 7.5 / 0.5)
    assert (found.bits, found.apart) == (pytest.approx(bits), pytest.approx((0 + 0.25 - 1 / 6 + 0.25 + 2 / 6) / 2))
    assert (found.hit, found.cells, found.outside, found.n) == (2, 3, 2, 6)
    even = coverage(["a", "a", "b", "c"] * 1000, law)
    assert even.bits == pytest.approx(0, abs=1e-5) and even.apart == 0 and even.outside == 0


def test_coverage_of_real_draws_is_what_can_be_had():
    """About (K - 1) / 2 n nats, and a generator that leaves cells out is far from it."""
    law = {i: (i + 1) / 820 for i in range(40)}
    real = attainable(law, 4096, seed=1)
    assert real == attainable(law, 4096, seed=1)
    assert real.bits == pytest.approx(39 / 2 / 4096 / math.log(2), rel=0.5) and real.hit == 40
    lost = coverage([v for v in rng("c").choice(40, 4096, p=list(law.values())).tolist() if v % 2], law)
    assert lost.bits > 50 * real.bits and lost.apart == pytest.approx(0.5, abs=0.03) and lost.hit == 20


def test_inception_score():
    sure = np.eye(5)[np.arange(20) % 5]
    assert pictures.inception_score(sure) == (pytest.approx(5), 0)
    assert pictures.inception_score(sure, splits=4) == (pytest.approx(5), pytest.approx(0))
    assert pictures.inception_score(np.full((7, 5), 0.2))[0] == pytest.approx(1)
    assert pictures.inception_score(np.eye(5)[np.zeros(9, int)])[0] == pytest.approx(1)  # sure, and always the same
    assert pictures.inception_score(np.concatenate([sure[:10], sure[:10][:, ::-1]]))[0] == pytest.approx(5)


def test_clip_scores():
    found = pictures.clip_scores([[3, 4.0], [1, 0], [1, 0]], [[6, 8.0], [0, 2], [-1, 0]])
    assert found.tolist() == [pytest.approx(100), 0, 0]
    assert pictures.clip_scores([[1.0, 1]], [[1.0, 0]])[0] == pytest.approx(100 / math.sqrt(2))


def test_all_at_once_under_honest_names():
    real, made = normals(64, 6, 1), normals(48, 6, 2)
    found = pictures.figures(real, made, "digits classifier")
    assert list(found.named()) == ["wFID", "wFID at N -> infinity", "wKID", "wMIND", "precision", "recall"]
    assert found.frechet.whole == fid.fid(real, made) and (found.real, found.made) == (64, 48)
    assert (found.spread.real, found.spread.made) == (48, 48)
    assert "FID" in pictures.figures(real, made, pictures.INCEPTION).named()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: fid.fid(np.zeros((5, 2)), np.zeros((5, 3))), lambda: fid.fid(np.zeros(5), np.zeros(5)),
        lambda: fid.fid(np.zeros((1, 2)), np.zeros((5, 2))), lambda: fid.fid(np.full((5, 2), np.nan), np.zeros((5, 2))),
        lambda: kid.kid(np.zeros((5, 2)), np.zeros((5, 3))), lambda: mind.mind(np.zeros((5, 2)), np.zeros((5, 3))),
        lambda: neighbours.precision_recall(np.zeros((3, 2)), np.zeros((9, 2))), lambda: coverage([], {"a": 1.0}),
        lambda: coverage(["a"], {"a": 0.6}), lambda: pictures.inception_score([[2.0, 1.0]]),
        lambda: pictures.clip_scores([[1.0, 0]], [[1.0, 0], [0, 1]]), lambda: pictures.clip_scores([[0.0]], [[1.0]]),
    ],
)  # fmt: skip
def test_wrong_input_is_said_in_a_line(wrong: Callable[[], object]):
    with pytest.raises(UserError) as caught:
        wrong()
    assert "\n" not in str(caught.value)
