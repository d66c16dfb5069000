"""The written-out backward passes against autograd on the textbook formulas, in float64 and float32."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from jielong.nets import ops, rope
from jielong.nets.block import causal_bias
from jielong.nets.config import Rope
from jielong.nets.losses import next_token_loss


def rand(*shape: int, seed: int = 0) -> Tensor:
    made = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return made.requires_grad_()


def grads(value: Tensor, inputs: list[Tensor], seed: int = 9) -> list[Tensor]:
    direction = torch.randn(value.shape, generator=torch.Generator().manual_seed(seed), dtype=value.dtype)
    return list(torch.autograd.grad((value * direction).sum(), inputs))


def check(mine: Tensor, plain: Tensor, inputs: list[Tensor], tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(mine, plain, rtol=tolerance, atol=tolerance)
    for a, b in zip(grads(mine, inputs), grads(plain, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def test_rms_norm() -> None:
    x, w = rand(3, 5, 8), rand(8, seed=1)
    plain = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * w
    check(ops.rms_norm(x, w, 1e-6), plain, [x, w])


def test_rms_norm_of_zeros_is_zero_with_finite_gradient() -> None:
    x = torch.zeros(2, 4, requires_grad=True)
    w = torch.ones(4, requires_grad=True)
    y = ops.rms_norm(x, w, 1e-6)
    y.sum().backward()
    assert float(y.detach().abs().sum()) == 0 and bool(torch.isfinite(x.grad).all())


def test_norm_rotate_is_norm_then_rotation() -> None:
    x, q_weight, k_weight = rand(2, 6, 3, 8), rand(8, seed=1), rand(8, seed=2)
    table = rope.tables(Rope(), 8, 64, 6).double().unsqueeze(1)
    for turned in (table, None):
        normed = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        normed = (normed * torch.stack([q_weight, q_weight, k_weight])).transpose(1, 2)
        plain = normed if turned is None else ops.rotate(normed, turned)
        both = torch.cat(ops.norm_rotate(x, q_weight, k_weight, 2, turned, 1e-6), 1)
        check(both, plain, [x, q_weight, k_weight])


def test_rotation_keeps_length_and_depends_on_distance_only() -> None:
    table = rope.tables(Rope(), 16, 64, 64).double().unsqueeze(1)
    q, k = rand(1, 1, 1, 16).detach(), rand(1, 1, 1, 16, seed=1).detach()

    def turned(x: Tensor, position: int) -> Tensor:
        return ops.rotate(x, table[:, :, position : position + 1])

    torch.testing.assert_close(turned(q, 7).norm(), q.norm())
    one = (turned(q, 10) * turned(k, 3)).sum()
    other = (turned(q, 47) * turned(k, 40)).sum()
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kv", [1, 2, 4])
def test_attention(kv: int) -> None:
    q, k, v = rand(2, 4, 6, 8), rand(2, kv, 6, 8, seed=1), rand(2, kv, 6, 8, seed=2)
    documents = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 2, 2]])
    seen = documents[:, :, None] == documents[:, None, :]
    bias = causal_bias(6, 6, torch.float64, torch.device("cpu"))
    bias = bias.masked_fill(~seen.unsqueeze(1), -math.inf)
    scores = q @ k.repeat_interleave(4 // kv, 1).mT / math.sqrt(8) + bias
    plain = scores.softmax(-1) @ v.repeat_interleave(4 // kv, 1)
    check(ops.attention(q, k, v, bias, 8**-0.5, True), plain, [q, k, v])


def test_attention_of_long_rows_takes_the_flash_kernel_and_agrees() -> None:
    q, k, v = (rand(1, 2, 600, 4, seed=i).detach() for i in range(3))
    bias = causal_bias(600, 600, torch.float64, torch.device("cpu"))
    plain = ops.mix_values(ops.attention_pattern(q, k, bias, 0.5, None), v)
    assert q.shape[2] * k.shape[2] > ops.KEPT_SCORES
    torch.testing.assert_close(ops.attention(q, k, v, bias, 0.5, True), plain)


def test_swiglu() -> None:
    both = rand(3, 4, 10)
    gate, up = both.chunk(2, -1)
    check(ops.swiglu(both), F.silu(gate) * up, [both])


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("bias", [False, True])
def test_next_token_loss(softcap: float | None, bias: bool) -> None:
    hidden = rand(7, 4).detach().float().requires_grad_()
    weight = rand(11, 4, seed=1).detach().float().requires_grad_()
    offset = rand(11, seed=2).detach().float().requires_grad_() if bias else None
    targets = torch.tensor([0, 3, -100, 10, 5, -100, 2])
    total, losses = next_token_loss(hidden, weight, targets, offset, softcap, slice_=2)
    logits = hidden @ weight.T + (offset if offset is not None else 0)
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    plain = F.cross_entropy(logits, targets, reduction="sum")
    inputs = [hidden, weight] + ([offset] if offset is not None else [])
    torch.testing.assert_close(losses.sum(), plain)
    check(total, plain, inputs, 1e-5)


def test_next_token_loss_of_extreme_logits_is_finite() -> None:
    hidden = torch.tensor([[1000.0], [-1000.0]], requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    total, losses = next_token_loss(hidden, weight, torch.tensor([0, 0]))
    assert losses.tolist() == [0.0, 2000.0]
    total.backward()
    assert bool(torch.isfinite(hidden.grad).all())


def test_next_token_loss_without_targets_is_zero() -> None:
    total, losses = next_token_loss(torch.ones(2, 3), torch.ones(5, 3), torch.tensor([-100, -100]))
    assert float(total) == 0 and len(losses) == 0


def test_bfloat16_stays_near_float32() -> None:
    x, w = rand(64, 32).detach().float(), torch.ones(32)
    wide = ops.rms_norm(x, w, 1e-6)
    narrow = ops.rms_norm(x.bfloat16().requires_grad_(), w, 1e-6)
    assert bool(((wide - narrow.float()).abs() < 0.03).all())
