"""Every loss beside TRL's own, in float64: values and gradients.

TRL computes its losses inside its trainers. They are run here as they are, on a stand-in for the trainer that holds
its settings, and a stand-in for the model that gives out log-probabilities.
"""

from __future__ import annotations

import types
from collections import defaultdict
from typing import Any

import pytest
import torch

from jielong.train.preferences import grpo
from jielong.train.preferences.advantages import grouped, k3
from jielong.train.preferences.dpo import LOSSES, Sums
from jielong.train.preferences.kto import kto
from jielong.train.preferences.plan import Plan, Weights
from jielong.train.preferences.reward import bradley_terry
from jielong.train.preferences.rollout_plan import GrpoPlan

pytestmark = pytest.mark.referee
NEAR = {"rtol": 1e-6, "atol": 1e-9}
TOKENS = 9


class Accelerator:
    """What one process alone is told."""

    device = torch.device("cpu")
    num_processes = 1

    def gather(self, x: Any) -> Any:
        return x

    def gather_for_metrics(self, x: Any) -> Any:
        return x

    def reduce(self, x: Any, reduction: str) -> Any:
        return x


def trainer(**settings: Any) -> Any:
    usual = {
        "model": types.SimpleNamespace(training=True), "accelerator": Accelerator(), "aux_loss_enabled": False,
        "ld_alpha": None, "precompute_ref_logps": True, "f_divergence_type": "reverse_kl", "loss_weights": [1.0],
        "label_smoothing": 0.0, "use_weighting": False, "_total_train_tokens": 0, "_tp_size": 1,
        "_metrics": {"train": defaultdict(list)}, "alpha": 0.0,
    }  # fmt: skip
    return types.SimpleNamespace(**{**usual, **settings})


def draw(pairs: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-probabilities (2P, T) of the targets of a batch, their mask, and the reference's sums (2P,)."""
    generator = torch.Generator().manual_seed(0)
    each = -3 * torch.rand(2 * pairs, TOKENS, generator=generator, dtype=torch.float64)
    lengths = torch.randint(1, TOKENS + 1, (2 * pairs,), generator=generator)
    mask = torch.arange(TOKENS) < lengths[:, None]
    reference = -2 * lengths * torch.rand(2 * pairs, generator=generator, dtype=torch.float64)
    return (each * mask).requires_grad_(), mask, reference


def ours(each: torch.Tensor, mask: torch.Tensor, reference: torch.Tensor | None) -> Sums:
    refs = (None, None) if reference is None else reference.chunk(2)
    return Sums(*(each * mask).sum(1).chunk(2), *refs, *mask.sum(1).double().chunk(2))


def same(value: torch.Tensor, other: torch.Tensor, of: torch.Tensor) -> None:
    torch.testing.assert_close(value, other, **NEAR)
    gradients = [torch.autograd.grad(x, of, retain_graph=True)[0] for x in (value, other)]
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients, **NEAR)


@pytest.mark.parametrize("beta", [0.1, 0.7])
@pytest.mark.parametrize("loss", ["sigmoid", "hinge", "ipo", "robust"])
def test_losses_with_a_reference(loss: str, beta: float) -> None:
    trl = pytest.importorskip("trl")
    each, mask, reference = draw()
    flipped = 0.2 if loss == "robust" else 0.0
    stand_in = trainer(loss_types=[loss], beta=beta, label_smoothing=flipped)
    nothing = torch.zeros_like(each)
    said = types.SimpleNamespace(log_probs=each * mask, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool())
    completions = torch.cat([torch.zeros(len(mask), 1, dtype=torch.long), mask.long()], dim=1)
    chosen, rejected = reference.chunk(2)
    inputs = {"input_ids": completions, "attention_mask": completions, "completion_mask": completions,
              "ref_chosen_logps": chosen, "ref_rejected_logps": rejected}  # fmt: skip
    theirs = trl.DPOTrainer._compute_loss(stand_in, lambda **_: said, inputs, False)
    plan = Plan(loss, beta, flipped)
    sums = ours(each, mask, reference)
    same(LOSSES[loss](sums, plan).mean(), theirs, each)
    metrics = stand_in._metrics["train"]
    margin = beta * (sums.ratios[0] - sums.ratios[1]).mean()
    assert metrics["rewards/margins"] == [pytest.approx(margin.item(), rel=1e-9)]


def test_smoothed_labels() -> None:
    """TRL keeps label smoothing of the plain loss in the trainer of CPO, whose logits then are log-ratios."""
    cpo = pytest.importorskip("trl.experimental.cpo")
    each, mask, reference = draw()
    sums, stand_in = ours(each, mask, reference), trainer(loss_type="sigmoid", beta=0.3, label_smoothing=0.15)
    theirs = cpo.CPOTrainer.cpo_loss(stand_in, *sums.ratios)[0].mean()
    same(LOSSES["cdpo"](sums, Plan("cdpo", 0.3, 0.15)).mean(), theirs, each)


def test_simpo() -> None:
    cpo = pytest.importorskip("trl.experimental.cpo")
    each, mask, _ = draw()
    sums, stand_in = ours(each, mask, None), trainer(loss_type="simpo", beta=2.0, simpo_gamma=0.6)
    theirs = cpo.CPOTrainer.cpo_loss(stand_in, *sums.means)[0].mean()
    same(LOSSES["simpo"](sums, Plan("simpo", 2.0, gamma=0.6)).mean(), theirs, each)


def test_orpo(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL rounds to float32 on the way, which is left out here. Its nats are those of the paper's first term."""
    orpo = pytest.importorskip("trl.experimental.orpo")
    each, mask, _ = draw()
    sums, stand_in = ours(each, mask, None), trainer(beta=0.3)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    odds = orpo.ORPOTrainer.odds_ratio_loss(stand_in, *sums.means)[0]
    theirs = (-sums.means[0] - odds).mean()
    same(LOSSES["orpo"](sums, Plan("orpo", 0.3)).mean(), theirs, each)


@pytest.mark.parametrize("n", [1, 7])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_kto(sign: float, n: int) -> None:
    """Also a batch of one, and a KL estimate below nought. TRL takes its z from the same mismatched answers."""
    trl = pytest.importorskip("trl")
    each, mask, reference = (x[:n] for x in draw())
    labels = torch.tensor([i % 3 != 1 for i in range(n)])
    beside, kept = (-torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    beside = sign * (beside - beside.min() + 0.3)
    stand_in = trainer(beta=0.4, desirable_weight=1.3, undesirable_weight=0.8, loss_type="kto", calculate_KL=True)
    stand_in._compute_kl_logps = lambda model, batch: beside + kept
    said = types.SimpleNamespace(log_probs=each * mask, entropy=torch.zeros_like(each))
    completions = torch.cat([torch.zeros(n, 1, dtype=torch.long), mask.long()], dim=1)
    inputs = {"input_ids": completions, "attention_mask": completions, "completion_mask": completions, "label": labels,
              "ref_logps": reference, "ref_KL_logps": kept}  # fmt: skip
    said.mean_logits, said.is_top1 = said.entropy, said.entropy.bool()
    theirs = trl.KTOTrainer._compute_loss(stand_in, lambda **_: said, inputs, False)
    z = max(0.0, beside.mean().item())
    ratios = (each * mask).sum(1) - reference
    same(kto(ratios, labels, z, Weights(0.4, 1.3, 0.8)).mean(), theirs, each)


@pytest.mark.parametrize("centre", [None, 0.3])
@pytest.mark.parametrize("margins", [False, True])
def test_reward(margins: bool, centre: float | None) -> None:
    trl = pytest.importorskip("trl")
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(12, generator=generator, dtype=torch.float64).requires_grad_()
    margin = torch.rand(6, generator=generator, dtype=torch.float64) if margins else torch.zeros(6)
    args = types.SimpleNamespace(center_rewards_coefficient=centre)
    inputs = {"attention_mask": torch.ones(12, 3)} | ({"margin": margin} if margins else {})
    said = types.SimpleNamespace(logits=rewards[:, None])
    theirs = trl.RewardTrainer.compute_loss(trainer(args=args), lambda **_: said, inputs)
    same(bradley_terry(*rewards.chunk(2), margin, centre or 0.0).mean(), theirs, rewards)


@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("ratio", ["token", "sequence"])
@pytest.mark.parametrize("aggregate", ["grpo", "dapo", "dr_grpo"])
@pytest.mark.parametrize("weighted", [False, True])
def test_grpo(weighted: bool, aggregate: str, ratio: str, beta: float) -> None:
    """Also its KL and how many tokens are clipped. Some tokens are, on both sides, or nothing was tested."""
    trl = pytest.importorskip("trl")
    each, mask, _ = draw()
    generator = torch.Generator().manual_seed(1)
    old, beside = ((each.detach() + spread * torch.randn(each.shape, generator=generator, dtype=torch.float64)) * mask
                   for spread in (0.3, 0.5))  # fmt: skip
    advantages = torch.randn(len(mask), generator=generator, dtype=torch.float64)
    plan = GrpoPlan(beta, 0.2, 0.28, aggregate, ratio=ratio, weighted=weighted)
    args = types.SimpleNamespace(use_bias_correction_kl=weighted, delta=None, steps_per_generation=1)
    stand_in = trainer(
        args=args, beta=beta, epsilon_low=0.2, epsilon_high=0.28, loss_type=aggregate, importance_sampling_level=ratio,
        top_entropy_quantile=1.0, off_policy_mask_threshold=None, use_vllm=False, _entropy_bonus_enabled=False,
        current_gradient_accumulation_steps=1, max_completion_length=20,
        _get_per_token_logps_and_entropies=lambda *_, **__: (each, torch.zeros_like(each), None),
    )  # fmt: skip
    nothing = torch.zeros(len(mask), 1, dtype=torch.long)
    inputs = {"prompt_ids": nothing, "prompt_mask": nothing, "completion_ids": mask.long(),
              "completion_mask": mask.long(), "advantages": advantages, "old_per_token_logps": old,
              "ref_per_token_logps": beside, "num_items_in_batch": mask.sum()}  # fmt: skip
    theirs = trl.GRPOTrainer._compute_loss(stand_in, None, inputs)
    owner, _ = mask.nonzero(as_tuple=True)
    reference = beside[mask] if beta else None
    found = grpo.losses(each[mask], old[mask], reference, advantages[owner], owner, len(mask), plan)
    total, weight = grpo.together(found, owner, len(mask), 20, aggregate)
    same(total / weight, theirs, each)
    metrics = stand_in._metrics["train"]
    if beta and not weighted:
        assert metrics["kl"] == [pytest.approx(k3(each[mask], beside[mask]).mean().item(), rel=1e-6)]
    if ratio == "token":
        assert metrics["clip_ratio/low_mean"][0] > 0 and metrics["clip_ratio/high_mean"][0] > 0


def test_groups() -> None:
    """TRL's statements, with its own deviation of what is not NaN."""
    utils = pytest.importorskip("trl.trainer.utils")
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    rewards[1, 2] = rewards[3, :3] = torch.nan
    rewards[4] = 2.0
    gaps = rewards - rewards.nanmean(1, keepdim=True)
    deviation = utils.nanstd(rewards, dim=1)[:, None]
    torch.testing.assert_close(grouped(rewards, "group"), (gaps / (deviation + 1e-4)).nan_to_num(nan=0.0), **NEAR)
    torch.testing.assert_close(grouped(rewards, "mean"), gaps.nan_to_num(nan=0.0), **NEAR)
