"""Direct preference optimisation and its relatives: a model learns from pairs, without a reward model.

Of a prompt x with a better answer w and a worse one l, and a reference that the model should stay near:

    r(y) = beta ln(p(y | x) / p_ref(y | x)),  d = r(w) - r(l)        (the reward that p would be optimal for)

    sigmoid   -ln s(d)                                               Rafailov et al. 2023, arXiv 2305.18290, eq. 7
    cdpo      -(1 - e) ln s(d) - e ln s(-d)                          Mitchell 2023, a note on DPO with noisy preferences
    robust    (-(1 - e) ln s(d) + e ln s(-d)) / (1 - 2 e)            Chowdhury et al. 2024, arXiv 2403.00409, eq. 12
    hinge     max(0, 1 - d)                                          Zhao et al. 2023 (SLiC), arXiv 2305.10425
    ipo       (d' / beta - 1 / (2 beta))^2                           Azar et al. 2023, arXiv 2310.12036, eq. 17
    simpo     -ln s(beta (m(w) - m(l)) - gamma)                      Meng et al. 2024, arXiv 2405.14734, eq. 6
    orpo      -m(w) - beta ln s(o(w) - o(l))                         Hong et al. 2024, arXiv 2403.07691, eq. 6 and 7

s is the logistic function, e the share of labels thought to be wrong, m(y) = ln p(y | x) / |y| the mean over tokens,
o(y) = m(y) - ln(1 - exp m(y)). In d' the sums are means over tokens too, as the authors of IPO do in their experiments.
The last two need no reference. Every loss is a mean over pairs, so any split of a step into micro-batches is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.nets.transformer import Transformer
from jielong.train.objective import Loss, Phase
from jielong.train.preferences.pairs import Deck, Laid, Reference, divergence, log_probs, shares, told_by
from jielong.train.preferences.plan import Plan

if TYPE_CHECKING:
    from jielong.train.run import Work


@dataclass(frozen=True)
class Sums:
    """Of P pairs, each (P,): log-probabilities under the model and the reference (None without one), and tokens."""

    chosen: Tensor
    rejected: Tensor
    ref_chosen: Tensor | None
    ref_rejected: Tensor | None
    n_chosen: Tensor
    n_rejected: Tensor

    @property
    def ratios(self) -> tuple[Tensor, Tensor]:
        """ln(p / p_ref) of both answers."""
        assert self.ref_chosen is not None and self.ref_rejected is not None
        return self.chosen - self.ref_chosen, self.rejected - self.ref_rejected

    @property
    def means(self) -> tuple[Tensor, Tensor]:
        """ln p a token of both answers."""
        return self.chosen / self.n_chosen, self.rejected / self.n_rejected


def sigmoid(sums: Sums, plan: Plan) -> Tensor:
    """(P,) -ln s(d)."""
    return -F.logsigmoid(_gap(sums, plan))


def cdpo(sums: Sums, plan: Plan) -> Tensor:
    """(P,) cross-entropy to labels that are right with probability 1 - e."""
    d, e = _gap(sums, plan), plan.flipped
    return -(1 - e) * F.logsigmoid(d) - e * F.logsigmoid(-d)


def robust(sums: Sums, plan: Plan) -> Tensor:
    """(P,) what has the right labels' loss as its mean over flips of share e."""
    d, e = _gap(sums, plan), plan.flipped
    return (-(1 - e) * F.logsigmoid(d) + e * F.logsigmoid(-d)) / (1 - 2 * e)


def hinge(sums: Sums, plan: Plan) -> Tensor:
    """(P,) max(0, 1 - d)."""
    return torch.relu(1 - _gap(sums, plan))


def ipo(sums: Sums, plan: Plan) -> Tensor:
    """(P,) squared distance of the mean log-ratios' difference to 1 / (2 beta)."""
    chosen, rejected = sums.ratios
    return (chosen / sums.n_chosen - rejected / sums.n_rejected - 1 / (2 * plan.beta)) ** 2


def simpo(sums: Sums, plan: Plan) -> Tensor:
    """(P,) -ln s(beta (m(w) - m(l)) - gamma)."""
    chosen, rejected = sums.means
    return -F.logsigmoid(plan.beta * (chosen - rejected) - plan.gamma)


def orpo(sums: Sums, plan: Plan) -> Tensor:
    """(P,) nats a token of the chosen answer, and beta times the loss of the odds ratio."""
    chosen, rejected = sums.means
    return -chosen - plan.beta * F.logsigmoid(_log_odds(chosen) - _log_odds(rejected))


LOSSES: dict[str, Callable[[Sums, Plan], Tensor]] = {
    "sigmoid": sigmoid, "cdpo": cdpo, "robust": robust, "hinge": hinge, "ipo": ipo, "simpo": simpo, "orpo": orpo,
}  # fmt: skip


def rewards(sums: Sums, plan: Plan) -> tuple[Tensor, Tensor]:
    """What the model itself thinks of both answers, each (P,): r(y), or beta m(y) where there is no reference."""
    first, second = sums.ratios if plan.needs_reference else sums.means
    return plan.beta * first, plan.beta * second


def _gap(sums: Sums, plan: Plan) -> Tensor:
    chosen, rejected = sums.ratios
    return plan.beta * (chosen - rejected)


def _log_odds(mean: Tensor) -> Tensor:
    """ln(p / (1 - p)) of p = exp(mean); a certain answer's odds stay finite."""
    mean = mean.clamp(max=-torch.finfo(mean.dtype).eps)
    return mean - torch.log(-torch.expm1(mean))


@dataclass(frozen=True, eq=False)
class Dpo:
    """`model` learns from the pairs of `train`, `batch` of them a micro-batch, `accumulate` of these a step. The
    references of both sides are asked by the losses that need one; validation measures how far the model has gone. An
    `adapter` that it wears is trained in its place; the references then are the same model without it."""

    model: Transformer
    plan: Plan
    train: Reference
    validation: Reference | None = None
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
        return (Phase("dpo", self.moved, self.loss, muon=self.adapter is None),)

    def batches(self, step: int) -> list[Laid]:
        """The micro-batches of `step`."""
        deck, n = self.train.deck, self.train.batch
        return [deck.lay(deck.deal((step * self.accumulate + i) * n, n)) for i in range(self.accumulate)]

    def after_step(self, step: int) -> None:
        """Nothing to do."""

    def loss(self, laid: Laid) -> Loss:
        """Summed over pairs."""
        return self._judge(laid, self.train)

    def validate(self) -> dict[str, float]:
        """The same figures over the pairs kept apart, and `val_kl`: nats a token of KL(model || reference)."""
        if self.validation is None:
            return {}
        held, sums = self.validation, dict[str, float]()
        kl = places = 0.0
        was_training = self.moved.training
        self.moved.eval()
        with torch.no_grad():
            for numbers in held.deck.once(held.batch):
                laid = held.deck.lay(numbers)
                found = self._judge(laid, held)
                for name, value in {"loss": float(found.total), **found.stats}.items():
                    sums[name] = sums.get(name, 0.0) + value
                more, count = divergence(self.model, held.model, laid, self.dtype)
                kl, places = kl + more, places + count
        self.moved.train(was_training)
        figures = {f"val_{name}": value / len(held.deck) for name, value in sums.items()}
        return figures | {"val_kl": kl / places}

    def _judge(self, laid: Laid, reference: Reference) -> Loss:
        pairs = laid.count // 2
        learning = torch.is_grad_enabled()
        told = (log_probs if learning else told_by)(self.model, laid, self.dtype)
        refs = reference.sums(laid.examples).to(told.sums).chunk(2) if self.plan.needs_reference else (None, None)
        sums = Sums(*told.sums.chunk(2), *refs, *told.lengths.chunk(2))
        total = LOSSES[self.plan.loss](sums, self.plan).sum()
        with torch.no_grad():
            chosen, rejected = rewards(sums, self.plan)
            stats = {
                "reward_chosen": float(chosen.sum()),
                "reward_rejected": float(rejected.sum()),
                "margin": float((chosen - rejected).sum()),
                "accuracy": float((chosen > rejected).sum() + 0.5 * (chosen == rejected).sum()),
                "entropy": float(told.entropies.sum()) / 2,
            }
        return Loss(total, float(pairs), stats)


def of_work(work: Work, dtype: torch.dtype, reference: Transformer, plan: Plan) -> Dpo:
    """The objective of a run (`run.Work`) whose documents are pairs."""
    settings, frozen = work.settings, reference.requires_grad_(False).eval()
    adapter = work.model if work.adapted else None
    train = Reference(frozen, Deck(work.train, 2, settings.seed, shares(work.config)), settings.batch, dtype)
    held = None if work.validation is None else Deck(work.validation, 2, 0, shares(work.config))
    aside = None if held is None else Reference(frozen, held, settings.batch, dtype)
    return Dpo(work.beside or work.model, plan, train, aside, settings.accumulate, dtype, adapter)
