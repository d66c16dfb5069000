"""From small to large: a small picture is drawn first, then others of twice its size and more, each beside the one
before it made larger (Ho et al. 2021, arXiv 2106.15282; Imagen, Saharia et al. 2022, section 2.3).

    q(x_t | x) as for any denoiser; the net also sees  up(down(x)) + s eps',  s ~ U(0, 0.3)  and is told s

The noise on the small picture (conditioning augmentation) keeps the next size from trusting every mistake of the last.
A single `Enlarger` is super-resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.images import guidance, solvers
from jielong.images.denoiser import Denoiser
from jielong.images.dit import Dit, DitConfig
from jielong.images.path import Path, gaussian
from jielong.images.pictures import Batch
from jielong.images.words import Words, WordsConfig, left_out
from jielong.train.objective import Loss

SHAKEN = 0.3  # the most noise on a small picture in training; in drawing it gets a third of it


@dataclass(frozen=True)
class Config:
    """`net` of the large picture (its `beside` becomes one more than its channels), `factor` times as large."""

    net: DitConfig
    factor: int = 2
    words: WordsConfig | None = None
    path: Path = field(default_factory=Path)
    dropped: float = 0.1
    guidance: float = 1.0
    steps: int = 10


class Enlarger(nn.Module):
    """A denoiser of large pictures beside small ones."""

    def __init__(self, config: Config, seed: int = 0, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.config, self.dtype = config, dtype
        self.words = Words(config.words, seed + 1) if config.words else None
        self.net = Dit(replace(config.net, beside=config.net.channels + 1), seed)

    def loss(self, batch: Batch) -> Loss:
        """Squared error a number, summed over the batch's pictures, which are shrunk here."""
        x0, generator, path = batch.pixels, batch.generator(), self.config.path
        eps = torch.randn(x0.shape, generator=generator)
        t = path.draw_times(len(x0), batch.seed, "time", law="logit-normal")
        shaken = SHAKEN * torch.rand(len(x0), generator=generator)
        given = self._given(shrink(x0, self.config.factor), shaken, torch.randn(x0.shape, generator=generator))
        memory = None
        if self.words is not None and batch.words is not None:
            empty = self.words.empty(1, batch.words.shape[1])
            memory = self.words(left_out(batch.words, self.config.dropped, empty, generator), self.dtype)
        said = self.net(path.add(x0, eps, t), t, memory, self.dtype, given)
        return Loss((said - path.target(x0, eps, t)).pow(2).mean((1, 2, 3)).sum(), float(len(x0)))

    @torch.no_grad()
    def enlarge(self, small: Tensor, words: Tensor | None, seed: int, steps: int = 0) -> Tensor:
        """(N, C, h, w) to (N, C, h factor, w factor)."""
        config, n = self.config, len(small)
        shape = (config.net.channels, config.net.height, config.net.width)
        given = self._given(small, torch.full((n,), SHAKEN / 3), gaussian(seed, n, shape, "shaken"))
        memory = free = None
        if self.words is not None:
            free = self.words(self.words.empty(n, config.words.length if config.words else 1), self.dtype)
            memory = free if words is None else self.words(words, self.dtype)
            free = free[:, : memory.shape[1]]

        def ask(x: Tensor, t: Tensor, condition: tuple[Tensor | None, Tensor]) -> Tensor:
            return self.net(x, t, condition[0], self.dtype, condition[1])

        model = guidance.guided(ask, (memory, given), (free, given), config.guidance)
        x = gaussian(seed, n, shape, "start")
        return solvers.last(solvers.ddim(model, config.path, x, config.path.times(steps or config.steps), eta=0.0))

    def _given(self, small: Tensor, shaken: Tensor, noise: Tensor) -> Tensor:
        """(N, C + 1, H, W): the small picture made larger and shaken, and how much."""
        large = F.interpolate(small, scale_factor=float(self.config.factor), mode="nearest")
        much = shaken[:, None, None, None]
        return torch.cat([large + much * noise, much.expand(-1, 1, *large.shape[2:])], 1)


@dataclass(frozen=True)
class Cascade:
    """A denoiser of the smallest size and enlargers, each of what the one before it draws."""

    first: Denoiser
    others: Sequence[Enlarger]

    def sample(self, condition: Tensor | None, n: int, seed: int, steps: int = 0) -> Tensor:
        """(n, C, H, W) of the largest size."""
        picture = self.first.sample(condition, n, seed, steps)
        for i, each in enumerate(self.others):
            picture = each.enlarge(picture.clamp(-1, 1), condition, seed + 1 + i)
        return picture

    def flops(self, words: int, steps: Sequence[int]) -> float:
        """Of one picture, when each size takes so many steps; guidance counts twice where there is some."""
        nets = [(self.first.config.guidance, self.first.net), *((e.config.guidance, e.net) for e in self.others)]
        return sum((2 if scale != 1 else 1) * n * net.config.flops(words)
                   for (scale, net), n in zip(nets, steps, strict=True) if isinstance(net, Dit))  # fmt: skip


def shrink(pixels: Tensor, factor: int) -> Tensor:
    """The mean of every square of `factor` pixels."""
    return F.avg_pool2d(pixels, factor)
