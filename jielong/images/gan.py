"""Two nets against each other: one draws, one tells drawn from real (Goodfellow et al. 2014, arXiv 1406.2661); and the
loss that keeps such a game from falling apart (R3GAN, Huang et al. 2025, arXiv 2501.05441).

    classical    D: softplus(-D(x)) + softplus(D(G(z)))        G: softplus(-D(G(z)))
    r3           D: softplus(D(G(z)) - D(x)) + gamma/2 (|dD/dx|^2 + |dD/dG(z)|^2)      G: softplus(D(x) - D(G(z)))

In r3 a drawn picture is held against a real one, so that dropping some kinds of pictures is never of use, and both
gradient penalties let the game come to rest. `noise` off: without a random vector, G draws one picture for one text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.images.path import gaussian
from jielong.images.pictures import Batch
from jielong.images.words import Words, WordsConfig, pooled
from jielong.nets.conv import Down, Up
from jielong.train.objective import Loss, Phase


@dataclass(frozen=True)
class Config:
    """`gamma` of both penalties; `mismatched`: the discriminator also sees real pictures with others' words as drawn
    (Reed et al. 2016, arXiv 1605.05396, GAN-CLS)."""

    channels: int = 3
    height: int = 32
    width: int = 32
    patch: int = 4
    latent: int = 64
    wide: int = 96
    blocks: int = 2
    kind: Literal["r3", "classical"] = "r3"
    gamma: float = 1.0
    noise: bool = True
    mismatched: bool = True
    words: WordsConfig | None = None
    rate: float = 0.05  # of the run's learning rate, for both


class Draws(nn.Module):
    """G: a vector and the words to a picture."""

    def __init__(self, config: Config, seed: int) -> None:
        super().__init__()
        self.grid, self.grain = (config.height // config.patch, config.width // config.patch), 32
        said = config.words.dim if config.words else 0
        self.words = Words(config.words, seed + 1) if config.words else None
        self.inward = nn.Linear(config.latent + said, self.grain * self.grid[0] * self.grid[1])
        self.up = Up(self.grain, config.channels, config.patch, config.wide, config.blocks)

    def forward(self, z: Tensor, words: Tensor | None) -> Tensor:
        """(n, C, H, W), bounded by softer and softer steps to [-1.1, 1.1]."""
        coarse = self.inward(torch.cat([z, pooled(self.words, words, len(z))], 1)).view(-1, self.grain, *self.grid)
        return 1.1 * torch.tanh(self.up(coarse))


class Tells(nn.Module):
    """D: a picture and the words to one number, larger for real ones."""

    def __init__(self, config: Config, seed: int) -> None:
        super().__init__()
        self.words = Words(config.words, seed + 2) if config.words else None
        grid = config.height // config.patch, config.width // config.patch
        self.down = Down(config.channels, config.patch, config.wide, config.blocks, 16)
        self.deep = nn.Linear(16 * grid[0] * grid[1], 256)
        self.said = nn.Linear(config.words.dim, 256) if config.words else None
        self.last = nn.Linear(256, 1)

    def forward(self, x: Tensor, words: Tensor | None) -> Tensor:
        """(B,)."""
        h = F.silu(self.deep(self.down(x).flatten(1)))
        plain = self.last(h)[:, 0]
        if self.said is None:
            return plain
        return plain + (h * self.said(pooled(self.words, words, len(x)))).sum(1) / h.shape[1] ** 0.5


class Gan(nn.Module):
    """Both, and whose turn it is."""

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.draws, self.tells = Draws(config, seed), Tells(config, seed)

    def phases(self) -> Sequence[Phase]:
        """First the one that tells, then the one that draws."""
        rate = self.config.rate
        return (Phase("tells", self.tells, self.loss_tells, muon=False, rate=rate),
                Phase("draws", self.draws, self.loss_draws, muon=False, rate=rate))  # fmt: skip

    def loss(self, batch: Batch) -> Loss:
        """Of the one that draws, to be measured; it says little of the pictures."""
        return self.loss_draws(batch)

    def loss_tells(self, batch: Batch) -> Loss:
        """How badly real and drawn are told apart, and the penalties."""
        r3 = self.config.kind == "r3"
        with torch.no_grad():
            made = self.draws(self._lots(batch), batch.words)
        real, fake = batch.pixels.detach().requires_grad_(r3), made.requires_grad_(r3)
        with torch.enable_grad():
            good, bad = self.tells(real, batch.words), self.tells(fake, batch.words)
            if not r3:
                total = F.softplus(-good).sum() + F.softplus(bad).sum()
            else:
                slopes = torch.autograd.grad(good.sum() + bad.sum(), [real, fake], create_graph=True)
                steep = sum(slope.pow(2).flatten(1).sum() for slope in slopes)
                total = F.softplus(bad - good).sum() + self.config.gamma / 2 * steep
            if self.config.mismatched and batch.words is not None:
                other = self.tells(batch.pixels, batch.words.roll(1, 0))
                total = total + F.softplus(other - good if r3 else other).sum()
        return Loss(total, float(len(real)), {"told": float((good > bad).sum())})

    def loss_draws(self, batch: Batch) -> Loss:
        """How well the drawn are told."""
        bad = self.tells(self.draws(self._lots(batch), batch.words), batch.words)
        if self.config.kind == "classical":
            return Loss(F.softplus(-bad).sum(), float(len(bad)))
        return Loss(F.softplus(self.tells(batch.pixels, batch.words).detach() - bad).sum(), float(len(bad)))

    @torch.no_grad()
    def sample(self, condition: Tensor | None, n: int, seed: int, steps: int = 0) -> Tensor:
        """(n, C, H, W) in one pass."""
        z = gaussian(seed, n, (self.config.latent,), "start")
        made: Tensor = self.draws(z if self.config.noise else torch.zeros_like(z), condition)
        return made

    def _lots(self, batch: Batch) -> Tensor:
        z = torch.randn(len(batch.pixels), self.config.latent, generator=batch.generator())
        return z if self.config.noise else torch.zeros_like(z)
