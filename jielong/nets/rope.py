"""Positions: rotary tables with every kind of scaling, sinusoids, and ALiBi's slopes."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from jielong.nets.config import Rope


def frequencies(rope: Rope, head_dim: int, context: int) -> tuple[Tensor, float]:
    """Angular frequencies (turning dims / 2,) float32 and the factor on cos and sin (yarn's, else 1).

    linear: f / s. ntk: base * s ** (d / (d - 2)). yarn: Peng et al. 2023, section 3.2. llama3: Meta 2024.
    longrope: f / s_i (Ding et al. 2024, eq. 4). Those that depend on the text's length as for one of `context`:
    see `settled`.
    """
    rope = settled(rope, context, context)
    dims = int(head_dim * rope.fraction)
    base = rope.base
    if rope.scaling == "ntk":
        base = rope.base * rope.factor ** (dims / max(dims - 2, 1))
    inverse = 1.0 / (base ** (torch.arange(0, dims, 2, dtype=torch.int64).float() / dims))
    original = rope.original or context
    if rope.scaling == "linear":
        return inverse / rope.factor, 1.0
    if rope.scaling == "llama3":
        return _llama3(inverse, rope, original), 1.0
    if rope.scaling == "yarn":
        scale = rope.attention or (0.1 * math.log(rope.factor) + 1.0 if rope.factor > 1 else 1.0)
        return _yarn(inverse, rope, dims, original), scale
    if rope.scaling == "longrope":
        grown = math.sqrt(1 + math.log(rope.factor) / math.log(original)) if rope.factor > 1 else 1.0
        return inverse / torch.tensor(rope.short), rope.attention or grown
    return inverse, 1.0


def settled(rope: Rope, context: int, length: int) -> Rope:
    """`rope` for a text of `length` tokens, with nothing left that depends on it. `context` is the model's.

    dynamic: ntk with the factor s * length / original - (s - 1) beyond the original context (emozilla 2023).
    longrope: the long factors beyond it, the short ones within.
    """
    original = rope.original or context
    if rope.scaling == "dynamic":
        beyond = max(length, original) / original
        return replace(rope, scaling="ntk", factor=rope.factor * beyond - (rope.factor - 1))
    if rope.scaling == "longrope":
        chosen = rope.long if length > original else rope.short
        return replace(rope, short=chosen, long=chosen)
    return rope


def _llama3(inverse: Tensor, rope: Rope, original: int) -> Tensor:
    """Long waves are slowed by `factor`, short ones kept, those between blended linearly in frequency."""
    turns = original * inverse / (2 * math.pi)
    blend = ((turns - rope.low_frequency) / (rope.high_frequency - rope.low_frequency)).clamp(0, 1)
    return (1 - blend) * inverse / rope.factor + blend * inverse


def _yarn(inverse: Tensor, rope: Rope, dims: int, original: int) -> Tensor:
    """Dimensions that turn more than beta_fast times in `original` keep their frequency; slow ones are divided."""

    def dimension(turns: float) -> float:
        return dims * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(rope.base))

    low = max(math.floor(dimension(rope.beta_fast)), 0)
    high = min(math.ceil(dimension(rope.beta_slow)), dims - 1)
    ramp = ((torch.arange(dims // 2).float() - low) / max(high - low, 0.001)).clamp(0, 1)
    return inverse / rope.factor * ramp + inverse * (1 - ramp)


def tables(rope: Rope, head_dim: int, context: int, length: int) -> Tensor:
    """cos and sin of every position below `length`: (2, length, turning dims / 2) float32."""
    inverse, scale = frequencies(rope, head_dim, context)
    angles = torch.arange(length).float()[:, None] * inverse[None]
    return torch.stack([angles.cos(), angles.sin()]) * scale


def sinusoids(length: int, dim: int) -> Tensor:
    """Vaswani et al. 2017, section 3.5: (length, dim), sines in the even places, cosines in the odd."""
    rate = torch.exp(-math.log(10_000.0) * torch.arange(0, dim, 2).float() / dim)
    angles = torch.arange(length).float()[:, None] * rate[None]
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :dim]


def alibi_slopes(heads: int) -> Tensor:
    """Press et al. 2021: the geometric sequence of slopes, (heads,)."""
    power = 2 ** math.floor(math.log2(heads))
    first = [2 ** (-8.0 * (i + 1) / power) for i in range(power)]
    rest = [2 ** (-4.0 * (2 * i + 1) / power) for i in range(heads - power)]
    return torch.tensor(first + rest)
