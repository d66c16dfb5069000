"""``jielong doctor``: what this machine can do, and what to do about what it cannot."""

from __future__ import annotations

import locale
import os
import re
import sys
from importlib import metadata
from typing import Any

from jielong.cli.common import Common

GB = 2**30
RATE_SHAPES = ((1024, 256, 1024), (1024, 1024, 256))  # a small Transformer's, (m, k, n)
LITTLE_MEMORY, LITTLE_DISK = 3 * GB, 2 * GB  # what the demo may take, and what its files and torch's need


def doctor(*, measure: bool = True, common: Common = Common()) -> None:
    """Show what this machine can do: Python, torch, device, cores, memory, matrix rate, disk, extras.

    Parameters
    ----------
    measure
        Measure the matrix rate (a second or two, most of it torch's start).
    """
    from jielong.base.talk import table_text

    talk = common.talk()
    if measure:
        talk.say("measuring the matrix rate ...")
    facts = examine(measure, terminal=talk.terminal())
    notes = advice(facts)
    talk.answer(table_text(("what", "here"), _rows(facts)))
    for note in notes:
        talk.warn(note)
    for extra, missing in facts["extras"].items():
        if missing:
            talk.detail(f"extra {extra} lacks {', '.join(missing)}")
    if any(facts["extras"].values()):
        talk.say("an extra is installed with: pip install 'jielong[NAME]'")
    following = "jielong demo" if facts["torch"] else "pip install torch"
    talk.document({**facts, "advice": notes, "next": following})
    talk.next_command(following)


def examine(measure: bool = True, terminal: bool = False) -> dict[str, Any]:
    """The facts, in JSON values: sizes in bytes, rates in FLOP/s (None where not measured)."""
    from jielong.base import device
    from jielong.nets.native import build

    facts: dict[str, Any] = {
        **device.machine(),
        "device": None,
        "matmul_float32": None,
        "matmul_bfloat16": None,
        "disk_free": device.disk_free(),
        "compiler": build.found(),
        "extras": missing_packages(),
        "terminal": terminal,
        "no_color": bool(os.environ.get("NO_COLOR")),
        "encoding": (getattr(sys.stdout, "encoding", None) or locale.getpreferredencoding(False)).lower(),
    }
    if facts["torch"] and measure:
        facts["device"] = device.pick("auto")
        for kind in ("float32", "bfloat16"):
            facts[f"matmul_{kind}"] = device.matmul_rate(RATE_SHAPES, kind, facts["device"])
    return facts


def missing_packages() -> dict[str, list[str]]:
    """Extra -> the packages of it that are not installed, as the installed package declares them."""
    from jielong.base.device import version

    try:
        lines = metadata.requires("jielong") or []
    except metadata.PackageNotFoundError:  # run from a source tree: nothing is declared
        return {}
    extras: dict[str, list[str]] = {}
    for line in lines:
        extra, name = re.search(r"extra\s*==\s*['\"]([^'\"]+)", line), re.match(r"[\w.-]+", line)
        if extra and name and extra[1] != "dev":
            extras.setdefault(extra[1], []).extend([] if version(name[0]) else [name[0]])
    return extras


def advice(facts: dict[str, Any]) -> list[str]:
    """One line for each thing that will get in the way, saying how to mend it."""
    notes = []
    if not facts["torch"]:
        notes.append("torch is missing, nothing can be trained or run: pip install torch")
    if 0 < facts["memory"] < LITTLE_MEMORY:
        notes.append(f"{facts['memory'] / GB:.1f} GB of memory: the demo may need 3; close other programs")
    if facts["disk_free"] < LITTLE_DISK:
        notes.append(f"{facts['disk_free'] / GB:.1f} GB of disk left here: make room or work elsewhere")
    if "utf" not in facts["encoding"]:
        notes.append(f"the output is {facts['encoding']}, Chinese will show as ?: set PYTHONUTF8=1")
    return notes


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    def rate(value: float | None) -> str:
        return "not measured" if value is None else f"{value / 1e9:.0f} GFLOP/s"

    ready = [name for name, missing in facts["extras"].items() if not missing]
    absent = [name for name, missing in facts["extras"].items() if missing]
    return [
        ("python", facts["python"]),
        ("torch", facts["torch"] or "missing"),
        ("system", facts["os"]),
        ("device", facts["device"] or "not looked at"),
        ("processor", facts["cpu"]),
        ("features", " ".join(facts["features"]) or "none known"),
        ("cores", str(facts["cores"])),
        ("memory", f"{facts['memory'] / GB:.1f} GB" if facts["memory"] else "unknown"),
        ("float32 matrices", rate(facts["matmul_float32"])),
        ("bfloat16 matrices", rate(facts["matmul_bfloat16"])),
        ("disk free here", f"{facts['disk_free'] / GB:.1f} GB"),
        ("C++ compiler", facts["compiler"] or "none: models are run call by call, several times slower when small"),
        ("extras installed", " ".join(ready) or "none"),
        ("extras missing", " ".join(absent) or "none"),
        ("terminal", ("yes" if facts["terminal"] else "no") + (", NO_COLOR" if facts["no_color"] else "")),
        ("text", facts["encoding"]),
    ]
