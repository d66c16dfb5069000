"""CPython held by the kernel's own rules, Landlock and seccomp: sandlock. No root, no namespaces to set up, Linux 6.7+.

The process may read Python's library and the system's libraries, write to its folder, and nothing else: no network, no
other processes, no signals to them, no new ones. Its limits are set from outside while it waits for its program, and it
may not ask for others: neither for itself nor for other processes of the same user, which Landlock leaves open.
"""

from __future__ import annotations

import resource
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jielong.agents.sandbox import confined
from jielong.agents.sandbox.ran import DEFAULT, NO_FILES, Limits, Ran, Sandbox
from jielong.base.errors import UserError

NOBODY = 65534
# Memory that no limit of a process counts, and limits, priorities and processors of other processes.
DENIED = ("memfd_create", "memfd_secret", "keyctl", "add_key", "request_key", "prlimit64", "setrlimit", "setpriority",
          "ioprio_set", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr")  # fmt: skip


class Landlock(Sandbox):
    """The sandbox named sandlock."""

    name, full = "sandlock", True

    def run(self, code: str, limits: Limits = DEFAULT, files: Mapping[str, bytes] = NO_FILES) -> Ran:
        sandlock = _library()
        python, readable = confined.python()

        def start(work: Path) -> Any:
            box = sandlock.Sandbox(
                fs_readable=[*readable, "/dev/null", "/dev/urandom"],
                fs_writable=[str(work)],
                cwd=str(work),
                clean_env=True,
                env={"PATH": "/nowhere", "HOME": str(work), "USER": "nobody"},
                uid=NOBODY,
                gid=NOBODY,
                max_processes=1,
                no_coredump=True,
                extra_deny_syscalls=DENIED,
            )
            piped = sandlock.StdioMode.PIPED
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # gid has to be given and has no effect: said once for every run
                child = box.popen(confined.command(python, None), piped, piped, piped)
            for what, most in confined.bounds(limits).items():
                resource.prlimit(child.pid, what, (most, most))
            return child

        return confined.confined(start, _waited, code, limits, files)


def _waited(child: Any) -> int:
    """Its exit code, -1 where a signal ended it; the pipes are closed, and what is left of it is gone."""
    result = child.wait(timeout=2.0)
    child.__exit__(None, None, None)
    return int(result.exit_code)


def _library() -> Any:
    try:
        import sandlock
    except ImportError as error:
        raise UserError("sandlock is not installed: pip install 'jielong[agents]' (Linux only)") from error
    have, need = sandlock.landlock_abi_version(), sandlock.min_landlock_abi()
    if have < need:
        raise UserError(f"this kernel has Landlock {max(have, 0)} and sandlock needs {need}: use bubblewrap or docker")
    return sandlock
