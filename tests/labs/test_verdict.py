"""The rules by which a claim holds, and what can claim nothing."""

import math

import pytest

from jielong.base.errors import UserError
from jielong.base.result import Interval, Result, Row
from jielong.labs.verdict import check, context, headline, judge, over_seeds, verdict
from jielong.views.verdicts import CONTROL_FAILED, CONTROL_OK, HELD, NOT_HELD, NOT_RUN, ONE_SEED, PART


def row(
    low: float, high: float, control: float | None = 0.5, truth: float | None = None, verdict: str = ""
) -> Row:
    return Row("r", (low + high) / 2, Interval(low, high), 9, control, truth=truth, verdict=verdict)


@pytest.mark.parametrize(
    "low, high, side, margin, held",
    [
        (0.6, 0.8, "above", 0, True),
        (0.5, 0.8, "above", 0, False),
        (0.4, 0.8, "above", 0, False),
        (0.6, 0.8, "above", 0.1, False),
        (0.7, 0.8, "above", 0.1, True),
        (0.2, 0.4, "below", 0, True),
        (0.2, 0.5, "below", 0, False),
        (0.2, 0.35, "below", 0.1, True),
        (0.2, 0.45, "below", 0.1, False),
        (math.nan, math.nan, "above", 0, False),
    ],
)
def test_a_row_holds_when_its_whole_interval_does(
    low: float, high: float, side: str, margin: float, held: bool
) -> None:
    assert judge(row(low, high), side, margin).verdict == (HELD if held else NOT_HELD)  # type: ignore[arg-type]


def test_values_over_seeds_are_judged_by_students_interval() -> None:
    made = over_seeds("lead", [0.2, 0.4], "above", 0.0, "none", unit="share", note="of two")
    assert made.estimate == pytest.approx(0.3) and (made.n, made.unit, made.note) == (2, "share", "of two")
    assert made.interval is not None and made.interval.low == pytest.approx(0.3 - 0.1 * 12.7062, rel=1e-5)
    assert made.verdict == NOT_HELD  # two seeds say little
    assert over_seeds("lead", [0.2, 0.21, 0.2, 0.19], "above", 0.0, "none", 400).verdict == HELD


def test_context_is_a_mean_without_a_verdict_and_of_one_seed_without_an_interval() -> None:
    made = context("share", [0.2, 0.4], 40, "share", "a way", "of two")
    assert made.interval == over_seeds("lead", [0.2, 0.4], "above", 0.0, "none").interval and not made.verdict
    assert made == Row("share", (0.2 + 0.4) / 2, made.interval, 40, unit="share", group="a way", note="of two")
    assert context("share", [0.2], 20) == Row("share", 0.2, None, 20)
    slight = [0.01, 0.012, 0.011]
    assert over_seeds("cost", slight, "below", 0.0, "none").verdict == NOT_HELD
    assert over_seeds("cost", slight, "below", 0.0, "none", margin=-0.02).verdict == HELD


@pytest.mark.parametrize("control", [0.5, 0.2, 0.1])
def test_one_seed_says_so_and_gives_no_verdict(control: float) -> None:
    alone = over_seeds("lead", [0.2], "below", control, "none", 100)
    assert alone.interval is None and (alone.estimate, alone.n, alone.verdict) == (0.2, 100, "one seed")
    lab = Result("x", "X", (alone, row(0, 1, verdict=CONTROL_OK)))
    assert verdict(lab) == ONE_SEED and headline(lab) == alone


def test_without_control_or_interval_nothing_is_judged() -> None:
    with pytest.raises(ValueError, match="no control"):
        judge(row(0, 1, control=None), "above")
    with pytest.raises(ValueError, match="no interval"):
        judge(Row("r", 1, None, 9, 0.5), "above")


@pytest.mark.parametrize(
    "made, limits, good",
    [
        (row(0.1, 0.3, truth=0.2), {}, True),
        (row(0.1, 0.3, truth=0.4), {}, False),
        (row(0.1, 0.3), {"low": 0.3}, True),
        (row(0.1, 0.3), {"low": 0.31}, False),
        (row(0.1, 0.3), {"high": 0.1}, True),
        (row(0.1, 0.3), {"high": 0.09}, False),
        (Row("r", 0.2, None, 1), {"low": 0.1, "high": 0.3}, True),
        (Row("r", math.nan, None, 1), {"low": 0.1}, False),
        (row(0.1, 0.3, truth=0.9), {"high": 0.5}, True),
    ],
)
def test_controls_must_come_out_as_known(made: Row, limits: dict[str, float], good: bool) -> None:
    assert check(made, **limits).verdict == (CONTROL_OK if good else CONTROL_FAILED)


@pytest.mark.parametrize(
    "verdicts, came",
    [
        ([HELD, HELD, ""], HELD),
        ([HELD, NOT_HELD], PART),
        ([PART], PART),
        ([NOT_HELD, NOT_HELD], NOT_HELD),
        ([HELD, CONTROL_OK], HELD),
        ([HELD, HELD, CONTROL_FAILED], CONTROL_FAILED),
        ([CONTROL_FAILED], CONTROL_FAILED),
        ([ONE_SEED, HELD], ONE_SEED),
        ([ONE_SEED, CONTROL_FAILED], CONTROL_FAILED),
    ],
)
def test_the_verdict_of_a_lab(verdicts: list[str], came: str) -> None:
    assert verdict(Result("x", "X", tuple(row(0, 1, verdict=v) for v in verdicts))) == came


def test_not_run_and_nothing_judged() -> None:
    assert verdict(None) == NOT_RUN
    with pytest.raises(UserError, match="judged none of its rows"):
        verdict(Result("x", "X", (row(0, 1),)))


def test_a_lab_is_quoted_by_its_first_judged_row_or_the_one_it_names() -> None:
    rows = (Row("a", 1, None, 1), Row("b", 1, None, 1, verdict=HELD), Row("c", 1, None, 1))
    assert headline(Result("x", "X", rows)) == rows[1]
    assert headline(Result("x", "X", rows, meta={"headline": "c"})) == rows[2]
    assert headline(Result("x", "X", rows, meta={"headline": "none"})) == rows[1]
    assert headline(Result("x", "X", rows[:1])) is None
