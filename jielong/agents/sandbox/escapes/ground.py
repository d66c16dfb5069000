"""The ground that escapes are tried on: a secret, things that must not be touched, listeners that nobody should reach.

Everything lies in one temporary folder and on loopback, so that an escape that works, in the control, harms nothing.
"""

from __future__ import annotations

import os
import secrets
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jielong.agents.sandbox.escapes.escape import BREACH, Escape
from jielong.agents.sandbox.ran import Limits, Ran, Sandbox

LIMITS = Limits(seconds=2.0, memory=96 << 20, output=64 << 10, disk=4 << 20)
PATIENT = replace(LIMITS, seconds=20.0)  # for a program that did not come to its first line within its time
BEGUN = "begun"
GRACE = 2.5  # seconds beyond the limit until a program counts as one that outlived it


@dataclass(frozen=True)
class Verdict:
    """What came of an escape. `how`: what was seen of the breach, or how the program ended instead."""

    escape: Escape
    stopped: bool
    how: str


class Ground:
    """See above; made and taken down by `ground`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.secret = folder, f"secret-{secrets.token_hex(12)}"
        (folder / "secret.txt").write_text(self.secret)
        self.outside = folder / "outside"
        self.outside.mkdir()
        self.target: subprocess.Popen[bytes] | None = None
        self.abstract = f"jielong-{secrets.token_hex(6)}"
        self.sockets = self._listen()
        self.handle = os.open(folder / "secret.txt", os.O_RDONLY)
        os.set_inheritable(self.handle, True)

    def reset(self) -> None:
        """As it was: what an escape has touched is mended."""
        for path in self.outside.iterdir():
            path.unlink()
        (self.outside / "kept").write_text("kept")
        if self.target is None or self.target.poll() is not None:
            hidden = {"JIELONG_SECRET": self.secret}
            self.target = subprocess.Popen(["sleep", "600"], env=hidden, cwd=self.folder, start_new_session=True)
        self._reached()

    def places(self, code: str) -> str:
        """The program with this ground's places in it."""
        assert self.target is not None
        names = {"SECRET": str(self.folder / "secret.txt"), "OUTSIDE": str(self.outside),
                 "TARGET": str(self.target.pid),
                 "TCP": str(self.sockets[0].getsockname()[1]), "UDP": str(self.sockets[1].getsockname()[1]),
                 "UNIX": str(self.folder / "unix"), "ABSTRACT": self.abstract}  # fmt: skip
        for name, place in names.items():
            code = code.replace(f"@{name}@", place)
        return code

    def touched(self) -> str:
        """What of it was touched since `reset`; "" where nothing was."""
        if sorted(path.name for path in self.outside.iterdir()) != ["kept"]:
            return "a file outside was made or removed"
        if (self.outside / "kept").read_text() != "kept":
            return "a file outside was changed"
        if self._reached():
            return "a listener was reached"
        assert self.target is not None
        with suppress(subprocess.TimeoutExpired):
            self.target.wait(0.02)
            return "another process was ended"
        return ""

    def close(self) -> None:
        """Take it down."""
        for each in self.sockets:
            each.close()
        os.close(self.handle)
        if self.target is not None:
            self.target.kill()
            self.target.wait()

    def _listen(self) -> list[socket.socket]:
        found = [socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX),
                 socket.socket(socket.AF_UNIX)]  # fmt: skip
        places: list[Any] = [("127.0.0.1", 0), ("127.0.0.1", 0), str(self.folder / "unix"), f"\0{self.abstract}"]
        for each, place in zip(found, places):
            each.bind(place)
            if each.type == socket.SOCK_STREAM:
                each.listen()
        return found

    def _reached(self) -> bool:
        """Whether somebody came; who did is sent away."""
        found = False
        while ready := select.select(self.sockets, [], [], 0)[0]:
            found = True
            for each in ready:
                if each.type == socket.SOCK_STREAM:
                    each.accept()[0].close()
                else:
                    each.recv(64)
        return found


@contextmanager
def ground() -> Iterator[Ground]:
    """A ground, with the secret in the environment too."""
    with tempfile.TemporaryDirectory(prefix="jielong-ground-", ignore_cleanup_errors=True) as name:
        made = Ground(Path(name))
        os.environ["JIELONG_SECRET"] = made.secret
        try:
            yield made
        finally:
            del os.environ["JIELONG_SECRET"]
            made.close()


def attempt(box: Sandbox, escape: Escape, on: Ground) -> Verdict:
    """Try one escape in a sandbox."""
    on.reset()
    code = f"print({BEGUN!r}, flush=True)\n{on.places(escape.code)}"
    ran = box.run(code, LIMITS)
    if ran.end == "time" and BEGUN not in ran.out:  # the machine was busy: that stops nobody
        on.reset()
        ran = box.run(code, PATIENT)
    if escape.late:
        time.sleep(0.8)
    seen = breach(ran, on, LIMITS.seconds + GRACE if escape.kind == "time" else PATIENT.seconds + GRACE)
    said = ran.err.strip().splitlines() or [""]
    return Verdict(escape, not seen, seen or f"{ran.end}: {said[-1][:100]}".rstrip(": "))


def breach(ran: Ran, on: Ground, most: float) -> str:
    """What shows that a program got out; "" where nothing does."""
    if BREACH in ran.out:
        return "it did what it should not be able to do"
    if any(on.secret.encode() in each for each in (ran.out.encode(), ran.err.encode(), *ran.files.values())):
        return "it came to the secret"
    if len(ran.out.encode()) > LIMITS.output or len(ran.err.encode()) > LIMITS.output:
        return "it said more than it may"
    if ran.seconds > most:
        return "it ran longer than it may"
    return on.touched()


def attempts(box: Sandbox, escapes: Sequence[Escape]) -> Iterator[Verdict]:
    """Try them one after the other."""
    with ground() as on:
        for escape in escapes:
            yield attempt(box, escape, on)
