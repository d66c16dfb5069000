"""Text from a model, many requests at a time.

The ladder: `steps` yields one token for every running row, `generate` collects them. Rows are sorted by
length and run in waves; a prompt asked for several times is read once; finished rows leave the wave in
geometric steps. Which token a row takes depends on its own logits, settings and seed, never on its wave.

    generate(model, [codec.encode("Once")], Sampling(max_tokens=20, temperature=0))
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.infer.pieces import Pieces
from jielong.infer.runner import CACHE_BYTES, Prefix, context_of, runner
from jielong.infer.sampling import Sampling
from jielong.infer.wave import CANCELLED, RUNNING, STOP_ID, Request, Step, Wave

REASONS = ("running", "stop", "stop", "length", "cancelled")


@dataclass(frozen=True, slots=True)
class Generated:
    """What one request gave. `ids` ends with the stop token when one ended it; `text` and `answer` do not."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]  # of each of `ids`, natural log, by the model's own law
    reason: str  # "stop", "length" or "cancelled"
    stopped_by: int | str | None = None
    text: str = ""
    top: tuple[tuple[tuple[int, float], ...], ...] = ()  # for each token the likeliest (id, logprob)

    @property
    def answer(self) -> tuple[int, ...]:
        """The ids without the stop token."""
        return self.ids[:-1] if isinstance(self.stopped_by, int) else self.ids


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
    kept: list[Step] = []
    for step in steps(model, prompts, samplings, pieces=pieces, cancelled=cancelled, **options):
        kept.append(step)
        if on_token is not None:
            for row, id, logprob in zip(step.rows.tolist(), step.ids.tolist(), step.logprobs.tolist()):
                if on_token(row, id, logprob):
                    cancelled.add(row)
    each = _each(samplings, len(prompts))
    return collect(kept, len(prompts), pieces, [s.logprobs for s in each])


def steps(
    model: Any,
    prompts: Sequence[Sequence[int]],
    samplings: Sampling | Sequence[Sampling],
    *,
    pieces: Pieces | None = None,
    source: noise.Source | None = None,
    cancelled: Collection[int] = (),
    batch: int = 128,
    prefix: Prefix | Sequence[Prefix | None] | None = None,
    tap: Any = None,
) -> Iterator[Step]:
    """Tokens as they come, wave by wave; at most `batch` rows run together.

    `source` takes the place of the seeds: every choice is `source.choose(probabilities, row, position)`, so
    `noise.enumerate_choices` gives the exact law of all that happens here. `cancelled` is looked at before
    each token: rows put into it end. `prefix`: tokens already read that prompts may begin with, one for all
    or one each. `tap` is handed to the model.
    """
    requests = _requests(model, prompts, samplings)
    if batch < 1:
        raise UserError(f"batch is {batch}: give 1 or more")
    prefixes = [prefix] * len(requests) if prefix is None or isinstance(prefix, Prefix) else list(prefix)
    groups: dict[int, list[Request]] = {}
    for request, own in zip(requests, prefixes):
        groups.setdefault(id(own), []).append(request)
    tops = max((r.sampling.logprobs for r in requests), default=0)
    for group in groups.values():
        group.sort(key=lambda r: (-len(r.prompt), r.prompt))
        run = runner(model, prefixes[group[0].number], tap)
        while group:
            length = max(len(r.prompt) + r.limit for r in group[:batch])
            size = min(batch, _fitting(model, length))
            yield from Wave(run, group[:size], pieces, tops, source, cancelled).run()
            del group[:size]


def collect(kept: Sequence[Step], n: int, pieces: Pieces | None = None,
            tops: Sequence[int] = ()) -> list[Generated]:
    """Put the tokens of `steps` together, for prompts 0 to n-1, with `tops` alternatives each.

    A row without an ending was cancelled.
    """
    rows = np.concatenate([np.zeros(0, dtype=np.int64), *(s.rows for s in kept)])
    order = np.argsort(rows, kind="stable")  # a row's tokens come in their order
    edges = np.searchsorted(rows[order], np.arange(n + 1))
    stops: dict[int, str] = {}
    for s in kept:
        stops |= s.stops

    def joined(arrays: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(arrays)[order] if arrays else np.zeros(0)

    ids, logprobs = joined([s.ids for s in kept]), joined([s.logprobs for s in kept])
    reasons = joined([s.reasons for s in kept])
    top_ids = joined([s.top[0] for s in kept if s.top is not None])
    top_logprobs = joined([s.top[1] for s in kept if s.top is not None])
    out = []
    for row in range(n):
        part = slice(edges[row], edges[row + 1])
        drawn = tuple(ids[part].tolist())
        last = int(reasons[part][-1]) if drawn else CANCELLED
        last = CANCELLED if last == RUNNING else last
        stop = drawn[-1] if last == STOP_ID else stops.get(row)
        text = pieces.text(drawn[:-1] if last == STOP_ID else drawn, stop) if pieces else ""
        wanted = tops[row] if row < len(tops) else 0
        pairs = zip(top_ids[part].tolist(), top_logprobs[part].tolist()) if wanted else ()
        top = tuple(tuple(zip(i[:wanted], p[:wanted])) for i, p in pairs)
        out.append(Generated(drawn, tuple(logprobs[part].tolist()), REASONS[last], stop, text, top))
    return out


def _each(samplings: Sampling | Sequence[Sampling], n: int) -> list[Sampling]:
    """One setting for each of n prompts."""
    each = [samplings] * n if isinstance(samplings, Sampling) else list(samplings)
    if len(each) != n:
        raise UserError(f"{len(each)} settings for {n} prompts: give one for all, or one each")
    return each


def _requests(model: Any, prompts: Sequence[Sequence[int]],
              samplings: Sampling | Sequence[Sampling]) -> list[Request]:
    """Check what was asked for."""
    each = _each(samplings, len(prompts))
    context = context_of(model)
    size = getattr(getattr(model, "config", None), "vocab", None)
    return [_request(i, tuple(map(int, p)), s, context, size) for i, (p, s) in enumerate(zip(prompts, each))]


def _request(number: int, prompt: tuple[int, ...], sampling: Sampling, context: int | None,
             size: int | None) -> Request:
    if not prompt:
        raise UserError("the prompt is empty: give the model at least one token to go on from")
    if min(prompt) < 0 or (size is not None and max(prompt) >= size):
        wrong = next(i for i in prompt if i < 0 or (size is not None and i >= size))
        raise UserError(f"the prompt holds token {wrong}: the model has 0 to {size - 1 if size else 'n'}")
    if context is None:
        return Request(number, prompt, sampling, sampling.max_tokens)
    if len(prompt) >= context:
        raise UserError(f"the prompt has {len(prompt)} tokens and the model's context is {context}: "
                        f"shorten the prompt to at most {context - 1}")
    return Request(number, prompt, sampling, min(sampling.max_tokens, context - len(prompt)))


def _fitting(model: Any, length: int) -> int:
    """How many rows of this length the cache may hold in CACHE_BYTES."""
    config = getattr(model, "config", None)
    sizes = [getattr(config, name, 0) for name in ("layers", "kv_heads", "head_dim")]
    return max(1, CACHE_BYTES // max(1, 2 * 4 * length * int(np.prod(sizes))))
