"""Interleaved rounds, and intervals for a median."""

import math

import pytest

from jielong.labs import timing
from jielong.labs.lab import Budget


def test_every_round_is_begun_by_another_and_the_warm_up_does_not_count() -> None:
    order: list[tuple[str, int]] = []

    def one(name: str) -> object:
        def go(number: int) -> tuple[str, int]:
            order.append((name, number))
            return name, number

        return go

    found = timing.rounds([one("a"), one("b"), one("c")], 3)  # type: ignore[list-item]
    assert found == [[(name, number) for number in range(3)] for name in "abc"]
    firsts = [order[start][0] for start in range(0, 12, 3)]
    assert sorted(name for name, number in order if number == -1) == ["a", "b", "c"]
    assert firsts[1:] == ["a", "b", "c"] and len(order) == 12


@pytest.mark.parametrize("n", [6, 9, 17, 27, 60])
def test_the_interval_of_a_median_is_the_tightest_that_keeps_its_level(n: int) -> None:
    from scipy.stats import binom

    value, interval = timing.middle([float(i) for i in range(n, 0, -1)])
    assert value == (n + 1) / 2
    k = int(interval.low)
    assert interval.high == n + 1 - k
    assert 1 - 2 * binom.cdf(k - 1, n, 0.5) >= 0.95 > 1 - 2 * binom.cdf(k, n, 0.5)


def test_few_values_say_nothing_of_a_median() -> None:
    value, interval = timing.middle([3.0, 1.0, 2.0, 5.0, 4.0])
    assert value == 3.0 and (interval.low, interval.high) == (-math.inf, math.inf)
    ends = timing.middle([float(i) for i in range(timing.FEWEST)])[1]
    assert (ends.low, ends.high) == (0.0, timing.FEWEST - 1.0)


def test_rounds_follow_the_minutes() -> None:
    assert timing.count(9, Budget(minutes=6.0), 3.0) == 18
    assert timing.count(9, Budget(), 3.0) == 9
    assert timing.count(9, Budget(minutes=0.1), 3.0) == timing.FEWEST
