"""The one training loop: phases, accumulation, clipping, schedule, validation, resuming, and telling how it goes.

Gradients are sums over micro-batches and processes, divided once by the total weight: any split of a batch gives the
same step. A run can be killed at any moment; `resume` goes on from the last saved step and rewrites the same lines.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from jielong.base import files
from jielong.base.errors import UserError, WorkFailed
from jielong.base.plain import dumps
from jielong.base.talk import Talk
from jielong.nets.transformer import matrices
from jielong.train import schedule
from jielong.train.interrupt import Interrupt
from jielong.train.muon import Optimizer, Rates
from jielong.train.objective import Objective, Phase, Stateful
from jielong.train.processes import anywhere, count, rank

PATIENCE = 10  # steps in a row whose gradient is not finite before the run is given up
METRICS = "metrics.jsonl"
SHOWN = ("loss", "val_loss", "reward", "kl")
OWN = "objective/"  # before the names of what the objective itself keeps


@dataclass(frozen=True)
class Course:
    """How long and how fast. `decay` is the share of the run in which the rate falls to zero."""

    steps: int
    warmup: int = 20
    decay: float = 0.5
    clip: float = 1.0
    rates: Rates = field(default_factory=Rates)
    validate_every: int = 0  # steps; 0: only at the end
    save_every: float = 60.0  # seconds between two saved states; 0: only at the end
    muon: bool = True  # for matrices, where the phase has nothing against it

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError("the budget is less than one step; give more --minutes, --tokens or --steps")


@dataclass(frozen=True)
class State:
    """Where a run stands: what `save` is given and `resume` takes up."""

    step: int
    tensors: Mapping[str, Tensor]


Save = Callable[[State, Mapping[str, float]], None]


class _Driver:
    """One phase's optimizer over its parameters."""

    def __init__(self, phase: Phase, course: Course) -> None:
        self.phase, self.course = phase, course
        self.parts = matrices(phase.model) if phase.muon and course.muon else []
        inside = {id(parameter) for parameter, *_ in self.parts}
        others = [p for p in phase.model.parameters() if p.requires_grad and id(p) not in inside]
        views = [parameter.data[start : start + rows] for parameter, start, rows in self.parts]
        rates = replace(
            course.rates, matrices=phase.rate * course.rates.matrices, others=phase.rate * course.rates.others
        )
        self.optimizer = Optimizer(views, others, rates)
        self.parameters = [p for p in phase.model.parameters() if p.requires_grad]
        self.bad = 0

    def step(self, batches: list[Any], number: int) -> dict[str, float]:
        """One update from all micro-batches; figures of this step. Without any, nothing moves."""
        if not batches:
            return {}
        totals: dict[str, float] = {"loss": 0.0}
        weight = 0.0
        for batch in batches[rank() :: count()]:
            loss = self.phase.loss(batch)
            loss.total.backward()
            totals["loss"] += float(loss.total.detach())
            weight += loss.weight
            for name, value in loss.stats.items():
                totals[name] = totals.get(name, 0.0) + value
        weight = self._share(totals, weight)
        if weight <= 0:
            raise UserError("a batch trains on nothing: no target is marked; check the data's roles")
        norm = self._scale_gradients(weight)
        if math.isfinite(norm):
            self.bad = 0
            grads = [gradient(p)[start : start + rows] for p, start, rows in self.parts]
            rate = schedule.scale(number, self.course.steps, self.course.warmup, self.course.decay)
            self.optimizer.step(grads, rate)
        else:
            self.bad += 1
            if self.bad >= PATIENCE:
                raise WorkFailed(f"the gradient was not finite {PATIENCE} steps in a row; lower the learning rate")
        for parameter in self.parameters:
            parameter.grad = None
        return {name: value / weight for name, value in totals.items()} | {"grad_norm": norm}

    def _share(self, totals: dict[str, float], weight: float) -> float:
        """Sum gradients, figures and weight over processes."""
        if count() == 1:
            return weight
        sums = torch.tensor([weight, *totals.values()], dtype=torch.float64)
        dist.all_reduce(sums)
        totals.update(zip(totals, sums[1:].tolist(), strict=True))
        for parameter in self.parameters:
            dist.all_reduce(gradient(parameter))
        return float(sums[0])

    def _scale_gradients(self, weight: float) -> float:
        """Divide by the weight and clip to norm `clip`; the norm before clipping."""
        grads = [gradient(parameter) for parameter in self.parameters]
        norms = torch._foreach_norm(grads)
        norm = float(torch.linalg.vector_norm(torch.stack(norms))) / weight
        factor = min(1.0, self.course.clip / (norm + 1e-12)) if self.course.clip else 1.0
        if math.isfinite(norm):
            torch._foreach_mul_(grads, factor / weight)
        return norm


def gradient(parameter: nn.Parameter) -> Tensor:
    """Its gradient, zeros where the loss did not touch it."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def run(
    objective: Objective,
    course: Course,
    folder: Path,
    talk: Talk,
    label: str = "train",
    save: Save | None = None,
    resume: State | None = None,
    track: Callable[[Mapping[str, Any]], None] | None = None,
    flops_per_token: float = 0.0,
    matrix_rate: float = 0.0,
) -> dict[str, float]:
    """Train to the end of the course; returns the last figures.

    Writes one line a step to `folder/metrics.jsonl` (what depends on the clock under "clock"). `save` is called
    with the state every `course.save_every` seconds, at the end, and on Ctrl-C, which then raises
    KeyboardInterrupt. `flops_per_token` and `matrix_rate` (FLOP/s) show the share of the machine reached.
    """
    drivers = [_Driver(phase, course) for phase in objective.phases]
    own = objective if isinstance(objective, Stateful) else None
    first = 0
    if resume is not None:
        first = resume.step
        _restore(drivers, own, resume)
    clock = _forget_after(folder / METRICS, first) if rank() == 0 else {}
    figures: dict[str, float] = {}
    saved = time.monotonic()
    began = saved - clock.get("seconds", 0.0)  # a resumed run's clock goes on too
    tokens = round(clock.get("seconds", 0.0) * clock.get("tokens_per_second", 0.0))
    with Interrupt() as interrupt, talk.progress(course.steps, label, "steps", start=first) as progress:
        for step in range(first, course.steps):
            batches = list(objective.batches(step))
            figures = {}
            for driver in drivers:
                prefix = "" if len(drivers) == 1 else driver.phase.name + "."
                figures |= {prefix + name: value for name, value in driver.step(batches, step).items()}
            objective.after_step(step)
            if own is not None:
                figures |= own.figures()
            tokens += sum(batch.ids.size for batch in batches if hasattr(batch, "ids"))
            last = step + 1 == course.steps
            if last or (course.validate_every and (step + 1) % course.validate_every == 0):
                figures |= objective.validate()
            seconds = time.monotonic() - began
            clock = {"seconds": round(seconds, 3), "tokens_per_second": round(tokens / seconds, 1)}
            if own is not None:
                clock |= own.clock()
            if matrix_rate:
                clock["matrix_share"] = round(flops_per_token * tokens / seconds / matrix_rate, 4)
            record = {"step": step + 1, **figures, "clock": clock}
            if rank() == 0:
                files.append_jsonl(folder / METRICS, record)
                if track is not None:
                    track(record)
            progress.update(step + 1, **_shown(figures, clock))
            due = course.save_every and time.monotonic() - saved > course.save_every
            asked = anywhere(interrupt.asked)  # all stop after the same step, or one would wait for the others
            if save is not None and rank() == 0 and (last or due or asked):
                save(State(step + 1, _tensors(drivers, own)), figures)
                saved = time.monotonic()
            if asked and not last:
                raise KeyboardInterrupt
    return figures


def _shown(figures: Mapping[str, float], clock: Mapping[str, float]) -> dict[str, Any]:
    shown = {name: f"{value:.3f}" for name, value in figures.items() if name in SHOWN}
    shown["tok/s"] = f"{clock['tokens_per_second']:,.0f}"
    if "matrix_share" in clock:
        shown["of matrix rate"] = f"{clock['matrix_share']:.0%}"
    return shown


def _tensors(drivers: list[_Driver], objective: Stateful | None) -> dict[str, Tensor]:
    """What the next step depends on beside the parameters themselves."""
    states = [driver.optimizer.state() for driver in drivers]
    found = {f"{i}/{name}": value for i, state in enumerate(states) for name, value in state.items()}
    if objective is not None:
        found |= {OWN + name: value for name, value in objective.state().items()}
    return {name: value.detach().clone() for name, value in found.items()}


def _restore(drivers: list[_Driver], objective: Stateful | None, state: State) -> None:
    if objective is not None:
        objective.restore({n.removeprefix(OWN): v for n, v in state.tensors.items() if n.startswith(OWN)})
    for i, driver in enumerate(drivers):
        own = {n.split("/", 1)[1]: v for n, v in state.tensors.items() if n.split("/", 1)[0] == str(i)}
        driver.optimizer.restore(own)


def _forget_after(path: Path, step: int) -> dict[str, float]:
    """Drop the lines of steps that will be run again; the clock of the last one that stays."""
    if not path.exists():
        return {}
    kept = [line for line in files.read_jsonl(path, tolerate_tail=True) if line.get("step", 0) <= step]
    files.atomic_write(path, "".join(dumps(line) + "\n" for line in kept))
    return dict(kept[-1]["clock"]) if kept else {}
