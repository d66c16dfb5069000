"""What the one loop asks of an objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn


@dataclass(frozen=True)
class Loss:
    """A sum over whatever is counted, and how much was counted: the loop divides once, over all micro-batches.

    `stats` are sums too, divided by the same weight before they are written down.
    """

    total: Tensor
    weight: float
    stats: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Phase:
    """One optimiser and the loss it lowers. Most objectives have one; a GAN has two, PPO its inner epochs."""

    name: str
    model: nn.Module  # whose parameters are moved
    loss: Callable[[Any], Loss]
    muon: bool = True  # for its matrices; else AdamW for all
    rate: float = 1.0  # times the run's learning rates


class Objective(Protocol):
    """Yields the micro-batches of a step as a pure function of the step, so that resuming needs no state."""

    @property
    def phases(self) -> Sequence[Phase]:
        """The phases of every step, in order."""

    def batches(self, step: int) -> Sequence[Any]:
        """All micro-batches of this step; several processes share them out. None: this step moves nothing."""

    def after_step(self, step: int) -> None:
        """Called when the parameters have moved."""

    def validate(self) -> dict[str, float]:
        """Figures on data that is not trained on."""


@runtime_checkable
class Stateful(Protocol):
    """What an objective has besides whose batches are more than a function of the step: what it has drawn stays with it
    over several steps, and is saved with the run. `Objective.batches(step)` must be the same after `restore`."""

    def state(self) -> Mapping[str, Tensor]:
        """All that the next steps depend on."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Back to what `state` returned."""

    def figures(self) -> dict[str, float]:
        """Of the step that was just made, beside those of its losses."""

    def clock(self) -> dict[str, float]:
        """What depends on the clock."""
