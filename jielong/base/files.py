"""Files that are whole or not there: a killed run never leaves half of one.

Everything is written under a temporary name in the same directory, synced, renamed over the old name, and
the directory synced. A temporary holds an flock while its writer lives, so one left by ``kill -9`` is told
apart and swept by the next writer of the same name. A full disk is one line (WorkFailed), not a traceback.
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import hashlib
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jielong.base.errors import UserError, WorkFailed
from jielong.base.plain import dumps, loads

FULL = {errno.ENOSPC, errno.EDQUOT}
RUN_MARK = ".jielong-run"
STALE_AFTER = 10.0  # seconds: a temporary may be older than its lock by less than this


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """``with atomic_file(p) as t: save(t)``: p becomes what was written to t, or stays as it was.

    Links are followed; a device (``/dev/stdout``) is written directly. Raises UserError when the place
    cannot be written to, WorkFailed when the disk is full.
    """
    path = Path(os.path.realpath(path))
    if os.path.isdir(path):  # of os.path: Path's own raise where a name is too long
        raise UserError(f"{path} is a folder; give the name of a file")
    if os.path.exists(path) and not os.path.isfile(path):
        yield path
        return
    with _telling(path):
        temporary = _temporary(path)
        temporary.touch(exist_ok=False)
    with _held(temporary):
        try:
            with _telling(path, body=True):
                yield temporary
            with _telling(path):
                _sync(temporary)
                os.replace(temporary, path)
                _sync(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def atomic_dir(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """The same for a folder. An existing one is exchanged in one step where the system can (Linux).

    Raises UserError if it exists and ``overwrite`` is not asked for.
    """
    path = Path(os.path.realpath(path))
    if os.path.exists(path) and not (overwrite and os.path.isdir(path)):
        raise UserError(f"{path} exists; choose another name or allow it to be overwritten")
    with _telling(path):
        temporary = _temporary(path)
        temporary.mkdir()
    with _held(temporary):
        try:
            with _telling(path, body=True):
                yield temporary
            with _telling(path):
                for folder, _, names in os.walk(temporary):
                    for name in names:
                        _sync(Path(folder, name))
                    _sync(Path(folder))
                _swap(temporary, path)
                _sync(path.parent)
        finally:  # on success this is the old folder, on failure the unfinished one
            shutil.rmtree(temporary, ignore_errors=True)


def atomic_write(path: str | Path, data: bytes | str) -> None:
    """Write all of ``data`` (text as UTF-8, line ends untouched) or nothing."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)


def write_json(path: str | Path, value: Any) -> None:
    """See ``base.plain`` for what can be written; ``read_json`` gives it back exactly."""
    atomic_write(path, dumps(value, indent=1) + "\n")


def read_json(path: str | Path) -> Any:
    """Raises UserError for a file that is missing, not UTF-8, or not (all of) a JSON document."""
    try:
        return loads(Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{path} is not a whole JSON document ({error})") from error


def append_jsonl(path: str | Path, record: Mapping[str, Any], sync: bool = False) -> None:
    """Add one line with one write, so lines of several writers never mix.

    A torn last line (a writer was killed in the middle) is taken off first: appending to it would turn it
    into a broken line in the middle, which no reader may tolerate. ``sync``: survive a power cut too.
    """
    line = dumps(record).encode() + b"\n"
    path = Path(path)
    with _telling(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            size = _whole_lines(handle)
            try:
                written = os.write(handle, line)
                if written < len(line):  # the disk filled up in the middle of the line
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                os.ftruncate(handle, size)
                raise
            if sync:
                os.fsync(handle)
        finally:
            os.close(handle)


def read_jsonl(path: str | Path, tolerate_tail: bool = False) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file (``.gz`` too), one a line, empty lines skipped.

    Raises UserError naming the line that is broken, or is not an object. ``tolerate_tail``: a last line
    without its line end, as a killed writer leaves it, is passed over in silence.
    """
    path = Path(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if not text.strip():
                    continue
                try:
                    record = loads(text)
                except ValueError as error:
                    if tolerate_tail and not line.endswith(b"\n"):
                        return
                    raise UserError(f"{path} line {number} is not JSON ({error}); mend it") from error
                if not isinstance(record, dict):
                    raise UserError(f"{path} line {number} is not an object {{...}}; mend it")
                yield record
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def run_dir(root: str | Path, name: str, overwrite: bool = False) -> Path:
    """Make ``root/name`` for a run and mark it as one.

    Raises UserError if something is there. With ``overwrite`` an earlier run is removed first, but only a
    folder that carries the mark of a run: ``--out ~ --overwrite`` must not empty a home.
    """
    if not name or name in (".", "..") or Path(name).name != name:
        raise UserError(f"{name!r} is not a name for a run; use letters, digits and dashes")
    path = Path(root) / name
    if overwrite and os.path.isdir(path) and any(path.iterdir()):
        if not (path / RUN_MARK).is_file():
            raise UserError(f"{path} was not made by a run, so it is not removed; choose another name")
        with _telling(path):
            doomed = path.rename(_temporary(path))
        shutil.rmtree(doomed, ignore_errors=True)
    if os.path.exists(path) and not (os.path.isdir(path) and not any(path.iterdir())):
        replaced = ", or replace it with --overwrite" if os.path.isdir(path) else ": it is a file"
        raise UserError(f"{path} exists; choose another name with --out{replaced}")
    with _telling(path):
        path.mkdir(parents=True, exist_ok=True)
        with open(path / RUN_MARK, "x", encoding="utf-8") as file:  # "x": of two racing runs one is told
            file.write("made by jielong; --overwrite may remove this folder\n")
    return path


def digest(source: Path | bytes) -> str:
    """SHA-256 in hex of a file or of bytes. Raises UserError for a file that cannot be read."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    try:
        with open(source, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {source}: {error.strerror or error}") from error


def _temporary(path: Path) -> Path:
    """A fresh name beside ``path``; its parents are made, and what dead writers left there is swept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(f".{_escaped(path.name)}.*.tmp"):
        try:
            if time.time() - old.stat().st_mtime > STALE_AFTER and _unheld(old):
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        except OSError:
            continue  # another writer was quicker, or it is not ours to remove
    return path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}.tmp"


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks: then nothing can be swept there either
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _unheld(path: Path) -> bool:
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _swap(new: Path, path: Path) -> None:
    """Put folder ``new`` at ``path``; what was there, if anything, ends up at ``new``."""
    if not path.exists():
        os.rename(new, path)
        return
    import ctypes

    exchange = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if exchange is not None and exchange(here, os.fsencode(new), here, os.fsencode(path), swap) == 0:
        return
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.old")  # never swept: a kill now keeps both
    os.rename(path, aside)
    os.rename(new, path)
    os.rename(aside, new)


def _whole_lines(handle: int) -> int:
    """Cut a torn last line off an open JSONL file; the size that stays, in bytes."""
    size = os.fstat(handle).st_size
    if size == 0 or os.pread(handle, 1, size - 1) == b"\n":
        return size
    tail, start = b"", size
    while start > 0 and b"\n" not in tail:
        start = max(0, start - 65536)
        tail = os.pread(handle, size - start, start)
    last = tail[tail.rfind(b"\n") + 1 :]
    try:
        loads(last)
    except ValueError:
        os.ftruncate(handle, size - len(last))
        return size - len(last)
    return size + os.write(handle, b"\n")  # whole, only its line end is missing


@contextmanager
def _telling(path: Path, body: bool = False) -> Iterator[None]:
    """Turn the system's refusals into one line. ``body``: somebody else's code runs, so only a full disk."""
    try:
        yield
    except (UserError, WorkFailed):
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        # numpy's tofile says "N requested and M written", safetensors what the system says; neither has errno
        large = number == errno.EFBIG or os.strerror(errno.EFBIG) in str(error)
        full = number in FULL or any(s in str(error) for s in ("No space left", "requested and"))
        if large:
            raise WorkFailed(f"{path} would be larger than a file may be here (ulimit -f)") from error
        if full:
            raise WorkFailed(f"the disk is full: {path} was not written; make room first") from error
        if body or number is None:
            raise
        if number == errno.EIO:
            raise WorkFailed(f"the disk failed while writing {path}: {error}") from error
        raise UserError(f"cannot write {path}: {os.strerror(number)}; choose another place") from error
