"""Best of n: draw n answers, keep the one that is worth most. What it costs and what it gives, in closed form.

    KL(best of n || one draw) <= ln n - (n - 1) / n               equality where no two answers are worth the same
    E[best of k] from n draws:  sum_i C(i - 1, k - 1) / C(n, k) r_(i)      r_(1) <= ... <= r_(n), unbiased

The bound: Stiennon et al. 2020, arXiv 2009.01325, appendix G.3; that it is one where values tie: Beirami et al. 2024,
arXiv 2401.01879. The estimator: Nakano et al. 2021, arXiv 2112.09332, appendix I: each of the C(n, k) sets of k draws
weighs the same. `gold`: chosen by one reward and valued by another, as in Gao et al. 2022, arXiv 2210.10760. Learning
from the best answers: Touvron et al. 2023, arXiv 2307.09288, section 3.2.3; RAFT, arXiv 2304.06767.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jielong.base.errors import UserError
from jielong.lm.protocol import LM, Draw
from jielong.train.preferences.asked import Asked
from jielong.train.preferences.judge import Judge, Judged


def kl_bound(n: int) -> float:
    """Nats that the best of `n` draws is from one draw, at most."""
    if n < 1:
        raise UserError(f"the best of {n} draws: give 1 or more")
    return math.log(n) - (n - 1) / n


def law(probabilities: Sequence[float], values: Sequence[float], n: int) -> list[float]:
    """The exact probability of each answer to be the best of `n` draws, the first drawn among equals.

    Equal values share F^n - F'^n in the ratio of their probabilities; F is the chance of a draw worth at most theirs,
    F' of one worth less.
    """
    found = []
    for p, value in zip(probabilities, values):
        same = sum(q for q, v in zip(probabilities, values) if v == value)
        less = sum(q for q, v in zip(probabilities, values) if v < value)
        found.append(((same + less) ** n - less**n) * p / same if p else 0.0)
    return found


def expected_best(values: Sequence[float], k: int, gold: Sequence[float] | None = None) -> float:
    """Unbiased estimate, from these n draws, of what the best of `k` by `values` is worth (by `gold`, where given).

    Among equal values the choice is even. UserError unless 1 <= k <= n; values must be judged (no nan).
    """
    n = len(values)
    if not 1 <= k <= n:
        raise UserError(f"the best of {k} cannot be estimated from {n} draws: give 1 to {n}")
    if any(math.isnan(value) for value in values):
        raise UserError("a draw was not judged: leave it out before estimating the best")
    worth = values if gold is None else gold
    total, before = 0.0, 0
    for value in sorted(set(values)):
        group = [w for v, w in zip(values, worth) if v == value]
        weight = math.comb(before + len(group), k) - math.comb(before, k)  # sets of k whose best is in this group
        total += weight / math.comb(n, k) * sum(group) / len(group)
        before += len(group)
    return total


def best(judged: Judged) -> int | None:
    """The number of the answer with most points, the first among equals; None where none was judged."""
    known = [(points, -number) for number, points in enumerate(judged.points) if points is not None]
    return -max(known)[1] if known else None


def distinct(texts: Sequence[str]) -> list[str]:
    """Every answer once, in order, without those that are empty; blanks around it do not make another answer."""
    return list(dict.fromkeys(text.strip() for text in texts if text.strip()))


@dataclass(frozen=True, slots=True)
class Choice:
    """The draws, the distinct answers in them, what the judge said of those, and the number of the best answer.

    `number` is None where nothing was decided: no answer, or no verdict that could be read.
    """

    draws: tuple[Draw, ...]
    answers: tuple[str, ...]
    judged: Judged
    number: int | None

    @property
    def text(self) -> str | None:
        """The best answer."""
        return None if self.number is None else self.answers[self.number]


async def achoose(lm: LM, judge: Judge, asked: Asked, n: int, **sampling: Any) -> Choice:
    """Draw `n` answers and keep the best. One that is alone needs no judge."""
    draws = await lm.asample(asked.prompt, n, **sampling)
    answers = distinct([draw.text for draw in draws])
    if len(answers) < 2:
        return Choice(tuple(draws), tuple(answers), Judged((None,) * len(answers), ()), 0 if answers else None)
    judged = await judge.ajudge(asked, answers)
    return Choice(tuple(draws), tuple(answers), judged, best(judged))
