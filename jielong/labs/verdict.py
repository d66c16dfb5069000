"""Whether a claim held: the rules, the same for every lab.

A lab gives a verdict to each row that speaks for the claim (`judge`) and to each control that must come out
as known (`check`); rows without a verdict are context. Then, of the whole lab:

    control failed      some control did not come out: nothing is claimed
    one seed            nothing says how far another seed would be: run it with --seeds 2 or more
    held                every judged row held
    held in part        some did
    did not hold here   none did
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from jielong.base import stats
from jielong.base.errors import UserError
from jielong.base.result import Interval, Result, Row
from jielong.views.verdicts import CONTROL_FAILED, CONTROL_OK, HELD, NOT_HELD, NOT_RUN, ONE_SEED, PART

Side = Literal["above", "below"]


def mean(values: Sequence[float]) -> float:
    """Of one value a seed."""
    return sum(values) / len(values)


def spread(values: Sequence[float]) -> Interval | None:
    """Student's interval; None of a single seed."""
    return stats.t_interval(values) if len(values) > 1 else None


def context(name: str, values: Sequence[float], n: int, unit: str = "", group: str = "", note: str = "") -> Row:
    """A row that claims nothing: the mean over seeds."""
    return Row(name, mean(values), spread(values), n, unit=unit, group=group, note=note)


def judge(row: Row, side: Side, margin: float = 0.0) -> Row:
    """The row, held where its whole interval lies beyond its control by `margin` on that side.

    Raises ValueError for a row without control or interval: such a row can claim nothing.
    """
    if row.control is None or row.interval is None:
        raise ValueError(f"row {row.name!r} has no {'control' if row.control is None else 'interval'} to be judged by")
    held = row.interval.low > row.control + margin if side == "above" else row.interval.high < row.control - margin
    return replace(row, verdict=HELD if held else NOT_HELD)


def over_seeds(
    name: str,
    values: Sequence[float],
    side: Side,
    control: float,
    control_name: str,
    n: int = 0,
    unit: str = "",
    note: str = "",
    margin: float = 0.0,
) -> Row:
    """The mean of one value per seed with Student's interval, judged.

    One seed has no spread to be judged by: its value stands without an interval, and "one seed" is its verdict.
    `n`: how many items stand behind the values, where those are more than the values.
    """
    row = Row(name, mean(values), spread(values), n or len(values), control, control_name, unit=unit, note=note)
    return replace(row, verdict=ONE_SEED) if row.interval is None else judge(row, side, margin)


def check(row: Row, low: float = -math.inf, high: float = math.inf) -> Row:
    """A control row: in order where its interval (or estimate) meets [low, high], else failed (nan too).

    With a `truth` and no limits, the interval must hold the truth.
    """
    ends = (row.interval.low, row.interval.high) if row.interval else (row.estimate, row.estimate)
    if row.truth is not None and low == -math.inf and high == math.inf:
        low = high = row.truth
    good = ends[0] <= high and ends[1] >= low
    return replace(row, verdict=CONTROL_OK if good else CONTROL_FAILED)


def verdict(result: Result | None) -> str:
    """The verdict on a lab's result by the rules above; "not run" for None.

    Raises UserError when no row was judged: then the lab says nothing about its claim.
    """
    if result is None:
        return NOT_RUN
    given = [row.verdict for row in result.rows]
    if CONTROL_FAILED in given:
        return CONTROL_FAILED
    if ONE_SEED in given:
        return ONE_SEED
    held, missed = given.count(HELD), given.count(NOT_HELD)
    if PART in given:
        held, missed = held + 1, missed + 1
    if held + missed == 0:
        raise UserError(f"lab {result.name} judged none of its rows; give one a verdict with judge(row, side)")
    if missed == 0:
        return HELD
    return PART if held else NOT_HELD


def headline(result: Result) -> Row | None:
    """The row a lab is quoted by: the one named in meta "headline", else the first that was judged."""
    wanted = result.meta.get("headline")
    judged = [row for row in result.rows if row.verdict in (HELD, NOT_HELD, PART, ONE_SEED)]
    return next((row for row in result.rows if row.name == wanted), judged[0] if judged else None)
