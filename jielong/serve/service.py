"""What the endpoints share: one engine, its tokenizer, and the way from a request to its pieces.

service = Service(engine, codec, name="assistant", context=2048)
async for index, piece in service.pieces(ask): ...
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from jielong.base.errors import UserError
from jielong.infer.request import Piece, Processor, Request
from jielong.infer.sampling import Sampling
from jielong.serve.errors import ApiError, wrong
from jielong.serve.fields import SEEDS, Sampled
from jielong.serve.metrics import Metrics

if TYPE_CHECKING:
    import numpy as np

    from jielong.units.codec import Tokenizer

T = TypeVar("T")
NONE: Mapping[str, str] = MappingProxyType({})
LEAST_SHARE = 1e-9  # top_p 0 means the most probable token, as at OpenAI


class Engine(Protocol):
    """The part of `infer.engine.Engine` that the server uses."""

    def stream(self, request: Request) -> AsyncIterator[Piece]:
        """The pieces of one text; closing the iterator ends it and frees its blocks."""
        ...

    async def embed(self, texts: Sequence[tuple[int, ...]]) -> np.ndarray:
        """One vector a text, (N, D)."""
        ...

    def stats(self) -> Any:
        """running, waiting, blocks used and total, and so on: see `metrics.py`."""
        ...

    def observe(self, on_event: Callable[[Any], None]) -> None:
        """Tell of each arrival, start, token and finish."""
        ...

    async def close(self, drain: bool = True) -> None:
        """Finish what runs (or not), and stop."""
        ...


@dataclass(frozen=True)
class Limits:
    """What one server and one request may cost. Times in seconds, sizes in bytes."""

    body: int = 4 << 20
    arrival: float = 30.0  # in which a body must be here
    seconds: float = 600.0  # for a whole answer
    stall: float = 60.0  # that a reader may take for what lies ready
    choices: int = 2048  # texts that one request may ask for
    queue: int = 4096  # texts that may run and wait altogether
    rate: float = 0.0  # requests a minute from one client; 0: no limit


@dataclass(frozen=True)
class Ask:
    """What a request wants written: `n` texts after each prompt. `limit` of 0 asks for the prompts alone."""

    prompts: tuple[tuple[int, ...], ...]
    sampling: Sampling
    limit: int
    n: int = 1
    processors: tuple[Processor, ...] = ()
    echo: bool = False
    key: str = ""
    client: str = ""
    draft: str | None = None
    guess: int | None = None
    adapter: str = ""


@dataclass
class Written:
    """One text, as it comes together."""

    text: str = ""
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top: list[Any] = field(default_factory=list)
    reason: str = "length"
    stopped_by: int | str | None = None  # a stop token is the last of `ids`, and no part of the text
    first: Piece | None = None

    def add(self, piece: Piece) -> None:
        """Take the next piece."""
        self.first = self.first or piece
        self.text += piece.text
        self.ids += piece.ids
        self.logprobs += piece.logprobs
        self.top += piece.top
        if piece.reason:
            self.reason, self.stopped_by = piece.reason, piece.stopped_by

    def whole(self) -> Piece:
        """All of it as one piece."""
        first = self.first or Piece("")
        return Piece(
            self.text,
            tuple(self.ids),
            tuple(self.logprobs),
            tuple(self.top),
            self.reason,
            self.stopped_by,
            first.prompt_logprobs,
            first.prompt_top,
            first.cached,
        )


class Service:
    """One model being served, and beside it the engine's `adapters`: the fingerprint of each by its name."""

    def __init__(
        self,
        engine: Engine,
        codec: Tokenizer,
        *,
        name: str,
        context: int | None,
        width: int | None = None,
        fingerprint: str = "",
        limits: Limits = Limits(),
        adapters: Mapping[str, str] = NONE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.engine, self.codec, self.name, self.context, self.width = engine, codec, name, context, width
        self.fingerprint = f"fp_{fingerprint[:12]}" if fingerprint else None
        self.adapters = adapters
        self.limits, self.clock, self.born = limits, clock, int(clock())
        self.metrics = Metrics(name, engine.stats, adapters)
        engine.observe(self.metrics.event)
        self.busy = 0  # texts asked of the engine and not finished

    @property
    def ends(self) -> tuple[int, ...]:
        """The tokens at which a reply is over: end of document, end of turn."""
        found: dict[int, None] = {}
        for name in ("end", "turn_end"):
            with suppress(AttributeError, UserError):  # a tokenizer without such a token
                found[getattr(self.codec, name)] = None
        return tuple(found)

    def adapter(self, name: str | None) -> str:
        """The adapter that a request's `model` means: BASE:ADAPTER, or the adapter's name alone; "" for the base.
        ApiError 404 for a model that is not here."""
        if name is None or name == self.name:
            return ""
        found = name.removeprefix(f"{self.name}:")
        if found not in self.adapters:
            there = ", ".join(repr(self.called(each)) for each in ("", *self.adapters))
            raise ApiError(404, f"no model {name[:100]!r} here: there is {there}", "model", "model_not_found")
        return found

    def called(self, adapter: str) -> str:
        """What an answer names as its model."""
        return f"{self.name}:{adapter}" if adapter else self.name

    def print_of(self, adapter: str) -> str | None:
        """The fingerprint of what has written."""
        known = self.fingerprint is not None and adapter
        return f"{self.fingerprint}_{self.adapters[adapter][:12]}" if known else self.fingerprint

    async def prepare(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work` beside the loop: templates and grammars may be slow, and other requests go on."""
        try:
            return await asyncio.to_thread(work, *args)
        except UserError as error:
            raise ApiError(400, str(error)) from error

    def check_prompt(self, ids: Sequence[int], place: str = "prompt") -> tuple[int, ...]:
        """The ids, when the model can read them and there is room for one token more. ApiError otherwise."""
        if not ids:
            raise wrong(place, "is empty: give the model at least one token to go on from")
        if max(ids) >= self.codec.size:
            raise wrong(place, f"holds token {max(ids)}: this model has 0 to {self.codec.size - 1}")
        if self.context is not None and len(ids) >= self.context:
            raise ApiError(
                400,
                f"{place} has {len(ids)} tokens and the model's context is {self.context}: shorten it",
                place,
                "context_length_exceeded",
            )
        return tuple(ids)

    def sampling(self, body: Sampled, limit: int, top: int = 0) -> Sampling:
        """The request's settings as the engine's. Without a seed it is drawn here, once for all its texts."""
        size = self.codec.size
        unknown = next((i for i in body.stop_token_ids if i >= size), None)
        if unknown is not None:
            raise wrong("stop_token_ids", f"{unknown} is no token of this model: it has 0 to {size - 1}")
        seed = secrets.randbits(62) if body.seed is None else body.seed % SEEDS
        ends = () if body.ignore_eos else self.ends
        try:
            return Sampling(
                temperature=body.temperature,
                top_k=max(body.top_k, 0),
                top_p=max(body.top_p, LEAST_SHARE),
                min_p=body.min_p,
                typical=body.typical_p,
                repetition_penalty=body.repetition_penalty,
                presence_penalty=body.presence_penalty,
                frequency_penalty=body.frequency_penalty,
                logit_bias=tuple(body.biases(size).items()),
                bad_words=tuple(body.bad_words),
                max_tokens=max(limit, 1),
                stop=tuple(dict.fromkeys(body.stop)),
                stop_ids=tuple(dict.fromkeys((*body.stop_token_ids, *ends))),
                seed=seed,
                logprobs=top,
            )
        except UserError as error:
            raise ApiError(400, str(error), code="invalid_value") from error

    async def pieces(self, ask: Ask) -> AsyncGenerator[tuple[int, Piece], None]:
        """(number of the text, piece) of all texts as they come: text i of prompt p has number p * n + i.

        Closing the iterator ends them all. ApiError 503 when the server is full, 504 when time is up.
        """
        count = len(ask.prompts) * ask.n
        if count > self.limits.choices:
            raise ApiError(400, f"{count} texts asked for at once: at most {self.limits.choices}", "n")
        if self.busy + count > self.limits.queue:
            raise ApiError(503, "the server is full: try again in a moment", code="overloaded", retry=1)
        self.busy += count
        coming: asyncio.Queue[tuple[int, Piece | None] | BaseException] = asyncio.Queue()
        tasks = [asyncio.create_task(self._write(ask, i, coming)) for i in range(count)]
        until = asyncio.get_running_loop().time() + self.limits.seconds
        try:
            while count:
                async with asyncio.timeout_at(until):
                    got = await coming.get()
                if isinstance(got, BaseException):
                    raise got
                number, piece = got
                if piece is None:
                    count -= 1
                else:
                    yield number, piece
        except TimeoutError as error:
            raise ApiError(504, f"not finished within {self.limits.seconds:g} s", code="timeout") from error
        except UserError as error:
            raise ApiError(400, str(error)) from error
        finally:
            for task in tasks:
                task.cancel()
            try:  # who hangs up just now cancels this too
                await asyncio.gather(*tasks, return_exceptions=True)
            finally:
                self.busy -= len(tasks)

    async def written(self, ask: Ask) -> list[Written]:
        """All texts, whole."""
        found = [Written() for _ in range(len(ask.prompts) * ask.n)]
        async with aclosing(self.pieces(ask)) as coming:
            async for number, piece in coming:
                found[number].add(piece)
        return found

    async def _write(self, ask: Ask, number: int, out: asyncio.Queue[Any]) -> None:
        """Put the pieces of one text into `out`, then None; or what went wrong."""
        try:
            prompt, index = divmod(number, ask.n)
            if ask.limit == 0 and not ask.echo:  # nothing is to be written: nothing needs to be read
                out.put_nowait((number, Piece("", reason="length")))
            else:
                await self._run(ask, ask.prompts[prompt], index, number, out)
            out.put_nowait((number, None))
        except Exception as error:
            out.put_nowait(error)

    async def _run(self, ask: Ask, prompt: tuple[int, ...], index: int, number: int, out: asyncio.Queue[Any]) -> None:
        request = Request(
            prompt, ask.sampling, index, ask.processors, ask.echo, client=ask.client, key=f"{ask.key}-{number}",
            draft=ask.draft, guess=ask.guess, adapter=ask.adapter,
        )
        times = self.metrics.text(len(prompt), ask.adapter)
        async with aclosing(self.engine.stream(request)) as coming:  # type: ignore[type-var]
            async for piece in coming:
                times.piece(piece)
                if ask.limit == 0:  # the engine writes one token at least; it was not asked for
                    bare = replace(piece, text="", ids=(), logprobs=(), top=(), reason="length", stopped_by=None)
                    out.put_nowait((number, bare))
                    return
                out.put_nowait((number, piece))


def usage(prompts: Sequence[Sequence[int]], written: Sequence[Written]) -> dict[str, Any]:
    """Tokens read and written, counted from ids; a prompt read for several texts counts once."""
    read = sum(map(len, prompts))
    wrote = sum(len(w.ids) for w in written)
    n = max(1, len(written) // max(1, len(prompts)))
    cached = sum(w.first.cached for w in written[::n] if w.first is not None)
    return {
        "prompt_tokens": read,
        "completion_tokens": wrote,
        "total_tokens": read + wrote,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def new_id(kind: str) -> str:
    """chatcmpl-..., cmpl-..., call_..., and the like."""
    return kind + secrets.token_hex(12)
