"""What a model's last activations say of chosen tokens: losses and log-probabilities, without all logits in memory.

The product with the head, the softmax and their gradients are taken a slice of positions at a time; tests hold values
and gradients against the plain autograd form. Shapes: N places, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from jielong.nets.ops import linear

KEPT_SLOPES = 1 << 25  # slopes of logits that wait for the backward


class _NextTokenLoss(torch.autograd.Function):
    """Cross-entropy of a tied or free head, a slice of positions at a time, so that logits are never all in memory.

    The large matrix is written once and exponentiated in place; what divides each of its rows is left to the two
    small matrices of the products that follow: softmax(z) H = (exp(z) H) / sum(exp(z)).
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        softcap: float | None,
        slice_: int,
    ) -> tuple[Tensor, Tensor]:
        head = weight.to(hidden.dtype)
        losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        grads, moved = any(ctx.needs_input_grad[:2]), ctx.needs_input_grad[1]  # a frozen head has no gradient
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if moved else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if grads and bias is not None else None
        for start in range(0, len(hidden), slice_):
            part, rows = hidden[start : start + slice_], targets[start : start + slice_].unsqueeze(1)
            weights, total, loss = _exponentials(linear(part, head, bias), rows, softcap)
            if total is None:  # out of range without a shift: once more, with one
                weights, total, loss = _exponentials(linear(part, head, bias), rows, softcap, shifted=True)
            assert total is not None
            losses[start : start + slice_] = loss.squeeze(1)
            if grads:
                # p - 1 before it is rounded: the slope of a confident token is small, not noise
                slope = (weights.gather(1, rows).to(total.dtype) - total).to(weights.dtype)
                weights.scatter_(1, rows, slope)
                if softcap is not None:  # 1 - tanh^2 of what was capped
                    capped = linear(part, head, bias)
                    weights.mul_(1 - torch.tanh(capped / softcap) ** 2)
                scale = total.reciprocal()
                if grad_bias is not None:
                    grad_bias += (weights * scale).sum(0)
                scale = scale.to(hidden.dtype)
                torch.mm(weights, head, out=grad_hidden[start : start + slice_]).mul_(scale)
                if grad_weight is not None:
                    grad_weight += weights.t() @ (part * scale)
        if grads:
            ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        ctx.mark_non_differentiable(losses)
        return losses.sum(dtype=torch.float64).float(), losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _losses: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight, grad_bias = ctx.saved_tensors
        grad_bias = None if grad_bias is None else grad_bias * grad
        grad_weight = None if grad_weight is None else grad_weight * grad
        return grad_hidden * grad.to(grad_hidden.dtype), grad_weight, grad_bias, None, None, None


def _exponentials(
    logits: Tensor, rows: Tensor, softcap: float | None, shifted: bool = False
) -> tuple[Tensor, Tensor | None, Tensor]:
    """exp of each row of logits (N, V), written over them; its sum (N, 1); and -ln p of the chosen `rows` (N, 1).

    A sum that float32 cannot hold (logits of 70 and more) gives None: call again with `shifted`, which subtracts
    each row's largest logit first and costs two more passes.
    """
    if softcap is not None:
        logits = logits.div_(softcap).tanh_().mul_(softcap)
    if shifted:
        logits = logits.sub_(logits.amax(-1, keepdim=True))
    wide = torch.promote_types(logits.dtype, torch.float32)
    chosen = logits.gather(1, rows).to(wide)
    weights = logits.exp_()
    total = weights.sum(-1, keepdim=True, dtype=wide)
    low, high = total.aminmax()
    held = shifted or (low > 1e-30 and high < 1e30)
    return weights, total if held else None, total.log() - chosen


def next_token_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    softcap: float | None = None,
    slice_: int = 1024,
) -> tuple[Tensor, Tensor]:
    """Sum of -ln p(target) in nats over positions whose target is not -100, and the losses one by one.

    hidden (N, D), weight (V, D), bias (V,), targets (N,) with -100 where nothing is trained. The gradients are found
    together with the loss (as Liger's and torch's fused losses do), scaled by what flows back.
    """
    kept = (targets >= 0).nonzero().squeeze(1)
    if len(kept) < len(targets):
        hidden, targets = hidden[kept], targets[kept]
    weight, bias = _moved(weight), None if bias is None else _moved(bias)
    return _NextTokenLoss.apply(hidden, weight, bias, targets, softcap, slice_)


class _ChosenLogProbs(torch.autograd.Function):
    """As `_NextTokenLoss`, but what flows back is known only later, and differs from place to place: the slope of each
    place's own ln p is found at once, and multiplied by it. A head that is trained needs the slopes of its logits too:
    they are kept while they are few, and else made again."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, softcap: float | None,
        temperature: float, slice_: int,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        head, how = weight.to(hidden.dtype), (softcap, temperature)
        grads, moved = any(ctx.needs_input_grad[:3]), any(ctx.needs_input_grad[1:3])
        grad_hidden = torch.empty_like(hidden) if grads else None
        few = len(hidden) * len(weight) <= KEPT_SLOPES
        found, kept = [], []
        for start in range(0, len(hidden), slice_):
            some = slice(start, start + slice_)
            log_p, entropy, slope = _law(hidden[some], head, bias, targets[some], how, grads)
            found.append((log_p, entropy))
            if grad_hidden is not None and slope is not None:
                torch.mm(slope, head, out=grad_hidden[some])
            kept += [slope] if moved and few else []
        ctx.how, ctx.slice, ctx.kept = how, slice_, kept
        if grads:
            ctx.save_for_backward(grad_hidden, hidden, weight, bias, targets)
        each, entropies = (torch.cat(parts) for parts in zip(*found, strict=True))
        ctx.mark_non_differentiable(entropies)
        return each, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _entropies: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, hidden, weight, bias, targets = ctx.saved_tensors
        moved, scale = ctx.needs_input_grad[1:3], grad.to(hidden.dtype)[:, None]
        wide = torch.promote_types(weight.dtype, torch.float32)
        grad_weight = torch.zeros_like(weight, dtype=wide) if moved[0] else None
        grad_bias = torch.zeros_like(bias, dtype=grad.dtype) if moved[1] else None
        for number, start in enumerate(range(0, len(hidden), ctx.slice) if any(moved) else ()):
            some = slice(start, start + ctx.slice)
            if ctx.kept:
                slope = ctx.kept[number]
            else:
                slope = _law(hidden[some], weight.to(hidden.dtype), bias, targets[some], ctx.how, True)[2]
            if grad_weight is not None:
                grad_weight += slope.t() @ (hidden[some] * scale[some])
            if grad_bias is not None:
                grad_bias += (slope * scale[some]).sum(0, dtype=grad.dtype)
        return grad_hidden * scale, grad_weight, grad_bias, None, None, None, None


def _law(
    part: Tensor, head: Tensor, bias: Tensor | None, targets: Tensor, how: tuple[float | None, float], sloped: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Of places (N, D): ln p of their targets (N,), the entropies (N,) of their laws softmax(cap(logits) /
    temperature), and with `sloped` the slopes (N, V) of ln p by the logits."""
    softcap, temperature = how
    rows = targets.unsqueeze(1)
    z = linear(part, head, bias)
    if softcap is not None:
        z = z.div_(softcap).tanh_().mul_(softcap)
    bent = 1 - (z / softcap).square() if softcap is not None and sloped else None
    z = z if temperature == 1.0 else z.div_(temperature)
    wide = torch.promote_types(z.dtype, torch.float32)
    largest, chosen = z.amax(-1, keepdim=True), z.gather(1, rows).to(wide)
    weights = z.sub_(largest).exp()
    total = weights.sum(-1, keepdim=True, dtype=wide)
    log_p = chosen - largest.to(wide) - total.log()
    mean = z.mul_(weights).sum(-1, keepdim=True, dtype=wide) / total  # over what is not needed any more
    entropy = (total.log() - mean).squeeze(1)
    if not sloped:
        return log_p.squeeze(1), entropy, None
    slope = weights.div_(total.to(weights.dtype)).neg_()
    # 1 - p before it is rounded: the slope of a confident token is small, not noise
    slope.scatter_(1, rows, -torch.expm1(log_p).to(slope.dtype))
    slope = slope if bent is None else slope.mul_(bent)
    return log_p.squeeze(1), entropy, slope if temperature == 1.0 else slope.div_(temperature)


def chosen_log_probs(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None = None, softcap: float | None = None,
    temperature: float = 1.0, slice_: int = 1024,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """ln p of each target, and the entropy of the law it stands in (without gradients), each (N,) float32 or wider.

    hidden (N, D), weight (V, D), bias (V,), targets (N,); the law is softmax(cap(logits) / temperature).
    """
    if not torch.is_grad_enabled():
        hidden = hidden.detach()
    weight, bias = _moved(weight), None if bias is None else _moved(bias)
    found: tuple[Tensor, Tensor] = _ChosenLogProbs.apply(hidden, weight, bias, targets, softcap, temperature, slice_)
    return found


def _moved(weight: Tensor) -> Tensor:
    """A parameter as a function of ours should see it: where no gradients are kept, as one that needs none."""
    return weight if torch.is_grad_enabled() else weight.detach()
