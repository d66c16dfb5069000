"""A training run kept in a folder, whatever is trained: checkpoints, metrics, and going on after a stop.

runs/NAME/run.json          what was asked for, and the fingerprint of the data
runs/NAME/metrics.jsonl     one line a step
runs/NAME/checkpoints/      step-00000600/: the newest alone; until the end it also holds the training state
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from jielong.base import device, files
from jielong.base.errors import UserError
from jielong.base.talk import Talk
from jielong.train import loop
from jielong.train.loop import Course, State
from jielong.train.muon import Rates
from jielong.train.objective import Objective
from jielong.train.settings import Settings, from_json, to_json

RUN, STATE, INFO = "run.json", "state.safetensors", "jielong.json"


class Format(Protocol):
    """How what is trained is written and read."""

    def write(self, place: Path, model: nn.Module, info: Mapping[str, Any]) -> None:
        """All of it into a folder that is there and empty."""

    def fill(self, place: Path, model: nn.Module) -> None:
        """The weights of such a folder into the model."""


@dataclass(frozen=True)
class Job:
    """What is trained, on what, and how it is kept. `data`: the fingerprint of what is learnt from; `final`: called
    before the last checkpoint is written; `info` goes into the checkpoint."""

    model: nn.Module
    objective: Objective
    settings: Settings
    format: Format
    data: str
    info: Mapping[str, Any]
    final: Callable[[], None] | None = None


def start(job: Job, folder: Path, talk: Talk, label: str) -> dict[str, float]:
    """Train in a folder of its own from the first step; returns the last figures."""
    files.write_json(folder / RUN, {"settings": to_json(job.settings), "data": job.data, **job.info})
    return _train(job, folder, talk, label, None)


def resume(job: Job, folder: Path, talk: Talk, label: str) -> dict[str, float]:
    """Go on where the newest saved state stands, from the start where there is none yet.

    Raises UserError when the run has finished, or its settings or data are others.
    """
    if not (folder / RUN).exists():
        return start(job, folder, talk, label)
    told = files.read_json(folder / RUN)
    if from_json(told["settings"]) != job.settings:
        changed = [key for key, value in to_json(job.settings).items() if told["settings"].get(key) != value]
        raise UserError(f"{folder} was begun with other settings ({', '.join(changed)}); resume it with the same")
    if told["data"] != job.data:
        raise UserError(f"{folder} was begun with other data; resume it with the same")
    for left in (folder / "checkpoints").glob(".step-*.tmp"):  # of a writer that was killed
        shutil.rmtree(left, ignore_errors=True)
    place = newest(folder)
    if place is None:
        return _train(job, folder, talk, label, None)
    if files.read_json(place / INFO).get("done"):
        raise UserError(f"{folder} has finished; there is nothing to resume")
    job.format.fill(place, job.model)
    return _train(job, folder, talk, label, read_state(place))


def newest(folder: Path) -> Path | None:
    """The newest checkpoint of a run; None before the first."""
    found = sorted(place for place in (folder / "checkpoints").glob("step-*") if (place / INFO).is_file())
    return found[-1] if found else None


def read_state(place: Path) -> State:
    """The training state beside a checkpoint. Raises UserError where it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(place / STATE)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{place / STATE} cannot be read ({error}); the run cannot be resumed") from error
    return State(int(tensors.pop("step")), tensors)


def course(settings: Settings) -> Course:
    """The loop's own settings."""
    every = max(1, settings.length // settings.validate) if settings.validate else 0
    rates = Rates(settings.matrix_rate, settings.other_rate, settings.weight_decay)
    warmup = min(settings.warmup, max(1, settings.length // 5))
    return Course(
        settings.length, warmup, settings.decay, settings.clip, rates, every, settings.save_every, settings.muon
    )  # fmt: skip


def _train(job: Job, folder: Path, talk: Talk, label: str, state: State | None) -> dict[str, float]:
    torch.set_num_threads(device.threads())
    device.keep_memory()

    def save(now: State, figures: Mapping[str, float]) -> None:
        done = now.step == job.settings.length
        if done and job.final is not None:
            job.final()
        metrics = {name: value for name, value in figures.items() if not name.endswith("grad_norm")}
        info = {**job.info, "step": now.step, "done": done, "settings": to_json(job.settings),
                "threads": torch.get_num_threads(), "metrics": metrics}  # fmt: skip
        place = folder / "checkpoints" / f"step-{now.step:08d}"
        with files.atomic_dir(place, overwrite=True) as new:
            job.format.write(new, job.model, info)
            if not done:
                _write_state(new / STATE, now)
            files.write_json(new / INFO, info)
        for old in (folder / "checkpoints").glob("step-*"):
            if old != place:
                shutil.rmtree(old)

    return loop.run(job.objective, course(job.settings), folder, talk, label, save, state)


def _write_state(path: Path, now: State) -> None:
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {"step": torch.tensor(now.step), **now.tensors}
    save_file({name: value.contiguous() for name, value in tensors.items()}, path)
