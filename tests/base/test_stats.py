"""Statistics against closed forms, scipy, and exact enumeration of what they promise."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from jielong.base import noise, stats
from jielong.base.result import Interval

COUNTS = st.integers(0, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(COUNTS, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_wilson_is_its_closed_form(count: tuple[int, int], level: float) -> None:
    k, n = count
    found = stats.wilson(k, n, level)
    if n == 0:
        assert (found.low, found.high) == (0, 1)
        return
    z, p = scipy.stats.norm.ppf((1 + level) / 2), k / n
    centre, half = p + z * z / 2 / n, z * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    assert found.low == pytest.approx((centre - half) / (1 + z * z / n), abs=1e-12)
    assert found.high == pytest.approx((centre + half) / (1 + z * z / n), abs=1e-12)
    assert (found.level, found.method) == (level, "wilson")


@given(COUNTS)
def test_clopper_pearson_puts_half_the_error_in_each_tail(count: tuple[int, int]) -> None:
    k, n = count
    found = stats.clopper_pearson(k, n)
    law = scipy.stats.binom
    assert found.low == 0 if k == 0 else law.sf(k - 1, n, found.low) == pytest.approx(0.025, rel=1e-6)
    assert found.high == 1 if k == n else law.cdf(k, n, found.high) == pytest.approx(0.025, rel=1e-6)


@pytest.mark.parametrize("n", [1, 5, 20])
def test_coverage_of_proportions_by_enumeration(n: int) -> None:
    truths = np.linspace(0.001, 0.999, 333)
    weights = scipy.stats.binom.pmf(np.arange(n + 1)[:, None], n, truths)

    def coverage(intervals: list[Interval]) -> np.ndarray:
        return sum(w * [p in i for p in truths] for w, i in zip(weights, intervals))

    exact = coverage([stats.clopper_pearson(k, n) for k in range(n + 1)])
    assert exact.min() >= 0.95
    wilson = coverage([stats.wilson(k, n) for k in range(n + 1)])
    assert abs(wilson.mean() - 0.95) < 0.02 and wilson.mean() < exact.mean()


def test_t_interval_is_scipys() -> None:
    values = noise.rng(1).normal(3, 2, 12)
    found = stats.t_interval(values, 0.9)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert stats.t_interval([4.0]).high == math.inf
    assert stats.t_interval([4.0, 4.0]) == Interval(4, 4, method="t")


def test_bootstrap_law_by_enumeration() -> None:
    """Of three values all 27 resamples are known: the interval's ends are quantiles of their exact law."""
    values = [0.0, 1.0, 10.0]
    means = np.sort([np.mean(c) for c in itertools.product(values, repeat=3)])
    found = stats.bootstrap(values, seed=1, level=0.6, resamples=20_000)
    assert found.low == pytest.approx(np.quantile(means, 0.2, method="inverted_cdf"), abs=0.35)
    assert found.high == pytest.approx(np.quantile(means, 0.8, method="inverted_cdf"), abs=0.35)


def test_bootstrap_agrees_with_t_on_plain_data_and_is_seeded() -> None:
    values = noise.rng(2).normal(5, 1, 400)
    t = stats.t_interval(values)
    for method in ("percentile", "bca"):
        found = stats.bootstrap(values, seed=3, method=method)
        assert (found.low, found.high) == pytest.approx((t.low, t.high), abs=0.02)
        assert found == stats.bootstrap(values, seed=3, method=method)
        assert found != stats.bootstrap(values, seed=4, method=method)
        assert found.method == f"bootstrap {method}"
    assert stats.bootstrap([2.0]).low == -math.inf
    assert stats.bootstrap([2.0, 2.0, 2.0], method="bca") == Interval(2, 2, method="bootstrap bca")
    median = stats.bootstrap(values, lambda v: float(np.median(v)), resamples=500)
    assert 5 in Interval(median.low - 0.1, median.high + 0.1) and median.low < np.median(values) < median.high


def test_bca_moves_with_the_skew() -> None:
    skewed = noise.rng(3).exponential(size=40)
    plain, corrected = (stats.bootstrap(skewed, seed=1, method=m) for m in ("percentile", "bca"))
    assert corrected.low > plain.low and corrected.high > plain.high


def test_paired_bootstrap_sees_what_pairs_share() -> None:
    hard = noise.rng(4).normal(0, 10, 100)
    a, b = hard + 0.5 + noise.rng(5).normal(0, 0.1, 100), hard
    found = stats.paired_bootstrap(a, b, seed=1)
    assert 0.4 < found.low < found.high < 0.6 and found.high - found.low < 0.1
    assert found == stats.bootstrap(a - b, seed=1)
    with pytest.raises(ValueError, match="pairs are needed"):
        stats.paired_bootstrap([1, 2], [1])


@given(st.integers(0, 12), st.integers(0, 12))
def test_exact_sign_by_enumeration(wins: int, losses: int) -> None:
    n = wins + losses
    far = abs(wins - losses)
    tail = sum(math.comb(n, k) for k in range(n + 1) if abs(2 * k - n) >= far) / 2**n
    assert stats.exact_sign(wins, losses) == pytest.approx(tail, rel=1e-9)


def test_mcnemar_counts_only_the_pairs_that_differ() -> None:
    a = [True] * 50 + [True] * 8 + [False] * 1 + [False] * 30
    b = [True] * 50 + [False] * 8 + [True] * 1 + [False] * 30
    assert stats.mcnemar_exact(a, b) == pytest.approx(2 * (1 + 9) / 2**9)
    assert stats.mcnemar_exact(a, a) == 1.0


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8))
def test_permutation_by_enumeration(differences: list[int]) -> None:
    flips = [abs(sum(s * d for s, d in zip(signs, differences))) for signs in
             itertools.product((1, -1), repeat=len(differences))]  # fmt: skip
    expected = sum(f >= abs(sum(differences)) for f in flips) / len(flips)
    # tenths do not add up exactly: ties must still count as ties
    assert stats.permutation_paired([d / 10 for d in differences], [0.0] * len(differences)) == expected


def test_permutation_is_scipys_and_sampling_is_close_to_it() -> None:
    a, b = noise.rng(6).normal(0.5, 1, (2, 16))
    theirs = scipy.stats.permutation_test(
        (a - b,), np.mean, permutation_type="samples", n_resamples=2**16, vectorized=True
    )
    assert stats.permutation_paired(a, b) == pytest.approx(theirs.pvalue, abs=2**-15)
    d, zero = noise.rng(7).normal(0.1, 1, 200), np.zeros(200)
    p = stats.permutation_paired(d, zero, seed=1)
    assert p == pytest.approx(scipy.stats.ttest_1samp(d, 0).pvalue, abs=0.01)
    assert p == stats.permutation_paired(d, zero, seed=1) != stats.permutation_paired(d, zero, seed=2)
    assert stats.permutation_paired(np.ones(60), np.zeros(60)) == 1 / stats.EXACT_FLIPS  # never 0


def test_holm_and_bonferroni_by_hand() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.bonferroni([0.01, 0.4, 0.03]) == pytest.approx([0.03, 1.0, 0.09])
    assert stats.holm([]) == stats.bonferroni([]) == []
    for bad in ([-0.1], [1.1], [math.nan]):
        with pytest.raises(ValueError, match="p-values"):
            stats.holm(bad)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0.001, 0.2))
def test_holm_rejects_what_the_step_down_rule_rejects(pvalues: list[float], rate: float) -> None:
    rejected = set()
    for step, i in enumerate(sorted(range(len(pvalues)), key=pvalues.__getitem__)):
        if pvalues[i] * (len(pvalues) - step) > rate:
            break
        rejected.add(i)
    assert {i for i, p in enumerate(stats.holm(pvalues)) if p <= rate} == rejected
    assert all(h <= b for h, b in zip(stats.holm(pvalues), stats.bonferroni(pvalues)))


def test_g_is_its_formula() -> None:
    counts, probs = [30, 14, 34, 45, 57, 20], [1 / 6] * 6
    g = 2 * sum(c * math.log(c / (200 / 6)) for c in counts)
    assert stats.g_test(counts, probs) == pytest.approx(scipy.stats.chi2.sf(g, 5))
    keyed = dict(zip("abcdef", counts))
    assert stats.g_test(keyed, dict(zip("abcdef", probs))) == stats.g_test(counts, probs)
    assert stats.g_test({"a": 10, "x": 1}, {"a": 0.5, "b": 0.5}) == 0.0


def test_g_pools_small_cells_and_knows_the_impossible() -> None:
    # expected 40, 40, 4, 4, 12: the two small cells become one of 8
    counts, probs = [38, 45, 2, 5, 10], [0.4, 0.4, 0.04, 0.04, 0.12]
    pooled = scipy.stats.power_divergence([38, 45, 7, 10], [40, 40, 8, 12], lambda_="log-likelihood")
    assert stats.g_test(counts, probs) == pytest.approx(pooled.pvalue)
    # expected 2, 3.5, 4, 90.5: the small make one cell of 9.5; 2, 98: too small to stand alone
    pooled = scipy.stats.power_divergence([15, 85], [9.5, 90.5], lambda_="log-likelihood")
    assert stats.g_test([1, 5, 9, 85], [0.02, 0.035, 0.04, 0.905]) == pytest.approx(pooled.pvalue)
    assert stats.g_test([40, 60], [0.02, 0.98]) == 1.0
    assert stats.g_test([0, 60, 40], [0.02, 0.48, 0.5]) == pytest.approx(
        scipy.stats.power_divergence([60, 40], [50, 50], lambda_="log-likelihood").pvalue
    )
    assert stats.g_test([3, 1], [0.5, 0.5]) == 1.0
    assert stats.g_test([30, 0, 30], [0.5, 0.0, 0.5]) == pytest.approx(1.0)
    assert stats.g_test([30, 1, 30], [0.5, 0.0, 0.5]) == 0.0
    for probs in ([0.5, 0.4], [1.5, -0.5], [1.0]):
        with pytest.raises(ValueError, match="one probability for each"):
            stats.g_test([10, 10], probs)
    with pytest.raises(TypeError, match="two mappings"):
        stats.g_test({"a": 1}, [1.0])


def test_p_values_are_uniform_under_the_null() -> None:
    """300 G-tests with true counts: the p-values of a valid test lie evenly, and so do those of KS."""
    generator = noise.rng("null")
    law = [0.3, 0.25, 0.2, 0.15, 0.1]
    p_g = [stats.g_test(generator.multinomial(500, law).tolist(), law) for _ in range(300)]
    p_ks = [stats.ks(generator.normal(size=40), "norm") for _ in range(300)]
    assert min(stats.holm([stats.ks(p_g, "uniform"), stats.ks(p_ks, scipy.stats.uniform.cdf)])) > 0.01


def test_ks_sees_another_law() -> None:
    assert stats.ks(noise.rng(8).normal(0.3, 1, 500), "norm") < 1e-4


@pytest.mark.parametrize("values", [[], [math.nan], [[1.0]]])
def test_values_that_are_none(values: list) -> None:
    for each in (stats.t_interval, stats.bootstrap):
        with pytest.raises(ValueError, match="one or more numbers"):
            each(values)


def test_a_count_that_is_none() -> None:
    for k, n in ((3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="not a proportion"):
            stats.wilson(k, n)
