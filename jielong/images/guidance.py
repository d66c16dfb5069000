"""Classifier-free guidance: away from what is drawn without the words, towards what is drawn with them.

    guided = other + scale (asked - other)

Scale 1 is the model's own conditional law, 0 that of the other condition, above 1 sharper than the law; a paper that
writes (1 + w) has w = scale - 1. `other` is the empty condition, or a negative one: what should not be drawn. It is the
same in all four parametrisations, since each is linear in the others with coefficients that sum alike.
At one level of noise it is the score of p(x | asked)^scale p(x | other)^(1 - scale); the samples do not follow that
law, as the noised laws are not the noised power (the test has the closed form for Gaussians).
Sources: Ho & Salimans 2022 (2207.12598); rescaling: Lin et al. 2023 (2305.08891, section 3.4); only within an interval
of noise: Kynkaanniemi et al. 2024 (2404.07724).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from jielong.images.solvers import Model

C = TypeVar("C")


def guided(
    net: Callable[[Tensor, Tensor, C], Tensor],
    asked: C,
    other: C,
    scale: float | Tensor,
    *,
    together: bool = True,
    interval: tuple[float, float] | None = None,
    rescale: float = 0.0,
) -> Model:
    """net(x, t, condition) -> a model for the solvers.

    Conditions: a tensor whose rows are x's, None, or tuples, lists and mappings of such. `scale`: one number, or (N,)
    one for each row. `together` asks once with 2 N rows, else twice with N: the same up to rounding. `interval`: from
    and to which t it guides, both included; outside, the scale is 1. `rescale`: this share of the guided answer is
    brought back to the spread, within each picture, of the unguided one.
    """
    single = scale if not isinstance(scale, Tensor) else None

    def model(x: Tensor, t: Tensor) -> Tensor:
        inside = interval is None or interval[0] <= float(t[0]) <= interval[1]
        if not inside or single == 1:
            return net(x, t, asked)
        if single == 0:
            return net(x, t, other)
        if together:
            both = net(torch.cat([x, x]), torch.cat([t, t]), _joined(other, asked))
            without, given = both.chunk(2)
        else:
            without, given = net(x, t, other), net(x, t, asked)
        weight = scale.to(x).view(-1, *(1,) * (x.ndim - 1)) if isinstance(scale, Tensor) else scale
        out = without + weight * (given - without)
        if rescale:
            inner = tuple(range(1, x.ndim))
            out = out * (1 - rescale + rescale * given.std(inner, keepdim=True) / out.std(inner, keepdim=True))
        return out

    return model


def _joined(first: Any, second: Any) -> Any:
    if first is None:
        return None
    if isinstance(first, Tensor):
        return torch.cat([first, second])
    if isinstance(first, Mapping):
        return {key: _joined(first[key], second[key]) for key in first}
    return type(first)(_joined(a, b) for a, b in zip(first, second))
