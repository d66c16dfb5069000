"""A part of Python in an interpreter that knows no machine: pydantic-monty, written in Rust, in a process of its own.

It has no files but those of its folder, no network, no processes, no C: what it lacks cannot be reached. A program may
use classes, generators and a few modules (math, re, json, datetime, random, csv, ...), not all of Python.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from jielong.agents.sandbox.confined import folder, gather
from jielong.agents.sandbox.ran import DEFAULT, NO_FILES, End, Limits, Ran, Sandbox, check
from jielong.base.errors import UserError


class _Full(Exception):
    """More was printed than is wanted."""


class Monty(Sandbox):
    """One worker waits, and is replaced by the pool when it dies; every run is a session of its own."""

    name, full = "monty", False

    def __init__(self) -> None:
        self._pool: Any = None
        self._lock = threading.Lock()

    def run(self, code: str, limits: Limits = DEFAULT, files: Mapping[str, bytes] = NO_FILES) -> Ran:
        from pydantic_monty import MountDir

        check(code, files)
        said = _Said(limits.output)
        pool = self._started()
        with folder(files) as work:
            began = time.monotonic()
            with MountDir(
                host_path=work, virtual_path="/work", mode="read-write", write_bytes_limit=limits.disk
            ) as disk:
                end = _feed(pool, code, limits, said, disk)
            seconds = time.monotonic() - began
            left = gather(work, limits.disk, files)
        return Ran(said.text("stdout"), said.text("stderr"), end, seconds, left)

    def close(self) -> None:
        with self._lock:
            if self._pool is not None:
                self._pool.__exit__(None, None, None)
                self._pool = None

    def _started(self) -> Any:
        try:
            from pydantic_monty import Monty as Pool
        except ImportError as error:
            raise UserError("pydantic-monty is not installed: pip install 'jielong[agents]'") from error
        with self._lock:
            if self._pool is None:
                self._pool = Pool(min_processes=1, max_processes=2).__enter__()
            return self._pool


class _Said:
    """What was printed, each stream up to a limit."""

    def __init__(self, most: int) -> None:
        self.most, self.full, self.parts = most, False, {"stdout": "", "stderr": ""}

    def __call__(self, stream: str, text: str) -> None:
        self.parts[stream] += text
        if len(self.parts[stream].encode("utf-8", "replace")) > self.most:
            self.full = True
            raise _Full

    def text(self, stream: str) -> str:
        """Cut at the limit."""
        return self.parts[stream].encode("utf-8", "replace")[: self.most].decode("utf-8", "ignore")


def _feed(pool: Any, code: str, limits: Limits, said: _Said, disk: Any) -> End:
    from pydantic_monty import MontyCrashedError, MontyError, MontyRuntimeError

    bounds = {"max_feed_duration_secs": limits.seconds, "max_memory": limits.memory,
              "max_total_sleep_secs": limits.seconds, "max_suspensions": 10_000}  # fmt: skip
    try:
        with pool.checkout(limits=bounds, os_policy={"sleep_system_max": float("inf")}) as session:
            value = session.feed_run(code, print_callback=said, mount=disk, cwd="/work")
            if value is not None:
                said("stdout", f"{value!r}\n")
            return "done"
    except _Full:
        return "output"
    except MontyCrashedError as error:
        return "time" if getattr(error, "timed_out", False) else "killed"
    except MontyRuntimeError as error:
        if said.full:
            return "output"
        with suppress(_Full):
            said("stderr", error.display() + "\n")
        return _end(error.exception())
    except MontyError as error:
        with suppress(_Full):
            said("stderr", str(error) + "\n")
        return "error"


def _end(raised: BaseException) -> End:
    words: tuple[tuple[type[BaseException], str, End], ...] = (
        (TimeoutError, "limit exceeded", "time"), (MemoryError, "limit exceeded", "memory"),
        (OSError, "disk write limit", "disk"))  # fmt: skip
    return next((end for kind, word, end in words if isinstance(raised, kind) and word in str(raised)), "error")
