"""A model that says what it was told to: for tests, examples and dry runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jielong.base.errors import UserError
from jielong.lm.meter import Budget, Meter, count_words
from jielong.lm.prompts import Prompt, canonical, key_of, text_of
from jielong.lm.protocol import LM, Draw, Score, Usage, check_draws, settings

Reply = str | Sequence[str]
Replies = Callable[[str, int], str] | Mapping[str, Reply] | Sequence[str]


@dataclass(frozen=True, slots=True)
class Call:
    """One call that a model was sent: for checking exact prompts, orders and counts."""

    verb: str
    prompt: Any
    n: int
    start: int
    sampling: Mapping[str, Any]


class Scripted(LM):
    """Replies from a function (prompt text, draw index) -> text, from a mapping, or from a list.

    A mapping holds prompt text -> reply, or -> a list of replies by draw index (the last one stays); the key
    "" is the reply to all other prompts. A list is used up in the order of the calls, one entry a draw: the
    one form in which order matters. `scores(prompt text, continuation)` gives log-probabilities. `calls`
    records every call. UserError when the script has no reply. Sampling settings are checked; of them
    `stop` and `max_tokens` (in words) have their effect, so that a script obeys what callers rely on.
    """

    def __init__(self, replies: Replies, scores: Callable[[str, str], float] | None = None,
                 budget: Budget | None = None, name: str = "scripted") -> None:
        self.name = name
        self.replies = list(replies) if isinstance(replies, Sequence) else replies
        self.scores = scores
        self.meter = Meter(budget)
        self.calls: list[Call] = []
        self.used = 0
        able = {"sample", "stream", "fork", "seed"}
        self.capabilities = frozenset(able if scores is None else able | {"score"})

    @property
    def usage(self) -> Usage:
        return self.meter.usage

    async def asample(self, prompt: Prompt, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
        check_draws(n, start)
        wanted = settings(sampling)
        request = canonical(prompt)
        self.calls.append(Call("sample", request, n, start, dict(sampling)))
        text = text_of(prompt)
        read = count_words(text)
        with self.meter.call(read + n * wanted.max_tokens) as bill:
            bill.add(prompt=read)
            draws = []
            for index in range(start, start + n):
                reply, reason, written = _cut(self._reply(text, index), wanted.stop, wanted.max_tokens)
                bill.add(completion=written)
                key = key_of(self.name, request, wanted.law(), index)
                draws.append(Draw(reply, reason=reason, key=key, usage=Usage(1, read, written)))
        return draws

    async def astream(self, prompt: Prompt, start: int = 0, **sampling: Any) -> AsyncIterator[str]:
        """The reply word by word."""
        (draw,) = await self.asample(prompt, 1, start, **sampling)
        for word in draw.text.splitlines(keepends=True):
            while word:
                at = word.find(" ", 1)
                piece, word = (word, "") if at < 0 else (word[:at], word[at:])
                yield piece

    async def ascore(self, prompt: Prompt, continuations: Sequence[str]) -> list[Score]:
        if self.scores is None:
            raise self.cannot("score")
        text = text_of(prompt)
        self.calls.append(Call("score", canonical(prompt), len(continuations), 0, {}))
        most = sum(count_words(text) + count_words(c) for c in continuations)
        with self.meter.call(most) as bill:
            bill.add(prompt=most)
            return [Score((self.scores(text, c),), bytes=len(c.encode())) for c in continuations]

    def _reply(self, text: str, index: int) -> str:
        if callable(self.replies):
            return self.replies(text, index)
        if isinstance(self.replies, Mapping):
            found = self.replies.get(text, self.replies.get(""))
            if isinstance(found, str):
                return found
            if found:
                return found[min(index, len(found) - 1)]
            raise UserError(f"the script has no reply to {text!r}: add it, or one for all under the key ''")
        if self.used >= len(self.replies):
            raise UserError(f"the script's {len(self.replies)} replies are used up: {text!r} has none")
        self.used += 1
        return self.replies[self.used - 1]


def _cut(reply: str, stop: Sequence[str], most: int) -> tuple[str, str, int]:
    """The reply up to a stop string or `most` words: text, reason, words."""
    cuts = [reply.find(s) for s in stop if s in reply]
    reply = reply[: min(cuts)] if cuts else reply
    words = count_words(reply)
    if words <= most:
        return reply, "stop", words
    low, high = 0, len(reply)  # the longest beginning of `most` words: word counts never fall with length
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count_words(reply[:middle]) <= most else (low, middle - 1)
    return reply[:low].rstrip(), "length", most
