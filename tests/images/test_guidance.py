"""Classifier-free guidance: the closed form for Gaussians, and that no layout of the batch changes it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from jielong.images.guidance import guided
from jielong.images.mixture import Mixture
from jielong.images.path import Path, convert
from jielong.images.solvers import heun, last

GIVEN, PRIOR = Mixture([1.0], [[1.0]], [0.5]), Mixture([1.0], [[-0.5]], [1.2])


def net(path: Path):
    """Row by row the perfect net of GIVEN (condition 1) or of PRIOR (condition 0); it counts what it was asked."""
    asked: list[int] = []

    def ask(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        asked.append(len(x))
        both = GIVEN.says(path)(x, t), PRIOR.says(path)(x, t)
        return torch.where(condition[:, None] == 1, *both)

    return ask, asked


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("kind", ["eps", "x0", "v", "velocity"])
def test_it_is_the_score_of_the_product_of_powers(scale, kind):
    """p(x_t | asked)^w p(x_t)^(1 - w) of two Gaussians has precision w / v1 + (1 - w) / v2."""
    path = Path("linear", kind)
    for t in (50.0, 400.0, 900.0):
        level = path.level(t)
        x = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
        ask, _ = net(path)
        said = guided(ask, torch.ones(7), torch.zeros(7), scale)(x, torch.full((7,), t))
        v1, v2 = (level.alpha**2 * s**2 + level.sigma**2 for s in (0.5, 1.2))
        precision = scale / v1 + (1 - scale) / v2
        peak = (scale / v1 * level.alpha * 1.0 + (1 - scale) / v2 * level.alpha * -0.5) / precision
        eps = level.sigma * precision * (x - peak)
        np.testing.assert_allclose(said, convert(x, eps, level, "eps", kind), atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 2.0, 3.0])
def test_what_guided_samples_follow(scale):
    """The flow is linear in x and its solution known: spread s1^w s2^(1 - w) (v1^w v2^(1 - w))^-1/2 times that of the
    noise, narrower than s1 but not the power law's. So guidance costs variety, by a known amount."""
    path = Path("linear", "eps")
    times = [float(t) for t in np.linspace(999, 0, 200)]
    level, end = path.level(times[0]), path.level(0)
    ask, _ = net(path)
    x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    found = last(heun(guided(ask, torch.ones(2), torch.zeros(2), scale), path, x, times))

    def height(level, w=scale):  # of the exact solution: |y| is proportional to it, y = x / alpha
        ratio = level.sigma / level.alpha
        return (0.5**2 + ratio**2) ** (w / 2) * (1.2**2 + ratio**2) ** ((1 - w) / 2)

    apart = float(found[1] - found[0]) / end.alpha
    assert apart == pytest.approx(2 / level.alpha * height(end) / height(level), rel=2e-3)
    limit = 2 * 0.5**scale * 1.2 ** (1 - scale)
    assert apart == pytest.approx(limit, rel=0.02)
    power = 2 / math.sqrt(scale / 0.5**2 + (1 - scale) / 1.2**2)
    assert (scale == 1) == (abs(limit - power) < 1e-9)


def test_no_layout_of_the_batch_changes_it():
    path = Path()
    ask, asked = net(path)
    x, t = torch.linspace(-2, 2, 6, dtype=torch.float64)[:, None], torch.full((6,), 300.0)
    mixed = torch.tensor([1, 0, 1, 1, 0, 1])
    once = guided(ask, mixed, 1 - mixed, 3.0)(x, t)
    assert asked == [12]
    twice = guided(ask, mixed, 1 - mixed, 3.0, together=False)(x, t)
    assert asked == [12, 6, 6]
    rows = [guided(ask, mixed[i : i + 1], 1 - mixed[i : i + 1], 3.0)(x[i : i + 1], t[:1]) for i in range(6)]
    scales = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    several = guided(ask, mixed, 1 - mixed, scales)(x, t)
    for other in (twice, torch.cat(rows)):
        np.testing.assert_allclose(once, other, atol=1e-12)
    for i, scale in enumerate(scales.tolist()):
        np.testing.assert_allclose(several[i], guided(ask, mixed, 1 - mixed, scale)(x, t)[i], atol=1e-12)


def test_conditions_of_any_form():
    x, t = torch.ones(2, 3), torch.zeros(2)

    def ask(x, t, condition):
        words, extra = condition["words"], condition["extra"]
        assert words[0].shape == (len(x), 4) and extra[1] is None
        return x * words[0].sum(1, keepdim=True)

    def condition(value):
        return {"words": (torch.full((2, 4), value), torch.zeros(2)), "extra": [torch.zeros(2), None]}

    asked, other = condition(1.0), condition(0.5)
    assert torch.equal(guided(ask, asked, other, 3.0)(x, t), torch.full((2, 3), 8.0))
    assert torch.equal(guided(lambda x, t, c: x, None, None, 3.0)(x, t), x)


def test_scale_one_and_zero_and_outside_the_interval_ask_once():
    path = Path()
    ask, asked = net(path)
    x = torch.zeros(3, 1, dtype=torch.float64)
    one, zero = torch.ones(3), torch.zeros(3)
    inside = guided(ask, one, zero, 4.0, interval=(200, 800))
    for model, t in ((guided(ask, one, zero, 1.0), 500.0), (inside, 900.0), (inside, 100.0)):
        assert torch.equal(model(x, torch.full((3,), t)), ask(x, torch.full((3,), t), one))
    assert torch.equal(guided(ask, one, zero, 0.0)(x, torch.full((3,), 5.0)), ask(x, torch.full((3,), 5.0), zero))
    assert set(asked) == {3}
    strong = inside(x, torch.full((3,), 500.0))
    assert asked[-1] == 6 and not torch.allclose(strong, ask(x, torch.full((3,), 500.0), one))


def test_rescaling_gives_back_the_spread_of_each_picture():
    x, t = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(2)

    def ask(x, t, c):
        return x + c[:, None, None, None] * x.flip(0)

    plain = ask(x, t, torch.ones(2)).std((1, 2, 3))
    sharp = guided(ask, torch.ones(2), torch.zeros(2), 6.0)(x, t)
    full, half = (guided(ask, torch.ones(2), torch.zeros(2), 6.0, rescale=r)(x, t) for r in (1.0, 0.5))
    assert torch.allclose(full.std((1, 2, 3)), plain) and (sharp.std((1, 2, 3)) > plain).all()
    assert torch.allclose(half, (full + sharp) / 2, atol=1e-5)
