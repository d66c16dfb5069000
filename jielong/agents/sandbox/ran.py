"""What a sandbox is asked, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol, Self

from jielong.base.errors import UserError

End = Literal["done", "error", "time", "memory", "output", "disk", "killed"]
NO_FILES: Mapping[str, bytes] = MappingProxyType({})
CODE = 1 << 20  # characters of a program: what is longer is data, and belongs into a file


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use. UserError for a limit that leaves nothing to run in.

    `seconds` of wall clock; bytes of `memory` (address space), of `output` (standard output and error, each) and of
    `disk` (each file; the sum of all is looked at some fifty times a second); `open` files.
    """

    seconds: float = 5.0
    memory: int = 256 << 20
    output: int = 64 << 10
    disk: int = 16 << 20
    open: int = 32

    def __post_init__(self) -> None:
        if not (0 < self.seconds <= 3600 and self.memory >= 64 << 20 and self.output > 0 and self.disk >= 0):
            raise UserError("a sandbox needs up to 3,600 seconds, 64 MiB of memory or more, and room for output")
        if not 8 <= self.open <= 1024:
            raise UserError(f"{self.open} open files: give 8 to 1024")


DEFAULT = Limits()


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended and what it left.

    `end`: "done"; "error" (it raised: see `err`); or the limit that stopped it; "killed" by anything else, a crash
    too. `out` and `err` are cut at the limit. `files`: those in its folder at the end that it made or changed.
    """

    out: str
    err: str
    end: End
    seconds: float
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether it came to its end by itself, without an error."""
        return self.end == "done"


class Sandbox(Protocol):
    """Runs one program at a time, each in a new folder, none knowing of the others; a context manager, for some keep
    a process waiting.

    The value of a last line that is an expression is printed, as at Python's prompt. `files` stand in the folder
    before the program starts. UserError for a name that is no plain file name.
    """

    name: str
    full: bool  # CPython with its standard library, or a part of Python

    def run(self, code: str, limits: Limits = ..., files: Mapping[str, bytes] = ...) -> Ran:
        """Run the program. What it does wrong is in the result, never an exception."""
        ...

    def close(self) -> None:
        """End what is waiting."""
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()


async def arun(box: Sandbox, code: str, limits: Limits | None = None, files: Mapping[str, bytes] = NO_FILES) -> Ran:
    """`run`, while other coroutines go on."""
    return await asyncio.to_thread(box.run, code, limits or DEFAULT, files)


def check(code: str, files: Mapping[str, bytes]) -> None:
    """UserError for a program that is too long, or a file's name that could lead elsewhere."""
    if len(code) > CODE:
        raise UserError(f"the program has {len(code):,} characters: at most {CODE:,}; put data into a file")
    for name in files:
        if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name or len(name) > 200:
            raise UserError(f"{name!r} is no plain file name: give one without folders")
