"""Filling slots: the objective of models that write all places of a text at once, or in passes.

    loss = sum_b sum_i w_bi * -ln p(x_bi | source_b, slots that are shown) / sum w        w_bi > 0: slot i is masked

Which slots are masked, and with which weights, is the method: `at_once`, `mask_predict`, `masked_diffusion` each say so
in a `hide`. Where lengths are predicted, nats of the length are added (`length`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.data.pack import NothingToTrain
from jielong.data.tokens import Tokens
from jielong.infer.slots import Marks, lay
from jielong.nets.transformer import Transformer
from jielong.train import at_once, length, mask_predict, masked_diffusion
from jielong.train.compiled import plainly
from jielong.train.objective import Loss, Phase

if TYPE_CHECKING:
    from jielong.train.run import Work

# (slots of each row (B,), generator) -> weights (B, S) float64: 0 for a slot that is shown, and beyond a row's last.
Hide = Callable[[npt.NDArray[np.int64], np.random.Generator], npt.NDArray[np.float64]]
Ids = npt.NDArray[np.int64]
METHODS: dict[str, Hide] = {
    "at-once": at_once.hide, "mask-predict": mask_predict.hide, "diffusion": masked_diffusion.hide,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pairs:
    """What is given and what is to be written, as token ids: source i and target i, each of one token or more."""

    sources: Sequence[Ids]
    targets: Sequence[Ids]

    def __len__(self) -> int:
        return len(self.sources)


def pairs(tokens: Tokens, marks: Marks, context: int, end: int) -> Pairs:
    """Each run of trained targets, given all before it in its document.

    A run of more than `longest` tokens becomes several targets, each given what was written before; of a source that
    leaves no room in `context` the first tokens are left out. With lengths by "end", targets are filled up with `end`.
    UserError where `context` has no room for a target and one token before it.
    """
    room = context - marks.longest
    if room < 1:
        raise UserError(f"{marks.longest} slots leave no room in a context of {context}: give fewer --slots")
    sources: list[Ids] = []
    targets: list[Ids] = []
    for number in range(tokens.documents):
        ids, trained = tokens.document(number)
        for first, last in _runs(trained):
            for place in range(first, last, marks.longest):
                target = ids[place : min(place + marks.longest, last)].astype(np.int64)
                if marks.length == "end":
                    target = np.concatenate([target, np.full(marks.longest - len(target), end, dtype=np.int64)])
                sources.append(ids[max(0, place - room) : place].astype(np.int64))
                targets.append(target)
    if not sources:
        raise NothingToTrain("nothing to train on: no document has a target behind its first token")
    return Pairs(sources, targets)


def _runs(trained: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and one past the last place of each run of trained tokens; a document's first token is never a target."""
    marked = np.concatenate([[False], trained[1:], [False]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(marked)) + 1
    yield from zip(edges[::2].tolist(), edges[1::2].tolist())


@dataclass(frozen=True, eq=False)
class Filling:
    """One micro-batch. ids (B, T) int64 as the model reads them, the mask in hidden slots; documents (B, T) or None as
    in `lay`; at (2, N), row and place of each hidden slot; truth, weights (N,); the sources and lengths (B,)."""

    ids: Ids
    documents: Ids | None
    at: Ids
    truth: Ids
    weights: npt.NDArray[np.float64]
    sources: Sequence[Ids]
    lengths: Ids


def filling(some: Pairs, marks: Marks, hide: Hide, generator: np.random.Generator) -> Filling:
    """These pairs side by side, slots hidden by `hide`."""
    counts = np.array([len(target) for target in some.targets], dtype=np.int64)
    laid = lay(some.sources, counts.tolist(), marks)
    truth = np.zeros(laid.slots.shape, dtype=np.int64)
    for row, target in zip(truth, some.targets):
        row[: len(target)] = target
    weights = hide(counts, generator)
    shown, hidden = np.nonzero(laid.open & (weights == 0)), np.nonzero(laid.open & (weights > 0))
    ids = laid.ids.copy()
    ids[shown[0], laid.slots[shown]] = truth[shown]
    at = np.stack([hidden[0], laid.slots[hidden]])
    return Filling(ids, laid.documents, at, truth[hidden], weights[hidden], some.sources, counts)


@dataclass(frozen=True)
class Parallel:
    """`train` and `validation` pairs, `batch` of them a micro-batch, `accumulate` of these a step; `hide` the method.

    What is drawn for step s depends on (seed, s) alone; validation always hides the same slots.
    """

    model: Transformer
    marks: Marks
    hide: Hide
    train: Pairs
    validation: Pairs | None = None
    batch: int = 32
    accumulate: int = 1
    seed: int = 0
    dtype: torch.dtype = torch.float32
    orders: dict[int, Any] = field(default_factory=dict, compare=False)  # of the epoch under way

    @property
    def phases(self) -> Sequence[Phase]:
        """One: lower the loss."""
        return (Phase("parallel", self.model, self.loss),)

    def batches(self, step: int) -> list[Filling]:
        """The micro-batches of `step`."""
        return [self._batch(step * self.accumulate + i) for i in range(self.accumulate)]

    def after_step(self, step: int) -> None:
        """Nothing to do."""

    def loss(self, batch: Filling) -> Loss:
        """Weighted nats of the hidden slots, and of the lengths where they are predicted."""
        total, weight = nats(self.model, self.marks, batch, self.dtype), float(batch.weights.sum())
        if self.marks.length == "end":
            return Loss(total, weight)
        told = length.nats(self.model, self.marks, batch.sources, batch.lengths, self.dtype).sum()
        return Loss(total + told, weight, {"length_loss": float(told.detach()) * weight / len(batch.lengths)})

    def validate(self) -> dict[str, float]:
        """`val_loss`, weighted nats a slot; `val_length_loss`, nats a length, where they are predicted."""
        if self.validation is None:
            return {}
        was_training = self.model.training
        self.model.eval()
        total = weight = told = 0.0
        with torch.no_grad(), plainly(self.model):
            for first in range(0, len(self.validation), self.batch):
                chosen = range(first, min(first + self.batch, len(self.validation)))
                batch = self._filling(self.validation, chosen, "validation", first)
                total += float(nats(self.model, self.marks, batch, self.dtype))
                weight += float(batch.weights.sum())
                if self.marks.length == "predicted":
                    told += float(length.nats(self.model, self.marks, batch.sources, batch.lengths, self.dtype).sum())
        self.model.train(was_training)
        figures = {"val_loss": total / weight}
        return figures | ({"val_length_loss": told / len(self.validation)} if told else {})

    def _batch(self, number: int) -> Filling:
        places = range(number * self.batch, (number + 1) * self.batch)
        chosen = [int(self._order(place // len(self.train))[place % len(self.train)]) for place in places]
        return self._filling(self.train, chosen, "hide", number)

    def _filling(self, of: Pairs, chosen: Sequence[int], *address: Any) -> Filling:
        some = Pairs([of.sources[i] for i in chosen], [of.targets[i] for i in chosen])
        return filling(some, self.marks, self.hide, noise.rng(self.seed, *address))

    def _order(self, epoch: int) -> Ids:
        """A fresh permutation for every epoch; only the latest two are kept."""
        if epoch not in self.orders:
            for old in [e for e in self.orders if e < epoch - 1]:
                del self.orders[old]
            self.orders[epoch] = noise.permutation(self.seed, len(self.train), "pairs", epoch)
        order: Ids = self.orders[epoch]
        return order


def of_work(work: Work, dtype: torch.dtype, marks: Marks, method: str) -> Parallel:
    """The objective of a run (`run.Work`): its documents' trained targets are what is written."""
    settings, end = work.settings, work.codec.end
    train = pairs(work.train, marks, settings.context, end)
    held = None
    if work.validation is not None:
        try:
            held = pairs(work.validation, marks, settings.context, end)
        except NothingToTrain:
            held = None
    rows, more, seed = settings.batch, settings.accumulate, settings.seed
    return Parallel(work.model, marks, METHODS[method], train, held, rows, more, seed, dtype)


def nats(model: Transformer, marks: Marks, batch: Filling, dtype: torch.dtype = torch.float32) -> Tensor:
    """Summed weighted nats of the hidden slots; only they go through the head, and only tokens can stand there."""
    weights = torch.from_numpy(batch.weights).to(model.device)
    losses = each(model, marks, batch, dtype)
    return (losses * weights.to(losses.dtype)).sum()


def each(model: Transformer, marks: Marks, batch: Filling, dtype: torch.dtype = torch.float32) -> Tensor:
    """-ln p of each hidden slot's token, (N,)."""
    device = model.device
    documents = None if batch.documents is None else torch.from_numpy(batch.documents).to(device)
    hidden = model.hidden(
        torch.from_numpy(batch.ids).to(device),
        documents=documents,
        dtype=dtype if dtype != model.embed.dtype else None,
    )
    rows, places = torch.from_numpy(batch.at).to(device)
    logits_NV = model.logits(hidden[rows, places])[:, : marks.tokens]
    return F.cross_entropy(logits_NV, torch.from_numpy(batch.truth).to(device), reduction="none")
