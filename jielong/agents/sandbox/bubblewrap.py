"""CPython in namespaces of its own: bubblewrap, as Flatpak uses it. No root, no service.

The process sees Python's library, the system's libraries and its folder, all but the folder read-only; it has no
network, no other processes, no /proc, no devices but /dev/null and /dev/urandom; it can start no process (`seccomp`),
so the limits of one process are the limits of all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from jielong.agents.sandbox import confined, seccomp
from jielong.agents.sandbox.ran import DEFAULT, NO_FILES, Limits, Ran, Sandbox
from jielong.base.errors import UserError

NOBODY = "65534"


class Bubblewrap(Sandbox):
    """`program`: bwrap, found on PATH unless it is given."""

    name, full = "bubblewrap", True

    def __init__(self, program: str | None = None) -> None:
        self.program = program or shutil.which("bwrap")

    def run(self, code: str, limits: Limits = DEFAULT, files: Mapping[str, bytes] = NO_FILES) -> Ran:
        if self.program is None:
            raise UserError("there is no bwrap on this machine: install the package bubblewrap")
        bwrap = self.program

        def start(work: Path) -> subprocess.Popen[bytes]:
            rules = seccomp.pipe()
            try:
                return subprocess.Popen(arguments(bwrap, work, limits, rules), stdin=-1, stdout=-1, stderr=-1, env={},
                                        cwd="/", pass_fds=(rules,), start_new_session=True)  # fmt: skip
            finally:
                os.close(rules)

        return confined.confined(start, waited, code, limits, files)


def waited(child: subprocess.Popen[bytes]) -> int:
    """Its exit code; the pipes are closed."""
    code = child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()
    return code


def arguments(program: str, work: Path, limits: Limits, rules: int) -> list[str]:
    """The command: `rules` is the file descriptor of the seccomp program."""
    python, readable = confined.python()
    found = [program, "--unshare-all", "--unshare-user", "--disable-userns", "--uid", NOBODY, "--gid", NOBODY,
             "--hostname", "sandbox", "--cap-drop", "ALL", "--die-with-parent", "--new-session",
             "--clearenv"]  # fmt: skip
    for path in readable:
        found += ["--symlink", os.readlink(path), path] if os.path.islink(path) else ["--ro-bind", path, path]
        if os.path.islink(path):  # /lib -> usr/lib
            real = os.path.realpath(path)
            found += ["--ro-bind", real, real]
    found += ["--dev-bind", "/dev/null", "/dev/null", "--dev-bind", "/dev/urandom", "/dev/urandom"]
    found += ["--bind", str(work), "/work", "--remount-ro", "/", "--chdir", "/work", "--seccomp", str(rules), "--"]
    return [*found, *confined.command(python, limits)]
