"""Which model to ask, told from the question alone (Ong et al. 2024, "RouteLLM", arXiv:2406.18665).

A router estimates p(the strong model wins | question) and asks the strong one where that is at least tau: one call for
each question, and tau sets the price. Trained on recorded outcomes, with no model and no key: "the strong one wins" is
where it was right and the weak one wrong.

By the share c of questions that go to the strong model, in the order of the scores, the share right rises from the
weak model's to the strong one's. The gap that is recovered at c is PGR(c) = (right(c) - weak) / (strong - weak), and

    APGR = integral of PGR(c) dc over [0, 1],

1/2 in the mean for a random order. With gains g (strong right less weak right) in the order of an oracle, a of +1, then
b of 0, then c of -1, it is  (a^2/2 + a b + a c - c^2/2) / (n (a - c)).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from jielong.base.errors import UserError
from jielong.lm.protocol import LM
from jielong.prompting import scorer
from jielong.prompting.outcomes import Outcome, folds
from jielong.prompting.strategy import Answer, Problem, Strategy
from jielong.prompting.trace import note

if TYPE_CHECKING:
    import numpy as np

    from jielong.base.result import Interval

RESAMPLES = 4000


def route(weak: Strategy, strong: Strategy, wins: str | Callable[[str], float], tau: float = 0.5) -> Strategy:
    """`strong` for questions where `wins` (a function, or a saved scorer's file) gives at least tau, else `weak`."""
    judge = scorer.load(wins).of if isinstance(wins, str) else wins

    async def routed(lm: LM, problem: Problem) -> Answer:
        chance = judge(problem.text)
        taken = strong if chance >= tau else weak
        note(lm, "decide", route="strong" if chance >= tau else "weak", chance=chance)
        return await taken(lm, problem)

    return routed


def train(outcomes: Sequence[Outcome], l2: float | None = None, seed: int = 0) -> scorer.Scorer:
    """p(the last model is right and the first is wrong | question)."""
    wins = [each.right[-1] and not each.right[0] for each in outcomes]
    return scorer.fit([(each.question,) for each in outcomes], wins, [each.id for each in outcomes], l2, seed)


def tau_for(chances: Sequence[float], share: float) -> float:
    """The tau at which `share` of these questions, not those that are judged by it, go to the strong model."""
    if not 0 <= share <= 1 or not len(chances):
        raise UserError(f"a share of {share} of {len(chances)} questions: give 0 to 1, and questions")
    ordered = sorted(chances, reverse=True)
    count = round(share * len(ordered))
    if count == len(ordered):
        return 0.0
    return (ordered[count - 1] + ordered[count]) / 2 if count else 2.0


def out_of_fold(outcomes: Sequence[Outcome], parts: int = 5, seed: int = 0) -> tuple[list[Outcome], np.ndarray]:
    """Every question's rank, in (0, 1), among those of its fold, by a router that was trained on the other folds; the
    questions in that order. Ranks, since scores of different routers are not on one scale."""
    import numpy as np

    split, found, ranks = folds(outcomes, parts, seed), list[Outcome](), list[np.ndarray]()
    for number, fold in enumerate(split):
        judge = train([each for other in split[:number] + split[number + 1 :] for each in other], seed=seed)
        scorer.unseen(judge, [each.id for each in fold], "the test")
        chances_N = judge.many([(each.question,) for each in fold])
        ranks.append((np.argsort(np.argsort(chances_N, kind="stable"), kind="stable") + 0.5) / len(fold))
        found += fold
    return found, np.concatenate(ranks)


def curve(scores_N: np.ndarray, outcomes: Sequence[Outcome]) -> tuple[np.ndarray, np.ndarray]:
    """Shares of strong calls (N + 1,) and the shares right at them (N + 1,)."""
    import numpy as np

    weak = np.mean([each.right[0] for each in outcomes])
    gains_N = _gains(outcomes)[np.argsort(-np.asarray(scores_N), kind="stable")]
    return np.linspace(0, 1, len(gains_N) + 1), weak + np.append(0.0, np.cumsum(gains_N)) / len(gains_N)


def recovered(scores_N: np.ndarray, gains_N: np.ndarray) -> float:
    """APGR, exact: the curve is straight between questions. UserError where the strong model is no better."""
    import numpy as np

    total = float(np.sum(gains_N))
    if total <= 0:
        raise UserError("the strong model is not better on these questions, so there is no gap to recover")
    risen = np.append(0.0, np.cumsum(np.asarray(gains_N, dtype=np.float64)[np.argsort(-scores_N, kind="stable")]))
    return float((risen[1:] + risen[:-1]).sum() / 2 / total / len(gains_N))


def best(outcomes: Sequence[Outcome]) -> float:
    """The APGR of an oracle that knows who wins."""
    gains_N = _gains(outcomes)
    return recovered(gains_N, gains_N)


def interval(scores_N: np.ndarray, outcomes: Sequence[Outcome], seed: int = 0, level: float = 0.95) -> Interval:
    """Of APGR, by drawing the questions again (percentile bootstrap; Efron 1979)."""
    import numpy as np

    from jielong.base.noise import rng
    from jielong.base.result import Interval

    gains_N, draws = _gains(outcomes), rng("router", seed)
    values: list[float] = []
    while len(values) < RESAMPLES:
        rows = draws.integers(0, len(gains_N), len(gains_N))
        if gains_N[rows].sum() > 0:
            values.append(recovered(np.asarray(scores_N)[rows], gains_N[rows]))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(low, high, level, "bootstrap percentile")


def _gains(outcomes: Sequence[Outcome]) -> np.ndarray:
    import numpy as np

    return np.array([int(each.right[-1]) - int(each.right[0]) for each in outcomes])
