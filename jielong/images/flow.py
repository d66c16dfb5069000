"""A normalising flow: noise and pictures are one and the same, seen through a function that can be undone (RealNVP,
Dinh et al. 2016, arXiv 1605.08803; Glow, Kingma and Dhariwal 2018, arXiv 1807.03039).

    ln p(x) = ln N(f(x); 0, 1) + ln |det df/dx|

A step scales and shifts each channel (its first batch sets how much), mixes channels by an invertible matrix, then
couples: half of the channels stay and say how the others are scaled and shifted. Pictures are bytes: within a byte's
width a place is drawn by lot, so that E[-ln p] bounds the nats of real pictures (Theis et al. 2015, section 3.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jielong.base.errors import UserError
from jielong.images.path import gaussian
from jielong.images.pictures import Batch
from jielong.images.words import Words, WordsConfig, pooled
from jielong.nets.conv import RowNorm
from jielong.train.objective import Loss
from jielong.units.patches import patchify, unpatchify


@dataclass(frozen=True)
class Config:
    """Of (channels, height, width): first cut into patches, whose pixels are channels; then `steps` of couplings."""

    channels: int = 3
    height: int = 8
    width: int = 8
    patch: int = 2
    wide: int = 96
    steps: int = 8
    words: WordsConfig | None = None

    @property
    def grid(self) -> tuple[int, int, int]:
        """(channels, rows, columns) inside."""
        if self.channels * self.patch**2 < 2:
            raise UserError("a coupling needs two channels or more: take larger patches")
        return self.channels * self.patch**2, self.height // self.patch, self.width // self.patch


class Coupling(nn.Module):
    """One step, both ways. y = mix((x + shift) exp(scale)); its second half, b, becomes (b + t) exp(s), with s and t by
    the first half and the words."""

    started: Tensor

    def __init__(self, channels: int, wide: int, said: int) -> None:
        super().__init__()
        self.stay = channels // 2
        self.shift, self.scale = nn.Parameter(torch.zeros(channels, 1, 1)), nn.Parameter(torch.zeros(channels, 1, 1))
        self.mix = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels))[0])
        self.wide, self.norm = nn.Conv2d(self.stay, wide, 3, padding=1), RowNorm(wide)
        self.told, self.deep = nn.Linear(said, wide) if said else None, nn.Conv2d(wide, wide, 1)
        self.last = nn.Conv2d(wide, 2 * (channels - self.stay), 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]
        self.register_buffer("started", torch.tensor(False))

    def forward(self, x: Tensor, said: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, C, H, W) to y and ln |det| (B,)."""
        if self.training and not bool(self.started):
            self._start(x.detach())
        places = x.shape[2] * x.shape[3]
        y = torch.einsum("dc,bchw->bdhw", self.mix, (x + self.shift) * self.scale.exp())
        a, b = y[:, : self.stay], y[:, self.stay :]
        s, t = self._said_by(a, said)
        volume = places * (self.scale.sum() + torch.linalg.slogdet(self.mix)[1]) + s.flatten(1).sum(1)
        return torch.cat([a, (b + t) * s.exp()], 1), volume

    def back(self, y: Tensor, said: Tensor) -> Tensor:
        """The x that gives y."""
        a, b = y[:, : self.stay], y[:, self.stay :]
        s, t = self._said_by(a, said)
        y = torch.cat([a, b * (-s).exp() - t], 1)
        undone = torch.linalg.inv(self.mix.double()).to(y.dtype)
        return torch.einsum("dc,bchw->bdhw", undone, y) * (-self.scale).exp() - self.shift

    def _said_by(self, a: Tensor, said: Tensor) -> tuple[Tensor, Tensor]:
        h = self.norm(self.wide(a).movedim(1, -1)).movedim(-1, 1)
        h = h if self.told is None else h + self.told(said)[..., None, None]
        s, t = self.last(torch.relu(self.deep(torch.relu(h)))).chunk(2, 1)
        return 2 * torch.tanh(s / 2), t  # a factor between e^-2 and e^2: no step alone can blow up

    @torch.no_grad()
    def _start(self, x: Tensor) -> None:
        """Every channel of the first batch with mean 0 and spread 1 (Glow, section 3.1)."""
        self.shift.copy_(-x.mean((0, 2, 3), keepdim=True)[0])
        self.scale.copy_(-(x.std((0, 2, 3), keepdim=True)[0] + 1e-3).log())
        self.started.fill_(True)


class Flow(nn.Module):
    """Steps from a picture to noise and back."""

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.words = Words(config.words, seed + 1) if config.words else None
            said = config.words.dim if config.words else 0
            self.steps = nn.ModuleList(Coupling(config.grid[0], config.wide, said) for _ in range(config.steps))

    def loss(self, batch: Batch) -> Loss:
        """Nats of whole pictures (the bound by lots within a byte)."""
        lots = torch.rand(batch.pixels.shape, generator=batch.generator())
        nats = -self.log_density(batch.pixels + (lots - 0.5) / 127.5, batch.words)
        return Loss(nats.sum() + batch.pixels.numel() * math.log(127.5), float(len(nats)))

    def log_density(self, x: Tensor, words: Tensor | None = None) -> Tensor:
        """(B,) ln p of points of [-1, 1]^(C H W)."""
        z, volume = self.to_noise(x, words)
        return volume - 0.5 * z.pow(2).flatten(1).sum(1) - 0.5 * math.log(2 * math.pi) * z[0].numel()

    def to_noise(self, x: Tensor, words: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to noise (B, c, h, w), and ln |det| of the way (B,)."""
        said, total = pooled(self.words, words, len(x)), x.new_zeros(len(x))
        y = patchify(x, self.config.patch).mT.reshape(len(x), *self.config.grid)
        for step in self.steps:
            y, volume = step(y, said)
            total = total + volume
        return y, total

    @torch.no_grad()
    def from_noise(self, z: Tensor, words: Tensor | None = None) -> Tensor:
        """The way back."""
        said = pooled(self.words, words, len(z))
        for step in reversed(self.steps):
            z = step.back(z, said)  # type: ignore[operator]
        return unpatchify(z.flatten(2).mT, self.config.patch, self.config.height, self.config.width)

    def sample(self, condition: Tensor | None, n: int, seed: int, steps: int = 0, temperature: float = 1.0) -> Tensor:
        """(n, C, H, W) in one pass."""
        return self.from_noise(gaussian(seed, n, self.config.grid, "start") * temperature, condition)
