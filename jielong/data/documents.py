"""Documents that people have: text, Markdown, HTML, PDF and DOCX, from strangers, as text with headings and pages.

    for path, found in iterate(paths): ...                  # a `Content`, or the line that says why there is none

Nothing that a file holds is believed. Files of libraries are read in a process of its own with limits on memory,
time and what it may write (nothing), which is begun again when a file has ended it; nothing is fetched, entities are
not resolved, what unpacks to more than UNPACKED bytes is left where it is, a text is at most CHARACTERS long. PDF is
read by pypdf, DOCX by python-docx, HTML by lxml (`pip install 'jielong[documents]'`), Markdown by markdown-it.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jielong.base.errors import UserError
from jielong.data.decode import CHUNK, chunks, open_bytes
from jielong.data.read import read
from jielong.data.sources import LINES, suffix

BYTES = 256 << 20  # of a file
UNPACKED = 512 << 20  # of what is packed in it
CHARACTERS = 20_000_000  # of its text
PAGES = 10_000
SECONDS = 120.0  # for a file
MEMORY = 3 << 30  # bytes of the process that reads
EXTRA = "pip install 'jielong[documents]'"


@dataclass(frozen=True)
class Section:
    """text[begin:end] of a document: what stands under a heading ("Methods > Data"), or on a page (0: it has none)."""

    begin: int
    end: int
    heading: str = ""
    page: int = 0


@dataclass(frozen=True)
class Content:
    """A document's text, the sections it is made of, in order, and its title where it says one."""

    text: str
    sections: tuple[Section, ...]
    title: str = ""


class Builder:
    """Puts sections one after the other; UserError once the text is longer than any document's may be."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.sections: list[Section] = []
        self.at = 0

    def add(self, text: str, heading: str = "", page: int = 0) -> None:
        """A section, if there is text in it."""
        text = text.replace("\0", "").strip()
        if not text:
            return
        if self.at + len(text) > CHARACTERS:
            raise UserError(f"more than {CHARACTERS:,} characters: cut it into several files")
        self.sections.append(Section(self.at, self.at + len(text), heading, page))
        self.parts.append(text + "\n\n")
        self.at += len(text) + 2

    def content(self, title: str = "") -> Content:
        """All of it. UserError where there was no text."""
        if not self.sections:
            raise UserError("no text in it (scanned pictures have none)")
        return Content("".join(self.parts), tuple(self.sections), " ".join(title.split())[:300])


def kinds() -> Mapping[str, Callable[[Path], Content]]:
    """Who reads which suffix."""
    from jielong.data import parsers

    return {
        ".txt": plain, ".text": plain, ".rst": plain, ".md": parsers.markdown, ".markdown": parsers.markdown,
        ".html": parsers.html, ".htm": parsers.html, ".xhtml": parsers.html, ".pdf": parsers.pdf, ".docx": parsers.docx,
        ".jsonl": rows, ".ndjson": rows, ".json": rows,
    }  # fmt: skip


def read_document(path: Path) -> Content:
    """A document, in this process. UserError (without the file's name) for what cannot be read."""
    reads = kinds().get(suffix(path))
    if reads is None:
        raise UserError(f"{suffix(path) or 'a file without suffix'}: known are {', '.join(kinds())}")
    check_size(path)
    return reads(path)


def check_size(path: Path) -> None:
    """UserError for a file that is larger than BYTES, or (.gz) unpacks to more than UNPACKED."""
    size = path.stat().st_size
    if size > BYTES:
        raise UserError(f"{size:,} bytes; at most {BYTES:,} are read")
    if path.suffix.lower() == ".gz":
        unpacked = 0
        with open_bytes(path) as file:
            while piece := file.read(CHUNK):
                unpacked += len(piece)
                if unpacked > UNPACKED:
                    raise UserError(f"unpacks to more than {UNPACKED:,} bytes")


def plain(path: Path) -> Content:
    """A text without headings."""
    builder = Builder()
    builder.add(text_of(path))
    return builder.content()


def text_of(path: Path) -> str:
    """The characters of a text file, CHARACTERS at most."""
    parts, length = [], 0
    for piece in chunks(path):
        length += len(piece)
        if length > CHARACTERS:
            raise UserError(f"more than {CHARACTERS:,} characters: cut it into several files")
        parts.append(piece)
    return "".join(parts)


def rows(path: Path) -> Content:
    """Records with a field `text`: each is a section, headed by its title where it has one."""
    builder = Builder()
    for record in read(path):
        title = record.meta.get("title")
        builder.add(record.text, title if isinstance(title, str) else "")
    return builder.content()


class Reader:
    """Reads documents one after the other in a process with limits; `close` ends it."""

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self.seconds, self.memory = seconds, memory
        self.process: subprocess.Popen[bytes] | None = None
        self.waiting = b""

    def read(self, path: Path) -> Content:
        """A document. UserError, in one line that begins with its name, for what cannot be read."""
        try:
            if suffix(path) in (".txt", ".text", ".rst", *LINES, ".json"):
                return read_document(path)
            check_size(path)
            return self._ask(path)
        except UserError as error:
            said = str(error)
            raise UserError(said if said.startswith(str(path)) else f"{path}: {said}") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
        except (RecursionError, MemoryError):
            raise UserError(f"{path}: nested too deeply, or too large") from None

    def _ask(self, path: Path) -> Content:
        if self.process is None or self.process.poll() is not None:
            self._begin()
        process = self.process
        assert process is not None and process.stdin is not None
        try:
            process.stdin.write(json.dumps(str(path)).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            self.close()
            raise UserError("the process that reads documents ended; is the machine out of memory?") from None
        answer = json.loads(self._line())
        if "error" in answer:
            raise UserError(answer["error"])
        return Content(answer["text"], tuple(Section(**each) for each in answer["sections"]), answer["title"])

    def _begin(self) -> None:
        command = [sys.executable, "-m", "jielong.data.documents", str(self.memory), str(int(self.seconds) + 1)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)  # fmt: skip
        self.waiting = b""

    def _line(self) -> bytes:
        """What the process says; UserError when it does not within the time, or has ended."""
        import time

        process = self.process
        assert process is not None and process.stdout is not None
        until = time.monotonic() + self.seconds
        pieces = [self.waiting]
        while b"\n" not in pieces[-1]:
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
            piece = process.stdout.read1(CHUNK) if ready else b""  # type: ignore[attr-defined]
            if not piece:
                self.close()
                raise UserError(f"took longer than {self.seconds:g} s" if not ready else
                                "ended the process that reads documents (too large, too deep or broken)")  # fmt: skip
            pieces.append(piece)
        line, _, self.waiting = b"".join(pieces).partition(b"\n")
        return line

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
            self.process = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(memory: int, seconds: int) -> None:
    """Answer a line with a path by a line with its content, until there are no more."""
    import os
    import resource

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    for limit, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (most, most))
    for line in sys.stdin.buffer:
        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        with suppress(ValueError, OSError):  # the parent's clock ends it too, unless the parent is dead
            resource.setrlimit(resource.RLIMIT_CPU, (int(used) + seconds, resource.RLIM_INFINITY))
        answers.write(json.dumps(_answer(Path(json.loads(line)))).encode() + b"\n")
        answers.flush()


def _answer(path: Path) -> dict[str, Any]:
    try:
        return asdict(read_document(path))
    except UserError as error:
        return {"error": str(error)}
    except ImportError as error:
        return {"error": f"needs a library that is not installed ({error.name}): {EXTRA}"}
    except (MemoryError, RecursionError):
        return {"error": "nested too deeply, or too large"}
    except Exception as error:  # a library's own, of which there are hundreds: a broken file is no reason to end
        return {"error": f"broken ({type(error).__name__}: {' '.join(str(error).split())[:160]})"}


def iterate(paths: Iterable[Path]) -> Iterator[tuple[Path, Content | str]]:
    """Each document, or the line that says why it cannot be read."""
    with Reader() as reader:
        for path in paths:
            try:
                yield path, reader.read(path)
            except UserError as error:
                yield path, str(error)


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
