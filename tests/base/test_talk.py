"""Messages: who hears what, what a terminal shows, and what is left on it after Ctrl-C."""

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest

from jielong.base.talk import Progress, Talk, clock_text, field_text, short, table_text


class Screen(io.StringIO):
    """A stream that is (or is not) a terminal, of some encoding."""

    def __init__(self, terminal: bool = False, encoding: str = "utf-8") -> None:
        super().__init__()
        self.terminal, self._encoding = terminal, encoding

    def isatty(self) -> bool:
        if self.closed:
            raise ValueError("closed")
        return self.terminal

    @property
    def encoding(self) -> str:
        return self._encoding

    def write(self, text: str) -> int:
        text.encode(self._encoding)
        return super().write(text)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _usual_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


def speak(**how: object) -> tuple[str, str]:
    err, out = Screen(), Screen()
    talk = Talk(stream=err, out=out, **how)  # type: ignore[arg-type]
    talk.say("said")
    talk.detail("detail")
    talk.warn("careful")
    talk.error("wrong")
    talk.table(["a"], [[1]])
    talk.next_command("jielong chat")
    talk.answer("the answer")
    talk.document({"answer": float("nan")})
    with talk.progress(10, "work") as progress:
        progress.update(10)
    return err.getvalue(), out.getvalue()


def test_who_hears_what() -> None:
    err, out = speak()
    assert out == "the answer\n"
    assert err.startswith("said\nwarning: careful\nerror: wrong\na\n-\n1\nnext: jielong chat\nwork  100%")
    assert "detail\n" in speak(verbosity=1)[0]
    assert speak(verbosity=-1) == ("warning: careful\nerror: wrong\n", "the answer\n")


def test_json_is_one_document_and_nothing_else_on_standard_output() -> None:
    err, out = speak(json=True)
    assert json.loads(out) == {"answer": {"$float": "nan"}} and out.count("\n") == 1
    assert err == "warning: careful\nerror: wrong\n"
    talk = Talk(json=True, out=Screen(encoding="ascii"))
    talk.document({"名": 1})
    with pytest.raises(RuntimeError, match="exactly one"):
        talk.document({})


@pytest.mark.parametrize(
    ("terminal", "color", "environment", "painted"),
    [
        (True, None, {}, True),
        (False, None, {}, False),
        (True, None, {"NO_COLOR": "1"}, False),
        (True, None, {"NO_COLOR": ""}, True),  # no-color.org: only when not empty
        (True, None, {"TERM": "dumb"}, False),
        (True, False, {}, False),
        (False, True, {"NO_COLOR": "1"}, True),  # asked for outright
    ],
)
def test_colour(terminal, color, environment, painted, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    screen = Screen(terminal)
    Talk(color=color, stream=screen).warn("x")
    assert screen.getvalue() == ("\x1b[33mwarning:\x1b[0m x\n" if painted else "warning: x\n")


def test_streams_that_are_poor(monkeypatch: pytest.MonkeyPatch) -> None:
    ascii_only = Screen(encoding="ascii")
    Talk(stream=ascii_only).say("接龍 ok")
    assert ascii_only.getvalue() == "?? ok\n"
    closed = Screen(True)
    closed.close()
    assert not Talk(stream=closed).terminal()
    monkeypatch.setattr(sys, "stderr", None)  # a program without a console
    Talk().say("nobody hears")
    assert not Talk().terminal()


def drive(
    screen: Screen, total: float | None = 1000, steps: int = 61, **how: object
) -> tuple[Progress, Clock]:
    """61 updates a second apart, 10 units each."""
    clock = Clock()
    talk = Talk(stream=screen, clock=clock, **how)  # type: ignore[arg-type]
    progress = talk.progress(total, "train", "tokens")
    for step in range(1, steps):
        clock.now = float(step)
        progress.update(step * 10, loss=2.5)
    return progress, clock


def test_without_a_terminal_one_line_every_ten_seconds() -> None:
    screen = Screen()
    progress, clock = drive(screen)
    lines = screen.getvalue().splitlines()
    assert len(lines) == 6 and "\r" not in screen.getvalue() and "\x1b" not in screen.getvalue()
    assert lines[0] == "train   10%  100/1000 tokens  10 tokens/s  1:30 left  loss 2.5"
    clock.now = 62.5
    progress.close()
    progress.close()
    last = "train   60%  600/1000 tokens  9.6 tokens/s  in 1:02  loss 2.5"
    assert screen.getvalue().splitlines()[6:] == [last]


def test_on_a_terminal_the_line_is_rewritten_and_messages_stand_above_it() -> None:
    screen = Screen(True)
    progress, _ = drive(screen, steps=31)
    pictures = screen.getvalue().split("\r")
    assert pictures[-1] == (
        "train  ━━━━━━──────────────   30%  300/1000 tokens  10 tokens/s  1:10 left  loss 2.5\x1b[K"
    )
    assert len(pictures) == 31 and "\n" not in screen.getvalue()
    progress.talk.say("saved")
    assert screen.getvalue().endswith("\r\x1b[Ksaved\n\r" + pictures[-1])
    progress.close()
    assert "\r\x1b[Ktrain  " in screen.getvalue() and screen.getvalue().endswith("loss 2.5\n")


def test_a_narrow_terminal_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    screen = Screen(True, encoding="ascii")
    drive(screen)
    pictures = screen.getvalue().replace("\x1b[K", "").split("\r")
    assert max(map(len, pictures)) == 19 and pictures[-1] == "train  ############"


def test_the_picture_is_not_drawn_more_often_than_it_can_be_seen() -> None:
    screen, clock = Screen(True), Clock()
    with Talk(stream=screen, clock=clock).progress(10_000, "x") as progress:
        for step in range(10_000):
            clock.now = step / 10_000
            progress.update(step)
    assert 8 <= screen.getvalue().count("\r") <= 12


def test_unknown_total_resumed_start_and_recent_rate() -> None:
    screen = Screen()
    progress, _ = drive(screen, total=None)
    assert screen.getvalue().splitlines()[0] == "train  100 tokens  10 tokens/s  loss 2.5"
    assert progress.left() is None
    clock = Clock()
    resumed = Talk(stream=Screen(), clock=clock).progress(1000, "train", start=500)
    assert resumed.left() is None
    for clock.now, done in ((10.0, 600), (40.0, 630), (50.0, 640), (60.0, 650)):
        resumed.update(done)
    assert resumed.rate() == 1.0 and resumed.left() == 350.0  # the quick start is forgotten
    assert "2.5/s" in resumed.text(clock.now, finished=True)  # all of this run, not what came before it
    empty = Talk(stream=Screen(), clock=clock).progress(0, "nothing")
    assert empty.text(clock.now) == "nothing  0/0"


def test_progress_within_progress_gives_the_line_back() -> None:
    screen = Screen(True)
    talk = Talk(stream=screen, clock=Clock())
    with talk.progress(2, "outer") as outer:
        with talk.progress(2, "inner"):
            pass
        outer.draw()
        talk.say("between")
        assert screen.getvalue().endswith("between\n\router  ────────────────────    0%  0/2\x1b[K")


def test_silent_progress_still_counts() -> None:
    for how in ({"verbosity": -1}, {"json": True}):
        screen = Screen(True)
        progress, _ = drive(screen, **how)
        progress.draw()
        progress.close()
        assert screen.getvalue() == "" and progress.rate() == 10.0


INTERRUPTED = """
import signal, sys, time
from jielong.base.talk import Talk
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background inherits that it is ignored
talk = Talk()
try:
    with talk.progress(1000, "train", "tokens") as progress:
        for done in range(1000):
            progress.update(done)
            time.sleep(0.01)
except KeyboardInterrupt:
    talk.say("interrupted; saved")
"""


def test_ctrl_c_leaves_a_clean_line_on_a_real_terminal() -> None:
    master, slave = pty.openpty()
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED], stderr=slave, start_new_session=True)
    os.close(slave)
    seen, limit = b"", time.monotonic() + 20
    while b"left" not in seen and time.monotonic() < limit:
        seen += os.read(master, 4096)
    child.send_signal(signal.SIGINT)
    try:
        while more := os.read(master, 4096):
            seen += more
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(master)
    assert child.wait(10) == 0
    last = seen.decode().split("\r\n")
    assert last[-1] == "" and last[-2] == "interrupted; saved"
    assert re.fullmatch(r".*\r\x1b\[Ktrain  \S+ +\d+%  \d+/1000 tokens  .*in 0:\d\d", last[-3], re.DOTALL)


def test_tables() -> None:
    text = table_text(["name", "n", "note"], [["接龍", 7, None], ["abc", 1234.5678, "x"]])
    assert text.splitlines() == ["name     n  note", "----  ----  ----", "接龍     7", "abc   1235  x"]
    assert table_text(["a", "b"], []) == "a  b\n-  -"
    with pytest.raises(ValueError):
        table_text(["a"], [[1, 2]])


def test_numbers_for_people() -> None:
    assert [short(x) for x in (0, 7, 0.1234, 9999, 12_345, 1_234_567, 5e9, 2e12)] == [
        *["0", "7", "0.123", "9999", "12.3k", "1.23M", "5G", "2T"]
    ]
    assert [clock_text(s) for s in (0, 59.6, 75, 3600)] == ["0:00", "1:00", "1:15", "1:00:00"]
    assert [field_text(v) for v in (None, 1.23456, 12345, "x", True)] == ["", "1.235", "12345", "x", "True"]
