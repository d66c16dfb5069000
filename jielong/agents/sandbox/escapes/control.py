"""No sandbox at all: plain exec in a process that is thrown away. The control that shows that an escape is one.

Only for tests and `jielong sandbox check --control`: the programs that it is given are those of this folder, which keep
to a temporary folder and to bounds of their own. Its files are gathered as a careless host would, links followed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from jielong.agents.sandbox.confined import FLAGS, folder
from jielong.agents.sandbox.ran import DEFAULT, NO_FILES, Limits, Ran, Sandbox

# Bounds that keep the machine safe even so: 4 GiB of addresses, 256 MiB a file, 10 seconds of work.
PLAIN = """
import resource, sys
for what, most in ((resource.RLIMIT_AS, 4 << 30), (resource.RLIMIT_FSIZE, 256 << 20), (resource.RLIMIT_CPU, 10)):
    resource.setrlimit(what, (most, most))
exec(compile(sys.stdin.read(), "main.py", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
"""
SECONDS = 30.0


class Plain(Sandbox):
    """Named "exec"; it ignores the limits."""

    name, full = "exec", True

    def run(self, code: str, limits: Limits = DEFAULT, files: Mapping[str, bytes] = NO_FILES) -> Ran:
        with folder(files) as work:
            began = time.monotonic()
            try:
                done = subprocess.run([sys.executable, *FLAGS, "-c", PLAIN], input=code.encode(), capture_output=True,
                                      cwd=work, close_fds=False, timeout=SECONDS, check=False)  # fmt: skip
            except subprocess.TimeoutExpired:
                return Ran("", "", "time", time.monotonic() - began)
            seconds = time.monotonic() - began
            left = {path.name: _content(path) for path in sorted(work.iterdir())[:50]}
        out, err = (each.decode("utf-8", "replace") for each in (done.stdout, done.stderr))
        return Ran(out, err, "done" if done.returncode == 0 else "error", seconds, left)


def _content(path: Path) -> bytes:
    return path.read_bytes()[:100] if path.is_file() else b""
