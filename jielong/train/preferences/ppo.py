"""PPO: a policy learns from the rewards of its own answers, and a critic tells how much was to be expected.

    r_t = -beta KL_t + [t is the last token] (reward - penalty if cut)        (`advantages.token_rewards`)
    policy    -min(r A, clip(r, 1 - e, 1 + e) A),  r = p / p_old        Schulman et al. 2017, arXiv 1707.06347, eq. 7
    critic    max((V - R)^2, (clip(V, V_old - c, V_old + c) - R)^2) / 2    as the authors of PPO run it

A and R by GAE; A is whitened over the rollout. beta is steered towards a KL (Ziegler et al. 2019, arXiv 1909.08593),
and a rollout whose model has gone too far from the one that drew it is given up early: what is learnt from stale
answers is what blows up. Policy and critic are two phases of every step, the critic with larger rates: it is to follow
the policy (Konda and Tsitsiklis 1999, Actor-critic algorithms). Which details matter: Huang et al. 2024, arXiv
2403.17031.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from jielong.nets.adapters.attach import off
from jielong.nets.reward import RewardModel
from jielong.nets.transformer import Transformer
from jielong.train.next_token import stream
from jielong.train.objective import Loss, Phase
from jielong.train.preferences.advantages import (
    ESTIMATORS,
    Controller,
    explained,
    gae,
    k3,
    token_rewards,
    whiten,
)
from jielong.train.preferences.pairs import by_token
from jielong.train.preferences.rolling import Rolls, rolls
from jielong.train.preferences.rollout_plan import Drawing, PpoPlan

if TYPE_CHECKING:
    from jielong.train.preferences.rewarding import Model as Judge
    from jielong.train.preferences.rewarding import Reward
    from jielong.train.preferences.rollouts import Piece, Prompts
    from jielong.train.run import Work

CRITIC = "critic."


def clipped(ratio: Tensor, advantages: Tensor, low: float, high: float) -> Tensor:
    """(N,) losses: -min(r A, clip(r, 1 - low, 1 + high) A)."""
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)


def outside(ratio: Tensor, advantages: Tensor, low: float, high: float) -> Tensor:
    """(N,) 1 where clipping keeps a token from moving further."""
    return (((ratio > 1 + high) & (advantages > 0)) | ((ratio < 1 - low) & (advantages < 0))).double()


def clipped_value(values: Tensor, old: Tensor, returns: Tensor, clip: float) -> Tensor:
    """(N,) losses of a critic that should not leave what it said by more than `clip` at once."""
    near = old + (values - old).clamp(-clip, clip)
    return torch.maximum((values - returns).square(), (near - returns).square()) / 2


@dataclass(frozen=True, eq=False)
class Critic:
    """One number for each place of an answer. `bare`: it reads a body that wears the policy's adapter, without it."""

    model: RewardModel
    bare: bool = False

    def values(self, some: Piece, dtype: torch.dtype) -> Tensor:
        """(N,) of the places before each token of `some.laid.at`."""
        body, at = self.model.body, torch.from_numpy(some.laid.at)
        if not self.bare:
            return self.model(stream(body, some.laid.batch, dtype).flatten(0, 1)[at.to(body.device)])[:, 0]
        with torch.no_grad(), off(body):
            hidden = stream(body, some.laid.batch, dtype).flatten(0, 1)[at.to(body.device)]
        return self.model(hidden)[:, 0]


def critic_of(rolls: Rolls, judge: Judge | None = None) -> Critic:
    """A critic on a body of its own, which begins as the judge's head does where the judge has the policy's shape
    and tokenizer and wears no adapter, else at 0. Beside an adapter: a head upon the frozen model, of which there is
    then no second copy."""
    if rolls.adapter is not None:
        return Critic(RewardModel(rolls.model, ("value",)), bare=True)
    if judge is None or not _fits(rolls, judge):
        return Critic(RewardModel(deepcopy(rolls.model), ("value",)).requires_grad_(True))
    read = judge.loaded.model
    made = RewardModel(deepcopy(read.body), ("value",))
    made.head.data.copy_(read.head.data[judge.head : judge.head + 1])
    return Critic(made.requires_grad_(True))


def _fits(rolls: Rolls, judge: Judge) -> bool:
    read, same = judge.loaded.model, judge.loaded.codec.fingerprint == rolls.codec.fingerprint
    return same and read.config == rolls.model.config and not read.body.adapters


@dataclass(eq=False)
class Ppo:
    """`rolls.model` learns from its own answers. `controller`: what a nat of KL now costs."""

    rolls: Rolls
    plan: PpoPlan
    critic: Critic
    controller: Controller = field(init=False)

    def __post_init__(self) -> None:
        self.controller = Controller(self.plan.beta, self.plan.target, self.plan.horizon)

    @property
    def phases(self) -> Sequence[Phase]:
        """Policy and critic."""
        whole = self.rolls.adapter is None
        return (
            Phase("policy", self.rolls.moved, self.policy_loss, muon=whole),
            Phase("critic", self.critic.model, self.critic_loss, whole, self.plan.critic_rate),
        )

    def batches(self, step: int) -> list[Piece]:
        """The micro-batches of `step`; a rollout is drawn where it begins."""
        if self.rolls.begins(step):
            self._weigh()
        return self.rolls.deal(step)

    def _weigh(self) -> None:
        rolls, plan = self.rolls, self.plan
        drawn = rolls.drawn
        assert drawn is not None
        old, beside = rolls.old(drawn), rolls.beside(drawn)
        values = rolls.read(lambda some: self.critic.values(some, rolls.dtype))
        mask = drawn.mask & ~rolls.values["reward"].isnan()[:, None]
        kl = ESTIMATORS[plan.estimator](old.double(), beside.double())
        rewards = token_rewards(torch.where(drawn.mask, kl, 0), rolls.scores, drawn.mask, self.controller.beta)
        advantages, returns = gae(rewards, values.double(), drawn.mask, plan.gamma, plan.trace)
        rolls.values |= {"old": old, "values": values, "returns": returns.float(),
                         "advantage": whiten(advantages, mask).float()}  # fmt: skip
        nats = rolls.nats(drawn, old, beside)
        rolls.told |= {"kl": nats, "beta": self.controller.beta, "explained": explained(values.double(), returns, mask)}
        self.controller = self.controller.after(nats, len(drawn))

    def policy_loss(self, some: Piece) -> Loss:
        """Summed over tokens."""
        rolls, plan = self.rolls, self.plan
        logs, entropy = by_token(rolls.model, some.laid, rolls.dtype, rolls.drawing.temperature)
        old, advantage = (some.of(rolls.values[name]).to(logs) for name in ("old", "advantage"))
        ratio = torch.exp(logs - old)
        total = clipped(ratio, advantage, plan.clip, plan.clip).sum()
        with torch.no_grad():
            drift = k3(old, logs)
            rolls.note(drift)
            sums = {"entropy": entropy, "ratio": ratio, "drift": drift,
                    "clipped": outside(ratio, advantage, plan.clip, plan.clip)}  # fmt: skip
            stats = {name: float(values.sum(dtype=torch.float64)) for name, values in sums.items()}
        return Loss(total, float(len(logs)), stats)

    def critic_loss(self, some: Piece) -> Loss:
        """Summed over tokens."""
        rolls = self.rolls
        values = self.critic.values(some, rolls.dtype)
        old, returns = (some.of(rolls.values[name]).to(values) for name in ("values", "returns"))
        total = clipped_value(values, old, returns, self.plan.clip_value).sum()
        return Loss(total, float(len(values)), {"value": float(values.detach().sum(dtype=torch.float64))})

    def after_step(self, step: int) -> None:
        """A model that has gone far from its answers draws new ones."""
        self.rolls.after(self.plan.stop)

    def validate(self) -> dict[str, float]:
        """As `Rolls.validate`."""
        return self.rolls.validate()

    def state(self) -> Mapping[str, Tensor]:
        """The rollout under way, what a nat costs, and the critic."""
        moved = {n: p for n, p in self.critic.model.named_parameters() if p.requires_grad}
        steered = torch.tensor(self.controller.beta, dtype=torch.float64)
        return {**self.rolls.state(), "beta": steered, **{CRITIC + name: value for name, value in moved.items()}}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Back to what `state` returned."""
        self.rolls.restore(tensors)
        self.controller = Controller(float(tensors["beta"]), self.plan.target, self.plan.horizon)
        own = {n.removeprefix(CRITIC): v for n, v in tensors.items() if n.startswith(CRITIC)}
        self.critic.model.load_state_dict(own, strict=False)

    def figures(self) -> dict[str, float]:
        """Of the rollout that the step learnt from."""
        return {**self.rolls.told, "stopped": float(self.rolls.stopped)}

    def clock(self) -> dict[str, float]:
        """What the rollout took, in the step that drew it."""
        return self.rolls.seconds


def of_work(
    work: Work, dtype: torch.dtype, reference: Transformer, prompts: Prompts, reward: Reward, drawing: Drawing,
    plan: PpoPlan, judge: Judge | None = None,
) -> Ppo:  # fmt: skip
    """The objective of a run (`run.Work`) whose documents are prompts; `judge`: what the critic may begin as."""
    made = rolls(work, dtype, reference, prompts, reward, drawing)
    return Ppo(made, plan, critic_of(made, judge))
