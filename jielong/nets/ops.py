"""The few operations a Transformer is made of, each with a backward written out where that is faster.

Every function is the textbook formula; tests hold values and gradients against the plain autograd form.
On a CPU the written-out backward halves the number of passes over memory; on a GPU torch's fused kernels serve.
Shapes: B rows, T positions, S keys, D width, H query heads, K key heads, C head size.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores of this many entries a head and row are kept for the backward; longer rows go to torch's flash kernel.
KEPT_SCORES = 512 * 512


def _written_out(x: Tensor) -> bool:
    """Whether the backward written out here serves: on a CPU, unless a compiler fuses the plain formula itself."""
    return x.is_cpu and not torch.compiler.is_compiling()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias in x's dtype: parameters stay float32, arithmetic follows the activations."""
    weight = weight if weight.dtype == x.dtype else weight.to(x.dtype)
    if bias is not None and bias.dtype != x.dtype:
        bias = bias.to(x.dtype)
    return F.linear(x, weight, bias)


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    """1 / sqrt(mean(x^2) + eps) over the last axis, kept, in x's dtype (the mean itself in float32 or wider)."""
    wide = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
    return norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_().to(x.dtype)


def _norm_backward(inner: Tensor, unit: Tensor, scale: Tensor) -> Tensor:
    """Gradient through unit = x * scale: (g - unit * mean(g * unit)) * scale. Overwrites `inner`."""
    ones = inner.new_full(
        (inner.shape[-1], 1), 1.0
    )  # a matrix product sums rows several times sooner than sum(-1)
    mean = (inner * unit).matmul(ones).div_(inner.shape[-1])
    return inner.addcmul_(unit, mean, value=-1).mul_(scale)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = _inverse_rms(x, eps)
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        unit, grad_weight = x * scale, None
        if ctx.needs_input_grad[1]:
            grad_weight = torch.mul(grad, unit).flatten(0, -2).sum(0, dtype=weight.dtype)
        if not ctx.needs_input_grad[0]:
            return None, grad_weight, None
        return _norm_backward(grad * weight.to(x.dtype), unit, scale), grad_weight, None


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis (Zhang and Sennrich 2019, eq. 4)."""
    if _written_out(x) and torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return _RMSNorm.apply(x, weight, eps)
    return F.rms_norm(x, (x.shape[-1],), weight.to(x.dtype), eps)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn the first dims of each head of x (B, H, T, C) by `table` (2, B or 1, T, dims / 2): cos, sin.

    Halves are paired (x_i with x_{i + dims/2}), as in GPT-NeoX and Hugging Face (Su et al. 2021, eq. 34).
    """
    cos, sin = table.to(x.dtype).unsqueeze(2)
    half = cos.shape[-1]
    # split, not slices: the gradient of a split is one concatenation, that of slices a sum of padded copies
    first, second, rest = x.split([half, half, x.shape[-1] - 2 * half], -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin, rest), -1)


class _NormRotate(torch.autograd.Function):
    """RMSNorm of each head, then rotation: queries and keys in one pass, laid out (B, H, T, C).

    (first, second) -> (-second, first) is a product with a signed permutation: exact, and several times sooner than
    copies of half a head.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, q_weight: Tensor, k_weight: Tensor, heads: int, table: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        x = x.transpose(1, 2).contiguous()
        scale = _inverse_rms(x, eps)
        unit = x * scale  # not in place: where nothing had to be copied, x is still the caller's
        weight = torch.cat([q_weight.expand(heads, -1), k_weight.expand(x.shape[1] - heads, -1)])
        weight = weight.to(unit.dtype).unsqueeze(-2)
        ctx.save_for_backward(unit, weight, scale, table)
        ctx.heads, ctx.dtype = heads, q_weight.dtype
        cos, sin, swap = _full_tables(table, unit)
        turned = (unit * (cos * weight)).addcmul_(unit @ swap, sin * (weight @ swap.abs()))
        return turned[:, :heads], turned[:, heads:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_q: Tensor, grad_k: Tensor) -> tuple[Tensor | None, ...]:
        unit, weight, scale, table = ctx.saved_tensors
        cos, sin, swap = _full_tables(table, unit)
        grad = torch.cat([grad_q, grad_k], 1)
        inner = ((grad * sin) @ swap.t()).addcmul_(grad, cos)
        grads: list[Tensor | None] = [None, None]
        if any(ctx.needs_input_grad[1:3]):
            each = torch.mul(inner, unit).sum(0, dtype=ctx.dtype).sum(1)
            grads = [each[: ctx.heads].sum(0), each[ctx.heads :].sum(0)]
        inner.mul_(weight)
        return _norm_backward(inner, unit, scale).transpose(1, 2), *grads, None, None, None


def _full_tables(table: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """cos and sin (B or 1, 1, T, C) of both halves, and the signed permutation (C, C) that pairs them."""
    cos, sin = torch.cat([table, table], -1).to(x.dtype).unsqueeze(2)
    half = table.shape[-1]
    eye = torch.eye(half, dtype=x.dtype, device=x.device)
    zero = torch.zeros_like(eye)
    return cos, sin, torch.cat([torch.cat([zero, eye], 1), torch.cat([-eye, zero], 1)])


def norm_rotate(
    x: Tensor, q_weight: Tensor, k_weight: Tensor, heads: int, table: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """Queries and keys side by side, x (B, T, H + K, C) -> (B, H, T, C), (B, K, T, C): normed head by head, turned.

    q_weight and k_weight (C,); table (2, B or 1, T, C / 2), None: not turned. One pass over both where the backward
    is written out; one after the other for compilers, which fuse each into the products around it.
    """
    if _written_out(x) and table is not None and table.shape[-1] * 2 == x.shape[-1]:
        q, k = _NormRotate.apply(x, q_weight, k_weight, heads, table, eps)
        return q, k
    q, k = x.split([heads, x.shape[2] - heads], 2)
    q, k = rms_norm(q, q_weight, eps).transpose(1, 2), rms_norm(k, k_weight, eps).transpose(1, 2)
    return (q, k) if table is None else (rotate(q, table), rotate(k, table))


def attention_pattern(
    q: Tensor, k: Tensor, bias: Tensor | None, scale: float, softcap: float | None
) -> Tensor:
    """softmax(q k^T scale + bias), (B, H, T, S), with optional cap on the scores (Gemma-2)."""
    batch, heads, length, size = q.shape
    groups = heads // k.shape[1]
    scores = (q.reshape(batch, k.shape[1], groups * length, size) * scale) @ k.transpose(-1, -2)
    scores = scores.view(batch, heads, length, k.shape[2])
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    return torch.softmax(scores if bias is None else scores + bias, -1)


def mix_values(pattern: Tensor, v: Tensor) -> Tensor:
    """pattern (B, H, T, S) times values (B, K, S, C) -> (B, H, T, C)."""
    batch, heads, length, keys = pattern.shape
    grouped = pattern.reshape(batch, v.shape[1], heads // v.shape[1] * length, keys)
    return (grouped @ v).view(batch, heads, length, v.shape[-1])


class _Attention(torch.autograd.Function):
    """Scores are kept, not recomputed: for rows of a few hundred positions that is several times sooner on a CPU."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
        batch, heads, length, size = q.shape
        kv = k.shape[1]
        q = q.reshape(batch * kv, -1, size)
        k, v = k.reshape(batch * kv, -1, size), v.reshape(batch * kv, -1, size)
        scores = torch.bmm(q * scale, k.transpose(1, 2))
        scores.view(batch, heads, length, -1).add_(bias)
        pattern = torch.softmax(scores, -1)
        ctx.save_for_backward(q, k, v, pattern)
        ctx.scale, ctx.shapes = scale, (batch, heads, kv, length)
        return torch.bmm(pattern, v).view(batch, heads, length, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, pattern = ctx.saved_tensors
        batch, heads, kv, length = ctx.shapes
        size = q.shape[-1]
        grad = grad.reshape(batch * kv, -1, size)
        grad_v = torch.bmm(pattern.transpose(1, 2), grad)
        grad_scores = torch.ops.aten._softmax_backward_data(
            torch.bmm(grad, v.transpose(1, 2)), pattern, -1, pattern.dtype
        )
        grad_q = torch.bmm(grad_scores, k).mul_(ctx.scale).view(batch, heads, length, size)
        grad_k = torch.bmm(grad_scores.transpose(1, 2), q).mul_(ctx.scale)
        return grad_q, grad_k.view(batch, kv, -1, size), grad_v.view(batch, kv, -1, size), None, None


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float, causal: bool) -> Tensor:
    """softmax(q k^T scale + bias) v with grouped heads (Vaswani et al. 2017, eq. 1; Ainslie et al. 2023).

    q (B, H, T, C); k, v (B, K, S, C); bias broadcasts to (B, H, T, S), -inf where nothing may be seen.
    bias None with `causal` means the plain lower triangle.
    """
    if q.is_cpu and bias is not None and q.shape[2] * k.shape[2] <= KEPT_SCORES:
        needed = q.requires_grad or k.requires_grad or v.requires_grad
        if _written_out(q) and torch.is_grad_enabled() and needed:
            return _Attention.apply(q, k, v, bias, scale)
        return mix_values(attention_pattern(q, k, bias, scale, None), v)
    return F.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=bias,
        is_causal=causal and bias is None,
        scale=scale,
        enable_gqa=q.shape[1] != k.shape[1],
    )


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        gate, up = both.chunk(2, -1)
        active = F.silu(gate)
        ctx.save_for_backward(both, active)
        return active * up

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        both, active = ctx.saved_tensors
        gate, up = both.chunk(2, -1)
        found = torch.empty_like(both)  # both halves are written in place: to join them is one more pass
        of_gate, of_up = found.chunk(2, -1)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=of_gate)
        torch.mul(grad, active, out=of_up)
        return found


def swiglu(both: Tensor) -> Tensor:
    """silu(gate) * up, where `both` holds gate and up side by side (Shazeer 2020, eq. 6)."""
    if _written_out(both):
        found: Tensor = _SwiGLU.apply(both)
        return found
    gate, up = both.chunk(2, -1)
    return F.silu(gate) * up
