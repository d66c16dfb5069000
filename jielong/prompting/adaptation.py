"""Which examples are worth their tokens: few-shot selection under a budget (prompt adaptation; Chen et al. 2023).

Examples in a prompt are paid for with every question. Starting from none, the example that helps most for its tokens on
development problems is added, as long as it fits and helps:

    next = argmax over e that fit of  (right(S + e) - right(S)) / tokens(e),     while that is above 0.

Where what examples add to the share right adds up and their lengths are equal, the greedy choice is the best one; in
general, for gains that diminish, it is within 1 - 1/e of it where lengths are equal (Nemhauser et al. 1978). Chosen on
development problems, so its share right there looks too good: report another set's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jielong.base.errors import UserError
from jielong.lm.meter import count_words
from jielong.lm.protocol import LM, gather
from jielong.prompting.direct import direct
from jielong.prompting.few_shot import few_shot
from jielong.prompting.strategy import Answer, Example, Problem, Strategy


@dataclass(frozen=True)
class Adapted:
    """The examples that were chosen, their tokens in a prompt, and the share right on the problems that chose them."""

    examples: tuple[Example, ...]
    tokens: int
    dev: float
    tried: int  # sets that were scored


def tokens_of(example: Example) -> int:
    """About what an example adds to a prompt."""
    return count_words(example.question) + count_words(example.steps) + count_words(example.answer)


async def shows(lm: LM, problem: Problem) -> Answer:
    """All of the problem's examples, then the question; the bare question where there is none."""
    if not problem.examples:
        return await direct(lm, problem)
    return await few_shot(lm, problem, k=len(problem.examples))


async def adapt(lm: LM, candidates: Sequence[Example], dev: Sequence[Problem], budget: int, strategy: Strategy = shows,
                ) -> Adapted:  # fmt: skip
    """Examples of at most `budget` tokens for `strategy`, which shows those that a problem carries. UserError without
    development problems."""
    if not dev or budget < 0:
        raise UserError(f"{len(dev)} development problems and {budget} tokens: give some, and 0 tokens or more")

    async def right(examples: tuple[Example, ...]) -> float:
        shown = [replace(each, examples=examples) for each in dev]
        answers = await gather(*(strategy(lm, each) for each in shown))
        return sum(each.right(answer) for each, answer in zip(shown, answers)) / len(dev)

    chosen: tuple[Example, ...] = ()
    best, left, tried = await right(chosen), budget, 1
    while True:
        fits = [each for each in candidates if each not in chosen and tokens_of(each) <= left]
        shares = await gather(*(right((*chosen, each)) for each in fits))
        tried += len(fits)
        worth = [(share - best) / max(1, tokens_of(each)) for share, each in zip(shares, fits)]
        if not fits or max(worth) <= 0:
            return Adapted(chosen, budget - left, best, tried)
        at = worth.index(max(worth))
        chosen, best, left = (*chosen, fits[at]), shares[at], left - tokens_of(fits[at])
