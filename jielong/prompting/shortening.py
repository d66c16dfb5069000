"""Prompt shortening: leave out what the answers do not need (FrugalGPT's prompt adaptation, Chen et al. 2023).

    short = await shorten(lm, instruction, examples, dev, test, loss=0.01)

The prompt is the sentences of an instruction and some examples. Each part that is still there is left out in turn and
the rest is scored on the development problems; the part whose absence costs least (of equals the longest) goes, as long
as the score stays within `loss` of the whole prompt's. What was saved is paid once for the search and gained with every
question; the score that counts is the one on `test`, where nothing was chosen.

Oracle: if only the parts in a set S matter, and a prompt without one of them is never right, what is left is S.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jielong.base.errors import UserError
from jielong.lm.meter import count_words
from jielong.lm.protocol import LM, gather
from jielong.prompting.instructed import accuracy
from jielong.prompting.strategy import Example, Problem

SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*|\n+")


@dataclass(frozen=True)
class Short:
    """The prompt that is left; its words for each of the whole's; scores of the whole and of the rest on the problems
    that chose it, and on others (None without any); how many problems the search asked."""

    instruction: str
    examples: tuple[Example, ...]
    kept: float
    whole: float
    dev: float
    test: float | None
    evaluations: int


async def shorten(
    lm: LM, instruction: str, examples: Sequence[Example], dev: Sequence[Problem], test: Sequence[Problem] = (), *,
    loss: float = 0.0,
) -> Short:  # fmt: skip
    """Leave out parts while the score on `dev` falls by no more than `loss`. UserError without problems or parts."""
    parts: list[str | Example] = [*sentences(instruction), *examples]
    if not dev or not parts:
        raise UserError(f"{len(parts)} parts of a prompt and {len(dev)} problems: give some of each")
    whole = now = await scored(lm, parts, dev)
    left, evaluations = list(parts), len(dev)
    while left:
        without = [left[:place] + left[place + 1 :] for place in range(len(left))]
        scores = await gather(*(scored(lm, rest, dev) for rest in without))
        evaluations += len(dev) * len(left)
        best = max(range(len(left)), key=lambda place: (scores[place], words(left[place])))
        if scores[best] < whole - loss:
            break
        left, now = without[best], scores[best]
    text, shown = split(left)
    kept = sum(map(words, left)) / sum(map(words, parts))
    return Short(text, shown, kept, whole, now, await scored(lm, left, test) if test else None, evaluations)


async def scored(lm: LM, parts: Sequence[str | Example], problems: Sequence[Problem]) -> float:
    """The share right under a prompt of these parts."""
    text, shown = split(parts)
    return await accuracy(lm, text, problems, shown)


def split(parts: Sequence[str | Example]) -> tuple[str, tuple[Example, ...]]:
    """The instruction and the examples that parts make up."""
    text = " ".join(each for each in parts if isinstance(each, str))
    return text, tuple(each for each in parts if isinstance(each, Example))


def sentences(text: str) -> list[str]:
    """The sentences of a text, in either language."""
    return [each.strip() for each in SENTENCE.split(text) if each.strip()]


def words(part: str | Example) -> int:
    """How long a part is."""
    return count_words(part if isinstance(part, str) else f"{part.question} {part.answer}")
