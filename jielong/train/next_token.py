"""Next-token prediction: pretraining, and with masked targets supervised fine-tuning.

    loss = -sum_t w_t ln p(x_t | x_<t) / sum_t w_t        w_t = 0 where a chat's target is not the assistant's

Bengio et al. 2003; Radford et al. 2018. Masked targets as in Ouyang et al. 2022.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from jielong.data.pack import Batch, Packer
from jielong.nets.adapters.attach import prefixed
from jielong.nets.losses import next_token_loss
from jielong.nets.transformer import Transformer
from jielong.train.compiled import plainly
from jielong.train.objective import Loss, Phase

PLACED = ("learned", "sinusoid")  # positions that are added: they must restart with each document


@dataclass(frozen=True)
class NextToken:
    """`train` and `validation` are packed rows; `accumulate` micro-batches make a step; `dtype` of the arithmetic.

    `kinds`: further validation sets by name, each with figures of its own. `adapter`: attached to the model, which
    stays as it is: its parameters are moved instead.
    """

    model: Transformer
    train: Packer
    validation: Packer | None = None
    accumulate: int = 1
    dtype: torch.dtype = torch.float32
    kinds: Mapping[str, Packer] = field(default_factory=dict)
    adapter: nn.Module | None = None

    @property
    def phases(self) -> Sequence[Phase]:
        """One: lower the loss."""
        return (Phase("next_token", self.adapter or self.model, self.loss, muon=self.adapter is None),)

    def batches(self, step: int) -> list[Batch]:
        """The micro-batches of `step`."""
        return [self.train.rows(step * self.accumulate + i) for i in range(self.accumulate)]

    def after_step(self, step: int) -> None:
        """Nothing to do."""

    def loss(self, batch: Batch) -> Loss:
        """Summed nats and the number of trained targets."""
        total, weight, _ = nats(self.model, batch, self.dtype)
        return Loss(total, weight)

    def validate(self, dtype: torch.dtype | None = None) -> dict[str, float]:
        """Nats a token and bits a byte over the whole validation set, then over each of `kinds`."""
        sets = {"val": self.validation, **{f"val_{name}": packer for name, packer in self.kinds.items()}}
        moved = self.adapter or self.model
        was_training = moved.training
        moved.eval()
        figures: dict[str, float] = {}
        with torch.no_grad(), plainly(self.model):
            for name, packer in sets.items():
                if packer is not None:
                    figures |= self._measure(name, packer, dtype or self.dtype)
        moved.train(was_training)
        return figures

    def _measure(self, name: str, packer: Packer, dtype: torch.dtype) -> dict[str, float]:
        total = weight = size = 0.0
        for batch in packer.once():
            loss, count, _ = nats(self.model, batch, dtype)
            total, weight, size = total + float(loss), weight + count, size + batch.bytes
        figures = {f"{name}_loss": total / max(weight, 1)}
        if size:
            figures[f"{name}_bits_per_byte"] = total / size / math.log(2)
        return figures


def nats(model: Transformer, batch: Batch, dtype: torch.dtype) -> tuple[Tensor, float, Tensor]:
    """Summed loss, number of trained targets, and the losses one by one, of a packed batch."""
    wanted = np.flatnonzero(batch.targets.reshape(-1) >= 0)
    at = torch.from_numpy(wanted).to(model.device) if len(wanted) < batch.targets.size else None
    hidden = stream(model, batch, dtype, at)
    targets = torch.from_numpy(batch.targets).to(model.device).flatten()
    targets = targets if at is None else targets[at]
    total, losses = next_token_loss(
        hidden.flatten(0, 1), model.head_weight, targets, model.head_bias, model.config.softcap
    )
    return total, float(batch.trained), losses


def stream(model: Transformer, batch: Batch, dtype: torch.dtype, at: Tensor | None = None) -> Tensor:
    """The model's stream over a packed batch, (B, T, D); (1, N, D) at the flat places `at` (N,).

    Rotary and relative positions only see distances, so they need not restart with each document (but where a
    prefix stands before each, or two answers after one prompt); attention never crosses documents either way.
    """
    device = model.device
    documents = torch.from_numpy(batch.documents).to(device)
    placed = model.config.position in PLACED or prefixed(model) or batch.above is not None
    positions = torch.from_numpy(batch.positions).to(device).long() if placed else None
    single = bool((batch.documents == 0).all())
    if batch.above is not None:
        documents = torch.stack([documents, torch.from_numpy(batch.above).to(device)])
    return model.hidden(
        torch.from_numpy(batch.ids).to(device),
        positions=positions,
        documents=None if single else documents,
        dtype=dtype if dtype != model.embed.dtype else None,
        at=at,
    )
