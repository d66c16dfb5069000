"""How a picture turns into noise: one path, its schedules, and the four things that a net may say about it.

    x_t = alpha(t) x0 + sigma(t) eps,   eps ~ N(0, I)

Times are the model's timesteps. On the straight path ("flow") t runs from 0, the picture, to 1000, noise, with
s = t / 1000, alpha = 1 - s, sigma = s: diffusers' flow matching; some libraries run the other way. On the paths of
DDPM t = 0, 1 ... 999 have alpha^2 = prod (1 - beta), and t = -1 is the picture; between two whole t the ratio
sigma / alpha is interpolated, as diffusers' Euler does.

    what a net may say     eps        x0        v = alpha eps - sigma x0        velocity = eps - x0
    = a x0 + b eps         (0, 1)     (1, 0)    (-sigma, alpha)                 (-1, 1)

Each of them with x_t gives the other three: two linear equations in x0 and eps.
Sources: Ho et al. 2020 (2006.11239, linear), Rombach et al. 2022 (2112.10752, scaled_linear), Nichol & Dhariwal 2021
(2102.09672, cosine), Salimans & Ho 2022 (2202.00512, v), Liu et al. 2022 (2209.03003) and Lipman et al. 2022
(2210.02747, velocity), Esser et al. 2024 (2403.03206, logit-normal times and their shift).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from jielong.base.errors import UserError
from jielong.base.noise import rng, uniform

Schedule = Literal["flow", "linear", "scaled_linear", "cosine"]
Kind = Literal["eps", "x0", "v", "velocity"]
Spacing = Literal["trailing", "leading", "linspace"]
BETAS = {"linear": (0.0001, 0.02), "scaled_linear": (0.00085, 0.012)}
S = TypeVar("S", float, Tensor)


class Level(NamedTuple):
    """How much of x_t is picture and how much is noise: two numbers, or two tensors that stand beside x_t."""

    alpha: Any
    sigma: Any

    @property
    def snr(self) -> Any:
        """Signal to noise, alpha^2 / sigma^2."""
        return (self.alpha / self.sigma) ** 2


@dataclass(frozen=True)
class Path:
    """`predicts` is what the net says; `shift` moves the times of the straight path towards noise (larger pictures
    need it): s / (1 - s) times shift. `betas`: first and last, linear and scaled_linear only. Raises UserError."""

    schedule: Schedule = "flow"
    predicts: Kind = "velocity"
    steps: int = 1000
    betas: tuple[float, float] | None = None
    shift: float = 1.0

    def __post_init__(self) -> None:
        if self.schedule != "flow" and self.shift != 1.0:
            raise UserError(f"a shift of the times is for the flow path, not {self.schedule}: leave shift at 1")
        if self.betas is not None and self.schedule not in BETAS:
            raise UserError(f"the {self.schedule} path has no betas to choose: leave them out, or take linear")
        if self.steps < 2 or self.shift <= 0:
            raise UserError("a path needs 2 steps or more and a shift above 0")

    @property
    def clean(self) -> float:
        """The time of the picture itself."""
        return 0.0 if self.schedule == "flow" else -1.0

    @cached_property
    def beta(self) -> Tensor:
        """(steps,) float64: the share of the variance that step t makes new. Not for the flow path."""
        n = self.steps
        if self.schedule == "cosine":
            heights = torch.cos((torch.arange(n + 1, dtype=torch.float64) / n + 0.008) / 1.008 * math.pi / 2) ** 2
            return (1 - heights[1:] / heights[:-1]).clamp(max=0.999)
        first, last = self.betas or BETAS[self.schedule]
        if self.schedule == "linear":
            return torch.linspace(first, last, n, dtype=torch.float64)
        return torch.linspace(first**0.5, last**0.5, n, dtype=torch.float64) ** 2

    @cached_property
    def _ratios(self) -> Tensor:
        """(steps + 1,) sigma / alpha at t = -1, 0 ... steps - 1."""
        kept = torch.cumprod(1 - self.beta, 0)
        return torch.cat([torch.zeros(1, dtype=torch.float64), ((1 - kept) / kept).sqrt()])

    def levels(self, t: Tensor) -> Level:
        """t any shape -> alpha and sigma of that shape, float64."""
        t = t.double()
        if self.schedule == "flow":
            return Level(1 - t / self.steps, t / self.steps)
        ratios = self._ratios.to(t.device)
        low = (t + 1).floor().clamp(0, self.steps - 1).long()
        ratio = torch.lerp(ratios[low], ratios[low + 1], t + 1 - low)
        alpha = (1 + ratio**2).rsqrt()
        return Level(alpha, ratio * alpha)

    def level(self, t: float) -> Level:
        """alpha and sigma at one time, as numbers."""
        alpha, sigma = self.levels(torch.tensor(t, dtype=torch.float64))
        return Level(float(alpha), float(sigma))

    def beside(self, x: Tensor, t: Tensor) -> Level:
        """x (N, ...), t (N,) -> alpha and sigma (N, 1, ...) of x's type and place."""
        alpha, sigma = self.levels(t)
        shape = (-1, *(1,) * (x.ndim - 1))
        return Level(alpha.to(x).view(shape), sigma.to(x).view(shape))

    def add(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x0, eps (N, ...), t (N,) -> x_t, at once."""
        alpha, sigma = self.beside(x0, t)
        return alpha * x0 + sigma * eps

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the net should say at x_t."""
        return express(x0, eps, self.beside(x0, t), self.predicts)

    def split(self, x: Tensor, said: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """x_t (N, ...) and what the net said of it -> x0, eps."""
        return split(x, said, self.beside(x, t), self.predicts)

    def times(self, n: int, spacing: Spacing = "trailing") -> list[float]:
        """n + 1 falling times for n steps of a solver, from noise to the picture.

        `trailing` begins at pure noise, as training does (Lin et al. 2023, 2305.08891, table 2, which has all three);
        `leading` is diffusers' default for DDPM and DDIM, `linspace` for DPM-Solver++ and UniPC.
        """
        most = math.inf if self.schedule == "flow" else self.steps
        if not 1 <= n <= most:
            raise UserError(f"{n} steps cannot be laid on a path of {self.steps}: take 1 to {self.steps}")
        if self.schedule == "flow":
            if spacing != "trailing":
                raise UserError(f"{spacing} times are for the paths of DDPM: take trailing")
            return [self.steps * shifted(1 - i / n, self.shift) for i in range(n)] + [self.clean]
        rising = {
            "leading": np.arange(n) * (self.steps // n),
            "trailing": self.steps - 1 - (np.arange(n) * (self.steps / n)).round()[::-1],
            "linspace": np.linspace(0, self.steps - 1, n + 1).round()[1:],
        }[spacing]
        return [*(float(t) for t in rising[::-1]), self.clean]

    def draw_times(
        self, n: int, seed: int, *position: Any, law: Literal["uniform", "logit-normal"] = "uniform",
        mean: float = 0.0, spread: float = 1.0,
    ) -> Tensor:  # fmt: skip
        """(n,) times to train on, float32. logit-normal: log(s / (1 - s)) ~ N(mean, spread^2): more in the middle."""
        s = torch.from_numpy(uniform(seed, *position, n=n))
        if law == "logit-normal":
            s = torch.sigmoid(mean + spread * torch.special.ndtri(s))
        if self.schedule == "flow":
            return (self.steps * shifted(s, self.shift)).float()
        return (s * self.steps).floor().clamp(max=self.steps - 1).float()


def shifted(s: S, shift: float) -> S:
    """s / (1 - s) times shift, as an s."""
    return shift * s / (1 + (shift - 1) * s)


def express(x0: Tensor, eps: Tensor, level: Level, kind: Kind) -> Tensor:
    """x0 and eps, said as `kind`."""
    if kind in ("eps", "x0"):
        return eps if kind == "eps" else x0
    return level.alpha * eps - level.sigma * x0 if kind == "v" else eps - x0


def split(x: Tensor, said: Tensor, level: Level, kind: Kind) -> tuple[Tensor, Tensor]:
    """x_t and what was said of it as `kind` -> x0, eps. eps cannot be told from x0 where there is no noise, nor x0
    from eps where there is no picture: infinite there."""
    alpha, sigma = level
    if kind == "eps":
        return (x - sigma * said) / alpha, said
    if kind == "x0":
        return said, (x - alpha * said) / sigma
    a, b = (-sigma, alpha) if kind == "v" else (-1.0, 1.0)
    whole = alpha * b - sigma * a
    return (b * x - sigma * said) / whole, (alpha * said - a * x) / whole


def convert(x: Tensor, said: Tensor, level: Level, kind: Kind, other: Kind) -> Tensor:
    """What was said as `kind`, said as `other`."""
    return said if kind == other else express(*split(x, said, level, kind), level, other)


def gain(level: Level, kind: Kind) -> Any:
    """How large an error in `kind` is beside the same error in x0: its square turns one mean squared error into the
    other, so the four losses differ by weights over t alone (Salimans & Ho 2022, section 4)."""
    alpha, sigma = level
    if kind == "x0":
        return 1.0
    return {"eps": alpha, "v": alpha**2 + sigma**2, "velocity": alpha + sigma}[kind] / sigma


def between(earlier: Level, later: Level) -> Level:
    """From a less noisy x_s on to x_t:  x_t = alpha x_s + sigma z. One t of DDPM: sqrt(1 - beta), sqrt(beta)."""
    alpha = later.alpha / earlier.alpha
    return Level(alpha, math.sqrt(max(0.0, later.sigma**2 - (alpha * earlier.sigma) ** 2)))


def back(earlier: Level, later: Level) -> float:
    """Standard deviation of x_s given x_t and x0; for one t of DDPM its beta tilde (Ho et al. 2020, equation 7)."""
    return earlier.sigma / later.sigma * float(between(earlier, later).sigma)


def gaussian(seed: int, n: int, shape: Sequence[int], *position: Any) -> Tensor:
    """(n, *shape) float32, N(0, 1). Picture i's numbers depend on seed, i and position alone, not on n."""
    rows = [rng("gaussian", seed, i, *position).standard_normal(tuple(shape), dtype=np.float32) for i in range(n)]
    return torch.from_numpy(np.stack(rows) if rows else np.zeros((0, *shape), np.float32))
