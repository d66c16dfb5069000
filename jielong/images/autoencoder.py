"""The decoder of the three parts, trained without captions, and the encoder that goes with it (Rombach et al. 2022,
section 3.1; van den Oord et al. 2017): pictures to a coarse grid of numbers or codes, and back.

    loss = |x - D(z)|^2 / pixels + bottleneck      z = E(x), through `kl`, `fsq` or `vq`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from jielong.base.errors import UserError
from jielong.images.fsq import Fsq
from jielong.images.kl import Gaussian
from jielong.images.pictures import Batch
from jielong.images.vq import Vq
from jielong.nets.conv import Down, Up
from jielong.train.objective import Loss
from jielong.units.patches import grid


@dataclass(frozen=True)
class Config:
    """`patch` pixels of a side become one place. `latent` numbers a place (kl, vq), `levels` (fsq), `codes` (vq);
    `weight` of the divergence (kl)."""

    height: int = 32
    width: int = 32
    channels: int = 3
    patch: int = 4
    wide: int = 96
    blocks: int = 2
    bottleneck: Literal["kl", "fsq", "vq"] = "fsq"
    latent: int = 8
    levels: tuple[int, ...] = (8, 5, 5, 5)
    codes: int = 512
    weight: float = 1e-5

    def __post_init__(self) -> None:
        grid(self.height, self.width, self.patch)
        if self.bottleneck not in ("kl", "fsq", "vq"):
            raise UserError(f"there is no bottleneck {self.bottleneck!r}: there are kl, fsq and vq")
        object.__setattr__(self, "levels", tuple(self.levels))

    @property
    def grid(self) -> tuple[int, int]:
        """Places down and across."""
        return grid(self.height, self.width, self.patch)


class Autoencoder(nn.Module):
    """Encoder, bottleneck, decoder."""

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.bottleneck: Any = {
                "kl": lambda: Gaussian(config.latent, config.weight),
                "fsq": lambda: Fsq(config.levels),
                "vq": lambda: Vq(config.codes, config.latent),
            }[config.bottleneck]()
            dim = len(config.levels) if config.bottleneck == "fsq" else config.latent
            moments = 2 * dim if config.bottleneck == "kl" else dim
            self.encoder = Down(config.channels, config.patch, config.wide, config.blocks, moments)
            self.decoder = Up(dim, config.channels, config.patch, config.wide, config.blocks)

    @property
    def latent(self) -> tuple[int, int, int]:
        """(d, h, w) of a picture's numbers."""
        return (self.bottleneck.dim, *self.config.grid)

    def loss(self, batch: Batch) -> Loss:
        """Squared error a pixel value, summed over the batch's pictures, and the bottleneck's own loss."""
        z, _, more = self._through(batch.pixels, batch.generator())
        error = (self.decoder(z) - batch.pixels).pow(2).mean((1, 2, 3)).sum()
        places = self.config.grid[0] * self.config.grid[1]
        return Loss(error + more / places, float(len(z)), {"error": float(error.detach())})

    def _through(self, pixels: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        features = self.encoder(pixels)
        if self.config.bottleneck == "kl":
            drawn: tuple[Tensor, Tensor, Tensor] = self.bottleneck(features, generator)
            return drawn
        z, codes, loss = self.bottleneck(features)
        return z, codes, loss

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] to (N, d, h, w): the mean where it is a law, else the vectors of the codes."""
        z, mean, _ = self._through(pixels, None)
        return mean if self.config.bottleneck == "kl" else z

    @torch.no_grad()
    def codes(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) to (N, h, w) codes. Raises UserError for a bottleneck without codes."""
        self._needs_codes()
        return self._through(pixels, None)[1]

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """(N, d, h, w) to pixels."""
        made: Tensor = self.decoder(z)
        return made

    def decode_codes(self, codes: Tensor) -> Tensor:
        """(N, h, w) to pixels. Raises UserError for what is no code."""
        self._needs_codes()
        return self.decode(self.bottleneck.decode(codes))

    @property
    def size(self) -> int:
        """How many codes there are. Raises UserError for a bottleneck without codes."""
        self._needs_codes()
        size: int = self.bottleneck.size
        return size

    def _needs_codes(self) -> None:
        if self.config.bottleneck == "kl":
            raise UserError("this autoencoder has numbers and no codes: train one with --bottleneck fsq or vq")
