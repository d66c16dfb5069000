"""The one face of every language model: sample, stream, score, embed, fork.

    draws = lm.sample("Once upon a time", n=5, temperature=0.8, max_tokens=40)
    lm.score("The sky is", [" blue", " green"])[0].total

A model implements the asynchronous core (`asample`, `astream`, `ascore`, `aembed`); the plain face follows
from it. A prompt is text, a list of chat messages, or token ids. A draw has an identity: draw i of a request
is the same whatever was asked before or beside it, so `n=10` begins with the draws of `n=5`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from jielong.base.errors import UserError
from jielong.infer.sampling import Sampling
from jielong.lm.prompts import Prompt
from jielong.lm.sync import iterate, run

if TYPE_CHECKING:
    import numpy as np

@dataclass(frozen=True, slots=True)
class Usage:
    """What was used: calls, tokens read, tokens written."""

    calls: int = 0
    prompt: int = 0
    completion: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.calls + other.calls, self.prompt + other.prompt, self.completion + other.completion)

    @property
    def tokens(self) -> int:
        """Read and written together: what a budget counts."""
        return self.prompt + self.completion


@dataclass(frozen=True, slots=True)
class Draw:
    """One reply. `text` is without the stop; `ids` and `logprobs` (natural log) include a stop token."""

    text: str
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    reason: str = "stop"  # "stop", "length" or "cancelled"
    key: str = ""  # the draw's identity: model, request and index
    usage: Usage = field(default_factory=Usage)
    top: tuple[tuple[tuple[int, float], ...], ...] = ()  # the likeliest (id, logprob) at each place


@dataclass(frozen=True, slots=True)
class Score:
    """How probable a continuation is: natural log of each scored token; reads as the list of them."""

    logprobs: tuple[float, ...]
    ids: tuple[int, ...] = ()
    bytes: int = 0  # of the scored tokens' text

    @property
    def total(self) -> float:
        """Log-probability of the whole."""
        return sum(self.logprobs)

    @property
    def mean(self) -> float:
        """Log-probability of a token on average; nan when nothing was scored."""
        return self.total / len(self.logprobs) if self.logprobs else float("nan")

    @property
    def bits_per_byte(self) -> float:
        """-log2 of the probability for each byte of text; nan for no text."""
        return -self.total / 0.6931471805599453 / self.bytes if self.bytes else float("nan")

    def __len__(self) -> int:
        return len(self.logprobs)

    def __iter__(self) -> Iterator[float]:
        return iter(self.logprobs)

    def __getitem__(self, index: int) -> float:
        return self.logprobs[index]


class BadPrompt(UserError):
    """This prompt cannot be answered by this model (it is empty, or too long); another one can."""


class LM(Protocol):
    """A language model. Implementations inherit from this class for the synchronous face.

    `capabilities` names what works: sample, stream, score, embed, fork, and logprobs (draws carry them),
    seed (draws repeat exactly). What is missing raises UserError.
    """

    name: str
    capabilities: frozenset[str]

    @property
    def usage(self) -> Usage:
        """All that was used through this object so far."""
        ...

    async def asample(self, prompt: Prompt, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
        """Draws `start` to `start + n - 1` of this request; `sampling` as in `Sampling`."""
        ...

    def astream(self, prompt: Prompt, start: int = 0, **sampling: Any) -> AsyncIterator[str]:
        """The text of draw `start`, piece by piece, in whole characters."""
        raise self.cannot("stream")

    async def ascore(self, prompt: Prompt, continuations: Sequence[str]) -> list[Score]:
        """How probable each continuation is after the prompt."""
        raise self.cannot("score")

    async def aembed(self, texts: Sequence[str]) -> np.ndarray:
        """One vector a text, (N, D)."""
        raise self.cannot("embed")

    def fork(self, prefix: Prompt) -> LM:
        """The same model with `prefix` before every prompt (of the same kind: text, messages or ids)."""
        from jielong.lm.fork import Fork

        return Fork(self, prefix)

    def cannot(self, what: str) -> UserError:
        """The error for what this model lacks."""
        return UserError(f"{self.name} cannot {what}: it can {', '.join(sorted(self.capabilities))}")

    def sample(self, prompt: Prompt, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
        """As `asample`."""
        return run(self.asample(prompt, n, start, **sampling))

    def sample_many(self, prompts: Sequence[Prompt], n: int = 1, start: int = 0,
                    **sampling: Any) -> list[list[Draw]]:
        """`sample` for several prompts at once."""
        return run(gather(*(self.asample(p, n, start, **sampling) for p in prompts)))

    def stream(self, prompt: Prompt, start: int = 0, **sampling: Any) -> Iterator[str]:
        """As `astream`. Closing the iterator ends the reply."""
        return iterate(self.astream(prompt, start, **sampling))

    def score(self, prompt: Prompt, continuations: Sequence[str]) -> list[Score]:
        """As `ascore`."""
        return run(self.ascore(prompt, continuations))

    def score_many(self, pairs: Sequence[tuple[Prompt, Sequence[str]]]) -> list[list[Score]]:
        """`score` for several (prompt, continuations) at once."""
        return run(gather(*(self.ascore(p, c) for p, c in pairs)))

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """As `aembed`."""
        return run(self.aembed(texts))


async def gather(*calls: Any) -> list[Any]:
    """Run calls together; the first error ends the others, and is the one that is told."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


def settings(sampling: Mapping[str, Any], default: Sampling | None = None) -> Sampling:
    """Keyword arguments as checked settings. A `grammar` is none of them: models that can hold a text to one take it
    from the keyword arguments themselves, others go without."""
    return (default or Sampling()).with_(**{name: value for name, value in sampling.items() if name != "grammar"})


def check_draws(n: int, start: int) -> None:
    """UserError unless n >= 1 and start >= 0."""
    if n < 1 or start < 0:
        raise UserError(f"n is {n} and start is {start}: give n of 1 or more and start of 0 or more")
