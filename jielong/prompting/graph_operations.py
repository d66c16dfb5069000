"""The operations of `graph_of_thoughts`: generate, aggregate, improve, score, keep the best, select (Besta et al.).

Each takes the thoughts of the nodes before it and gives its own. A reply that cannot be read is no thought; a prompt
that comes again gets draws of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jielong.base.errors import UserError
from jielong.lm.prompts import Prompt, canonical, key_of
from jielong.lm.protocol import LM, gather
from jielong.prompting.strategy import Problem


@dataclass(frozen=True)
class Thought:
    """Something thought, text or any plain value, and how good it is: higher is better, None before it is scored."""

    value: Any
    score: float | None = None


Thoughts = Sequence[Thought]
Operation = Callable[[LM, Problem, Thoughts], Awaitable[list[Thought]]]
Parse = Callable[[str], Any]  # a reply -> the value in it, None where there is none


def generate(prompt: Callable[[Problem, Any], Prompt], parse: Parse, k: int = 1) -> Operation:
    """k replies after each thought; at the beginning of a plan, after the problem alone (the value None)."""

    async def run(lm: LM, problem: Problem, thoughts: Thoughts) -> list[Thought]:
        return await asked(lm, [prompt(problem, each.value) for each in thoughts or [Thought(None)]], parse, k)

    return run


def aggregate(prompt: Callable[[Problem, list[Any]], Prompt], parse: Parse, k: int = 1) -> Operation:
    """k replies that merge all thoughts; none of none."""

    async def run(lm: LM, problem: Problem, thoughts: Thoughts) -> list[Thought]:
        together = [prompt(problem, [each.value for each in thoughts])] if thoughts else []
        return await asked(lm, together, parse, k)

    return run


def improve(prompt: Callable[[Problem, Any], Prompt], parse: Parse, k: int = 1) -> Operation:
    """Each thought as it is, and after them k new versions of each: an improvement that is none loses nothing."""

    async def run(lm: LM, problem: Problem, thoughts: Thoughts) -> list[Thought]:
        new = await asked(lm, [prompt(problem, each.value) for each in thoughts], parse, k)
        return [*(Thought(each.value) for each in thoughts), *new]

    return run


def score(worth: Callable[[Problem, Any], float]) -> Operation:
    """What each thought is worth, worked out without the model."""

    async def run(lm: LM, problem: Problem, thoughts: Thoughts) -> list[Thought]:
        return [Thought(each.value, worth(problem, each.value)) for each in thoughts]

    return run


def keep_best(n: int = 1) -> Operation:
    """The n with the highest scores, of equals the earlier. UserError for a thought without a score."""

    async def run(lm: LM, problem: Problem, thoughts: Thoughts) -> list[Thought]:
        if any(each.score is None for each in thoughts):
            raise UserError("keep_best needs scores: put a score before it into the plan")
        return sorted(thoughts, key=lambda each: -(each.score or 0.0))[:n]

    return run


def select(choose: Callable[[Problem, Thoughts], Sequence[Any]]) -> Operation:
    """Thoughts made of those before by a plain function: to split a problem, or to take a part of it."""

    async def run(lm: LM, problem: Problem, thoughts: Thoughts) -> list[Thought]:
        return [Thought(value) for value in choose(problem, thoughts)]

    return run


async def asked(lm: LM, prompts: Sequence[Prompt], parse: Parse, k: int) -> list[Thought]:
    """k replies to each prompt, those that can be read. A prompt that stands there again gets replies of its own."""
    keys = [key_of(canonical(prompt)) for prompt in prompts]
    starts = [k * keys[:place].count(key) for place, key in enumerate(keys)]
    draws = await gather(*(lm.asample(prompt, k, start) for prompt, start in zip(prompts, starts)))
    values = [parse(draw.text) for each in draws for draw in each]
    return [Thought(value) for value in values if value is not None]
