"""A mixture of round Gaussians: the world in which what a perfect net would say is known at every level of noise.

    p(x0) = sum_k weight_k N(mean_k, spread_k^2 I)
    x_t given k ~ N(alpha mean_k, v_k I),   v_k = alpha^2 spread_k^2 + sigma^2
    E[x0 | x_t, k] = mean_k + alpha spread_k^2 / v_k (x_t - alpha mean_k)
    E[eps | x_t, k] = sigma / v_k (x_t - alpha mean_k)

A solver that is given this instead of a net must arrive at p(x0), with no training at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jielong.base.noise import rng
from jielong.images.path import Level, Path, express
from jielong.images.solvers import Model


class Mixture:
    """weights K, means K x D, spreads K (standard deviations). Tensors are float64."""

    def __init__(self, weights: Sequence[float], means: Sequence[Sequence[float]], spreads: Sequence[float]) -> None:
        self.weights = torch.tensor(weights, dtype=torch.float64)
        self.means = torch.tensor(means, dtype=torch.float64)
        self.spreads = torch.tensor(spreads, dtype=torch.float64)

    @property
    def mean(self) -> Tensor:
        """(D,)"""
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        """(D, D)"""
        away = self.means - self.mean
        inside = (self.weights * self.spreads**2).sum() * torch.eye(len(self.mean), dtype=torch.float64)
        return inside + (self.weights[:, None] * away).T @ away

    def draw(self, n: int, seed: int, level: Level | None = None) -> Tensor:
        """(n, D) from p(x0), or from p(x_t) at a level."""
        alpha, sigma = level or (1.0, 0.0)
        generator = rng("mixture", seed)
        which = torch.from_numpy(generator.choice(len(self.weights), n, p=self.weights.numpy()))
        noise = torch.from_numpy(generator.standard_normal((n, self.means.shape[1])))
        return alpha * self.means[which] + (alpha**2 * self.spreads[which] ** 2 + sigma**2).sqrt()[:, None] * noise

    def guess(self, x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        """x (N, D) at a level -> E[x0 | x] and E[eps | x], (N, D)."""
        variance = level.alpha**2 * self.spreads**2 + level.sigma**2
        away = x[:, None].double() - level.alpha * self.means
        log = self.weights.log() - away.square().sum(-1) / (2 * variance) - x.shape[1] / 2 * variance.log()
        share = torch.softmax(log, 1)[:, :, None]
        pull = away / variance[:, None]
        x0 = (share * (self.means + level.alpha * self.spreads[:, None] ** 2 * pull)).sum(1)
        return x0.to(x.dtype), (share * level.sigma * pull).sum(1).to(x.dtype)

    def says(self, path: Path) -> Model:
        """The perfect net of this path. All of x stands at one time."""

        def model(x: Tensor, t: Tensor) -> Tensor:
            level = path.level(float(t[0]))
            return express(*self.guess(x, level), level, path.predicts)

        return model
