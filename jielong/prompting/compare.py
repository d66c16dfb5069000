"""Strategies on the same problems at the same budget: how often each is right, against the tokens that it may use.

Every strategy gets the same number of tokens for each problem, reserved before each call. It is run again and again on
branches of the model until they are used up, and the majority of its runs is its answer: so a cheap strategy is not
compared with a dear one but with as many runs as that costs (the control that debates and searches have to beat). The
answers after the first runs give its curve, from few tokens to all; what does not fit into them is not right. With
`once` each is run once, and the budget is only a limit.

Differences are paired by problem. Two strategies are told apart where McNemar's exact test, corrected for all pairs
(Holm 1979), and the interval of the difference, at the level of the family (Bonferroni), both say so; what is not told
apart is not ranked.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from jielong.base.errors import UserError
from jielong.base.result import Result, Row
from jielong.lm.meter import Budget
from jielong.lm.protocol import LM, gather
from jielong.prompting.strategy import Answer, Problem, Strategy
from jielong.prompting.trace import Run, Trace
from jielong.prompting.traced import REFUSED
from jielong.prompting.vote import majority

RUNS = 64  # of one strategy on one problem, at most
LEVEL = 0.95
POINTS = 8  # of a curve: the budget, a half of it, a quarter, ...
AT_BUDGET, ONE_RUN, PAIRS = "at the budget", "one run", "pairs"
APART, ALIKE = "told apart", "not told apart"


@dataclass(frozen=True)
class Course:
    """A strategy on one problem: after each of its runs the tokens used so far, and its answer. `spent`: with those of
    a run that did not end."""

    problem: Problem
    runs: tuple[tuple[int, Answer], ...]
    spent: int

    def answer(self, tokens: float = math.inf) -> Answer:
        """The majority of the runs that ended within so many tokens."""
        return majority([answer for used, answer in self.runs if used <= tokens])

    def right(self, tokens: float = math.inf) -> bool:
        """Whether that is right."""
        return self.problem.right(self.answer(tokens))


@dataclass(frozen=True)
class Pair:
    """Of `first` less `second` over the problems: the difference, its interval, and p after Holm."""

    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float

    @property
    def apart(self) -> bool:
        """Whether one may be ranked above the other."""
        return self.p <= 1 - LEVEL and not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Compared:
    """The courses of every strategy by its text; `allowance`: tokens for each problem."""

    courses: Mapping[str, Sequence[Course]]
    allowance: int
    pairs: Sequence[Pair] = field(default_factory=tuple)

    def tiers(self) -> list[list[str]]:
        """Strategies, the best first; those of one tier are not told apart from all of the next."""
        share = {name: sum(c.right() for c in found) for name, found in self.courses.items()}
        order = sorted(share, key=lambda name: -share[name])
        apart = {frozenset((p.first, p.second)) for p in self.pairs if p.apart}
        tiers: list[list[str]] = [[]]
        for place, name in enumerate(order):
            if place and all(frozenset((a, b)) in apart for a in order[:place] for b in order[place:]):
                tiers.append([])
            tiers[-1].append(name)
        return tiers


async def run(
    trace: Trace, lm: LM, strategies: Mapping[str, Strategy], problems: Sequence[Problem], tokens: int, *,
    settings: Mapping[str, Any], once: bool = False, at_once: int = 16,
    tell: Callable[[str, Course], object] = lambda name, course: None,
) -> Compared:  # fmt: skip
    """Every strategy on every problem with `tokens` for each strategy in all; `tell` hears of each course.

    UserError as of `share`.
    """
    allowance = share(tokens, problems)
    gate = asyncio.Semaphore(at_once)

    async def one(name: str, problem: Problem) -> Course:
        async with gate:
            found = await course(trace, lm, name, strategies[name], problem, allowance, settings, 1 if once else RUNS)
        tell(name, found)
        return found

    asked = [(name, problem) for problem in problems for name in strategies]
    found = await gather(*(one(name, problem) for name, problem in asked))
    courses = {name: [c for (n, _), c in zip(asked, found) if n == name] for name in strategies}
    return Compared(courses, allowance, paired(courses))


def share(tokens: int, problems: Sequence[Problem]) -> int:
    """Tokens for one problem. UserError where there are none."""
    if not problems or tokens < len(problems):
        raise UserError(f"{tokens} tokens for {len(problems)} problems: give more tokens, or problems")
    return tokens // len(problems)


async def course(
    trace: Trace, lm: LM, name: str, strategy: Strategy, problem: Problem, allowance: int, settings: Mapping[str, Any],
    most: int,
) -> Course:  # fmt: skip
    """Runs of a strategy until its tokens are used up: one that would need more than any before did is not begun."""
    budget, runs = Budget(allowance), list[tuple[int, Answer]]()
    for number in range(most):
        least = min((after - before for (before, _), (after, _) in zip([(0, None), *runs], runs)), default=0)
        if budget.left < least:
            break
        about = Run(name, settings, ("run", number) if number else ())
        answer = await trace.run(strategy, lm, problem, about, budget)
        if answer.value is None and answer.note == REFUSED:
            break
        runs.append((allowance - budget.left, answer))
    return Course(problem, tuple(runs), allowance - budget.left)


def paired(courses: Mapping[str, Sequence[Course]]) -> list[Pair]:
    """Every two strategies at the whole budget."""
    from jielong.base import stats

    right = {name: [c.right() for c in found] for name, found in courses.items()}
    both = list(combinations(right, 2))
    adjusted = stats.holm([stats.mcnemar_exact(right[a], right[b]) for a, b in both]) if both else []
    level = 1 - (1 - LEVEL) / max(1, len(both))
    found = []
    for (a, b), p in zip(both, adjusted):
        interval = stats.paired_bootstrap([float(x) for x in right[a]], [float(x) for x in right[b]], level=level)
        difference = (sum(right[a]) - sum(right[b])) / len(right[a])
        found.append(Pair(a, b, difference, interval.low, interval.high, p))
    return found


def curve(courses: Sequence[Course], allowance: int) -> list[tuple[int, int]]:
    """(tokens allowed for a problem, how many are right within them), rising."""
    levels = sorted({max(1, allowance >> step) for step in range(POINTS)})
    return [(level, sum(c.right(level) for c in courses)) for level in levels]


def result(found: Compared, meta: Mapping[str, Any]) -> Result:
    """Rows and what the picture is drawn from: {strategy: {"tokens", "right", "low", "high"}} in meta's "curves"."""
    from jielong.base import stats
    from jielong.base.result import Interval

    rows, curves = [], dict[str, Any]()
    tier = {name: place for place, names in enumerate(found.tiers(), 1) for name in names}
    for name, courses in sorted(found.courses.items(), key=lambda item: tier[item[0]]):
        n = len(courses)
        spent = sum(c.spent for c in courses) / n
        k, runs = sum(c.right() for c in courses), sum(len(c.runs) for c in courses) / n
        none = sum(c.answer().value is None for c in courses)
        note = f"{runs:.1f} runs and {spent:.0f} tokens a problem; {none} without an answer; tier {tier[name]}"
        rows.append(Row(name, k / n, stats.wilson(k, n), n, unit="share", group=AT_BUDGET, note=note))
        first = [c for c in courses if c.runs]
        k = sum(c.problem.right(c.runs[0][1]) for c in first)
        used = sum(c.runs[0][0] for c in first) / max(1, len(first))
        note = f"{used:.0f} tokens a problem; {n - len(first)} did not fit into {found.allowance}"
        rows.append(Row(name, k / n, stats.wilson(k, n), n, unit="share", group=ONE_RUN, note=note))
        points = curve(courses, found.allowance)
        bands = [stats.wilson(k, n) for _, k in points]
        curves[name] = {"tokens": [t for t, _ in points], "right": [k / n for _, k in points],
                        "low": [b.low for b in bands], "high": [b.high for b in bands]}  # fmt: skip
    level = 1 - (1 - LEVEL) / max(1, len(found.pairs))
    for pair in found.pairs:
        rows.append(Row(f"{pair.first} − {pair.second}", pair.difference,
                        Interval(pair.low, pair.high, level, "paired bootstrap"), len(found.courses[pair.first]),
                        verdict=APART if pair.apart else ALIKE, group=PAIRS,
                        note=f"p {pair.p:.3g} after Holm"))  # fmt: skip
    about = {**meta, "allowance": found.allowance, "tiers": found.tiers(), "curves": curves}
    return Result("compare", "Strategies at equal budget", tuple(rows), meta=about)
