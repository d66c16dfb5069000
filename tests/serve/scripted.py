"""An engine that says what it is told to: the contract of `infer.engine.Engine` without a model."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jielong.base import noise
from jielong.infer.pieces import Pieces, TextStream
from jielong.infer.request import Piece, Request
from jielong.units.codec import Tokenizer


@dataclass(frozen=True)
class Stats:
    running: int = 0
    waiting: int = 0
    used: int = 0
    blocks: int = 64
    queries: int = 0
    hits: int = 0
    preemptions: int = 0
    drafts: int = 0
    proposed: tuple[int, ...] = ()
    accepted: tuple[int, ...] = (3, 1)


class ScriptedEngine:
    """`script(request)` is the whole text; `delay` seconds pass before each token. `open` counts live streams."""

    def __init__(self, codec: Tokenizer, script: Callable[[Request], str], delay: float = 0.0) -> None:
        self.codec, self.script, self.delay = codec, script, delay
        self.pieces = Pieces(codec)
        self.open, self.begun, self.closed, self.fault = 0, 0, False, ""
        self.seen: list[Request] = []

    def stats(self) -> Stats:
        return Stats(running=self.open, used=self.open)

    def observe(self, on_event: Callable[[Any], None]) -> None:
        """Nothing is told: nothing waits."""

    async def close(self, drain: bool = True) -> None:
        self.closed = True

    async def embed(self, texts: Sequence[tuple[int, ...]]) -> np.ndarray:
        return np.stack([np.bincount(t, minlength=self.codec.size)[:16] + 0.5 for t in texts]).astype(np.float32)

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        self.open += 1
        self.begun += 1
        self.seen.append(request)
        try:
            async for piece in self._write(request):
                yield piece
        finally:
            self.open -= 1

    async def _write(self, request: Request) -> AsyncIterator[Piece]:
        s, told = request.sampling, self.script(request)
        ids = [*self.codec.encode(told), self.codec.end]
        text = TextStream(self.pieces, s.stop)
        known: dict[str, Any] = {}
        if request.echo:
            known["prompt_logprobs"] = (None, *(self.logprob(i) for i in request.prompt[1:]))
            known["prompt_top"] = ((), *(self.top(i, s.logprobs) for i in request.prompt[1:]))
        said = ""
        for n, id in enumerate(ids, 1):
            await asyncio.sleep(self.delay)
            if self.fault:
                raise RuntimeError(self.fault)
            stop = id if id in s.stop_ids else None
            said += self.codec.decode([id]) if stop is None else ""
            hit = next((w for w in s.stop if w in said), stop)
            reason = "stop" if hit is not None else "length" if n == s.max_tokens else ""
            shown = "" if stop is not None else text.push(id)
            shown += text.close(hit) if reason else ""
            top = (self.top(id, s.logprobs),) if s.logprobs else ()
            yield Piece(shown, (id,), (self.logprob(id),), top, reason, hit, **known)
            known = {}
            if reason:
                return

    def logprob(self, id: int) -> float:
        """Any fixed number below 0."""
        return math.log(0.05 + 0.9 * noise.uniform(1, id))

    def top(self, id: int, k: int) -> tuple[tuple[int, float], ...]:
        ids = list(dict.fromkeys([id, *range(self.codec.size)]))[:k]
        return tuple(sorted(((i, self.logprob(i)) for i in ids), key=lambda pair: -pair[1]))
