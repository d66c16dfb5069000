"""From rewards to how much better than expected each token was: masked statistics, KL, GAE, groups.

All tensors are (A, T): answers and the places of their tokens, `mask` (A, T) bool says which places there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TINY = 1e-8  # beside a variance
GROUP_TINY = 1e-4  # beside a group's deviation


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the places of the mask, ()."""
    return torch.where(mask, values, 0).sum() / mask.sum()


def masked_var(values: Tensor, mask: Tensor) -> Tensor:
    """Their variance, unbiased: divided by n - 1; 0 where there is one place only."""
    n = mask.sum()
    gaps = torch.where(mask, values - masked_mean(values, mask), 0)
    return gaps.square().sum() / (n - 1).clamp(min=1)


def whiten(values: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """(x - mean) / deviation at the places of the mask, 0 elsewhere; the mean is put back without `shift_mean`."""
    mean = masked_mean(values, mask)
    white = (values - mean) * torch.rsqrt(masked_var(values, mask) + TINY)
    return torch.where(mask, white if shift_mean else white + mean, 0)


def k1(logs: Tensor, reference: Tensor) -> Tensor:
    """ln p - ln q of what p drew: its mean is KL(p || q), single values may be below 0 (Schulman 2020, "Approximating
    KL divergence")."""
    return logs - reference


def k3(logs: Tensor, reference: Tensor) -> Tensor:
    """q / p - 1 - ln(q / p): the same mean, never below 0, and less noise near p = q (Schulman 2020)."""
    gap = reference - logs
    return torch.expm1(gap) - gap


ESTIMATORS = {"k1": k1, "k3": k3}


def token_rewards(kl: Tensor, scores: Tensor, mask: Tensor, beta: float) -> Tensor:
    """(A, T): -beta KL at each token, and the answer's score (A,) at its last one (Ziegler et al. 2019, arXiv
    1909.08593, eq. 2, laid on tokens as in Ouyang et al. 2022). Each mask is a run from place 0."""
    rewards = torch.where(mask, -beta * kl, 0)
    last = mask.sum(1) - 1
    return rewards.index_put((torch.arange(len(last), device=last.device), last), scores.to(rewards), accumulate=True)


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, trace: float) -> tuple[Tensor, Tensor]:
    """Advantages and what the critic is to say, A + V (Schulman et al. 2015, arXiv 1506.02438, eq. 16):

    A_t = sum_l (gamma lambda)^l (r_{t+l} + gamma V_{t+l+1} - V_{t+l}), V = 0 behind an answer's last token.
    """
    values = torch.where(mask, values, 0)
    after = torch.zeros_like(values[:, 0])
    running, found = torch.zeros_like(after), []
    for t in reversed(range(values.shape[1])):
        running = torch.where(mask[:, t], rewards[:, t] + gamma * after - values[:, t] + gamma * trace * running, 0)
        after = values[:, t]
        found.append(running)
    advantages = torch.stack(found[::-1], 1)
    return advantages, advantages + values


@dataclass(frozen=True)
class Controller:
    """What a nat of KL costs, steered so that an answer has `target` nats (Ziegler et al. 2019, section 2.2):

    e = clip(KL / target - 1, -0.2, 0.2),  beta <- beta (1 + e n / horizon) after n answers. A target of 0: fixed.
    """

    beta: float
    target: float = 0.0
    horizon: float = 1.0

    def after(self, kl: float, n: int) -> Controller:
        """The controller once n answers had `kl` nats each."""
        if not self.target:
            return self
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        return Controller(self.beta * (1 + error * min(n / self.horizon, 1.0)), self.target, self.horizon)


def grouped(rewards: Tensor, baseline: str) -> Tensor:
    """(groups, n) rewards of answers to one prompt each, NaN where not judged -> advantages, 0 there.

    group    (r - mean) / (deviation + 1e-4)       Shao et al. 2024 (GRPO), arXiv 2402.03300, section 4.1.2
    mean     r - mean                              Liu et al. 2025 (Dr. GRPO), arXiv 2503.20783, section 3.1
    others   r - mean of the group's others        Ahmadian et al. 2024 (RLOO), arXiv 2402.14740, eq. 5

    A group with fewer than two judged answers compares nothing: 0.
    """
    there = ~rewards.isnan()
    n = there.sum(1, keepdim=True)
    known = torch.where(there, rewards, 0)
    mean = known.sum(1, keepdim=True) / n.clamp(min=1)
    gaps = torch.where(there & (n > 1), rewards - mean, 0)
    if baseline == "mean":
        return gaps
    if baseline == "others":
        return gaps * n / (n - 1).clamp(min=1)
    deviation = (gaps.square().sum(1, keepdim=True) / (n - 1).clamp(min=1)).sqrt()
    return gaps / (deviation + GROUP_TINY)


def explained(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """1 - Var(R - V) / Var(R): 1 for a critic that knows, 0 for one that says the mean, below for a worse one; 0 where
    returns do not vary."""
    whole = masked_var(returns, mask)
    return float(1 - masked_var(returns - values, mask) / whole) if whole > 0 else 0.0
