"""Figures sent to a tracker as they come: TensorBoard, trackio or wandb, each from the extra `track`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from jielong.base.errors import UserError

Log = Callable[[Mapping[str, Any]], None]


@contextmanager
def open_tracker(kind: str | None, name: str) -> Iterator[Log | None]:
    """A function that takes the records of `metrics.jsonl`, or None where no tracker is asked for.

    TensorBoard and trackio write to this machine only; wandb is put in offline mode unless WANDB_MODE says more.
    Raises UserError when the extra is not installed.
    """
    if kind is None:
        yield None
    elif kind == "tensorboard":
        writer = _need("torch.utils.tensorboard", "tensorboard").SummaryWriter(str(Path("runs") / name / "tensorboard"))
        try:
            yield partial(_write, writer)
        finally:
            writer.close()
    else:
        tracker = _need(kind, kind)
        offline = {"mode": _wandb_mode()} if kind == "wandb" else {}
        tracker.init(project="jielong", name=name, **offline)
        try:
            yield partial(_write, writer)
        finally:
            tracker.finish()


def _write(writer: Any, record: Mapping[str, Any]) -> None:
    for name, value in flat(record).items():
        writer.add_scalar(name, value, record["step"])


def flat(record: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of a record, those of the clock under `clock/`."""
    found = {k: v for k, v in record.items() if isinstance(v, (int, float)) and k != "step"}
    return found | {f"clock/{k}": v for k, v in record.get("clock", {}).items()}


def _wandb_mode() -> str:
    import os

    return os.environ.get("WANDB_MODE", "offline")


def _need(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{name} is not installed: pip install 'jielong[track]'") from error
