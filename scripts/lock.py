"""Write the exact versions of a resolved environment into the lock files.

    make lock        # resolves the newest versions that pyproject.toml allows, then runs this file

Three files, none with hashes or an index: `requirements.lock` (what the package needs to run and to be
installed in place), `requirements-test.lock` (what its tests and checks need besides) and
`requirements-referees.lock` (what the referees need besides the package's own). torch is not in them: it
comes in several builds, so `scripts/install.py` chooses one.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
# trackio is not among them: it wants an older pillow than the core's.
REFEREES = tuple(
    "accelerate aiohttp bm25s ctranslate2 datasets diffusers lm-eval openai peft requests tenacity tensorboard "
    "transformers trl wandb".split()
)
# Needed to install the package in place, without an isolated build that would fetch them every time.
BUILD = ("editables", "hatchling")


def closure(wanted: Iterable[str]) -> set[str]:
    """Names of the distributions installed here that `wanted` (requirement strings) draw in, themselves
    included. Raises metadata.PackageNotFoundError for one that is needed and not installed."""
    found: set[str] = set()
    todo = [Requirement(text) for text in wanted]
    seen: set[tuple[str, str]] = set()
    while todo:
        need = todo.pop()
        name = canonicalize_name(need.name)
        for extra in ("", *sorted(need.extras)):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            found.add(name)
            for text in metadata.requires(name) or ():
                below = Requirement(text)
                if below.marker is None or below.marker.evaluate({"extra": extra}):
                    todo.append(below)
    return found


def lines(names: Iterable[str]) -> str:
    """One `name==version` a line, in order, without a local part such as `+cpu`."""
    return "".join(f"{name}=={metadata.version(name).split('+')[0]}\n" for name in sorted(names))


def write(kind: str) -> None:
    """Write the lock files that the environment this runs in can speak for: `core` or `referees`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    head = "# Written by `make lock`. torch is chosen by scripts/install.py.\n"
    core = closure([*project["dependencies"], *BUILD]) - {"torch"}
    if kind == "core":
        (ROOT / "requirements.lock").write_text(head + lines(core), encoding="utf-8")
        test = closure(project["optional-dependencies"]["dev"]) - core - {"torch"}
        (ROOT / "requirements-test.lock").write_text(head + lines(test), encoding="utf-8")
    else:
        referees = closure(REFEREES) - core - {"torch"}
        (ROOT / "requirements-referees.lock").write_text(head + lines(referees), encoding="utf-8")


if __name__ == "__main__":
    write(sys.argv[1])
