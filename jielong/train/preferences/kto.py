"""KTO: a model learns from single answers that are wanted or not, as prospect theory weighs gains and losses.

    r = ln(p(y | x) / p_ref(y | x)),   z = max(0, mean of r over answers beside prompts that they do not belong to)

    wanted      a (1 - s(beta (r - z)))        a: `desirable`
    unwanted    b (1 - s(beta (z - r)))        b: `undesirable`

Ethayarajh et al. 2024, arXiv 2402.01306, eq. 7 and 8; s is the logistic function. z estimates KL(p || p_ref), without
gradients, once a step: of the step's examples 1 .. n, prompt i stands beside the answer of example i - 1, the first
beside the last one's. So a step is the same however it is split into micro-batches or over processes; a step of one
example takes the answer of the one before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from jielong.nets.transformer import Transformer
from jielong.train import processes
from jielong.train.objective import Loss, Phase
from jielong.train.preferences.pairs import (
    Deck,
    Document,
    Laid,
    Numbers,
    Reference,
    divergence,
    lay,
    log_probs,
    told_by,
)
from jielong.train.preferences.plan import Weights

if TYPE_CHECKING:
    from jielong.train.run import Work

Labels = npt.NDArray[np.bool_]


def kto(ratios: Tensor, labels: Tensor, z: float, weights: Weights) -> Tensor:
    """(N,) losses of answers with these log-ratios to the reference; labels (N,) bool."""
    wanted = weights.desirable * (1 - torch.sigmoid(weights.beta * (ratios - z)))
    unwanted = weights.undesirable * (1 - torch.sigmoid(weights.beta * (z - ratios)))
    return torch.where(labels, wanted, unwanted)


@dataclass(frozen=True, eq=False)
class Labelled:
    """A micro-batch: answers in rows, whether each is wanted, and the step's z."""

    laid: Laid
    labels: Labels
    z: float

    @property
    def ids(self) -> Numbers:
        """(B, T), what the model reads."""
        return self.laid.ids


@dataclass(frozen=True, eq=False)
class Side:
    """Answers with a reference, and whether each is wanted, (N,)."""

    reference: Reference
    labels: Labels

    @property
    def deck(self) -> Deck:
        """The answers."""
        return self.reference.deck


@dataclass(frozen=True, eq=False)
class Kto:
    """`model` learns from `train`, as many answers a micro-batch as the reference reads, `accumulate` of these; with an
    `adapter` that it wears as in `Dpo`."""

    model: Transformer
    weights: Weights
    context: int
    train: Side
    validation: Side | None = None
    accumulate: int = 1
    dtype: torch.dtype = torch.float32
    adapter: nn.Module | None = None

    @property
    def moved(self) -> nn.Module:
        """What is trained."""
        return self.adapter or self.model

    @property
    def phases(self) -> Sequence[Phase]:
        """One: lower the loss."""
        return (Phase("kto", self.moved, self.loss, muon=self.adapter is None),)

    def batches(self, step: int) -> list[Labelled]:
        """The micro-batches of `step`, with the z of the model as it now is."""
        deck, n = self.train.deck, self.train.reference.batch
        parts = [deck.deal((step * self.accumulate + i) * n, n) for i in range(self.accumulate)]
        dealt = np.concatenate(parts)
        other = np.roll(dealt, 1) if len(dealt) > 1 else deck.deal(max(step - 1, 0) if step else len(deck) - 1, 1)
        z = self._z(self.train, dealt, other, n)
        return [Labelled(deck.lay(part), self.train.labels[part], z) for part in parts]

    def after_step(self, step: int) -> None:
        """Nothing to do."""

    def loss(self, batch: Labelled) -> Loss:
        """Summed over answers."""
        return self._judge(batch, self.train)[0]

    def validate(self) -> dict[str, float]:
        """Over the answers kept apart: `val_loss`, `val_accuracy` (r on the right side of z), `val_margin` (mean reward
        of what is wanted less that of what is not, where both are there), `val_entropy`, `val_z`, and `val_kl`: nats a
        token of KL(model || reference)."""
        held = self.validation
        if held is None:
            return {}
        was_training = self.moved.training
        self.moved.eval()
        with torch.no_grad():
            figures = self._measure(held)
        self.moved.train(was_training)
        return {f"val_{name}": value for name, value in figures.items()}

    def _measure(self, held: Side) -> dict[str, float]:
        every = np.arange(len(held.deck))
        z = self._z(held, every, np.roll(every, 1), held.reference.batch)
        loss = entropy = right = kl = places = 0.0
        ratios = []
        for numbers in held.deck.once(held.reference.batch):
            batch = Labelled(held.deck.lay(numbers), held.labels[numbers], z)
            found, ratio = self._judge(batch, held)
            loss, entropy = loss + float(found.total), entropy + found.stats["entropy"]
            right += found.stats["accuracy"]
            ratios.append(ratio)
            more, count = divergence(self.model, held.reference.model, batch.laid, self.dtype)
            kl, places = kl + more, places + count
        n = len(every)
        figures = {"loss": loss / n, "accuracy": right / n, "entropy": entropy / n, "z": z, "kl": kl / places}
        rewards, labels = self.weights.beta * torch.cat(ratios), torch.from_numpy(held.labels)
        if labels.any() and not labels.all():
            figures["margin"] = float(rewards[labels].mean() - rewards[~labels].mean())
        return figures

    def _judge(self, batch: Labelled, side: Side) -> tuple[Loss, Tensor]:
        """The loss, and the log-ratios (N,) without gradients."""
        learning = torch.is_grad_enabled()
        told = (log_probs if learning else told_by)(self.model, batch.laid, self.dtype)
        labels = torch.from_numpy(batch.labels).to(told.sums.device)
        ratios = told.sums - side.reference.sums(batch.laid.examples).to(told.sums)
        total = kto(ratios, labels, batch.z, self.weights).sum()
        with torch.no_grad():
            above = torch.sign(ratios - batch.z) * torch.where(labels, 1, -1)
            stats = {
                "accuracy": float((above + 1).sum()) / 2,
                "entropy": float(told.entropies.sum()),
                "z": batch.z * len(labels),
            }
        return Loss(total, float(len(labels)), stats), ratios.detach()

    def _z(self, side: Side, prompts: Numbers, answers: Numbers, n: int) -> float:
        """max(0, mean log-ratio) of each answer after the prompt beside it; every process reads its share."""
        sums = 0.0
        for first in range(n * processes.rank(), len(prompts), n * processes.count()):
            some = slice(first, first + n)
            beside = [self._beside(side.deck, *pair) for pair in zip(prompts[some], answers[some])]
            laid = lay(beside, prompts[some])
            own, theirs = told_by(self.model, laid, self.dtype), side.reference.told(laid)
            sums += float((own.sums - theirs.sums).sum(dtype=torch.float64))
        return max(0.0, processes.total(sums) / len(prompts))

    def _beside(self, deck: Deck, prompt: int, answer: int) -> Document:
        """The prompt of one example with the answer of another, cut to the context."""
        (asked, asked_marks), (said, said_marks) = deck.document(int(prompt)), deck.document(int(answer))
        begin, other = int(asked_marks.argmax()), int(said_marks.argmax())
        ids = np.concatenate([asked[:begin], said[other:]])[: self.context + 1]
        return ids, np.concatenate([asked_marks[:begin], said_marks[other:]])[: self.context + 1]


def of_work(
    work: Work, dtype: torch.dtype, reference: Transformer, weights: Weights, labels: Labels, held: Labels | None
) -> Kto:
    """The objective of a run (`run.Work`) whose documents are single answers; labels of both sides."""
    settings, frozen = work.settings, reference.requires_grad_(False).eval()
    adapter = work.model if work.adapted else None
    train = Side(Reference(frozen, Deck(work.train, 1, settings.seed), settings.batch, dtype), labels)
    aside = None
    if work.validation is not None and held is not None:
        aside = Side(Reference(frozen, Deck(work.validation, 1, 0), settings.batch, dtype), held)
    model = work.beside or work.model
    return Kto(model, weights, settings.context, train, aside, settings.accumulate, dtype, adapter)
