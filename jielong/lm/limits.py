"""No more requests and tokens a minute than a server allows.

    lm = Limited(Remote(url, "small"), requests=60, tokens=90_000)

In no window of 60 seconds, wherever it begins, are more than `requests` sent, nor calls that may use more than
`tokens`: a log of the last minute, not a bucket, which would let twice as many through at its edge. Calls go first
come, first served. A call counts as the most it may use until it is back, then as what it used.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from jielong.base.errors import UserError
from jielong.lm.money import longest
from jielong.lm.prompts import Prompt
from jielong.lm.protocol import LM, Draw, Score, Usage, check_draws, gather, settings

if TYPE_CHECKING:
    import numpy as np

MINUTE = 60.0
LEAST = 1e-3  # seconds: a shorter wait may not move a clock at all


class Limited(LM):
    """`lm`, waiting before a call until it may be sent. 0: no limit. Each draw is a request.

    `clock` gives seconds and `sleep` waits for them: a test brings its own. UserError for a call that alone is more
    than a minute's tokens.
    """

    transparent = True  # to a cache: what is said does not depend on it

    def __init__(self, lm: LM, requests: int = 0, tokens: int = 0, *, clock: Callable[[], float] = time.monotonic,
                 sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep) -> None:  # fmt: skip
        if requests < 0 or tokens < 0:
            raise UserError(f"limits of {requests} requests and {tokens} tokens a minute: give 0 (none) or more")
        self.lm, self.requests, self.tokens, self.clock, self.sleep = lm, requests, tokens, clock, sleep
        self.capabilities = lm.capabilities
        self.waited = 0.0  # seconds, of all calls together
        self._sent: deque[list[float]] = deque()  # [when, tokens] of the last minute
        self._lock = threading.Lock()
        self._queues: weakref.WeakKeyDictionary[Any, asyncio.Lock] = weakref.WeakKeyDictionary()

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.lm.name

    @property
    def usage(self) -> Usage:
        return self.lm.usage

    async def asample(self, prompt: Prompt, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
        check_draws(n, start)
        most = self._most(prompt, sampling)

        async def one(index: int) -> Draw:
            sent = await self._turn(most)
            (draw,) = await self.lm.asample(prompt, 1, index, **sampling)
            sent[1] = max(0, draw.usage.tokens)
            return draw

        return list(await gather(*(one(index) for index in range(start, start + n))))

    async def astream(self, prompt: Prompt, start: int = 0, **sampling: Any) -> AsyncIterator[str]:
        await self._turn(self._most(prompt, sampling))
        async for piece in self.lm.astream(prompt, start, **sampling):
            yield piece

    async def ascore(self, prompt: Prompt, continuations: Sequence[str]) -> list[Score]:
        async def one(text: str) -> Score:
            await self._turn(longest(self.lm, prompt) + longest(self.lm, text) + 1)
            return (await self.lm.ascore(prompt, [text]))[0]

        return list(await gather(*map(one, continuations)))

    async def aembed(self, texts: Sequence[str]) -> np.ndarray:
        await self._turn(sum(longest(self.lm, text) for text in texts))
        return await self.lm.aembed(texts)

    def _most(self, prompt: Prompt, sampling: Any) -> int:
        wanted = settings(sampling)
        return longest(self.lm, prompt) + wanted.max_tokens

    async def _turn(self, tokens: int) -> list[float]:
        """Wait until a call of so many tokens may be sent; its entry in the log."""
        if 0 < self.tokens < tokens:
            raise UserError(f"the call may use {tokens} tokens and {self.tokens} are allowed a minute: ask for shorter "
                            "draws, or raise the limit")  # fmt: skip
        queue = self._queues.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        async with queue:
            while True:
                with self._lock:
                    now = self.clock()
                    wait = self._wait(now, tokens)
                    if wait <= 0:
                        entry = [now, float(tokens)]
                        self._sent.append(entry)
                        return entry
                    self.waited += wait
                await self.sleep(wait)

    def _wait(self, now: float, tokens: int) -> float:
        """Seconds until the log has room; 0 where it has."""
        while self._sent and now - self._sent[0][0] >= MINUTE:
            self._sent.popleft()
        count, used = len(self._sent), sum(each for _, each in self._sent)
        wait = 0.0
        for when, each in self._sent:
            if self._room(count, used, tokens):
                break
            count, used, wait = count - 1, used - each, max(LEAST, when + MINUTE - now)
        return wait

    def _room(self, count: int, used: float, tokens: int) -> bool:
        """Whether one more call may be sent after `count` of them in a minute."""
        return (not self.requests or count < self.requests) and (not self.tokens or used + tokens <= self.tokens)
