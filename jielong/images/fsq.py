"""Finite scalar quantisation (Mentzer et al. 2023, arXiv 2309.15505): every number of a short vector is rounded to one
of a few levels; all their combinations are the codes. No codebook, no auxiliary loss, nothing that can collapse.

    bounded = half tanh(z + shift) - offset        half = (L - 1)(1 + eps) / 2, offset = 1/2 for an even L
    z_q = round(bounded) / (L // 2)                gradient as if not rounded (Bengio et al. 2013)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jielong.base.errors import UserError

EPS = 1e-3


class Fsq(nn.Module):
    """`levels`, one for each number of a vector; (8, 5, 5, 5) makes 1,000 codes, as the paper's table 1 advises."""

    levels: Tensor
    basis: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        if not levels or min(levels) < 2:
            raise UserError("finite scalar quantisation needs two levels or more for each number")
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        basis = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("basis", torch.tensor(basis), persistent=False)
        self.size, self.dim = math.prod(levels), len(levels)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z (B, d, h, w): what is decoded, the same shape; its codes (B, h, w); a loss to be added: none."""
        bounded = self._bound(z.float())
        rounded = bounded + (bounded.round() - bounded).detach()
        half = self._by_channel(self.levels // 2)
        return (rounded / half).to(z.dtype), self._codes(rounded), z.new_zeros(())

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, h, w) to vectors (B, d, h, w). Raises UserError for a number that is no code."""
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < self.size:
            raise UserError(f"codes are numbered 0 to {self.size - 1}")
        digits = codes[:, None] // self._by_channel(self.basis) % self._by_channel(self.levels)
        half = self._by_channel(self.levels // 2)
        return (digits - half).float() / half

    def _bound(self, z: Tensor) -> Tensor:
        levels = self._by_channel(self.levels)
        half = (levels - 1) * (1 + EPS) / 2
        offset = (levels % 2 == 0) / 2
        shift = torch.atanh(offset / half)
        return torch.tanh(z + shift) * half - offset

    def _codes(self, rounded: Tensor) -> Tensor:
        digits = rounded.detach().round().long() + self._by_channel(self.levels // 2)
        return (digits * self._by_channel(self.basis)).sum(1)

    @staticmethod
    def _by_channel(values: Tensor) -> Tensor:
        return values[:, None, None]
