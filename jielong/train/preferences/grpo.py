"""GRPO: answers to one prompt are compared with each other, so no critic is needed.

    A_i = how much better answer i of a prompt's group was (`advantages.grouped`)
    loss = -min(r A, clip(r, 1 - low, 1 + high) A) + beta (q / p - 1 - ln(q / p)),   r = p / p_old

of each token, p_old the model that drew it, q the reference; Shao et al. 2024, arXiv 2402.03300, eq. 3 and 4. Over
tokens and answers:

    grpo      mean over answers of the mean over their tokens               (there, eq. 3)
    dapo      mean over all tokens of a step                                Yu et al. 2025, arXiv 2503.14476, eq. 8
    dr_grpo   sum over tokens / (answers x longest allowed): no bias by length    Liu et al. 2025, arXiv 2503.20783

The KL term of the paper, as it is, has the gradient of KL(q || p), not of KL(p || q): what it settles at is
p = q beta / (beta + c - r), c so that it sums to 1, and not q exp(r / beta) / Z, which is near it for small r / beta.
`weighted` multiplies the term by r, and then the gradient is KL(p || q)'s (DeepSeek-AI 2025, arXiv 2512.02556, eq. 7).
With `ratio` sequence r is the answer's: (p(y) / p_old(y))^(1 / |y|) (GSPO, Zheng et al. 2025, arXiv 2507.18071, eq. 7).
Where each rollout serves one step r is 1, and the gradient is REINFORCE's with this baseline: with `baseline` others,
RLOO (Ahmadian et al. 2024, arXiv 2402.14740).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from jielong.nets.transformer import Transformer
from jielong.train.objective import Loss, Phase
from jielong.train.preferences.advantages import grouped, k3
from jielong.train.preferences.pairs import by_token
from jielong.train.preferences.ppo import clipped, outside
from jielong.train.preferences.rolling import Rolls, rolls
from jielong.train.preferences.rollout_plan import Drawing, GrpoPlan

if TYPE_CHECKING:
    from jielong.train.preferences.rewarding import Reward
    from jielong.train.preferences.rollouts import Piece, Prompts
    from jielong.train.run import Work


def by_answer(values: Tensor, owner: Tensor, count: int) -> Tensor:
    """(N,) of tokens -> (count,) mean over each answer's."""
    zeros = values.new_zeros(count)
    return zeros.index_add(0, owner, values) / zeros.index_add(0, owner, torch.ones_like(values)).clamp(min=1)


def ratios(logs: Tensor, old: Tensor, owner: Tensor, count: int, kind: str) -> Tensor:
    """(N,) p / p_old of each token, or of the answer that it belongs to."""
    gaps = logs - old
    return torch.exp(gaps if kind == "token" else by_answer(gaps, owner, count)[owner])


def losses(
    logs: Tensor, old: Tensor, reference: Tensor | None, advantages: Tensor, owner: Tensor, count: int, plan: GrpoPlan
) -> Tensor:
    """(N,) of each token. owner (N,): the answer of each, of `count`."""
    ratio = ratios(logs, old, owner, count, plan.ratio)
    found = clipped(ratio, advantages, plan.clip, plan.high)
    if reference is None:
        return found
    kl = k3(logs, reference)
    return found + plan.beta * (kl * ratio if plan.weighted else kl)


def together(losses: Tensor, owner: Tensor, count: int, longest: int, aggregate: str) -> tuple[Tensor, float]:
    """A micro-batch's total and weight: sums of them over a step's micro-batches, divided, are the step's loss."""
    if aggregate == "grpo":
        return by_answer(losses, owner, count).sum(), float(count)
    return losses.sum(), float(len(losses) if aggregate == "dapo" else count * longest)


@dataclass(frozen=True, eq=False)
class Grpo:
    """`rolls.model` learns from its own answers."""

    rolls: Rolls
    plan: GrpoPlan

    @property
    def phases(self) -> Sequence[Phase]:
        """One: lower the loss."""
        return (Phase("grpo", self.rolls.moved, self.loss, muon=self.rolls.adapter is None),)

    def batches(self, step: int) -> list[Piece]:
        """The micro-batches of `step`; a rollout is drawn where it begins."""
        if self.rolls.begins(step):
            self._weigh()
        return self.rolls.deal(step)

    def _weigh(self) -> None:
        rolls = self.rolls
        drawn = rolls.drawn
        assert drawn is not None
        scores = torch.where(rolls.values["reward"].isnan(), torch.nan, rolls.scores)
        groups = scores.view(rolls.drawing.prompts, rolls.drawing.group)
        old, beside = rolls.old(drawn), rolls.beside(drawn)
        advantages = grouped(groups, self.plan.baseline)
        rolls.values |= {"advantage": advantages.flatten().float(), "old": old, "reference": beside}
        even = float((advantages == 0).all(1).double().mean())
        rolls.told |= {"kl": rolls.nats(drawn, old, beside), "even_groups": even}

    def loss(self, some: Piece) -> Loss:
        """By `plan.aggregate`."""
        rolls, plan = self.rolls, self.plan
        logs, entropy = by_token(rolls.model, some.laid, rolls.dtype, rolls.drawing.temperature)
        old, beside, advantage = (some.of(rolls.values[n]).to(logs) for n in ("old", "reference", "advantage"))
        owner, count = torch.from_numpy(some.laid.owner).to(logs.device), some.laid.count
        each = losses(logs, old, beside if plan.beta else None, advantage, owner, count, plan)
        total, weight = together(each, owner, count, rolls.drawing.length, plan.aggregate)
        with torch.no_grad():
            ratio = ratios(logs, old, owner, count, plan.ratio)
            drift = k3(old, logs)
            rolls.note(drift)
            means = {"entropy": entropy, "ratio": ratio, "drift": drift,
                     "clipped": outside(ratio, advantage, plan.clip, plan.high)}  # fmt: skip
            stats = {name: float(values.double().mean()) * weight for name, values in means.items()}
        return Loss(total, weight, stats)

    def after_step(self, step: int) -> None:
        """A model that has gone far from its answers draws new ones."""
        self.rolls.after(self.plan.stop)

    def validate(self) -> dict[str, float]:
        """As `Rolls.validate`."""
        return self.rolls.validate()

    def state(self) -> Mapping[str, Tensor]:
        """The rollout under way."""
        return self.rolls.state()

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Back to what `state` returned."""
        self.rolls.restore(tensors)

    def figures(self) -> dict[str, float]:
        """Of the rollout that the step learnt from."""
        return {**self.rolls.told, "stopped": float(self.rolls.stopped)}

    def clock(self) -> dict[str, float]:
        """What the rollout took, in the step that drew it."""
        return self.rolls.seconds


def of_work(
    work: Work, dtype: torch.dtype, reference: Transformer, prompts: Prompts, reward: Reward, drawing: Drawing,
    plan: GrpoPlan,
) -> Grpo:  # fmt: skip
    """The objective of a run (`run.Work`) whose documents are prompts."""
    return Grpo(rolls(work, dtype, reference, prompts, reward, drawing), plan)
