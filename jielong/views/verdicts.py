"""What a claim or a bar came to, in one word, with a sign and a colour (never a colour alone)."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from jielong.base.result import Row
from jielong.views.markup import Html, Prose, Words, element, join, number, text

HELD, PART, NOT_HELD = "held", "held in part", "did not hold here"
CONTROL_FAILED, NOT_RUN, ONE_SEED = "control failed", "not run", "one seed"
CONTROL_OK = "control ok"
REACHED, MISSED = "reached", "not reached"

MARKS: dict[str, tuple[str, str, str]] = {  # verdict -> sign, class, Chinese
    HELD: ("✓", "good", "成立"),
    PART: ("◐", "warn", "部分成立"),
    NOT_HELD: ("✗", "bad", "在此不成立"),
    CONTROL_FAILED: ("⚠", "warn", "對照失敗"),
    NOT_RUN: ("○", "none", "尚未執行"),
    ONE_SEED: ("○", "none", "只有一個種子"),
    CONTROL_OK: ("✓", "none", "對照正常"),
    REACHED: ("✓", "good", "達標"),
    MISSED: ("✗", "bad", "未達標"),
}


@dataclass(frozen=True)
class Target:
    """A bar as it is read (≥ 95%) and whether it was reached."""

    shown: str
    reached: bool


def mark(verdict: str) -> Html:
    """The verdict with its sign, in both languages; an unknown word is shown as it is."""
    if verdict not in MARKS:
        return text(verdict)
    sign, kind, zh = MARKS[verdict]
    return element("span", join([sign, " ", text(Words(verdict, zh))]), class_=f"mark {kind}")


def prose(verdict: str) -> Prose:
    """The verdict in both languages."""
    return Words(verdict, MARKS[verdict][2]) if verdict in MARKS else verdict


def target(row: Row, unit: str, at_most: Collection[str] = ()) -> Target | None:
    """The row's bar and whether it was reached; None where the row has none.

    A row's own verdict ("reached", "not reached") decides. Without one the estimate itself is compared: it
    must be at least the bar, or at most the bar for the rows named in `at_most` (a result's meta "at_most").
    """
    if row.bar is None:
        return None
    below = row.name in at_most
    if row.verdict == REACHED and not math.isclose(row.estimate, row.bar):
        below = row.estimate < row.bar
    elif row.verdict == MISSED and not math.isclose(row.estimate, row.bar):
        below = row.estimate > row.bar
    sides = row.estimate <= row.bar if below else row.estimate >= row.bar
    reached = row.verdict == REACHED if row.verdict in (REACHED, MISSED) else sides
    shown = number(row.bar, unit).replace(".0%", "%")
    return Target(f"{'≤' if below else '≥'} {shown}", reached)
