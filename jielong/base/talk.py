"""What a command says to a person, and the one document it prints for a machine.

Words go to standard error; the answer (``answer``, ``document``) to standard output, so it can be piped.
``-q`` leaves answers, warnings and errors; ``--json`` leaves one JSON document on standard output.
Colours and the rewritten progress line only on a real terminal; NO_COLOR and TERM=dumb are honoured.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TextIO

from jielong.base.plain import dumps

COLOURS = {"red": "31", "yellow": "33", "cyan": "36", "bold": "1", "dim": "2"}
REDRAW = 0.1  # seconds between two pictures of the bar on a terminal
LINE_EVERY = 10.0  # seconds between two lines where there is no terminal
RATE_WINDOW = 20.0  # seconds of the past that the shown rate looks at


class Talk:
    """``verbosity``: -1 quiet, 0 usual, 1 detailed. ``stream`` is looked up at each use when not given."""

    def __init__(
        self,
        verbosity: int = 0,
        json: bool = False,
        color: bool | None = None,
        stream: TextIO | None = None,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.verbosity, self.json, self.clock = verbosity, json, clock
        self._stream, self._out, self._color = stream, out, color
        self._live: Progress | None = None
        self._documented = False

    @property
    def stream(self) -> TextIO | None:
        return self._stream or sys.stderr

    @property
    def chatty(self) -> bool:
        """Whether ordinary messages are shown."""
        return self.verbosity >= 0 and not self.json

    def terminal(self) -> bool:
        """Whether a line can be rewritten: a terminal, and not one that says it is none."""
        try:
            return bool(self.stream and self.stream.isatty()) and os.environ.get("TERM") != "dumb"
        except ValueError:  # closed
            return False

    def paint(self, text: str, colour: str) -> str:
        wanted = self._color
        if wanted is None:
            wanted = self.terminal() and not os.environ.get("NO_COLOR")
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if wanted else text

    def say(self, text: str) -> None:
        if self.chatty:
            self._line(text)

    def detail(self, text: str) -> None:
        """Only with ``-v``."""
        if self.verbosity > 0:
            self._line(self.paint(text, "dim"))

    def warn(self, text: str) -> None:
        self._line(f"{self.paint('warning:', 'yellow')} {text}")

    def error(self, text: str) -> None:
        self._line(f"{self.paint('error:', 'red')} {text}")

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.say(table_text(headers, rows))

    def next_command(self, command: str) -> None:
        """The command a person would want next; said last."""
        self.say(f"{self.paint('next:', 'cyan')} {self.paint(command, 'bold')}")

    def answer(self, text: str) -> None:
        """What was asked for, on standard output; with ``--json`` nothing, the document is the answer."""
        if not self.json:
            self._write(self._out or sys.stdout, text + "\n")

    def document(self, value: Any) -> None:
        """With ``--json`` print the one JSON document; otherwise nothing. Raises RuntimeError at a second."""
        if not self.json:
            return
        if self._documented:
            raise RuntimeError("a command prints exactly one JSON document")
        self._documented = True
        out = self._out or sys.stdout
        self._write(out, dumps(value, ascii=not _unicode(out)) + "\n")

    def progress(self, total: float | None, label: str, unit: str = "", start: float = 0) -> Progress:
        """``with talk.progress(1000, "train", "tokens") as p: p.update(done, loss=2.1)``.

        ``done`` counts from 0 to ``total`` (None: unknown); ``start`` is where a resumed run takes it up.
        """
        return Progress(self, total, label, unit, start)

    def _line(self, text: str) -> None:
        if self._live:
            self._live.erase()
        self._write(self.stream, text + "\n")
        if self._live:
            self._live.draw()

    def _write(self, stream: TextIO | None, text: str) -> None:
        if stream is None:  # a program without a console
            return
        try:
            stream.write(text)
        except UnicodeEncodeError:
            encoding = stream.encoding or "ascii"
            stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()


class Progress:
    """One line that says how far, how fast, how long yet, and what else the caller measures."""

    def __init__(self, talk: Talk, total: float | None, label: str, unit: str, start: float) -> None:
        self.talk, self.total, self.label, self.unit = talk, total, label, unit
        self.done, self.start, self.fields = start, start, dict[str, Any]()
        self.began = talk.clock()
        self.shown = self.began
        self.past: deque[tuple[float, float]] = deque([(self.began, start)])
        self.on_terminal = talk.terminal()
        self.open = talk.chatty
        self.drawn = False
        self.outer = talk._live
        if self.open:
            talk._live = self

    def update(self, done: float, **fields: Any) -> None:
        """``done`` so far (not since the last call); ``fields`` are shown after the time left."""
        now = self.talk.clock()
        self.done = done
        self.fields.update(fields)
        self.past.append((now, done))
        while len(self.past) > 2 and now - self.past[1][0] > RATE_WINDOW:
            self.past.popleft()
        if not self.open or now - self.shown < (REDRAW if self.on_terminal else LINE_EVERY):
            return
        self.shown = now
        if self.on_terminal:
            self.draw()
        else:
            self.talk._write(self.talk.stream, self.text(now) + "\n")

    def rate(self) -> float:
        """Units a second, over the last ``RATE_WINDOW`` seconds."""
        (t0, first), (t1, last) = self.past[0], self.past[-1]
        return (last - first) / (t1 - t0) if t1 > t0 else 0.0

    def left(self) -> float | None:
        """Seconds yet, or None while that cannot be known."""
        rate = self.rate()
        if self.total is None or rate <= 0:
            return None
        return max(0.0, self.total - self.done) / rate

    def text(self, now: float, finished: bool = False) -> str:
        parts = [self.label]
        if self.total:
            share = min(1.0, max(0.0, self.done / self.total))
            if self.on_terminal:
                parts.append(_bar(share, _unicode(self.talk.stream)))
            parts.append(f"{share:4.0%}")
        of = f"/{short(self.total)}" if self.total is not None else ""
        parts.append(f"{short(self.done)}{of} {self.unit}".rstrip())
        seconds, left = now - self.began, self.left()
        rate = (self.done - self.start) / seconds if finished and seconds > 0 else self.rate()
        if rate > 0:
            parts.append(f"{short(rate)} {self.unit}/s".replace(" /", "/"))
        if finished:
            parts.append(f"in {clock_text(seconds)}")
        elif left is not None:
            parts.append(f"{clock_text(left)} left")
        parts += [f"{name} {field_text(value)}" for name, value in self.fields.items()]
        return "  ".join(parts)

    def draw(self) -> None:
        if self.on_terminal and self.open:
            from rich.cells import set_cell_size

            columns = shutil.get_terminal_size().columns - 1
            text = self.text(self.talk.clock())
            line = set_cell_size(text, columns).rstrip() if columns > 0 else text
            self.drawn = True  # before it is: Ctrl-C may come between the two
            self.talk._write(self.talk.stream, f"\r{line}\x1b[K")

    def erase(self) -> None:
        if self.drawn:
            self.talk._write(self.talk.stream, "\r\x1b[K")
            self.drawn = False

    def close(self) -> None:
        """Leave one plain line with the final state, and the cursor at the start of the next."""
        if self.open:
            self.erase()
            self.open, self.talk._live = False, self.outer
            self.talk._write(self.talk.stream, self.text(self.talk.clock(), finished=True) + "\n")

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()  # also after Ctrl-C: what is said next begins on a clean line


def table_text(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Aligned columns, numbers to the right; Chinese characters count as two columns."""
    from rich.cells import cell_len

    cells = [[field_text(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(headers, *cells, strict=True)]
    right = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(headers))]

    def line(row: Sequence[str]) -> str:
        gaps = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths)]
        return "  ".join(g + c if r else c + g for c, g, r in zip(row, gaps, right)).rstrip()

    return "\n".join([line(headers), line(["-" * width for width in widths]), *map(line, cells)])


def short(number: float) -> str:
    """1234567 -> 1.23M."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            return f"{number / (size if letter != 'k' else 1e3):.3g}{letter}"
    return f"{number:.0f}" if number == int(number) else f"{number:.3g}"


def clock_text(seconds: float) -> str:
    """75 -> 1:15; hours are shown once there are any."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def field_text(value: Any) -> str:
    """A float to four digits, nothing for None, anything else as it is."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def _unicode(stream: TextIO | None) -> bool:
    return "utf" in (getattr(stream, "encoding", None) or "").lower()


def _bar(share: float, unicode: bool, width: int = 20) -> str:
    full, empty = ("━", "─") if unicode else ("#", ".")
    return full * round(share * width) + empty * (width - round(share * width))
