"""Vector quantisation with a codebook that follows what it stands for (van den Oord et al. 2017, arXiv 1711.00937,
appendix A.1: exponential moving averages).

    n_i <- g n_i + (1 - g) |{z nearest to e_i}|      m_i <- g m_i + (1 - g) sum of these z      e_i = m_i / n_i
    loss = beta |z - sg(e)|^2                        a code nobody is near for long starts anew at some z

The last line is what keeps a codebook from collapsing (Dhariwal et al. 2020, section 4.1).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.base.errors import UserError

DECAY, BETA, SMOOTH = 0.99, 0.25, 1e-5
DEAD = 0.03  # of an even share of the batch: below it, a code starts anew


class Vq(nn.Module):
    """`size` codes of `dim` numbers. Training moves them in `forward`; nothing of it is a parameter."""

    codes: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.size, self.dim = size, dim
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("codes", torch.randn(size, dim, generator=generator))
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("sums", self.codes.clone())

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z (B, d, h, w): what is decoded, the same shape; its codes (B, h, w); the commitment loss, summed over
        places and averaged over numbers."""
        rows = z.movedim(1, -1).reshape(-1, self.dim).float()
        ids = self._nearest(rows)
        if self.training and torch.is_grad_enabled():
            self._follow(rows.detach(), ids)
        found = F.embedding(ids, self.codes).reshape(len(z), *z.shape[2:], self.dim).movedim(-1, 1)
        loss = BETA * (z.float() - found).pow(2).mean(1).sum()
        return (z + (found - z).detach()).to(z.dtype), ids.reshape(len(z), *z.shape[2:]), loss

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, h, w) to vectors (B, d, h, w). Raises UserError for a number that is no code."""
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < self.size:
            raise UserError(f"codes are numbered 0 to {self.size - 1}")
        return F.embedding(codes, self.codes).movedim(-1, 1)

    def _nearest(self, rows: Tensor) -> Tensor:
        return (self.codes.pow(2).sum(1) - 2 * rows @ self.codes.T).argmin(1)

    @torch.no_grad()
    def _follow(self, rows: Tensor, ids: Tensor) -> None:
        here = torch.zeros_like(self.counts).index_add_(0, ids, torch.ones(len(ids)))
        self.counts.lerp_(here, 1 - DECAY)
        self.sums.lerp_(torch.zeros_like(self.sums).index_add_(0, ids, rows), 1 - DECAY)
        total = self.counts.sum()
        smooth = (self.counts + SMOOTH) / (total + self.size * SMOOTH) * total
        self.codes.copy_(self.sums / smooth[:, None])
        dead = (self.counts < DEAD * len(rows) / self.size).nonzero()[:, 0]
        if len(dead):  # which rows they start at is a function of the step's own ids, so that a run repeats
            chosen = (torch.arange(len(dead)) * 7919 + int(ids.sum())) % len(rows)
            self.codes[dead] = rows[chosen]
            self.sums[dead], self.counts[dead] = rows[chosen], 1.0


def perplexity(codes: Tensor, size: int) -> float:
    """exp of the entropy of how often each code is used: how many are in use, as it were."""
    shares = torch.bincount(codes.flatten(), minlength=size).double() / codes.numel()
    return float(torch.special.entr(shares).sum().exp())
