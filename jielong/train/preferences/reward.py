"""A reward model from comparisons: what is preferred is worth more.

    loss = -ln s(r(w) - r(l) - m) + c (r(w) + r(l))^2

Bradley and Terry 1952: P(w preferred) = s(r(w) - r(l)), s the logistic function. m is a pair's own margin (Touvron et
al. 2023, arXiv 2307.09288, eq. 2), c keeps rewards near 0, which comparisons alone leave open (Eisenstein et al. 2023,
arXiv 2312.09244, section 2.2). With several heads a pair says in which respect it was judged, and moves that head; one
that says nothing moves the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.base.errors import UserError
from jielong.nets.reward import RewardModel
from jielong.train.next_token import stream
from jielong.train.objective import Loss, Phase
from jielong.train.preferences.pairs import Deck, Laid, Numbers, shares

if TYPE_CHECKING:
    from jielong.train.preferences.prepare import Answers
    from jielong.train.run import Work


def bradley_terry(chosen: Tensor, rejected: Tensor, margins: Tensor | float = 0.0, centre: float = 0.0) -> Tensor:
    """(P,) losses of pairs with these rewards."""
    return -F.logsigmoid(chosen - rejected - margins) + centre * (chosen + rejected) ** 2


def worth(model: RewardModel, laid: Laid, dtype: torch.dtype = torch.float32) -> Tensor:
    """(A, heads) what each answer is worth; `laid` with its last tokens (`Deck.lay(..., last=True)`)."""
    found: Tensor = model(stream(model.body, laid.batch, dtype, torch.from_numpy(laid.lasts).to(model.device))[0])
    return found


@dataclass(frozen=True, eq=False)
class Judged:
    """Pairs, the margin (N,) and the number of the head (N,) of each."""

    deck: Deck
    margins: np.ndarray
    heads: Numbers


@dataclass(frozen=True, eq=False)
class Comparisons:
    """`model` learns to judge `train`, `batch` pairs a micro-batch, `accumulate` of these a step. An
    `adapter` that its body wears, with the head, is trained in its place."""

    model: RewardModel
    train: Judged
    validation: Judged | None = None
    centre: float = 0.0
    batch: int = 8
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
        return (Phase("reward", self.moved, self.loss, muon=self.adapter is None),)

    def batches(self, step: int) -> list[Laid]:
        """The micro-batches of `step`."""
        deck, n = self.train.deck, self.batch
        return [deck.lay(deck.deal((step * self.accumulate + i) * n, n), last=True) for i in range(self.accumulate)]

    def after_step(self, step: int) -> None:
        """Nothing to do."""

    def loss(self, laid: Laid) -> Loss:
        """Summed over pairs."""
        losses, gaps, rewards = self._judge(laid, self.train)
        stats = {"accuracy": float(_right(gaps).sum()), "margin": float(gaps.sum()), "reward": float(rewards.sum())}
        return Loss(losses.sum(), float(len(losses)), stats)

    def validate(self) -> dict[str, float]:
        """`val_loss`, `val_accuracy` and `val_margin` over the pairs kept apart; with several heads also of each, by
        its name, where it has pairs there."""
        held = self.validation
        if held is None:
            return {}
        was_training = self.moved.training
        self.moved.eval()
        with torch.no_grad():
            parts = [self._judge(held.deck.lay(numbers, last=True), held) for numbers in held.deck.once(self.batch)]
        self.moved.train(was_training)
        losses, gaps, _ = (torch.cat(each).double().cpu() for each in zip(*parts))
        figures = {"val_loss": float(losses.mean()), "val_accuracy": float(_right(gaps).mean()),
                   "val_margin": float(gaps.mean())}  # fmt: skip
        names = self.model.heads if len(self.model.heads) > 1 else ()
        for number, name in enumerate(names):
            some = torch.from_numpy(held.heads == number)
            if some.any():
                figures[f"val_{name}_accuracy"] = float(_right(gaps[some]).mean())
        return figures

    def _judge(self, laid: Laid, of: Judged) -> tuple[Tensor, Tensor, Tensor]:
        """Losses, gaps r(w) - r(l) and mean rewards (without gradients), each (P,)."""
        scores = worth(self.model, laid, self.dtype)
        heads = torch.from_numpy(of.heads[laid.examples]).to(scores.device).repeat(2)
        chosen, rejected = scores.gather(1, heads[:, None]).squeeze(1).chunk(2)
        margins = torch.from_numpy(of.margins[laid.examples]).to(chosen)
        losses = bradley_terry(chosen, rejected, margins, self.centre)
        return losses, (chosen - rejected).detach(), ((chosen + rejected) / 2).detach()


def _right(gaps: Tensor) -> Tensor:
    """1 where the chosen answer is worth more, a half where both are worth the same."""
    return (torch.sign(gaps) + 1) / 2


def numbered(answers: Answers, heads: Sequence[str]) -> Numbers:
    """The head of each pair. UserError for one that the model has not."""
    place = {"": 0, **{name: number for number, name in enumerate(heads)}}
    unknown = sorted({name for name in answers.heads if name not in place})
    if unknown:
        raise UserError(f"pairs judged for {', '.join(unknown)}, and the heads are {', '.join(heads)}: name them all "
                        f"with --heads {','.join([*heads, *unknown])}")  # fmt: skip
    return np.array([place[name] for name in answers.heads], dtype=np.int64)


def of_work(work: Work, dtype: torch.dtype, train: Answers, held: Answers | None, centre: float) -> Comparisons:
    """The objective of a run (`run.Work`) whose documents are pairs, and whose model is a reward model, or an adapter
    with a head that makes one of what stands beside it."""
    settings, names = work.settings, work.model.heads
    adapter = work.model if work.adapted else None
    judge = work.model if work.beside is None else RewardModel(work.beside, names, work.model.head)

    def side(answers: Answers, seed: int) -> Judged:
        return Judged(Deck(answers.tokens, 2, seed, shares(work.config)), answers.margins, numbered(answers, names))

    aside = None if held is None else side(held, 0)
    own = side(train, settings.seed)
    return Comparisons(judge, own, aside, centre, settings.batch, settings.accumulate, dtype, adapter)
