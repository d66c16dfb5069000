"""How answers are drawn, and how PPO and GRPO learn from them. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from jielong.base.errors import UserError

Aggregate = Literal["dapo", "grpo", "dr_grpo"]
Baseline = Literal["group", "mean", "others"]
Ratio = Literal["token", "sequence"]


@dataclass(frozen=True)
class Drawing:
    """One rollout: `group` answers to each of `prompts` prompts, of at most `length` tokens. From it the learner makes
    `epochs` x `minibatches` steps: in each epoch the answers are dealt anew into `minibatches`. `unfinished` is taken
    from the reward of an answer that was cut before it ended."""

    prompts: int = 16
    group: int = 4
    length: int = 64
    temperature: float = 1.0
    epochs: int = 2
    minibatches: int = 2
    unfinished: float = 1.0

    def __post_init__(self) -> None:
        for name in ("prompts", "group", "length", "epochs", "minibatches"):
            _need(getattr(self, name) >= 1, name, "1 or more", getattr(self, name))
        _need(_above(self.temperature), "temperature", "above 0", self.temperature)
        _need(math.isfinite(self.unfinished), "unfinished", "a number", self.unfinished)
        if self.minibatches > self.answers:
            raise UserError(f"--minibatches {self.minibatches} of {self.answers} answers: there must be one in each")

    @property
    def answers(self) -> int:
        """Of a rollout."""
        return self.prompts * self.group

    @property
    def steps(self) -> int:
        """That a rollout serves."""
        return self.epochs * self.minibatches


@dataclass(frozen=True)
class Grouped(Drawing):
    """As GRPO has it: larger groups, each learnt from once."""

    group: int = 8
    epochs: int = 1
    minibatches: int = 1


@dataclass(frozen=True)
class PpoPlan:
    """`beta`: what a nat of KL costs at first; `target`: nats an answer that it is then steered to, over about
    `horizon` answers (0: beta stays). `stop`: nats a token from which the rest of a rollout's steps is left out (0:
    never). `critic_rate`: the critic's learning rates, times the policy's."""

    beta: float = 0.05
    target: float = 3.0
    horizon: float = 1000.0
    estimator: Literal["k1", "k3"] = "k1"
    clip: float = 0.2
    clip_value: float = 0.2
    gamma: float = 1.0
    trace: float = 0.95  # lambda
    stop: float = 0.05
    critic_rate: float = 10.0

    def __post_init__(self) -> None:
        _need(_from_zero(self.beta), "beta", "0 or more", self.beta)
        _need(_above(self.critic_rate), "critic-rate", "above 0", self.critic_rate)
        _need(_from_zero(self.target), "target", "0 or more", self.target)
        _need(_above(self.horizon), "horizon", "above 0", self.horizon)
        _need(_above(self.clip), "clip", "above 0", self.clip)
        _need(_above(self.clip_value), "clip-value", "above 0", self.clip_value)
        _need(0 <= self.gamma <= 1, "gamma", "from 0 to 1", self.gamma)
        _need(0 <= self.trace <= 1, "trace", "from 0 to 1", self.trace)
        _need(_from_zero(self.stop), "stop-kl", "0 or more", self.stop)


@dataclass(frozen=True)
class GrpoPlan:
    """`beta`: what a nat of KL costs in the loss, `weighted` by the ratio or not. `baseline`: what is taken from each
    reward. `clip` downwards, `high` upwards."""

    beta: float = 0.04
    clip: float = 0.2
    high: float = 0.2
    aggregate: Aggregate = "dapo"
    baseline: Baseline = "group"
    ratio: Ratio = "token"
    weighted: bool = False
    stop: float = 0.05

    def __post_init__(self) -> None:
        _need(_from_zero(self.beta), "beta", "0 or more", self.beta)
        _need(0 < self.clip < 1, "clip", "between 0 and 1", self.clip)
        _need(_above(self.high), "clip-high", "above 0", self.high)
        _need(_from_zero(self.stop), "stop-kl", "0 or more", self.stop)


def _above(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _from_zero(value: float) -> bool:
    return math.isfinite(value) and value >= 0


def _need(right: bool, name: str, wanted: str, value: float) -> None:
    if not right:
        raise UserError(f"--{name} must be {wanted}, not {value}")
