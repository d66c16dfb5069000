"""Questions under an instruction, and how good it is: for `ape`, `opro`, `random_search` and `shortening`.

An instruction is judged on development problems and chosen by that alone; the test problems are asked once, under the
chosen one, after the choice. The score on the problems that chose it is too high by what chance gave it, and
`Found.overfit` says how much that was. Of m instructions alike, right with p on n problems each, the best scores
E[max of m binomials] / n on these and p on others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from jielong.base.errors import UserError
from jielong.lm.prompts import Message
from jielong.lm.protocol import LM, gather
from jielong.prompting.cot import concluded
from jielong.prompting.strategy import Answer, Example, Problem, assistant, say, user

Score = Callable[[LM, str, Sequence[Problem]], Awaitable[float]]


@dataclass(frozen=True)
class Tried:
    """An instruction, its score on the development problems, and how many of them it was asked."""

    instruction: str
    score: float
    asked: int


@dataclass(frozen=True)
class Found:
    """What a search chose: `dev`, its score on the problems that chose it; `test`, on others, None without any;
    `tried`: all that were scored, in this order."""

    instruction: str
    dev: float
    test: float | None
    tried: tuple[Tried, ...]

    @property
    def evaluations(self) -> int:
        """Development problems that were asked, all instructions together: searches are compared at equal ones."""
        return sum(each.asked for each in self.tried)

    @property
    def overfit(self) -> float | None:
        """How much better it looked than it is."""
        return None if self.test is None else self.dev - self.test


async def instructed(
    lm: LM, problem: Problem, *, instruction: str = "", examples: Sequence[Example] = ()
) -> Answer:  # fmt: skip
    """One call: the instruction and the question, after some examples."""
    turns: list[Message] = []
    for each in examples:
        turns = [*user(under(instruction, each.question), *turns), assistant(each.answer)]
    return concluded(problem, await say(lm, user(under(instruction, problem.text), *turns)))


def under(instruction: str, question: str) -> str:
    """A question with the instruction above it."""
    return f"{instruction}\n\n{question}" if instruction else question


async def accuracy(lm: LM, instruction: str, problems: Sequence[Problem], examples: Sequence[Example] = ()) -> float:
    """The share of the problems that are answered rightly; an answer that cannot be read is not right."""
    answers = await gather(*(instructed(lm, each, instruction=instruction, examples=examples) for each in problems))
    return sum(each.right(answer) for each, answer in zip(problems, answers)) / len(problems)


async def likelihood(lm: LM, instruction: str, problems: Sequence[Problem]) -> float:
    """The mean log-probability of a token of the right answers (APE's second score). Needs a model that scores."""
    asked = [user(under(instruction, each.text)) for each in problems]
    scores = await gather(*(lm.ascore(prompt, [each.gold or ""]) for prompt, each in zip(asked, problems)))
    return sum(score.mean for (score,) in scores) / len(problems)


async def scored(lm: LM, instructions: Sequence[str], dev: Sequence[Problem], score: Score) -> list[Tried]:
    """Each instruction on all development problems."""
    if not dev:
        raise UserError("no development problems: give some to score instructions on")
    found = await gather(*(score(lm, each, dev) for each in instructions))
    return [Tried(instruction, value, len(dev)) for instruction, value in zip(instructions, found)]


async def chosen(lm: LM, tried: Sequence[Tried], test: Sequence[Problem], score: Score) -> Found:
    """The best on the development problems, the earlier of equals, and what it is worth on the others. UserError where
    nothing was tried."""
    if not tried:
        raise UserError("the model proposed no instruction: give another model, or more draws")
    best = max(tried, key=lambda each: each.score)
    return Found(best.instruction, best.score, await score(lm, best.instruction, test) if test else None, tuple(tried))
