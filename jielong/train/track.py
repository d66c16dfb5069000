"""Figures sent to a tracker as they come: TensorBoard, trackio or wandb, each from the extra `track`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from jielong.base.errors import UserError

Log = Callable[[Mapping[str, Any]], None]
PROJECT = "jielong"


@contextmanager
def open_tracker(kind: str | None, folder: Path, resumed: bool = False) -> Iterator[Log | None]:
    """A function that takes the records of `metrics.jsonl` of the run in `folder`, or None where no tracker is asked.

    TensorBoard writes to `folder/tensorboard`, wandb to `folder/wandb` (offline unless WANDB_MODE says otherwise),
    trackio to its own database of this machine (TRACKIO_DIR). A resumed run goes on in the same place, but with wandb
    as another run of the same name. What they have to say goes to standard error. Raises UserError when the extra is
    not installed.
    """
    if kind is None:
        yield None
        return
    with redirect_stdout(sys.stderr):  # standard output is for the answer
        log, close = {"tensorboard": _tensorboard, "trackio": _trackio, "wandb": _wandb}[kind](folder, resumed)
    try:
        yield log
    finally:
        with redirect_stdout(sys.stderr):
            close()


def flat(record: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of a record, those of the clock under `clock/`."""
    found = {k: v for k, v in record.items() if isinstance(v, (int, float)) and k != "step"}
    return found | {f"clock/{k}": v for k, v in record.get("clock", {}).items()}


def _tensorboard(folder: Path, resumed: bool) -> tuple[Log, Callable[[], None]]:
    make = _need("torch.utils.tensorboard", "tensorboard").SummaryWriter
    writers: list[Any] = []

    def log(record: Mapping[str, Any]) -> None:
        if not writers:  # what a killed run had written of later steps is not shown
            writers.append(make(str(folder / "tensorboard"), purge_step=record["step"]))
        for name, value in flat(record).items():
            writers[0].add_scalar(name, value, record["step"])

    return log, lambda: [writer.close() for writer in writers].clear()


def _trackio(folder: Path, resumed: bool) -> tuple[Log, Callable[[], None]]:
    tracker = _need("trackio", "trackio")
    tracker.init(project=PROJECT, name=folder.name, resume="allow" if resumed else "never", embed=False)
    return lambda record: tracker.log(flat(record), step=record["step"]), tracker.finish


def _wandb(folder: Path, resumed: bool) -> tuple[Log, Callable[[], None]]:
    tracker = _need("wandb", "wandb")
    mode = os.environ.get("WANDB_MODE", "offline")
    settings = tracker.Settings(console="off")  # it would rewrite the progress line
    run = tracker.init(project=PROJECT, name=folder.name, dir=str(folder.resolve()), mode=mode, settings=settings)
    return lambda record: run.log(flat(record), step=record["step"]), run.finish


def _need(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{name} is not installed: pip install 'jielong[track]'") from error
