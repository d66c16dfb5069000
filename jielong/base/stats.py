"""Intervals and tests: how sure a number is, and whether two differ by more than chance.

Right-or-wrong counts take ``wilson`` (or ``clopper_pearson``, never below its level); other values
``t_interval`` or ``bootstrap``; two systems on the same items a paired method. scipy does the work where it
has the thing; it is imported inside the functions, since it takes a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jielong.base.noise import rng
from jielong.base.result import Interval

Floats = NDArray[np.float64]
EXACT_FLIPS = 2**16  # sign flips looked at: all of them up to 16 differing pairs, so many drawn beyond
FEWEST_EXPECTED = 5.0  # the chi-square law of G holds for cells that expect at least this many


def wilson(k: int, n: int, level: float = 0.95) -> Interval:
    """Interval for a proportion, k right of n (Wilson 1927): near its level on average, even at 0 and 1."""
    return _proportion(k, n, level, "wilson")


def clopper_pearson(k: int, n: int, level: float = 0.95) -> Interval:
    """Interval for a proportion that never covers below its level (Clopper & Pearson 1934)."""
    return _proportion(k, n, level, "exact")


def t_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Student's interval for the mean. One value says nothing about spread: the whole line."""
    from scipy import stats

    data = _numbers(values)
    if data.size == 1:
        return Interval(-np.inf, np.inf, level, "t")
    half = stats.t.ppf((1 + level) / 2, data.size - 1) * data.std(ddof=1) / np.sqrt(data.size)
    return Interval(data.mean() - half, data.mean() + half, level, "t")


def bootstrap(
    values: ArrayLike,
    statistic: Callable[..., Any] = np.mean,
    seed: int = 0,
    level: float = 0.95,
    method: Literal["percentile", "bca"] = "percentile",
    resamples: int = 9999,
) -> Interval:
    """Interval for ``statistic`` of the values, by drawing them again with replacement (Efron 1979).

    Not for all-equal values (all right, say): the interval is then a point. Use ``wilson``.
    ``bca`` corrects bias and skew (Efron 1987). The same seed gives the same interval.
    """
    from scipy import stats

    data = _numbers(values)
    if data.size == 1:
        return Interval(-np.inf, np.inf, level, f"bootstrap {method}")
    if (data == data[0]).all():  # BCa divides by the spread
        point = float(statistic(data))
        return Interval(point, point, level, f"bootstrap {method}")
    found = stats.bootstrap(
        (data,), statistic, confidence_level=level, n_resamples=resamples, method=method,
        batch=max(1, 2_000_000 // data.size), rng=rng("bootstrap", seed),
    ).confidence_interval  # fmt: skip
    return Interval(found.low, found.high, level, f"bootstrap {method}")


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    seed: int = 0,
    level: float = 0.95,
    method: Literal["percentile", "bca"] = "percentile",
) -> Interval:
    """Interval for mean(a - b), where a[i] and b[i] are of the same item."""
    return bootstrap(_differences(a, b), np.mean, seed, level, method)


def exact_sign(wins: int, losses: int) -> float:
    """Two-sided p of the sign test: so uneven a count, if either were as likely. Ties are left out before."""
    from scipy import stats

    return float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def mcnemar_exact(a_right: ArrayLike, b_right: ArrayLike) -> float:
    """Two-sided p that a and b are right equally often, on the same items (McNemar 1947, exact form)."""
    difference = _differences(np.asarray(a_right, dtype=bool), np.asarray(b_right, dtype=bool))
    return exact_sign(int((difference > 0).sum()), int((difference < 0).sum()))


def permutation_paired(a: ArrayLike, b: ArrayLike, seed: int = 0) -> float:
    """Two-sided p of mean(a - b), if the sign of each difference were a coin's (Fisher 1935).

    Exact up to 16 differing pairs; beyond, ``EXACT_FLIPS`` flips are drawn with the seed, the observed one
    counted among them, so that p is never 0 and never too small (Phipson & Smyth 2010).
    """
    differences = _differences(a, b)
    sizes = np.abs(differences[differences != 0])  # a pair that does not differ looks the same either way
    reached = abs(differences.sum()) - 1e-12 * sizes.sum()  # equal sums differ in their last bits
    if 2**sizes.size <= EXACT_FLIPS:
        flips = (np.arange(2**sizes.size)[:, None] >> np.arange(sizes.size)) & 1
        return float((np.abs((1 - 2 * flips) @ sizes) >= reached).mean())
    generator, hits, batch = rng("permutation", seed), 1, max(1, 4_000_000 // sizes.size)
    for start in range(0, EXACT_FLIPS - 1, batch):
        count = min(batch, EXACT_FLIPS - 1 - start)
        flips = generator.integers(0, 2, (count, sizes.size), dtype=np.int8)
        hits += int((np.abs(2 * (flips @ sizes) - sizes.sum()) >= reached).sum())
    return hits / EXACT_FLIPS


def holm(pvalues: Sequence[float]) -> list[float]:
    """Adjusted p, in the given order: reject where <= rate, and one false rejection in the whole family is
    at most that likely, however the tests depend on each other (Holm 1979)."""
    order = np.argsort(pvalues, kind="stable")
    adjusted, still_in = np.empty(len(pvalues)), len(pvalues) - np.arange(len(pvalues))
    adjusted[order] = np.maximum.accumulate(_pvalues(pvalues)[order] * still_in)
    return [float(p) for p in np.minimum(adjusted, 1.0)]


def bonferroni(pvalues: Sequence[float]) -> list[float]:
    """Adjusted p, in the given order: min(1, p times the number of tests)."""
    return [float(p) for p in np.minimum(_pvalues(pvalues) * len(pvalues), 1.0)]


def g_test(counts: Sequence[int] | Mapping[Any, int], probs: Sequence[float] | Mapping[Any, float]) -> float:
    """p of the counts if each draw followed ``probs`` (likelihood-ratio test; sums to 1, same order or keys).

    Cells that expect fewer than 5 are pooled, the smallest first; an outcome of probability 0 that occurred
    gives 0. With a single cell left there is nothing to tell: 1.
    """
    from scipy import stats

    if isinstance(counts, Mapping) and isinstance(probs, Mapping):
        if any(count and key not in probs for key, count in counts.items()):
            return 0.0
        counts, probs = [counts.get(key, 0) for key in probs], list(probs.values())
    if isinstance(counts, Mapping) or isinstance(probs, Mapping):
        raise TypeError("g_test takes two mappings or two sequences")
    observed, law = _numbers(counts), _numbers(probs)
    if observed.shape != law.shape or (law < 0).any() or abs(law.sum() - 1) > 1e-6:
        raise ValueError("g_test needs one probability for each count, and they must sum to 1")
    if observed[law == 0].any():
        return 0.0
    expected = law / law.sum() * observed.sum()
    cells = _pooled(expected)
    if len(cells) == 1:
        return 1.0
    seen, due = ([float(values[cell].sum()) for cell in cells] for values in (observed, expected))
    return float(stats.power_divergence(seen, due, lambda_="log-likelihood").pvalue)


def ks(sample: ArrayLike, cdf: str | Callable[..., Any]) -> float:
    """p of the sample under a continuous law: its cdf, or its name in scipy.stats (Kolmogorov-Smirnov)."""
    from scipy import stats

    law = getattr(stats, cdf).cdf if isinstance(cdf, str) else cdf
    return float(stats.ks_1samp(_numbers(sample), law).pvalue)


def _pooled(expected: Floats) -> list[list[int]]:
    """Indices of the cells to count together: the small ones by size, a rest with the last of them."""
    small: list[list[int]] = [[]]
    large: list[list[int]] = []
    for i in np.argsort(expected, kind="stable").tolist():
        if expected[i] >= FEWEST_EXPECTED:
            large.append([i])
        elif expected[small[-1]].sum() < FEWEST_EXPECTED:
            small[-1].append(i)
        else:
            small.append([i])
    if expected[small[-1]].sum() < FEWEST_EXPECTED:
        rest = small.pop()
        (small[-1] if small else large[0] if large else rest).extend(rest)
        if not small and not large:
            return [rest]
    return small + large


def _proportion(k: int, n: int, level: float, method: str) -> Interval:
    from scipy import stats

    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is not a proportion")
    name = {"exact": "clopper-pearson"}.get(method, method)
    if n == 0:
        return Interval(0.0, 1.0, level, name)
    found = stats.binomtest(int(k), int(n)).proportion_ci(level, method)
    return Interval(max(0.0, found.low), min(1.0, found.high), level, name)


def _numbers(values: ArrayLike) -> Floats:
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or not data.size or np.isnan(data).any():
        raise ValueError("one or more numbers in one row are needed, none of them nan")
    return data


def _pvalues(pvalues: Sequence[float]) -> Floats:
    data = np.asarray(pvalues, dtype=np.float64)
    if data.ndim != 1 or not ((data >= 0) & (data <= 1)).all():
        raise ValueError("p-values lie between 0 and 1")
    return data


def _differences(a: ArrayLike, b: ArrayLike) -> Floats:
    left, right = _numbers(a), _numbers(b)
    if left.shape != right.shape:
        raise ValueError(f"pairs are needed: {left.size} values beside {right.size}")
    return left - right
