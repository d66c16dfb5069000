"""From noise to a picture: the steps that undo a path, each by what a net says of x_t.

A solver takes `model(x, t) -> what path.predicts` (x (N, ...), t (N,)), the path, x at times[0] and falling times, and
yields a `Step` after every step; `last` runs it to the end. Images to images: begin with a noised picture, later.

    x_s = alpha_s x0 + sqrt(sigma_s^2 - w^2) eps + w z,    w = eta back(s, t),  z ~ N(0, I)

is one step of DDIM. With eta 1 it draws from q(x_s | x_t, x0): that is DDPM's ancestral step, and Euler-ancestral's;
with eta 0 it is Euler's, both of dx/dt = velocity on the straight path and of d(x / alpha) / d(sigma / alpha) = eps.
So five of the names below are this one step. The others look at more than one answer of the net:

    heun     the slope here and, once more, there; the mean of both (twice the asking, second order)
    dpm2m    the slope from the last two answers, in lambda = log(alpha / sigma) (second order)
    unipc    the same, and each new answer also corrects the step that led to it (one order more for no asking)
    lcm      to a picture at once, then noise again, for nets that were distilled so

Sources: Ho et al. 2020 (2006.11239), Song et al. 2020 (2010.02502), Karras et al. 2022 (2206.00364), Lu et al. 2022
(2211.01095), Zhao et al. 2023 (2302.04867), Luo et al. 2023 (2310.04378). Numbers agree with diffusers'.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from jielong.base.errors import UserError
from jielong.images.path import Level, Path, back, gaussian, split

Model = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[int], Tensor]
LEAST = 1e-6  # the least alpha whose logarithm is taken: where there is no picture at all it would be infinite


@dataclass(frozen=True)
class Step:
    """After step `index`, which began at time t: the sample, and the picture that the net took it for at t."""

    index: int
    t: float
    x: Tensor
    x0: Tensor


class Solver(Protocol):
    """`noise(i)` is z of step i, for the solvers that draw; `clip` keeps every guessed picture within +-clip."""

    def __call__(
        self, model: Model, path: Path, x: Tensor, times: Sequence[float], *,
        noise: Noise | None = None, clip: float | None = None,
    ) -> Iterator[Step]: ...  # fmt: skip


def last(steps: Iterable[Step]) -> Tensor:
    """The sample after all steps."""
    for step in steps:
        x = step.x
    return x


def noise_of(seed: int, x: Tensor) -> Noise:
    """For samples like x: picture i's z of a step does not depend on how many are drawn beside it."""
    return lambda index: gaussian(seed, len(x), x.shape[1:], "step", index).to(x)


def ddim(
    model: Model, path: Path, x: Tensor, times: Sequence[float], *,
    noise: Noise | None = None, clip: float | None = None, eta: float = 1.0,
) -> Iterator[Step]:  # fmt: skip
    """The step above. With eta 0 times may also rise: from a picture to the noise that gives it (not from the clean
    time itself on DDPM's paths, where no net was trained: from 0)."""
    for index, (t, _, here, there) in enumerate(_walk(path, times, rising=eta == 0)):
        x0, eps = _ask(model, path, x, t, here, clip)
        w = eta * back(there, here) if eta else 0.0
        x = there.alpha * x0 + math.sqrt(max(0.0, there.sigma**2 - w**2)) * eps
        if w:
            x = x + w * _drawn(noise, index)
        yield Step(index, t, x, x0)


def heun(
    model: Model, path: Path, x: Tensor, times: Sequence[float], *,
    noise: Noise | None = None, clip: float | None = None,
) -> Iterator[Step]:  # fmt: skip
    """Karras et al. 2022, algorithm 1 without churn, of d(x / alpha) / d(sigma / alpha) = eps; on the straight path of
    dx / dsigma = eps - x0. The last step, to where no net can be asked, is Euler's: n steps ask 2 n - 1 times. Where a
    path ends with hardly any alpha (cosine), sigma / alpha is huge and its first steps need to be small."""
    straight = path.schedule == "flow"

    def slope(x0: Tensor, eps: Tensor) -> Tensor:
        return eps - x0 if straight else eps

    for index, (t, s, here, there) in enumerate(_walk(path, times)):
        scales = (1.0, 1.0) if straight else (here.alpha, there.alpha)
        width = there.sigma / scales[1] - here.sigma / scales[0]
        y = x / scales[0]
        x0, eps = _ask(model, path, x, t, here, clip)
        first = slope(x0, eps)
        x = scales[1] * (y + width * first)
        if there.sigma:
            second = slope(*_ask(model, path, x, s, there, clip))
            x = scales[1] * (y + width * (first + second) / 2)
        yield Step(index, t, x, x0)


def dpm2m(
    model: Model, path: Path, x: Tensor, times: Sequence[float], *,
    noise: Noise | None = None, clip: float | None = None,
) -> Iterator[Step]:  # fmt: skip
    """DPM-Solver++(2M), midpoint (Lu et al. 2022, algorithm 2):  with h = lambda_s - lambda_t and r = h before / h,

    x_s = sigma_s / sigma_t x_t - alpha_s (e^-h - 1) ((1 + 1 / 2r) x0_t - 1 / 2r x0_before); the last step takes x0_t.
    """
    before: tuple[float, Tensor] | None = None
    for index, (t, _, here, there) in enumerate(_walk(path, times)):
        x0, _ = _ask(model, path, x, t, here, clip)
        h, slanted = _lambda(there) - _lambda(here), x0
        if before is not None and there.sigma:
            slanted = x0 + (x0 - before[1]) * h / (2 * before[0])
        before = h, x0
        x = there.sigma / here.sigma * x - there.alpha * math.expm1(-h) * slanted
        yield Step(index, t, x, x0)


def unipc(
    model: Model, path: Path, x: Tensor, times: Sequence[float], *,
    noise: Noise | None = None, clip: float | None = None, order: int = 2,
) -> Iterator[Step]:  # fmt: skip
    """UniPC with B(h) = e^h - 1 (Zhao et al. 2023, algorithms 1-4, data prediction), of order 1, 2 or 3.

    A step of order p goes through the last p answers; its correction, once the net has answered at its end, through
    that one too. The first steps, and the last ones, have a lower order.
    """
    if order not in (1, 2, 3):
        raise UserError(f"unipc has order 1, 2 or 3, not {order}")
    asked: list[tuple[float, Tensor]] = []  # lambda and x0, the latest last
    begun: tuple[Tensor, Level, int] | None = None  # where the latest step started, and its order
    for index, (t, _, here, there) in enumerate(_walk(path, times)):
        x0, _ = _ask(model, path, x, t, here, clip)
        if begun is not None:
            x = _bh2(begun[0], begun[1], here, asked[-begun[2] :], (_lambda(here), x0))
        asked.append((_lambda(here), x0))
        p = min(order, index + 1, len(times) - 1 - index)
        begun = x, here, p
        x = _bh2(x, here, there, asked[-p:])
        yield Step(index, t, x, x0)


def _bh2(
    x: Tensor, here: Level, there: Level, asked: Sequence[tuple[float, Tensor]], end: tuple[float, Tensor] | None = None
) -> Tensor:
    """A step through the answers `asked`, the latest at `here`, and with `end` also through one at the end.

    x_s = sigma_s / sigma_t x - alpha_s (e^-h - 1) (x0 + sum_k rho_k (x0_k - x0) / r_k),  r_k = (lambda_k - lambda) / h.
    The rho fit x0 along lambda by a polynomial (equations 9-13): for i = 1 ... their number

    sum_k rho_k r_k^(i-1) = i! phi_(i+1)(-h) (-h) / (e^-h - 1); a single rho is 1/2 (the paper's choice, section 3.4).
    """
    now, x0 = asked[-1]
    h = _lambda(there) - now
    others = [*asked[:-1][::-1], *([end] if end else [])]
    slanted = x0
    if others:
        r = [(lam - now) / h for lam, _ in others]
        rho = [0.5] if len(others) == 1 else _rho(r, h)
        for weight, distance, (_, other) in zip(rho, r, others):
            slanted = slanted + weight / distance * (other - x0)
    return there.sigma / here.sigma * x - there.alpha * math.expm1(-h) * slanted


def _rho(r: Sequence[float], h: float) -> list[float]:
    """phi_1(z) = (e^z - 1) / z, phi_(i+1) = (phi_i - 1 / i!) / z, at z = -h."""
    phi, right = math.expm1(-h) / -h, []
    for i in range(1, len(r) + 1):
        phi = (phi - 1 / math.factorial(i)) / -h
        right.append(math.factorial(i) * phi * -h / math.expm1(-h))
    rows = torch.tensor([[distance**i for distance in r] for i in range(len(r))], dtype=torch.float64)
    return [float(v) for v in torch.linalg.solve(rows, torch.tensor(right, dtype=torch.float64))]


def lcm(
    model: Model, path: Path, x: Tensor, times: Sequence[float], *,
    noise: Noise | None = None, clip: float | None = None,
) -> Iterator[Step]:  # fmt: skip
    """Luo et al. 2023, algorithm 3: c_skip(t) x + c_out(t) x0, noised anew. The c's are a consistency model's (Song et
    al. 2023), 0 and 1 but at the smallest t: half^2 / (t10^2 + half^2) and t10 / sqrt(t10^2 + half^2), t10 = 10 t."""
    half = 0.5
    for index, (t, _, here, there) in enumerate(_walk(path, times)):
        x0, _ = _ask(model, path, x, t, here, clip)
        skip, out = half**2 / ((10 * t) ** 2 + half**2), 10 * t / math.hypot(10 * t, half)
        x0 = skip * x + out * x0
        x = there.alpha * x0
        if there.sigma:
            x = x + there.sigma * _drawn(noise, index)
        yield Step(index, t, x, x0)


SOLVERS: dict[str, Solver] = {
    "ddpm": partial(ddim, eta=1.0),
    "ddim": partial(ddim, eta=0.0),
    "euler": partial(ddim, eta=0.0),
    "euler-ancestral": partial(ddim, eta=1.0),
    "heun": heun,
    "dpm2m": dpm2m,
    "unipc": unipc,
    "lcm": lcm,
}


def _walk(path: Path, times: Sequence[float], rising: bool = False) -> Iterator[tuple[float, float, Level, Level]]:
    """Each step's times and levels, from and to."""
    falls = all(t > s for t, s in pairwise(times))
    if len(times) < 2 or not (falls or (rising and all(t < s for t, s in pairwise(times)))):
        raise UserError("a solver needs two times or more, each below the one before")
    for t, s in pairwise(times):
        yield t, s, path.level(t), path.level(s)


def _ask(model: Model, path: Path, x: Tensor, t: float, level: Level, clip: float | None) -> tuple[Tensor, Tensor]:
    """x0 and eps that the net takes x for; after clipping, the eps that goes with the clipped picture."""
    x0, eps = split(x, model(x, x.new_full((len(x),), t)), level, path.predicts)
    if clip is not None:
        x0 = x0.clamp(-clip, clip)
        eps = (x - level.alpha * x0) / level.sigma
    return x0, eps


def _lambda(level: Level) -> float:
    return math.inf if not level.sigma else math.log(max(level.alpha, LEAST)) - math.log(level.sigma)


def _drawn(noise: Noise | None, index: int) -> Tensor:
    if noise is None:
        raise UserError("this solver draws noise at every step: give it noise=noise_of(seed, x)")
    return noise(index)
