"""The cheap one first, the dear one only where its answer is not believed (Chen et al. 2023, "FrugalGPT").

Strategies are asked in turn, cheapest first. A score says how far an answer is to be believed, g(question, answer) in
[0, 1]; the first answer whose score reaches its step's threshold is taken, the last step's always. The score is learnt
(`learn`) on one set of questions, the thresholds are chosen (`choose`) on another, and figures come from a third: with
fewer sets they look better than they are, and here that is refused.

If the cheap one is right with probability p, the score accepts right answers with probability a and wrong ones with
probability b, and the dear one is right with q whatever the cheap one said, then

    right = p a + (1 - p a - (1 - p) b) q,       calls of the dear one = 1 - p a - (1 - p) b.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from jielong.base.errors import UserError
from jielong.lm.protocol import LM
from jielong.prompting import scorer
from jielong.prompting.outcomes import Outcome
from jielong.prompting.strategy import Answer, Problem, Strategy
from jielong.prompting.trace import note

if TYPE_CHECKING:
    import numpy as np

Accept = Callable[[Problem, Answer], float]
NEVER, ALWAYS = 2.0, -1.0  # thresholds no score reaches, and every score
GRID = 64  # thresholds that are tried at each step


def agreement(problem: Problem, answer: Answer) -> float:
    """The share of votes that the answer has; without votes 1. What a cascade believes by, unless it is told."""
    total = sum(answer.votes.values())
    return answer.votes.get(answer.value, 0) / total if total and answer.value is not None else 1.0


def cascade(*steps: Strategy, at: float | Sequence[float] = 0.5, accept: str | Accept = agreement) -> Strategy:
    """The first answer that is believed. `at`: the thresholds of all steps but the last (one for all, or each);
    `accept`: how far an answer is believed, or the file of a learned scorer. An answer that was not given never is.

    `cascade(vote(direct, n=3), vote(cot, n=20), at=0.9)`. Steps with models of their own: `using`.
    """
    thresholds = (at,) * (len(steps) - 1) if isinstance(at, int | float) else tuple(at)
    if len(steps) < 2 or len(thresholds) != len(steps) - 1:
        raise UserError(f"a cascade of {len(steps)} steps has {len(thresholds)} thresholds: give 2 steps or more, and "
                        "one threshold fewer")  # fmt: skip
    judge = believing(scorer.load(accept)) if isinstance(accept, str) else accept

    async def cascaded(lm: LM, problem: Problem) -> Answer:
        for number, (step, threshold) in enumerate(zip(steps, (*thresholds, ALWAYS)), 1):
            answer = await step(lm, problem)
            last = number == len(steps)
            score = 1.0 if last else judge(problem, answer) if answer.value is not None else ALWAYS
            taken = last or (answer.value is not None and score >= threshold)
            note(lm, "decide", step=number, score=score, taken=taken)
            if taken:
                break
        return Answer(answer.value, answer.text, answer.votes, f"step {number} of {len(steps)}")

    return cascaded


def using(lm: LM, strategy: Strategy) -> Callable[[LM, Problem], Awaitable[Answer]]:
    """The strategy with a model of its own, whichever is given."""

    async def with_it(_: LM, problem: Problem) -> Answer:
        return await strategy(lm, problem)

    return with_it


def learn(outcomes: Sequence[Outcome], step: int = 0, l2: float | None = None) -> scorer.Scorer:
    """g(question, answer): how probable the answer of model `step` is right."""
    texts = [(each.question, each.answers[step]) for each in outcomes]
    return scorer.fit(texts, [each.right[step] for each in outcomes], [each.id for each in outcomes], l2)


def believing(learnt: scorer.Scorer) -> Accept:
    """A learned scorer as a cascade's belief: it reads the question and all that the model said."""
    return lambda problem, answer: learnt.of(problem.text, answer.text or answer.value or "")


@dataclass(frozen=True)
class Played:
    """A cascade on recorded outcomes: of each question whether the answer taken was right, what all that were asked
    cost, and whose answer it was."""

    right: tuple[bool, ...]
    cost: tuple[float, ...]
    taken: tuple[int, ...]

    @property
    def accuracy(self) -> float:
        return sum(self.right) / len(self.right)

    @property
    def mean_cost(self) -> float:
        return sum(self.cost) / len(self.cost)


def play(outcomes: Sequence[Outcome], scores_NS: np.ndarray, thresholds: Sequence[float],
         prices: Sequence[float]) -> Played:  # fmt: skip
    """What a cascade of the recorded models would have done; `scores_NS`: of each question, the score of each step's
    answer but the last's; `prices`: of each model's token."""
    right, cost, taken = [], [], []
    for each, scores in zip(outcomes, scores_NS, strict=True):
        step = next((s for s, t in enumerate(thresholds) if scores[s] >= t), len(thresholds))
        right.append(each.right[step])
        cost.append(sum(each.costs(prices)[: step + 1]))
        taken.append(step)
    return Played(tuple(right), tuple(cost), tuple(taken))


def choose(outcomes: Sequence[Outcome], scorers: Sequence[scorer.Scorer], prices: Sequence[float], *,
           keep: float | None = None, budget: float | None = None) -> tuple[float, ...]:  # fmt: skip
    """The thresholds that are best on these outcomes, which no scorer may have seen: all combinations of `GRID`
    quantiles.

    `keep`: the cheapest that are right at least that many points (as a share) less often than the last model, say 0.01;
    `budget`: the most often right within so much a question. Of equals the cheaper. UserError where none will do.
    """
    if (keep is None) == (budget is None):
        raise UserError("choose thresholds by keep= (how far below the last model) or by budget= (a question)")
    for each in scorers:
        scorer.unseen(each, [o.id for o in outcomes], "the thresholds")
    scores_NS = belief(outcomes, scorers)
    floor = sum(o.right[-1] for o in outcomes) / len(outcomes) - (keep or 0.0)
    found: list[tuple[tuple[float, float], tuple[float, ...]]] = []
    for thresholds in product(*(_grid(scores_NS[:, step]) for step in range(scores_NS.shape[1]))):
        played = play(outcomes, scores_NS, thresholds, prices)
        if played.mean_cost <= budget if budget is not None else played.accuracy >= floor - 1e-12:
            order = (played.mean_cost, -played.accuracy) if budget is None else (-played.accuracy, played.mean_cost)
            found.append((order, thresholds))
    if not found:
        raise UserError(f"no thresholds cost at most {budget} a question: raise the budget")
    return min(found)[1]


def belief(outcomes: Sequence[Outcome], scorers: Sequence[scorer.Scorer]) -> np.ndarray:
    """The scores of the recorded answers of every step that has a scorer, (N, S)."""
    import numpy as np

    columns = [each.many([(o.question, o.answers[step]) for o in outcomes]) for step, each in enumerate(scorers)]
    return np.stack(columns, axis=1)


def _grid(scores_N: np.ndarray) -> list[float]:
    """Thresholds between which the cascade differs, at most so many."""
    import numpy as np

    inner = np.quantile(scores_N, np.linspace(0, 1, GRID), method="lower").tolist()
    return [ALWAYS, *sorted(set(inner)), NEVER]
