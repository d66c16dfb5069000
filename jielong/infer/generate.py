"""Text from a model, many requests at a time.

The ladder: `Core.step` chooses one token for every running row, `steps` runs a core to its end, `generate` collects.
Which token a row takes depends on its own logits, settings and seed, never on what runs beside it.

    generate(model, [codec.encode("Once")], Sampling(max_tokens=20, temperature=0))
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.infer.choose import Token
from jielong.infer.core import Core, Mode
from jielong.infer.pieces import Pieces
from jielong.infer.request import Request, Top
from jielong.infer.runner import NONE
from jielong.infer.sampling import Sampling
from jielong.nets.adapters.adapter import Adapter


@dataclass(frozen=True, slots=True)
class Generated:
    """What one request gave. `ids` ends with the stop token when one ended it; `text` and `answer` do not."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]  # of each of `ids`, natural log, by the model's own law
    reason: str  # "stop", "length" or "cancelled"
    stopped_by: int | str | None = None
    text: str = ""
    top: tuple[Top, ...] = ()  # for each token the likeliest (id, logprob)

    @property
    def answer(self) -> tuple[int, ...]:
        """The ids without the stop token."""
        return self.ids[:-1] if isinstance(self.stopped_by, int) else self.ids


@dataclass
class Record:
    """What a row has given so far."""

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top: list[Top] = field(default_factory=list)
    reason: str = "cancelled"
    stopped_by: int | str | None = None

    def add(self, token: Token) -> None:
        """One token more, or the end."""
        if token.id is not None:
            self.ids.append(token.id)
            self.logprobs.append(token.logprob)
            self.top += [token.top] if token.top else []
        if token.reason:
            self.reason, self.stopped_by = token.reason, token.stopped_by

    def finished(self, pieces: Pieces | None) -> Generated:
        """The whole. A record without an ending was cancelled."""
        shown = self.ids[:-1] if isinstance(self.stopped_by, int) else self.ids
        text = pieces.text(shown, self.stopped_by) if pieces else ""
        return Generated(tuple(self.ids), tuple(self.logprobs), self.reason, self.stopped_by, text, tuple(self.top))


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    samplings: Sampling | Sequence[Sampling],
    *,
    pieces: Pieces | None = None,
    on_token: Callable[[int, int, float], object] | None = None,
    cancelled: set[int] | None = None,
    **options: Any,
) -> list[Generated]:
    """One `Generated` for each prompt, in order.

    `samplings`: one for all, or one each; the noise of a row is addressed by its `seed`, so several draws of
    one prompt need several seeds. `pieces` fills `text` and allows stop strings and bad words given as
    strings. `on_token(row, id, logprob)` is called for each token as it comes; a true answer puts the row
    into `cancelled`, which ends it. `options` as in `steps`. UserError on a prompt that is empty, too long or
    holds unknown ids. A model with dropout must be in eval mode.
    """
    cancelled = set() if cancelled is None else cancelled
    records = [Record() for _ in prompts]
    for tokens in steps(model, prompts, samplings, pieces=pieces, cancelled=cancelled, **options):
        for token in tokens:
            records[token.row.number].add(token)
            if on_token is not None and token.id is not None and on_token(token.row.number, token.id, token.logprob):
                cancelled.add(token.row.number)
    return [record.finished(pieces) for record in records]


def steps(
    model: Any,
    prompts: Sequence[Sequence[int]],
    samplings: Sampling | Sequence[Sampling],
    *,
    pieces: Pieces | None = None,
    source: noise.Source | None = None,
    cancelled: Collection[int] = (),
    batch: int = 128,
    tap: Any = None,
    mode: Mode = "fast",
    adapters: Mapping[str, Adapter] = NONE,
    adapter: str = "",
) -> Iterator[list[Token]]:
    """Tokens as they come; at most `batch` rows run together. `model` may be a `Core`, which then serves again.
    `adapter`: which of the `adapters` (as in `Core`) writes, by its name.

    `source` takes the place of the seeds: every choice is `source.choose(probabilities, row, position)`, so
    `noise.enumerate_choices` gives the exact law of all that happens here. `cancelled` is looked at before
    each token: rows put into it end. `tap` is handed to the model. The first row's error is raised.
    """
    each = _each(samplings, len(prompts))
    requests = [Request(tuple(map(int, p)), s, adapter=adapter) for p, s in zip(prompts, each)]
    if batch < 1:
        raise UserError(f"batch is {batch}: give 1 or more")
    if not requests:
        return
    if isinstance(model, Core):
        core = model
    else:
        length = max(len(r.prompt) + r.sampling.max_tokens for r in requests)
        core = Core(model, pieces, mode=mode, streams=min(batch, len(requests)), length=length, chunk=PREFILL_TOKENS,
                    source=source, tap=tap, adapters=adapters)  # fmt: skip
    rows = dict(enumerate(_submitted(core, requests)))
    try:
        while rows:
            for number in [n for n in cancelled if n in rows]:
                core.cancel(rows.pop(number))
            tokens = core.step()
            for token in tokens:
                if token.error is not None:
                    del rows[token.row.number]
                    raise token.error
                if token.reason:
                    del rows[token.row.number]
            yield tokens
    finally:
        for row in rows.values():
            core.cancel(row)


PREFILL_TOKENS = 8192  # tokens in one step, over all rows


def _submitted(core: Core, requests: Sequence[Request]) -> list[Any]:
    """All or none: every request is looked at before the first is taken. The longest go first."""
    for request in requests:
        core.check(request)
    order = sorted(range(len(requests)), key=lambda i: (-len(requests[i].prompt), requests[i].prompt))
    rows = {i: core.submit(requests[i], i) for i in order}
    return [rows[i] for i in range(len(requests))]


def _each(samplings: Sampling | Sequence[Sampling], n: int) -> list[Sampling]:
    """One setting for each of n prompts."""
    each = [samplings] * n if isinstance(samplings, Sampling) else list(samplings)
    if len(each) != n:
        raise UserError(f"{len(each)} settings for {n} prompts: give one for all, or one each")
    return each
