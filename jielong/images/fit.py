"""Training a generator of pictures with the one loop: an objective over batches of pictures, and the running mean of
its weights.

A generator is a module with `phases()`, most often one: (name, module whose parameters move, loss of a batch).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from jielong.images.pictures import Batch, Feed
from jielong.train.objective import Loss, Phase


class Generator(Protocol):
    """What makes pictures. It is an `nn.Module` too."""

    def loss(self, batch: Batch) -> Loss:
        """Summed over the batch's pictures, the weight their number; what is drawn by lot is drawn by `batch.seed`."""

    def sample(self, condition: Tensor | None, n: int, seed: int, steps: int = 0) -> Tensor:
        """(n, C, H, W) in [-1, 1] for words (n, T) or labels (n, 1); steps 0: the generator's own number."""


@dataclass
class Mean:
    """Weights averaged over training: each step w <- decay w + (1 - decay) now, faster at the start, where (1 + t) /
    (10 + t) is less (Tarvainen and Valpola 2017; the ramp of TensorFlow's `ExponentialMovingAverage`)."""

    model: nn.Module
    decay: float
    steps: int = 0
    kept: dict[str, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def update(self) -> None:
        """After a step."""
        now = dict(self.model.named_parameters())
        if not self.kept:
            self.kept = {name: value.detach().clone() for name, value in now.items()}
        rate = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(self.kept.values()), [now[name].detach() for name in self.kept], rate)
        self.steps += 1

    @torch.no_grad()
    def exchange(self) -> None:
        """Put the mean into the model and the model's weights here; once more undoes it."""
        for name, parameter in self.model.named_parameters():
            if name in self.kept:
                held = self.kept[name].clone()
                self.kept[name].copy_(parameter)
                parameter.copy_(held)


class Fit:
    """The objective of the loop: pictures in, the generator's losses lowered."""

    def __init__(
        self,
        model: Any,
        feed: Feed,
        held: Feed | None = None,
        accumulate: int = 1,
        decay: float = 0.0,
        show: Callable[[int], None] | None = None,
    ) -> None:
        """`held`: measured once at each validation; `decay` of the running mean of weights, 0 for none; `show`: called
        at each validation with the mean in the model."""
        self.model, self.feed, self.held, self.accumulate, self.show = model, feed, held, accumulate, show
        self.mean = Mean(model, decay) if decay else None
        self.made = 0

    @property
    def phases(self) -> Sequence[Phase]:
        """The generator's own where it has some (a GAN has two), else its loss."""
        own = getattr(self.model, "phases", None)
        return own() if own is not None else (Phase("fit", self.model, self.model.loss),)

    def batches(self, step: int) -> list[Batch]:
        """The micro-batches of a step."""
        return [self.feed.at(step * self.accumulate + i) for i in range(self.accumulate)]

    def after_step(self, step: int) -> None:
        """The mean follows."""
        self.made = step + 1
        if self.mean is not None:
            self.mean.update()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The loss on pictures held out, with the mean's weights: the same times and noise at every call."""
        if self.mean is not None and self.mean.kept:
            self.mean.exchange()
        try:
            return self._validate()
        finally:
            if self.mean is not None and self.mean.kept:
                self.mean.exchange()

    def _validate(self) -> dict[str, float]:
        training = self.model.training
        self.model.eval()
        figures: dict[str, float] = {}
        if self.held is not None:
            total = weight = 0.0
            for step in range(-(-len(self.held.pixels) // self.held.batch)):
                loss = self.model.loss(self.held.at(step))
                total, weight = total + float(loss.total), weight + loss.weight
            figures["val_loss"] = total / max(weight, 1)
        if self.show is not None:
            self.show(self.made)
        self.model.train(training)
        return figures

    def state(self) -> Mapping[str, Tensor]:
        """The mean's weights: the model's own are in the checkpoint."""
        if self.mean is None:
            return {}
        return {**self.mean.kept, "steps": torch.tensor(self.mean.steps)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Back to what `state` returned."""
        if self.mean is not None and tensors:
            self.mean.steps = int(tensors["steps"])
            self.mean.kept = {name: value.clone() for name, value in tensors.items() if name != "steps"}

    def figures(self) -> dict[str, float]:
        """None besides the losses."""
        return {}

    def clock(self) -> dict[str, float]:
        """Nothing besides the loop's own."""
        return {}
