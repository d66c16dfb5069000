"""Continuous batching over one model: a worker thread steps, any number of asyncio tasks stream.

    engine = Engine(model, codec)
    async for piece in engine.stream(Request(ids, Sampling(max_tokens=50))):
        print(piece.text, end="")
    await engine.close()

A text may begin and end at any step; closing its stream ends it and frees its pages. A fault inside one request ends
that request only; a fault of the model itself ends those that run, and the engine goes on.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from jielong.base.errors import UserError, WorkFailed
from jielong.infer.choose import Token
from jielong.infer.core import Core
from jielong.infer.generate import Generated, Record
from jielong.infer.pieces import Pieces, TextStream
from jielong.infer.request import Piece, Request
from jielong.infer.runner import CACHE_BYTES, NONE
from jielong.infer.sampling import Sampling
from jielong.infer.schedule import Row

if TYPE_CHECKING:
    import numpy as np

    from jielong.infer.draft.drafting import Drafting
    from jielong.nets.adapters.adapter import Adapter
    from jielong.units.codec import Tokenizer

POLL = 0.05  # seconds between looks whether the interpreter is ending
IDLE = 2.0  # seconds without work after which the thread ends; the next request starts another


@dataclass(frozen=True, slots=True)
class Stats:
    """How things stand. `queries` and `hits` count prompt tokens looked for and found in the prefix cache."""

    running: int
    waiting: int
    used: int  # pages that texts own
    kept: int  # pages whose content may be found again
    blocks: int
    queries: int
    hits: int
    preemptions: int
    written: int  # tokens
    steps: int
    drafts: int = 0  # steps of texts that had guesses; how many guesses there were, and how many stayed, by place
    proposed: tuple[int, ...] = ()
    accepted: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a request, and when (time.perf_counter): arrival, start of the work, token or finish."""

    kind: Literal["arrival", "start", "token", "finish"]
    request: Request
    time: float
    tokens: int = 0  # written so far
    reason: str = ""


@dataclass(eq=False)
class _Text:
    """One request on its way: how its tokens become pieces, and where these go."""

    request: Request
    send: Callable[[Piece | Generated | Exception], None]
    stream: TextStream | None = None  # None: only the whole is wanted
    record: Record = field(default_factory=Record)
    row: Row | None = None
    begun: bool = False
    started: bool = False  # its first step was told to who watches

    def take(self, token: Token, pieces: Pieces) -> None:
        """Hand on what a step gave."""
        if token.error is not None:
            self.send(token.error)
            return
        self.record.add(token)
        if self.stream is None:
            if token.reason:
                self.send(self.record.finished(pieces))
            return
        shown = token.id is not None and not isinstance(token.stopped_by, int)
        text = self.stream.push(token.id) if shown and token.id is not None else ""
        text += self.stream.close(token.stopped_by) if token.reason else ""
        ids, logprobs = ((token.id,), (token.logprob,)) if token.id is not None else ((), ())
        top = (token.top,) if token.top else ()
        about = {} if self.begun else self._prompt(token.row)
        self.begun = True
        self.send(Piece(text, ids, logprobs, top, token.reason, token.stopped_by, **about))

    def _prompt(self, row: Row) -> dict[str, Any]:
        if row.report is None:
            return {"cached": row.cached}
        logprobs, tops = row.report
        return {"prompt_logprobs": (None, *logprobs), "prompt_top": ((), *tops) if tops else ()}


class Engine:
    """`model` and its `codec`; the rest as in `Core`. `pieces` where they were made before."""

    def __init__(self, model: Any, codec: Tokenizer, *, mode: Literal["fast", "exact"] = "fast", streams: int = 32,
                 memory: int = CACHE_BYTES, chunk: int = 512, bits: int = 32, sinks: int | None = None,
                 pieces: Pieces | None = None, drafting: Drafting | None = None,
                 adapters: Mapping[str, Adapter] = NONE) -> None:  # fmt: skip
        self.model, self.codec, self.mode = model, codec, mode
        self.pieces = pieces or Pieces(codec)
        self.core = Core(model, self.pieces, mode=mode, streams=streams, memory=memory, chunk=chunk, bits=bits,
                         sinks=sinks, drafting=drafting, adapters=adapters)  # fmt: skip
        self.lock = threading.Lock()  # one forward pass at a time: two would only slow each other
        self.inbox: deque[tuple[str, _Text | None]] = deque()
        self.wake = threading.Condition()
        self.thread: threading.Thread | None = None
        self.texts: dict[Row, _Text] = {}
        self.watchers: list[Callable[[Event], None]] = []
        self.closing = False
        self.written = self.steps = 0

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        """The pieces of one text, as they are written. UserError before anything begins if it cannot be served."""
        self._accept(request)
        loop = asyncio.get_running_loop()
        coming: asyncio.Queue[Any] = asyncio.Queue()

        def send(item: Any) -> None:
            loop.call_soon_threadsafe(coming.put_nowait, item)

        text = _Text(request, send, TextStream(self.pieces, request.sampling.stop))
        self._put("add", text)
        over = False
        try:
            while not over:
                item = await coming.get()
                over = isinstance(item, Exception) or bool(item.reason)
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            if not over:
                self._put("cancel", text)

    async def write(self, request: Request) -> Generated:
        """The whole text at once: less to do than for a stream. Cancelling the call ends the text."""
        self._accept(request)
        future: Future[Generated] = Future()

        def send(item: Any) -> None:
            if not future.cancelled():
                future.set_exception(item) if isinstance(item, Exception) else future.set_result(item)

        text = _Text(request, send)
        self._put("add", text)
        try:
            return await asyncio.wrap_future(future)
        finally:
            if text.record.reason == "cancelled":
                self._put("cancel", text)

    async def score(self, ids: tuple[int, ...], start: int, adapter: str = "") -> list[float]:
        """Log-probabilities (natural) of ids[start:], each given all before it; `start` is 1 or more."""
        from jielong.infer.score import score

        if adapter:  # as a prompt that is echoed, after which nothing is written
            if start < 1:
                raise UserError("scoring starts at the second token or later: give a prompt of at least one token")
            asked = Request(ids, Sampling(max_tokens=0), echo=True, adapter=adapter)
            pieces = [piece async for piece in self.stream(asked)]
            return [p for p in pieces[0].prompt_logprobs[start:] if p is not None]
        return (await self._aside(lambda: score(self.model, [ids], [start])))[0].tolist()

    async def embed(self, texts: Sequence[tuple[int, ...]]) -> np.ndarray:
        """One vector a text, (N, D) float32: the mean over its tokens of the stream after the last norm."""
        from jielong.infer.score import embed

        return await self._aside(lambda: embed(self.model, texts))

    def stats(self) -> Stats:
        """How things stand at this moment."""
        plan, blocks = self.core.scheduler, self.core.scheduler.blocks
        running = len(plan.running)
        waiting = len(plan) - running + sum(kind == "add" for kind, _ in list(self.inbox))
        drafting = self.core.drafting
        tally = drafting.tally if drafting else None
        guesses = (tally.steps, tuple(tally.proposed), tuple(tally.accepted)) if tally else ()
        return Stats(running, waiting, blocks.used, len(blocks.kept), blocks.count - 1, plan.queries, plan.hits,
                     plan.preemptions, self.written, self.steps, *guesses)  # fmt: skip

    def observe(self, on_event: Callable[[Event], None]) -> None:
        """Call this at each arrival, token and finish, from the worker's thread."""
        self.watchers.append(on_event)

    async def close(self, drain: bool = True) -> None:
        """Take nothing new; finish what was begun (or, without `drain`, cancel it); stop."""
        self.closing = True
        if not drain:
            self._put("end", None)
        with self.wake:
            self.wake.notify()
            thread = self.thread
        if thread is not None:
            await asyncio.to_thread(thread.join)

    def _accept(self, request: Request) -> None:
        if self.closing:
            raise UserError("the engine is closing and takes no new request")
        self.core.check(request)

    async def _aside(self, work: Callable[[], Any]) -> Any:
        """Something else to do with the model, between steps."""

        def locked() -> Any:
            with self.lock:
                return work()

        return await asyncio.to_thread(locked)

    def _put(self, what: str, text: _Text | None) -> None:
        with self.wake:
            self.inbox.append((what, text))
            if self.thread is None:
                # not a daemon: the interpreter must not end while it is inside a product
                self.thread = threading.Thread(target=self._work, name="jielong engine")
                self.thread.start()
            self.wake.notify()

    def _work(self) -> None:
        """The thread: take what came in, step, hand out; end when there has been nothing to do for a while."""
        main = threading.main_thread()
        while True:
            with self.wake:
                quiet = time.monotonic()
                while not (self.inbox or self.core.busy or self.closing) and time.monotonic() - quiet < IDLE:
                    if not main.is_alive():  # the interpreter waits for us to end
                        break
                    self.wake.wait(POLL)
                if not main.is_alive() or not (self.inbox or self.core.busy):
                    self.thread = None
                    return
                came = [self.inbox.popleft() for _ in range(len(self.inbox))]
            for what, text in came:
                self._take(what, text)
            if self.core.busy:
                self._step()

    def _take(self, what: str, text: _Text | None) -> None:
        if text is None:
            for each in list(self.texts.values()):
                self._drop(each)
                self._send(each, each.record.finished(self.pieces) if each.stream is None else _ended(each.stream))
        elif what == "add":
            self._tell("arrival", text)
            try:
                text.row = self.core.submit(text.request)
            except Exception as error:
                self._send(text, error)
                return
            self.texts[text.row] = text
        else:
            self._drop(text)

    def _drop(self, text: _Text) -> None:
        if text.row is not None and self.texts.pop(text.row, None) is not None:
            self.core.cancel(text.row)
            self._tell("finish", text, "cancelled")

    def _step(self) -> None:
        began = time.perf_counter()
        try:
            with self.lock:
                tokens = self.core.step()
        except Exception as error:  # the model itself: nothing that was in the cache can be trusted
            for text in self.texts.values():
                self._send(text, WorkFailed(f"the model failed: {error}"))
            self.texts.clear()
            self.core.clear()
            return
        self.steps += 1
        if self.watchers:
            for row in (*self.core.scheduler.running, *(token.row for token in tokens)):
                self._tell_start(self.texts.get(row), began)
        for token in tokens:
            asked = self.texts.get(token.row)
            if asked is not None:
                self._hand(asked, token)

    def _hand(self, text: _Text, token: Token) -> None:
        self.written += token.id is not None
        self._tell("token", text)
        if token.error is not None or token.reason:
            self.texts.pop(token.row, None)
            self._tell("finish", text, token.reason or "error")
        try:
            text.take(token, self.pieces)
        except RuntimeError:  # its event loop is gone, and whoever waited with it
            self._drop(text)

    @staticmethod
    def _send(text: _Text, item: Piece | Generated | Exception) -> None:
        with suppress(RuntimeError):  # its event loop is gone
            text.send(item)

    def _tell_start(self, text: _Text | None, when: float) -> None:
        """A text that waited has had its first step."""
        if text is not None and not text.started:
            text.started = True
            for watcher in self.watchers:
                watcher(Event("start", text.request, when))

    def _tell(self, kind: Literal["arrival", "token", "finish"], text: _Text, reason: str = "") -> None:
        if self.watchers:
            written = text.row.written if text.row is not None else 0
            event = Event(kind, text.request, time.perf_counter(), written, reason)
            for watcher in self.watchers:
                watcher(event)


def _ended(stream: TextStream) -> Piece:
    return Piece(stream.close(), reason="cancelled")
