"""Running a lab and keeping what it found: docs/results/NAME.json, with all that is needed to trust it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jielong
from jielong.base.device import machine
from jielong.base.errors import UserError
from jielong.base.files import atomic_write
from jielong.base.result import Result
from jielong.labs.lab import Budget, Lab, forget
from jielong.labs.sources import combined, sources, stale
from jielong.labs.verdict import verdict

RESULTS = Path("docs/results")


def origin(
    module: str,
    *,
    command: str,
    minutes: float,
    seeds: Sequence[int] = (),
    mode: str = "fast",
    root: Path | None = None,
) -> dict[str, Any]:
    """The meta of a result (a lab's, a bench's, a scorecard's): where, how and from which code."""
    files = sources(module, root)
    return {
        "machine": machine(),
        "mode": mode,
        "command": command,
        "minutes": round(minutes, 3),
        "seeds": list(seeds),
        "version": jielong.__version__,
        "sources": files,
        "sources_hash": combined(files),
    }


def measure(
    lab: Lab, budget: Budget, *, command: str = "", folder: Path = RESULTS, resume: bool = True
) -> Result:
    """Run a lab, store its result, forget its parts. Interrupted, it keeps those for the next time.

    `minutes` of the result counts the parts that were kept with what they took when they were made. Whatever
    the lab itself put into meta ("mode", "headline", ...) stays.
    """
    code = sources(lab.module)
    budget = replace(budget, lab=lab.name, sources=combined(code), spent=[])
    if not resume:
        forget(budget)
    began = time.monotonic()
    found = lab.run(budget)
    minutes = (time.monotonic() - began + sum(budget.spent)) / 60
    meta = origin(lab.module, command=command or lab.command, minutes=minutes, seeds=budget.seeds)
    if meta["sources_hash"] != budget.sources:
        budget.talk.warn(
            f"the sources of {lab.name} were edited while it ran: its result will be marked stale"
        )
        meta |= {"sources": code, "sources_hash": budget.sources}
    result = replace(found, meta={**meta, "verdict": verdict(found), **found.meta})
    save(result, folder)
    forget(budget)
    return result


def save(result: Result, folder: Path = RESULTS) -> Path:
    """Write NAME.json, whole or not at all."""
    path = Path(folder) / f"{result.name}.json"
    atomic_write(path, result.to_json() + "\n")
    return path


def load(name: str, folder: Path = RESULTS) -> Result | None:
    """The stored result; None when there is none. Raises UserError naming a file that is no result."""
    path = Path(folder) / f"{name}.json"
    if not path.is_file():
        return None
    try:
        return Result.from_json(path.read_bytes())
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def load_all(folder: Path = RESULTS) -> list[Result]:
    """All stored results by name: labs, benches, scorecards."""
    found = [load(path.stem, folder) for path in sorted(Path(folder).glob("*.json"))]
    return [result for result in found if result is not None]


def machine_line(meta: Mapping[str, Any]) -> str:
    """The machine in one line: AMD EPYC, 2 cores, 7.6 GB, torch 2.13.0."""
    where = meta.get("machine")
    if not isinstance(where, Mapping):
        return str(where or "not recorded")
    said = [str(where[key]) for key in ("gpu", "cpu") if where.get(key)]
    if where.get("cores"):
        said.append(f"{where['cores']} cores")
    memory = where.get("memory")
    if isinstance(memory, int | float) and memory:
        said.append(f"{memory / 2**30:.1f} GB")
    said += [f"{key} {where[key]}" for key in ("python", "torch") if where.get(key)]
    return ", ".join(said) or "not recorded"


def fresh(lab: Lab, folder: Path = RESULTS) -> bool:
    """Whether there is a result made by today's sources."""
    result = load(lab.name, folder)
    return result is not None and not stale(result)
