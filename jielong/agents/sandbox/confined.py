"""A program in a process of its own: feed it, watch it, end it, and gather what it left.

Whoever confines the process (sandlock, bubblewrap, Docker) makes the `Child`; this is the part that they share. Nothing
here trusts it: its output is cut at the limit, its clock is ours, and of what is in its folder only plain files are
read, never through a link, and no more than the limit.
"""

from __future__ import annotations

import os
import selectors
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

from jielong.agents.sandbox.ran import End, Limits, Ran, check

CODES: dict[int, End] = {0: "done", 1: "error", 77: "memory", 78: "disk"}  # how boot.py says that it ended
LOOK = 0.02  # seconds between two looks at the folder
MOST_FILES = 256
FLAGS = ("-I", "-S", "-B")  # nothing from outside: no site-packages, no environment, no start files


class Child(Protocol):
    """A running process with its three pipes."""

    stdin: IO[bytes] | None
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None

    def kill(self) -> None: ...


def bounds(limits: Limits) -> dict[int, int]:
    """The kernel's limits for one process: the resource, and the most of it."""
    import resource

    return {resource.RLIMIT_AS: limits.memory, resource.RLIMIT_FSIZE: limits.disk, resource.RLIMIT_CORE: 0,
            resource.RLIMIT_CPU: int(limits.seconds) + 2, resource.RLIMIT_NOFILE: limits.open}  # fmt: skip


def command(python: str, limits: Limits | None) -> list[str]:
    """The command that waits for a program on its standard input and runs it, having bound itself to the limits (None:
    somebody else does that before the program comes)."""
    boot = Path(__file__).with_name("boot.py").read_text(encoding="utf-8")
    numbers = [str(number) for pair in bounds(limits).items() for number in pair] if limits else []
    return [python, *FLAGS, "-c", boot, *numbers]


def python() -> tuple[str, list[str]]:
    """This machine's Python without its packages: the program, and all that it has to be able to read."""
    real, prefix = os.path.realpath(sys.executable), Path(sys.base_prefix)
    lib = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = prefix / "lib" / lib if prefix == Path("/usr") else prefix / "lib"
    system = ("/lib", "/lib64", "/etc/ld.so.cache")
    return real, [path for path in (real, str(own), *system) if os.path.exists(path)]


@contextmanager
def folder(files: Mapping[str, bytes]) -> Iterator[Path]:
    """A new folder with the files in it, gone at the end, whatever was made of it."""
    import shutil

    with tempfile.TemporaryDirectory(prefix="jielong-", ignore_cleanup_errors=True) as name:
        work = Path(name) / "work"
        work.mkdir()
        for file, content in files.items():
            (work / file).write_bytes(content)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def confined(
    start: Callable[[Path], Child], wait: Callable[[Any], int], code: str, limits: Limits, files: Mapping[str, bytes]
) -> Ran:
    """Run `code` in the child that `start` makes for a folder. `wait` gives its exit code, once it has ended."""
    check(code, files)
    with folder(files) as work:
        before = dict(files)
        began = time.monotonic()
        child = start(work)
        try:
            out, err, stopped = _watch(child, code.encode("utf-8", "replace"), limits, work, began)
        finally:
            with suppress(OSError, RuntimeError):
                child.kill()
            exit_code = wait(child)
        seconds = time.monotonic() - began
        left = gather(work, limits.disk, before)
    said = [_text(each, limits.output) for each in (out, err)]
    return Ran(said[0], said[1], stopped or CODES.get(exit_code, "killed"), seconds, left)


def _watch(child: Child, code: bytes, limits: Limits, work: Path, began: float) -> tuple[bytes, bytes, End | None]:
    """What the child said, and the limit that it met, if any. It may still run afterwards."""
    assert child.stdin is not None and child.stdout is not None and child.stderr is not None
    found = {child.stdout: bytearray(), child.stderr: bytearray()}
    stopped: End | None = None
    with selectors.DefaultSelector() as ready:
        for each in (child.stdin, child.stdout, child.stderr):
            os.set_blocking(each.fileno(), False)
            ready.register(each, selectors.EVENT_WRITE if each is child.stdin else selectors.EVENT_READ)
        left = memoryview(code)
        looked = began
        while stopped is None and any(pipe in ready.get_map() for pipe in found):
            for key, _ in ready.select(LOOK):
                pipe: Any = key.fileobj
                if pipe is child.stdin:
                    left = _write(pipe, left, ready)
                    continue
                piece = os.read(pipe.fileno(), 65536)
                found[pipe] += piece
                if not piece:
                    ready.unregister(pipe)
                elif len(found[pipe]) > limits.output:
                    stopped = "output"
            now = time.monotonic()
            if now - began > limits.seconds:
                stopped = "time"
            elif now - looked > LOOK:
                looked = now
                if used(work, limits.disk) > limits.disk:
                    stopped = "disk"
    return bytes(found[child.stdout]), bytes(found[child.stderr]), stopped


def _write(pipe: Any, left: memoryview, ready: selectors.BaseSelector) -> memoryview:
    """Some more of the program; at its end, or where nobody reads, the pipe is closed."""
    try:
        left = left[os.write(pipe.fileno(), left) :] if left else left
    except BlockingIOError:
        return left
    except BrokenPipeError:
        left = left[:0]
    if not left:
        ready.unregister(pipe)
        pipe.close()
    return left


def used(work: Path, most: int) -> int:
    """Bytes on disk below a folder; looked for no further than `most`, and no deeper than its entries allow."""
    total, waiting = 0, [str(work)]
    while waiting and total <= most:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    total += max(found.st_blocks * 512, 4096)  # an entry costs something, empty as it may be
                    if stat.S_ISDIR(found.st_mode) and not entry.is_symlink():
                        waiting.append(entry.path)
        except OSError:  # it may vanish while it is looked at
            continue
    return total


def gather(work: Path, most: int, before: Mapping[str, bytes]) -> dict[str, bytes]:
    """The plain files at the top of the folder that are new or changed, `most` bytes of them together at most."""
    found: dict[str, bytes] = {}
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # no link, and no pipe that nobody writes to
    try:
        names = sorted(os.listdir(work))[:MOST_FILES]
    except OSError:
        return found
    for name in names:
        try:
            name.encode("utf-8")
            handle = os.open(work / name, flags)
        except (OSError, UnicodeEncodeError):
            continue
        try:
            about = os.fstat(handle)
            # More than one name: it may be a link to a file that was not the program's.
            if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1 or about.st_size > most:
                continue
            with os.fdopen(handle, "rb", closefd=False) as file:
                content = file.read(most)
        finally:
            os.close(handle)
        if before.get(name) != content:
            most -= len(content)
            found[name] = content
    return found


def _text(said: bytes, most: int) -> str:
    return said[:most].decode("utf-8", "replace")

