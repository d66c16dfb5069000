"""From the asynchronous core to the plain face, also where a loop is already running (a notebook)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result; in a thread of its own if this one's loop is busy running us."""
    if not _looping():
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def iterate(pieces: AsyncIterator[T]) -> Iterator[T]:
    """What an asynchronous iterator yields. Closing this one closes that one."""
    loop = asyncio.new_event_loop()
    pool: AbstractContextManager[Any] = ThreadPoolExecutor(1) if _looping() else nullcontext()
    with pool as thread:
        step: Callable[[Any], Any] = loop.run_until_complete
        if thread is not None:
            step = lambda call: thread.submit(loop.run_until_complete, call).result()  # noqa: E731
        try:
            while True:
                try:
                    piece = step(_next(pieces))
                except _Over:
                    return
                yield piece
        finally:
            step(_close(pieces))
            step(loop.shutdown_default_executor())
            loop.close()


def _looping() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _next(pieces: AsyncIterator[T]) -> T:
    try:
        return await anext(pieces)
    except StopAsyncIteration as error:  # a future cannot carry this one
        raise _Over from error


class _Over(Exception):
    """The end of an asynchronous iterator."""


async def _close(pieces: AsyncIterator[Any]) -> None:
    close = getattr(pieces, "aclose", None)
    if close is not None:
        await close()
