"""A Gaussian bottleneck (Kingma and Welling 2013; with a small weight as in Rombach et al. 2022, arXiv 2112.10752,
section 3.1): the decoder sees a draw, and the law drawn from is kept near the standard normal one.

    z ~ N(mu, exp(logvar))      KL(N(mu, s^2) || N(0, 1)) = (mu^2 + s^2 - 1 - ln s^2) / 2
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDEST = (-30.0, 20.0)  # of the logarithm of a variance, as diffusers bounds it


class Gaussian(nn.Module):
    """`dim` numbers a place, `weight` of the divergence in the loss."""

    def __init__(self, dim: int, weight: float) -> None:
        super().__init__()
        self.dim, self.weight = dim, weight

    def forward(self, moments: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """moments (B, 2 d, h, w): a draw (B, d, h, w), or the mean without a generator; the mean; the weighted
        divergence in nats, summed over the batch."""
        mean, logvar = moments.float().chunk(2, 1)
        logvar = logvar.clamp(*WIDEST)
        drawn = mean
        if generator is not None:
            drawn = mean + torch.exp(0.5 * logvar) * torch.randn(mean.shape, generator=generator)
        return drawn, mean, self.weight * divergence(mean, logvar)


def divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """Summed KL(N(mean, exp(logvar)) || N(0, 1)) in nats."""
    return 0.5 * (mean.pow(2) + logvar.exp() - 1 - logvar).sum()
