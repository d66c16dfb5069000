"""What is asked, what comes back, and between them the strategy: an asynchronous function of a model and a problem.

    async def direct(lm: LM, problem: Problem) -> Answer: ...

    strategy = vote(cot, n=40)                       # strategies are made of strategies by plain calls
    answer = solve(strategy, lm, Problem("2 + 3?", gold="5", read=number))

All that is random in a strategy is the model's draws, or noise that is addressed by the problem. A strategy that asks
one thing several times does so on `branch`es of the model, so its draws are the same in any order and at any
concurrency, and the first three of `vote(s, n=5)` are those of `vote(s, n=3)`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jielong.lm.prompts import Message, Prompt, key_of
from jielong.lm.protocol import LM, Draw, Score, Usage
from jielong.lm.sync import run

if TYPE_CHECKING:
    import numpy as np

PATH: ContextVar[tuple[object, ...]] = ContextVar("path", default=())  # the branch of the call that is being made
Reader = Callable[[str], "str | None"]  # a reply -> the answer in it in one normal form; None where there is none


def whole(reply: str) -> str | None:
    """The reply without spaces at its ends; None of an empty one. What a problem reads by unless it says otherwise."""
    return reply.strip() or None


@dataclass(frozen=True)
class Example:
    """A question with its answer, and the steps to it where somebody wrote them."""

    question: str
    answer: str
    steps: str = ""


@dataclass(frozen=True)
class Problem:
    """What is asked. `gold`, `check` and `meta` are for those who judge: no strategy looks at them.

    `read` finds the answer in a reply; `check` says of an answer whether it is right (default: it reads as `gold`
    does); `examples`: worked ones of the same kind, from which a strategy may choose.
    """

    text: str
    id: str = ""
    gold: str | None = None
    read: Reader = whole
    check: Callable[[Answer], bool] | None = None
    examples: tuple[Example, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def right(self, answer: Answer) -> bool:
        """Whether the answer is right; one that was not given never is."""
        if self.check is not None:
            return self.check(answer)
        return answer.value is not None and self.gold is not None and answer.value == self.read(self.gold)


@dataclass(frozen=True)
class Answer:
    """`value`: what `Problem.read` found, None where it found nothing or the strategy abstained: never a guess.
    `text`: what the model said. `votes`: how many said what, where several were asked. `note`: why, in a few words."""

    value: str | None
    text: str = ""
    votes: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


Strategy = Callable[[LM, Problem], Awaitable[Answer]]


def solve(strategy: Strategy, lm: LM, problem: Problem) -> Answer:
    """The strategy's answer, from code that is not asynchronous."""

    async def solved() -> Answer:
        return await strategy(lm, problem)

    return run(solved())


def tongue(text: str) -> str:
    """In which of the two languages a question is asked, so that the words around it are too: "zh" or "en"."""
    return "zh" if re.search(r"[\u3400-\u9fff]", text) else "en"


def user(text: str, *before: Message) -> list[Message]:
    """A chat that ends with the user saying `text`, after `before`."""
    return [*before, {"role": "user", "content": text}]


def assistant(text: str) -> Message:
    """A turn of the model's."""
    return {"role": "assistant", "content": text}


async def say(lm: LM, prompt: Prompt, start: int = 0, **sampling: Any) -> str:
    """One reply's text, without spaces at its ends."""
    (draw,) = await lm.asample(prompt, 1, start, **sampling)
    return draw.text.strip()


def read(problem: Problem, reply: str, note: str = "") -> Answer:
    """The reply as an answer."""
    return Answer(problem.read(reply), reply, note=note)


def branch(lm: LM, place: object, **defaults: Any) -> Branch:
    """The model with draws of its own for `place` (a number, or any plain value), the same whenever it is asked for.

    `defaults`: settings of sampling for calls that do not say them.
    """
    if isinstance(lm, Branch):
        return Branch(lm.lm, (*lm.path, place), {**lm.defaults, **defaults})
    return Branch(lm, (place,), defaults)


def having(lm: LM, **defaults: Any) -> Branch:
    """The model with settings of sampling for calls that do not say them; its draws stay where they are."""
    if isinstance(lm, Branch):
        return Branch(lm.lm, lm.path, {**lm.defaults, **defaults})
    return Branch(lm, (), defaults)


class Branch(LM):
    """See `branch`. Draw i of a branch is the model's draw (a number that stands for the path) + i."""

    def __init__(self, lm: LM, path: Sequence[object], defaults: Mapping[str, Any]) -> None:
        self.lm, self.path, self.defaults = lm, tuple(path), dict(defaults)
        self.name, self.capabilities = lm.name, lm.capabilities
        # room for a million draws, within 60 bits; without a path the model's own draws, with settings
        self.first = int(key_of("branch", *self.path)[:10], 16) << 20 if self.path else 0

    @property
    def usage(self) -> Usage:
        return self.lm.usage

    async def asample(self, prompt: Prompt, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
        with self._here():
            return await self.lm.asample(prompt, n, self.first + start, **{**self.defaults, **sampling})

    def astream(self, prompt: Prompt, start: int = 0, **sampling: Any) -> AsyncIterator[str]:
        return self.lm.astream(prompt, self.first + start, **{**self.defaults, **sampling})

    async def ascore(self, prompt: Prompt, continuations: Sequence[str]) -> list[Score]:
        with self._here():
            return await self.lm.ascore(prompt, continuations)

    async def aembed(self, texts: Sequence[str]) -> np.ndarray:
        with self._here():
            return await self.lm.aembed(texts)

    @contextmanager
    def _here(self) -> Iterator[None]:
        """Say to whoever writes down the call on which branch it is made."""
        before = PATH.set(self.path)
        try:
            yield
        finally:
            PATH.reset(before)

    def fork(self, prefix: Prompt) -> LM:
        return Branch(self.lm.fork(prefix), self.path, self.defaults)
