"""Stable Diffusion's autoencoder as the decoder of the three parts: `nets/autoencoder_kl.py` with its bottleneck."""

from __future__ import annotations

import torch
from torch import Tensor

from jielong.images.kl import Gaussian
from jielong.images.pictures import Batch
from jielong.nets.autoencoder_kl import AutoencoderKl, KlConfig
from jielong.train.objective import Loss

WEIGHT = 1e-5  # of the divergence


class StableAutoencoder(AutoencoderKl):
    """The same interface as `autoencoder.Autoencoder`: its numbers are drawn by a denoiser."""

    def __init__(self, config: KlConfig, seed: int | None = 0) -> None:
        super().__init__(config, seed)
        self.bottleneck = Gaussian(config.latent, WEIGHT)

    @property
    def latent(self) -> tuple[int, int, int]:
        """(d, h, w) of a picture's numbers."""
        side = self.config.size // 2 ** (len(self.config.widths) - 1)
        return self.config.latent, side, side

    def loss(self, batch: Batch) -> Loss:
        """Squared error a pixel value, summed over the batch's pictures, and the weighted divergence a place."""
        z, _, more = self.bottleneck(self.moments(batch.pixels), batch.generator())
        error = (super().decode(z) - batch.pixels).pow(2).mean((1, 2, 3)).sum()
        return Loss(error + more / (z.shape[2] * z.shape[3]), float(len(z)), {"error": float(error.detach())})

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] to means (N, d, h, w)."""
        mean: Tensor = self.bottleneck(self.moments(pixels))[1]
        return mean

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """(N, d, h, w) to pixels."""
        return super().decode(z)
