"""BitFit: only biases are moved (Ben Zaken et al. 2022, arXiv 2106.10199).

    y = W x + b + d             d zero at first

One d for each matrix of the blocks, also where the model has no bias. Biases of norms, which the paper moves too, are
read by these matrices: W (x + c) = W x + W c adds nothing that d cannot.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from jielong.nets.adapters.targets import Target
from jielong.nets.adapters.thin import Thin


class BitfitSite(nn.Module):
    """What is added to one matrix's product."""

    def __init__(self, targets: list[Target]) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(max(t.stop for t in targets)))

    def forward(self, x: Tensor, inner: Callable[[Tensor], Tensor], weight: Tensor, bias: Tensor | None) -> Tensor:
        """x (..., K) -> (..., N)."""
        y = inner(x)
        return y + self.bias.to(y.dtype)

    def start(self, weight: Tensor) -> None:
        """Nothing is taken from the matrix."""

    def thin(self, weight: Tensor, bias: Tensor | None) -> Thin:
        """What is added."""
        return Thin(shift=self.bias.detach().float())

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Into the bias; a model that had none has one then."""
        added = self.bias.detach().to(weight.dtype)
        return weight, added.clone() if bias is None else bias + added

    def unmerged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Out of it. (One that there was not before is taken away whole: `attach.unmerge`.)"""
        return weight, None if bias is None else bias - self.bias.detach().to(weight.dtype)
