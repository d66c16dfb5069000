"""IA3: what a matrix gives, or what it reads, times one number each (Liu et al. 2022, arXiv 2205.05638, section 3.3).

    y = l * (W x + b)            keys and values
    y = W (l * x) + b            the second matrix of the feed-forward

All l begin at 1: at first nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from jielong.base.errors import UserError
from jielong.nets.adapters.targets import Target
from jielong.nets.adapters.thin import Thin


class Ia3Site(nn.Module):
    """The numbers of one matrix's modules. `given`: of rows, in the order of `targets`; `read`: of inputs."""

    def __init__(self, targets: list[Target], reads: bool) -> None:
        super().__init__()
        self.targets = sorted(targets, key=lambda t: t.start)
        self.reads = reads
        self.scales = nn.ParameterList(torch.ones(t.inputs if reads else t.rows) for t in self.targets)

    def forward(self, x: Tensor, inner: Callable[[Tensor], Tensor], weight: Tensor, bias: Tensor | None) -> Tensor:
        """x (..., K) -> (..., N)."""
        if self.reads:
            return inner(x * self.scales[0].to(x.dtype))
        y = inner(x)
        return y * self._rows(len(weight)).to(y.dtype)

    def _rows(self, rows: int) -> Tensor:
        """A number for each row (N,): 1 where no module is."""
        parts, at = [], 0
        for target, scale in zip(self.targets, self.scales):
            parts += [scale.new_ones(target.start - at)] * (target.start > at) + [scale]
            at = target.stop
        return torch.cat([*parts, *([parts[0].new_ones(rows - at)] * (rows > at))])

    def start(self, weight: Tensor) -> None:
        """Nothing is taken from the matrix."""

    def thin(self, weight: Tensor, bias: Tensor | None) -> Thin:
        """The numbers as they are."""
        if self.reads:
            return Thin(read=self.scales[0].detach().float())
        return Thin(factor=self._rows(len(weight)).detach().float())

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Rows, or columns, times their numbers."""
        if self.reads:
            return weight * self.scales[0].to(weight.dtype), bias
        scale = self._rows(len(weight)).to(weight.dtype)
        return weight * scale[:, None], bias if bias is None else bias * scale

    def unmerged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Divided by them again. UserError where one is zero: what it was multiplied with is lost."""
        if any(bool((scale == 0).any()) for scale in self.scales):
            raise UserError("this adapter multiplies by zero somewhere: it cannot be unmerged, read the base again")
        if self.reads:
            return weight / self.scales[0].to(weight.dtype), bias
        scale = self._rows(len(weight)).to(weight.dtype)
        return weight / scale[:, None], bias if bias is None else bias / scale


def make(targets: list[Target]) -> Ia3Site:
    """The usual site of one matrix: what the feed-forward's second matrix reads, what others give."""
    return Ia3Site(targets, targets[0].matrix == "down")
