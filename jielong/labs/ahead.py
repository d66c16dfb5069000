"""Writing with guesses and without, step by step: what the labs on guessing ahead measure with.

All texts are written in exact mode, where a text has the same bits with guesses and without, beside others and alone.
Time is counted from where each text has its first token; the guessers' own reading of the prompts is in it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jielong.infer.core import Core
    from jielong.infer.draft.drafting import Drafting
    from jielong.infer.draft.types import Drafter, Verify
    from jielong.infer.request import Request
    from jielong.infer.schedule import Row
    from jielong.units.codec import Tokenizer

STREAMS = 32  # texts that are written together where nobody looks at the time


@dataclass
class Written:
    """Of some texts, after their first tokens: `seconds` in all and of guessing, `steps` of the model, `tokens` that
    came, and of each draft (guesses, how many of them stayed)."""

    seconds: float = 0.0
    guessing: float = 0.0
    steps: int = 0
    tokens: int = 0
    drafts: list[tuple[int, int]] = field(default_factory=list)
    texts: list[list[int]] = field(default_factory=list)

    def __iadd__(self, other: Written) -> Written:
        for name in ("seconds", "guessing", "steps", "tokens", "drafts", "texts"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    @property
    def each(self) -> float:
        """Seconds a token."""
        return self.seconds / self.tokens

    @property
    def tokens_a_step(self) -> float:
        """That one text gets from one reading of the model, steps without any guess too."""
        return self.tokens / self.steps


def write(core: Core, requests: Sequence[Request], ahead: Drafting | None = None) -> Written:
    """Write these texts side by side. `steps` are those of one text times the texts."""
    core.clear()
    core.drafting = ahead
    rows = [core.submit(request) for request in requests]
    while not all(row.written for row in rows):
        _step(core)
    found, begun = Written(), sum(row.written for row in rows)
    while core.busy:
        running = len(core.scheduler.running)
        began = time.perf_counter()
        _step(core)
        found.seconds += time.perf_counter() - began
        found.steps += running
        if ahead is not None and ahead.awake:
            found.guessing += ahead.took
            found.drafts += [(proposed, stayed) for _, proposed, stayed in ahead.results]
    found.texts = [row.text[len(row.request.prompt) :] for row in rows]
    found.tokens = sum(map(len, found.texts)) - begun
    if ahead is not None and ahead.reasons:
        raise RuntimeError(f"{ahead.drafter.name}: {ahead.reasons}")
    return found


def _step(core: Core) -> None:
    for token in core.step():
        if token.error is not None:
            raise token.error


def alone(core: Core, requests: Sequence[Request], ahead: Drafting | None = None) -> Written:
    """Write these texts one after another."""
    found = Written()
    for request in requests:
        found += write(core, [request], ahead)
    return found


def texts(core: Core, requests: Sequence[Request]) -> dict[tuple[int, ...], list[int]]:
    """What is written behind each prompt when nobody guesses."""
    found: dict[tuple[int, ...], list[int]] = {}
    for first in range(0, len(requests), STREAMS):
        some = requests[first : first + STREAMS]
        found |= {request.prompt: text for request, text in zip(some, write(core, some).texts, strict=True)}
    return found


def coming(written: Mapping[tuple[int, ...], list[int]]) -> Callable[[Row], Sequence[int]]:
    """What comes next in a text, for a scripted drafter that knows."""
    return lambda row: written[row.request.prompt][row.written :]


def asking(prompts: Sequence[Sequence[int]], tokens: int, temperature: float = 1.0) -> list[Request]:
    """A request for each prompt, each with chances of its own."""
    from jielong.infer.request import Request
    from jielong.infer.sampling import Sampling

    plain = Sampling(max_tokens=tokens, temperature=temperature)
    return [Request(tuple(prompt), plain.with_(seed=i)) for i, prompt in enumerate(prompts)]


def beginnings(documents: Any, size: int, count: int) -> list[list[int]]:
    """The first `size` tokens of documents, no two alike. RuntimeError where there are too few."""
    found: dict[tuple[int, ...], None] = {}
    for i in range(documents.documents):
        ids = documents.document(i)[0][:size].tolist()
        if len(ids) == size:
            found.setdefault(tuple(ids))
        if len(found) == count:
            return [list(each) for each in found]
    raise RuntimeError(f"{len(found)} documents begin differently and {count} are needed")


def stayed(drafts: Sequence[Sequence[int]], most: int) -> list[tuple[int, int]]:
    """(stayed, looked at) of the guesses in each place: one is looked at when all before it have stayed."""
    return [
        (sum(kept > i for _, kept in drafts), sum(kept >= i and proposed > i for proposed, kept in drafts))
        for i in range(most)
    ]


def acceptance(drafts: Sequence[Sequence[int]], most: int) -> float:
    """The share of the guesses looked at that stayed; 0 where there were none."""
    kept, seen = (sum(column) for column in zip(*stayed(drafts, most)))
    return kept / seen if seen else 0.0


def promised(rate: float, guesses: float) -> float:
    """Tokens a step of so many guesses, each of which stays with this probability if those before it did: 1 + a + a^2 +
    ... = (1 - a^(k + 1)) / (1 - a), Leviathan et al. 2023 (arXiv 2211.17192), eq. 1."""
    return guesses + 1 if rate >= 1 else (1 - rate ** (guesses + 1)) / (1 - rate)


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return float(statistics.median(values))


def drafting(drafter: Drafter, verify: Verify | None, guesses: int) -> Drafting:
    """So many guesses in every step; 0: as many as a controller finds best."""
    from jielong.infer.draft.control import Controller
    from jielong.infer.draft.drafting import Drafting

    return Drafting(drafter, verify, guesses or Controller())


def held_out(codec: Tokenizer, seed: int) -> tuple[Any, Any]:
    """Documents of the curriculum that were read, and those that were not."""
    from jielong.labs import stages
    from jielong.train import curriculum as plans

    return plans.pretraining(stages.curriculum(seed), codec)
