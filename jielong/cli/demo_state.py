"""Where a demo stands: what was asked of it and how long each stage took, kept in its folder as `demo.json`.

A stage that is finished is known by what it leaves (a checkpoint marked done, the scorecard), not by this file: so
nothing is lost or done twice whenever the demo is stopped.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jielong.base import files
from jielong.base.errors import UserError

STATE, SCORES = "demo.json", "scorecard.json"
DEFAULTS = {"minutes": 6.0, "seed": 0, "questions": 300, "align": False}
PLACE = Path("runs/demo")
WORLD, PRETRAINING, TUNING, SCORING = "world and tokenizer", "pretraining", "fine-tuning", "scorecard"


@dataclass
class Standing:
    """A demo in `folder`. `stages`: minutes of those that are done, over all sessions; `predicted` before the first."""

    folder: Path
    asked: Mapping[str, Any]
    stages: dict[str, float] = field(default_factory=dict)
    predicted: float | None = None
    peak: int = 0
    last: float = field(default_factory=time.monotonic)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return (self.folder / SCORES).is_file()

    @property
    def minutes(self) -> float:
        """Minutes of work until now."""
        return sum(self.stages.values()) + (time.monotonic() - self.last) / 60

    def stage(self, name: str, before: float = 0.0) -> None:
        """`name` is done: what passed since the last call, and `before` in earlier sessions. Minutes."""
        from jielong.base import device

        now = time.monotonic()
        self.stages[name] = (now - self.last) / 60 + before
        self.last = now
        self.peak = max(self.peak, device.peak_memory())
        self.keep()

    def keep(self) -> None:
        """Write it down."""
        told = {"asked": self.asked, "stages": self.stages, "predicted": self.predicted, "peak_memory": self.peak}
        files.write_json(self.folder / STATE, told)


def resuming(out: Path) -> str:
    """The command that goes on with the demo in `out`."""
    return "jielong demo --resume" + ("" if out == PLACE else f" --out {out}")


def begin(out: Path, given: Mapping[str, Any], overwrite: bool) -> Standing:
    """A new demo. Raises UserError where something stands already, with what to do about it."""
    if not overwrite and (out / STATE).is_file():
        state = "finished" if (out / SCORES).is_file() else f"unfinished: `{resuming(out)}` goes on with it"
        raise UserError(f"the demo in {out} exists and is {state}; --overwrite begins again, --out elsewhere")
    files.run_dir(out.parent, out.name, overwrite)
    standing = Standing(out, {name: DEFAULTS[name] if value is None else value for name, value in given.items()})
    standing.keep()
    return standing


def take_up(out: Path, given: Mapping[str, Any]) -> Standing:
    """The demo in `out` where it stopped; a new one where there is none. Raises UserError for another than `given`."""
    if not (out / STATE).is_file():
        bare = out.is_dir() and all(path.name.startswith(".") for path in out.iterdir())
        return begin(out, given, overwrite=bare and (out / files.RUN_MARK).is_file())
    told = files.read_json(out / STATE)
    changed = [name for name, value in given.items() if value not in (None, told["asked"].get(name))]
    if changed:
        was = ", ".join(f"--{name} {told['asked'].get(name)}" for name in changed)
        raise UserError(f"the demo in {out} was begun with {was}; resume it so, or begin again with --overwrite")
    return Standing(out, told["asked"], told["stages"], told["predicted"], told["peak_memory"])


def spent(folder: Path) -> float:
    """Minutes that earlier sessions have trained the run in `folder`."""
    from jielong.train.loop import METRICS

    if not (folder / METRICS).is_file():
        return 0.0
    lines = list(files.read_jsonl(folder / METRICS, tolerate_tail=True))
    return float(lines[-1]["clock"]["seconds"]) / 60 if lines else 0.0
