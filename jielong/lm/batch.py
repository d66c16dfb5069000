"""Collecting what concurrent calls ask for, so that a model does it in one go."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Collection, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")
TURNS = 3  # of the loop, for tasks that are on their way to ask


@dataclass
class _Job(Generic[A, B]):
    """One call: its rows, where its answer goes, and where it stands in the batch that runs."""

    rows: list[A]
    answer: asyncio.Future[list[B]]
    batch: set[int] = field(default_factory=set)
    places: range = range(0)


@dataclass
class _Line(Generic[A, B]):
    """The calls that wait in one event loop, and the task that serves them."""

    waiting: list[_Job[A, B]] = field(default_factory=list)
    server: asyncio.Task[None] | None = None


class Collector(Generic[A, B]):
    """`await collector(rows)` gives `work(rows)`'s answers; calls made meanwhile are worked on together.

    `work(rows, cancelled)` runs in a thread, one at a time over all loops, and gives one answer a row; it may
    skip rows whose number is (or comes to be) in `cancelled`: those whose caller has gone away. When it
    fails on several calls it is tried again on each alone, so that one wrong call does not fail the others.
    """

    def __init__(self, work: Callable[[list[A], Collection[int]], Sequence[B]], lock: threading.Lock) -> None:
        self.work, self.lock = work, lock
        self.lines: MutableMapping[asyncio.AbstractEventLoop, _Line[A, B]] = weakref.WeakKeyDictionary()

    async def __call__(self, rows: list[A]) -> list[B]:
        loop = asyncio.get_running_loop()
        line = self.lines.setdefault(loop, _Line())
        job: _Job[A, B] = _Job(rows, loop.create_future())
        line.waiting.append(job)
        if line.server is None or line.server.done():
            line.server = loop.create_task(self._serve(line))
        try:
            return await job.answer
        finally:
            if job in line.waiting:
                line.waiting.remove(job)
            if job.answer.cancelled():
                job.batch.update(job.places)

    async def _serve(self, line: _Line[A, B]) -> None:
        while line.waiting:
            for _ in range(TURNS):
                await asyncio.sleep(0)
            jobs, line.waiting = line.waiting, []
            try:
                await self._answer(jobs)
            except Exception as error:
                if len(jobs) == 1:
                    _fail(jobs[0], error)
                    continue
                for job in jobs:
                    try:
                        await self._answer([job])
                    except Exception as own:
                        _fail(job, own)

    async def _answer(self, jobs: list[_Job[A, B]]) -> None:
        rows: list[A] = []
        cancelled: set[int] = set()
        for job in jobs:
            job.batch, job.places = cancelled, range(len(rows), len(rows) + len(job.rows))
            rows += job.rows
            if job.answer.done():
                cancelled.update(job.places)
        try:
            answers = await asyncio.to_thread(self._locked, rows, cancelled)
        except asyncio.CancelledError:
            cancelled.update(range(len(rows)))  # the loop is closing: let the thread end soon
            raise
        for job in jobs:
            if not job.answer.done():
                job.answer.set_result(list(answers[job.places.start : job.places.stop]))

    def _locked(self, rows: list[A], cancelled: Collection[int]) -> Sequence[B]:
        with self.lock:
            return self.work(rows, cancelled)


def _fail(job: _Job[A, B], error: Exception) -> None:
    if not job.answer.done():
        job.answer.set_exception(error)
