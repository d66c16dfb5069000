"""A picture from one vector of normal numbers (Kingma and Welling 2013, arXiv 1312.6114): an encoder guesses which
vector, a decoder says every pixel's colours from it.

    -ELBO = -E ln p(x | z) + KL(q(z | x) || N(0, 1))  >=  -ln p(x)

The pixels' law is over the colours of a palette, so that the bound is in nats of real pictures and can be held against
the world's entropy. Without the divergence (`weight` 0) it is a plain autoencoder, whose vectors nobody can draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.images.kl import Gaussian, divergence
from jielong.images.path import gaussian
from jielong.images.pictures import Batch
from jielong.images.tokens import Pixels
from jielong.images.words import Words, WordsConfig, pooled
from jielong.nets.conv import Down, Up
from jielong.train.objective import Loss


@dataclass(frozen=True)
class Config:
    """`latent` numbers a picture; `weight` of the divergence: 1 is the bound."""

    latent: int = 32
    patch: int = 4
    wide: int = 96
    blocks: int = 2
    weight: float = 1.0
    words: WordsConfig | None = None


class Vae(nn.Module):
    """Encoder, decoder, and the words that both are told."""

    def __init__(self, config: Config, units: Pixels, seed: int = 0) -> None:
        super().__init__()
        self.config, self.units = config, units
        channels = units.palette.colours.shape[1]
        self.grid = units.grid[0] // config.patch, units.grid[1] // config.patch
        self.grain = 16  # channels of the coarse grid beside the vector
        flat, said = self.grain * self.grid[0] * self.grid[1], config.words.dim if config.words else 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.words = Words(config.words, seed + 1) if config.words else None
            self.encoder = Down(channels, config.patch, config.wide, config.blocks, self.grain)
            self.inward = nn.Linear(flat + said, 2 * config.latent)
            self.outward = nn.Linear(config.latent + said, flat)
            self.decoder = Up(self.grain, units.size, config.patch, config.wide, config.blocks)
        self.bottleneck = Gaussian(config.latent, config.weight)

    def loss(self, batch: Batch) -> Loss:
        """Nats of whole pictures (the bound), and what of it is the divergence."""
        said = pooled(self.words, batch.words, len(batch.pixels))
        moments = self.inward(torch.cat([self.encoder(batch.pixels).flatten(1), said], 1))
        z, _, weighted = self.bottleneck(moments[..., None, None], batch.generator())
        logits = self._logits(z[..., 0, 0], said)
        ids = self.units.encode(batch.pixels).view(len(logits), *self.units.grid)
        nats = F.cross_entropy(logits, ids, reduction="sum")
        return Loss(nats + weighted, float(len(ids)), {"kl": float(self._kl(moments))})

    @torch.no_grad()
    def encode(self, pixels: Tensor, words: Tensor | None = None) -> Tensor:
        """(N, latent): the mean of what is guessed."""
        said = pooled(self.words, words, len(pixels))
        return self.inward(torch.cat([self.encoder(pixels).flatten(1), said], 1)).chunk(2, 1)[0]

    @torch.no_grad()
    def decode(self, z: Tensor, words: Tensor | None = None) -> Tensor:
        """(N, latent) to pictures: every pixel's most probable colour."""
        return self.units.decode(self._logits(z, pooled(self.words, words, len(z))).argmax(1).flatten(1))

    @torch.no_grad()
    def sample(self, condition: Tensor | None, n: int, seed: int, steps: int = 0) -> Tensor:
        """(n, C, H, W) in one pass."""
        return self.decode(gaussian(seed, n, (self.config.latent,), "start"), condition)

    @staticmethod
    def _kl(moments: Tensor) -> Tensor:
        return divergence(*moments.detach().chunk(2, 1))

    def _logits(self, z: Tensor, said: Tensor) -> Tensor:
        """(N, colours, H, W)."""
        coarse = self.outward(torch.cat([z, said], 1)).view(-1, self.grain, *self.grid)
        return self.decoder(coarse)
