"""Masked statistics, KL, GAE and groups: by hand, in closed form, and as TRL's PPO computes them.

TRL 1.16 has no PPO any more. The numbers here are those of its version 1.9.2: its own functions and statements
(`trl/experimental/ppo/ppo_trainer.py`) were run in float64 on the waves below; its variance is corrected in float32.
"""

from __future__ import annotations

import math

import pytest
import torch

from jielong.train.preferences.advantages import (
    Controller,
    explained,
    gae,
    grouped,
    k1,
    k3,
    masked_mean,
    masked_var,
    token_rewards,
    whiten,
)
from jielong.train.preferences.ppo import clipped, clipped_value, outside

NEAR = {"rtol": 1e-6, "atol": 1e-9}
MASK = torch.arange(5) < torch.tensor([5, 2, 3])[:, None]
WHITE = [[1.2056988583766766, 1.2967926137751085, 0.2650981328925206, -0.9408494364505023, -1.2123074605121418],
         [-0.29969868386294435, 0.957928592956822, 0.0, 0.0, 0.0],
         [-1.2674607288141058, -0.645071880530816, 0.6398699921693829, 0.0, 0.0]]  # fmt: skip
UNSHIFTED = [[1.149432524628451, 1.2405262800268828, 0.20883179914429503, -0.9971157701987279, -1.2685737942603674],
             [-0.3559650176111699, 0.9016622592085964, 0.0, 0.0, 0.0],
             [-1.3237270625623314, -0.7013382142790415, 0.5836036584211574, 0.0, 0.0]]  # fmt: skip
ADVANTAGES = [[0.30737856554227233, -0.3817751253960345, -0.34753383266016935, 1.3990147367460737, -1.402221444397061],
              [1.200813339725692, 0.14210371911096553, 0.0, 0.0, 0.0],
              [-1.5451385726540972, 0.8920951947474542, -0.26473658076509554, 0.0, 0.0]]  # fmt: skip
RETURNS = [[0.43936360114772643, -0.5828319944474285, 0.13859607432914373, 0.7147148580113164, -0.5440211108893698],
           [0.32726239303636184, 0.9906073556948704, 0.0, 0.0, 0.0],
           [-0.3191697407638898, -0.18305310813017417, 0.7625584504796027, 0.0, 0.0]]  # fmt: skip
POLICY, CRITIC = 0.09094390682634415, 0.6858578318525639
POLICY_GRADIENT = [[-0.055826031608034586, 0.09645032080894522, 0.0, 0.0802508421965601, 0.00907304991306022],
                   [-0.06189406907360053, 0.0, 0.0, 0.0, 0.0], [0.0, 0.24737296598904118, 0.0, 0.0, 0.0]]  # fmt: skip
CRITIC_GRADIENT = [[0.048413264681299, -0.032596961298643236, -0.16852611457880284, -0.17927520825458348, 0.0],
                   [0.08574233373147377, 0.0, 0.0, 0.0, 0.0],
                   [0.16923122898450052, 0.0, -0.11442440008221853, 0.0, 0.0]]  # fmt: skip


def wave(speed: float) -> torch.Tensor:
    return torch.sin(speed * torch.arange(1, 16, dtype=torch.float64)).view(3, 5)


def same(found: torch.Tensor, due: list[list[float]]) -> None:
    torch.testing.assert_close(found, torch.tensor(due, dtype=torch.float64), **NEAR)


def test_masked_statistics_are_trls() -> None:
    x = wave(1.0)
    assert float(masked_mean(x, MASK)) == pytest.approx(-0.05626633374822556, rel=1e-9)
    assert float(masked_var(x, MASK)) == pytest.approx(0.5543969735004174, rel=1e-6)
    same(whiten(x, MASK), WHITE)
    same(whiten(x, MASK, shift_mean=False), UNSHIFTED)
    x[~MASK] = math.nan  # what stands outside the mask does not matter
    same(whiten(x, MASK), WHITE)


def test_generalised_advantages_are_trls() -> None:
    """TRL whitens them in the same statements, so they come back before and after."""
    advantages, returns = gae(torch.where(MASK, wave(2.0), 0), wave(3.0), MASK, 0.9, 0.8)
    same(whiten(advantages, MASK), ADVANTAGES)
    same(returns, RETURNS)


def test_losses_of_policy_and_critic_are_trls() -> None:
    new, v, old = (wave(0.7) * 0.5 - 1).requires_grad_(), wave(1.3).requires_grad_(), wave(0.9) * 0.5 - 1
    ratio = torch.exp(new - old)
    policy = masked_mean(clipped(ratio, wave(2.5), 0.2, 0.2), MASK)
    critic = masked_mean(clipped_value(v, wave(1.1), wave(0.5), 0.3), MASK)
    assert policy.item() == pytest.approx(POLICY, rel=1e-9) and critic.item() == pytest.approx(CRITIC, rel=1e-9)
    same(torch.autograd.grad(policy, new)[0], POLICY_GRADIENT)
    same(torch.autograd.grad(critic, v)[0], CRITIC_GRADIENT)
    stuck = (outside(ratio.detach(), wave(2.5), 0.2, 0.2) > 0) & MASK
    assert bool(stuck.any()) and not torch.tensor(POLICY_GRADIENT)[stuck].any()
    assert float(k1(new.detach(), old).sum()) == pytest.approx(0.38004829953470687, rel=1e-9)
    assert float(k3(new.detach(), old).sum()) == pytest.approx(1.901473853298322, rel=1e-9)


def test_estimators_have_the_kl_as_their_mean() -> None:
    p, q = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.3, 0.5]).double()
    due = float((p * (p / q).log()).sum())
    for estimator in (k1, k3):
        assert float((p * estimator(p.log(), q.log())).sum()) == pytest.approx(due, rel=1e-12)
    assert (k3(p.log(), q.log()) >= 0).all() and (k1(p.log(), q.log()) < 0).any()


def test_advantages_by_hand() -> None:
    """Two answers of two tokens and one; gamma 1/2, lambda 1/2."""
    mask = torch.tensor([[True, True], [True, False]])
    kl = torch.tensor([[1.0, 2.0], [3.0, 9.0]]).double()
    rewards = token_rewards(kl, torch.tensor([4.0, 5.0]).double(), mask, 0.5)
    assert rewards.tolist() == [[-0.5, 3.0], [3.5, 0.0]]
    values = torch.tensor([[1.0, 2.0], [3.0, 7.0]]).double()
    advantages, returns = gae(rewards, values, mask, 0.5, 0.5)
    # 3 - 2 = 1; -1/2 + 2/2 - 1 + 1/4 = -1/4; 3.5 - 3 = 1/2
    assert advantages.tolist() == [[-0.25, 1.0], [0.5, 0.0]] and returns.tolist() == [[0.75, 3.0], [3.5, 0.0]]
    whole, _ = gae(rewards, values, mask, 1.0, 1.0)  # what comes, less what was expected
    assert whole.tolist() == [[1.5, 1.0], [0.5, 0.0]]


def test_groups_by_hand() -> None:
    nan = math.nan
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [2.0, 2.0, 2.0, 2.0], [3.0, 1.0, nan, nan], [5.0, nan, nan, nan]])
    half = 0.5 / (math.sqrt(1 / 3) + 1e-4)
    third = 1 / (math.sqrt(2) + 1e-4)
    due = {
        "group": [[half, -half, -half, half], [0.0] * 4, [third, -third, 0.0, 0.0], [0.0] * 4],
        "mean": [[0.5, -0.5, -0.5, 0.5], [0.0] * 4, [1.0, -1.0, 0.0, 0.0], [0.0] * 4],
        "others": [[2 / 3, -2 / 3, -2 / 3, 2 / 3], [0.0] * 4, [2.0, -2.0, 0.0, 0.0], [0.0] * 4],
    }
    for baseline, values in due.items():
        same(grouped(rewards.double(), baseline), values)


def test_the_controller_steers_towards_its_target() -> None:
    """By at most a fifth for each horizon, and it settles where a cost of beta makes a KL of 1 / beta."""
    assert Controller(0.1, 6.0, 1000).after(60.0, 100).beta == pytest.approx(0.1 * 1.02)
    assert Controller(0.1, 6.0, 1000).after(5.4, 100).beta == pytest.approx(0.1 * 0.99)
    assert Controller(0.1, 6.0, 10).after(0.0, 1000).beta == pytest.approx(0.08)  # never more than a fifth
    assert Controller(0.1).after(60.0, 100).beta == 0.1
    steered = Controller(0.01, 4.0, 100)
    for _ in range(500):
        steered = steered.after(1 / steered.beta, 50)
    assert 1 / steered.beta == pytest.approx(4.0, rel=0.01)


def test_explained_variance() -> None:
    returns = wave(2.0)
    assert explained(returns, returns, MASK) == pytest.approx(1.0)
    assert explained(torch.full_like(returns, 3.0), returns, MASK) == pytest.approx(0.0, abs=1e-12)
    assert explained(-returns, returns, MASK) == pytest.approx(-3.0)
    assert explained(returns, torch.ones_like(returns), MASK) == 0.0
