"""Denoising along a path: DDPM (Ho et al. 2020), DDIM's and later solvers, and flow matching (Lipman et al. 2022; Liu
et al. 2022) are one generator with another path.

    loss = E |net(x_t, t, words) - target|^2,   x_t = alpha x0 + sigma eps

A tenth of the captions is left out, so that the net also knows what is drawn without words: `guidance` (Ho and
Salimans 2022).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from jielong.base.errors import UserError
from jielong.images import solvers
from jielong.images.clip_text import ClipText, TextConfig
from jielong.images.dit import Dit, DitConfig
from jielong.images.guidance import guided
from jielong.images.path import Path, express, gaussian
from jielong.images.pictures import Batch
from jielong.images.solvers import SOLVERS, Step
from jielong.images.words import Words, WordsConfig, left_out
from jielong.nets.unet import Unet, UnetConfig
from jielong.train.objective import Loss


@dataclass(frozen=True)
class Config:
    """`path`: what is learnt; `law`: which times are trained on; `dropped`: the share of captions left out; the rest is
    how pictures are drawn where nothing else is said."""

    net: DitConfig | UnetConfig
    words: WordsConfig | TextConfig | None = None
    path: Path = field(default_factory=Path)
    law: Literal["uniform", "logit-normal"] = "logit-normal"
    dropped: float = 0.1
    guidance: float = 2.0
    steps: int = 20
    solver: str = "euler"

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise UserError(f"there is no solver {self.solver!r}: there are {', '.join(SOLVERS)}")


class Denoiser(nn.Module):
    """A net, the text encoder it listens to, and a path."""

    def __init__(self, config: Config, seed: int = 0, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.config, self.dtype = config, dtype
        self.words: Any = None
        if config.words is not None:
            read = config.words
            self.words = Words(read, seed + 1) if isinstance(read, WordsConfig) else ClipText(read, seed + 1)
        self.net = Dit(config.net, seed) if isinstance(config.net, DitConfig) else Unet(config.net, seed)

    def loss(self, batch: Batch) -> Loss:
        """Squared error a number, summed over the batch's pictures."""
        x0, generator, path = batch.pixels, batch.generator(), self.config.path
        eps = torch.randn(x0.shape, generator=generator)
        t = path.draw_times(len(x0), batch.seed, "time", law=self.config.law)
        memory = None
        if self.words is not None and batch.words is not None:
            empty = self.words.empty(1, batch.words.shape[1])
            memory = self.words(left_out(batch.words, self.config.dropped, empty, generator), self.dtype)
        said = self.ask(path.add(x0, eps, t), t, memory)
        return Loss((said - path.target(x0, eps, t)).pow(2).mean((1, 2, 3)).sum(), float(len(x0)))

    @torch.no_grad()
    def walk(
        self, words: Tensor | None, n: int, seed: int, steps: int = 0, guidance: float | None = None,
        solver: str = "", start: tuple[Tensor, float] | None = None, noise: Tensor | None = None,
        keep: tuple[Tensor, Tensor] | None = None,
    ) -> Iterator[Step]:  # fmt: skip
        """Every step from noise to `n` pictures of words (n, T). `start`: pictures (n, C, H, W) and the share of the
        way back to noise from which they are drawn anew (Meng et al. 2021, 2108.01073); `noise`: what to begin with;
        `keep`: pictures and where (n, 1, H, W, True) they stay as they are: the rest is filled in."""
        config, path = self.config, self.config.path
        times = path.times(steps or config.steps)
        net = config.net
        sides = (net.height, net.width) if isinstance(net, DitConfig) else (net.size, net.size)
        shape = (net.channels, *sides)
        x = gaussian(seed, n, shape, "start") if noise is None else noise
        if start is not None:
            times = times[min(len(times) - 2, round((1 - start[1]) * (len(times) - 1))) :]
            x = path.add(start[0], x, torch.full((n,), times[0]))
        else:
            x = x * path.level(times[0]).sigma
        scale = config.guidance if guidance is None else guidance
        model = self._asked(words, scale)
        model = model if keep is None else keeping(model, path, *keep)
        yield from SOLVERS[solver or config.solver](model, path, x, times, noise=solvers.noise_of(seed, x))

    def sample(self, condition: Tensor | None, n: int, seed: int, steps: int = 0) -> Tensor:
        """(n, C, H, W) for words (n, T) or none."""
        return solvers.last(self.walk(condition, n, seed, steps))

    @torch.no_grad()
    def invert(self, pictures: Tensor, words: Tensor | None, steps: int = 0, guidance: float = 1.0) -> Tensor:
        """The noise from which these pictures (n, C, H, W) would be drawn by Euler's steps (Song et al. 2020,
        2010.02502, section 4.3)."""
        path = self.config.path
        times = path.times(steps or self.config.steps)[::-1]
        if path.schedule != "flow":  # nothing was trained at the clean time itself
            times = [0.0, *times[1:]] if times[1] > 0 else times[1:]
        return solvers.last(solvers.ddim(self._asked(words, guidance), path, pictures, times, eta=0.0))

    def ask(self, x: Tensor, t: Tensor, memory: Tensor | None) -> Tensor:
        """What the net says of x_t, float32. Convolutions run in `dtype` by autocast, Transformers by themselves."""
        if isinstance(self.net, Dit):
            return self.net(x, t, memory, self.dtype)
        with torch.autocast(x.device.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None):
            return self.net(x, t, memory).float()

    def _asked(self, words: Tensor | None, scale: float) -> solvers.Model:
        if self.words is None:
            return lambda x, t: self.ask(x, t, None)
        empty = self.words.empty(1, self.words.config.length if words is None else words.shape[1])
        without = self.words(empty, self.dtype)
        if words is None:
            return lambda x, t: self.ask(x, t, without.expand(len(x), -1, -1))
        said = self.words(words, self.dtype)
        return guided(self.ask, said, without.expand(len(said), -1, -1), scale)


def keeping(model: solvers.Model, path: Path, known: Tensor, kept: Tensor) -> solvers.Model:
    """A model that says of every place that is kept what is known of it: whatever the solver, it comes out there."""

    def asked(x: Tensor, t: Tensor) -> Tensor:
        level = path.beside(x, t)
        x0 = torch.where(kept, known, path.split(x, model(x, t), t)[0])
        return express(x0, (x - level.alpha * x0) / level.sigma, level, path.predicts)

    return asked
