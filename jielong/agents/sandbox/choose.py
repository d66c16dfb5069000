"""Which sandboxes this machine has, found by running something in each; the best of them, or a refusal."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from jielong.agents.sandbox.bubblewrap import Bubblewrap
from jielong.agents.sandbox.docker import Docker
from jielong.agents.sandbox.landlock import Landlock
from jielong.agents.sandbox.monty import Monty
from jielong.agents.sandbox.ran import Limits, Sandbox
from jielong.base.errors import UserError

# The best first; monty first of all where a part of Python is enough.
SANDBOXES: Mapping[str, Callable[[], Sandbox]] = MappingProxyType(
    {"monty": Monty, "sandlock": Landlock, "bubblewrap": Bubblewrap, "docker": Docker}
)
FULL = ("sandlock", "bubblewrap", "docker")
# The limits hold (a process that could raise one could raise all), and there is nobody to send a signal to.
PROOF = """
import os, resource
try:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))
    print("raised")
except (ValueError, OSError):
    pass
try:
    os.fork()
    print("forked")
except OSError:
    pass
6 * 7
"""
QUICK = Limits(seconds=20.0)  # a container's first start may be slow


@dataclass(frozen=True)
class Probe:
    """Whether a sandbox works here; `why` not, in one line; seconds of one run, start and all."""

    name: str
    works: bool
    why: str = ""
    seconds: float = 0.0


def probe(name: str) -> Probe:
    """Run something in a sandbox. A full one has to hold its limits against a program that tries to raise them."""
    box = named(name)
    with box:
        try:
            ran = box.run(PROOF if box.full else "6 * 7", QUICK)
        except UserError as error:
            return Probe(name, False, str(error))
        except (OSError, RuntimeError) as error:
            return Probe(name, False, f"it does not start: {' '.join(str(error).split())[:200]}")
    if ran.ok and ran.out == "42\n":
        return Probe(name, True, seconds=ran.seconds)
    if ran.ok:
        return Probe(name, False, f"it does not hold: {' '.join(ran.out.split())[:100]}")
    said = ran.err.strip().splitlines() or [ran.end]
    return Probe(name, False, f"it does not start: {said[-1][:200]}")


def named(name: str) -> Sandbox:
    """The sandbox of that name. UserError where there is none; whether it works here is seen when it runs."""
    if name not in SANDBOXES:
        raise UserError(f"there is no sandbox {name!r}: give {', '.join(SANDBOXES)}")
    return SANDBOXES[name]()


def choose(full: bool = False) -> Sandbox:
    """The first sandbox that works here: `full` for CPython with its library, else monty before those.

    UserError, in one line, where there is none: code of a model is then not run at all.
    """
    tried = []
    for name in FULL if full else ("monty", *FULL):
        found = probe(name)
        if found.works:
            return named(name)
        tried.append(f"{name}: {found.why}")
    where = f"{platform.system()} {platform.release()}"
    raise UserError(f"no sandbox works on this machine ({where}), so nothing is run: {'; '.join(tried)}")
