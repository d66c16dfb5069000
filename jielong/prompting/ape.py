"""Automatic prompt engineer: instructions proposed from examples, scored, and varied (Zhou et al. 2022, 2211.01910).

    found = await search(lm, shown, dev, test, candidates=20, rounds=2)
    found = await search(lm, shown, dev, test, score=likelihood)        # by the log-probability of the right answers

First `candidates` instructions as in `random_search`, all scored. In each round the best `keep` stay and are varied
("another instruction that means the same") until there are as many new ones; the best of all that were tried on the
development problems is the result. `bandit` scores many with few problems each: it asks one problem at a time, under
the instruction with the highest upper confidence bound, mean + c sqrt(ln t / n) (UCB1, Auer et al. 2002).

Oracle: if a proposal is good with probability g and a variation of a good one with v, the first round holds a good one
with 1 - (1 - g)^m. The law of `bandit` with two instructions is a walk over (n1, s1, n2, s2) that can be summed up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from jielong.base.errors import UserError
from jielong.lm.protocol import LM, gather
from jielong.prompting.instructed import Found, Score, Tried, accuracy, chosen, instructed, scored
from jielong.prompting.random_search import line, proposed
from jielong.prompting.strategy import Example, Problem, branch, tongue, user

VARY = {
    "en": "Write another instruction that means the same as this. Write only the instruction, on one line.\n\n{text}",
    "zh": "請換一種說法，寫出意思相同的指示。只寫指示，寫在一行裡。\n\n{text}",
}


async def search(
    lm: LM, shown: Sequence[Example], dev: Sequence[Problem], test: Sequence[Problem] = (), *, candidates: int = 20,
    rounds: int = 1, keep: int = 5, score: Score = accuracy,
) -> Found:  # fmt: skip
    """The best instruction on `dev` after `rounds` of variation; what it is worth on `test`."""
    if rounds < 0 or keep < 1:
        raise UserError(f"ape has {rounds} rounds and keeps {keep}: give 0 or more rounds, and keep 1 or more")
    tried = await scored(lm, await proposed(lm, shown, candidates), dev, score)
    for number in range(rounds):
        best = sorted(tried, key=lambda each: -each.score)[:keep]
        new = await varied(branch(lm, number), [each.instruction for each in best], candidates)
        known = {each.instruction for each in tried}
        tried += await scored(lm, [each for each in new if each not in known], dev, score)
    return await chosen(lm, tried, test, score)


async def varied(lm: LM, instructions: Sequence[str], n: int) -> list[str]:
    """About n variations, as many of each instruction."""
    each = math.ceil(n / max(1, len(instructions)))
    asked = [user(VARY[tongue(text)].format(text=text)) for text in instructions]
    drawn = await gather(*(lm.asample(prompt, each) for prompt in asked))
    return list(dict.fromkeys(text for draws in drawn for draw in draws if (text := line(draw.text)) is not None))[:n]


async def bandit(
    lm: LM, instructions: Sequence[str], dev: Sequence[Problem], pulls: int, c: float = 1.0
) -> list[Tried]:  # fmt: skip
    """What `pulls` problems, asked one at a time, say of the instructions. An instruction is asked the development
    problems in their order, and each time round with new draws. UserError for fewer pulls than instructions."""
    if pulls < len(instructions) or not instructions or not dev:
        raise UserError(f"{pulls} pulls for {len(instructions)} instructions on {len(dev)} problems: give more")
    right, asked = [0] * len(instructions), [0] * len(instructions)
    for pull in range(pulls):
        best = max(range(len(instructions)), key=lambda i: bound(right[i], asked[i], pull, c))
        problem = dev[asked[best] % len(dev)]
        again = branch(lm, ("again", asked[best] // len(dev)))
        right[best] += problem.right(await instructed(again, problem, instruction=instructions[best]))
        asked[best] += 1
    return [Tried(text, right[i] / asked[i], asked[i]) for i, text in enumerate(instructions)]


def bound(right: int, asked: int, pulls: int, c: float) -> float:
    """The upper confidence bound of an instruction; one that was never asked comes first."""
    return right / asked + c * math.sqrt(math.log(pulls) / asked) if asked else math.inf
