"""The noising path: schedules, the four things a net may say, noise at once and noise step by step."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch

from jielong.base import stats
from jielong.base.errors import UserError
from jielong.images.path import Level, Path, back, between, convert, gain, gaussian, shifted, split

PATHS = [Path(), Path("flow", shift=3.0), Path("linear", "eps"), Path("scaled_linear", "v"), Path("cosine", "x0")]
KINDS = ("eps", "x0", "v", "velocity")


def some(path: Path, n: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x0, eps = torch.randn(2, n, 3, 4, 4, dtype=torch.float64, generator=generator)
    t = torch.rand(n, generator=generator) * (path.steps - 2)
    return x0, eps, t if path.schedule == "flow" else t.round()


def test_schedules_in_closed_form():
    linear, scaled, cosine = Path("linear"), Path("scaled_linear"), Path("cosine")
    assert linear.beta[[0, 999]].tolist() == [0.0001, 0.02]
    np.testing.assert_allclose(scaled.beta.sqrt().diff(), (0.012**0.5 - 0.00085**0.5) / 999)
    np.testing.assert_allclose(linear.level(999).alpha ** 2, 4.0358e-05, rtol=1e-4)  # as printed for DDPM everywhere
    height = [math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(1000)]
    for t in (0, 10, 500, 900):  # before the last betas are capped
        np.testing.assert_allclose(cosine.level(t).alpha ** 2, height[t + 1] / height[0], rtol=1e-9)
    for path in PATHS:
        alpha, sigma = path.levels(torch.linspace(path.clean, path.times(1)[0], 50))
        np.testing.assert_allclose(alpha + sigma if path.schedule == "flow" else alpha**2 + sigma**2, 1)
        assert path.level(path.clean) == (1.0, 0.0) and (sigma.diff() > 0).all()
    assert Path("flow").level(250.0) == (0.75, 0.25)
    assert Path("flow").level(200.0).snr == pytest.approx(16) and linear.level(5).snr == pytest.approx(
        float((1 - linear.beta[:6]).prod() / (1 - (1 - linear.beta[:6]).prod())))  # fmt: skip


def test_between_two_times_the_ratio_is_interpolated():
    path = Path("linear")
    low, high, middle = (path.level(t) for t in (41, 42, 41.25))
    assert middle.sigma / middle.alpha == pytest.approx(
        0.75 * low.sigma / low.alpha + 0.25 * high.sigma / high.alpha
    )  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.schedule)
def test_what_is_said_one_way_is_said_in_all(path):
    x0, eps, t = some(path)
    x = path.add(x0, eps, t)
    alpha, sigma = path.beside(x, t)
    truth = {"eps": eps, "x0": x0, "v": alpha * eps - sigma * x0, "velocity": eps - x0}
    for one, other in product(KINDS, KINDS):
        np.testing.assert_allclose(convert(x, truth[one], Level(alpha, sigma), one, other), truth[other], atol=1e-9)
    assert torch.equal(path.target(x0, eps, t), truth[path.predicts])
    for found, wanted in zip(path.split(x, truth[path.predicts], t), (x0, eps)):
        np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_velocity_is_the_slope_of_the_straight_path_and_v_that_of_the_circle():
    x0, eps, _ = some(Path())
    t = torch.full((6,), 400.0, dtype=torch.float64)
    path = Path()
    slope = (path.add(x0, eps, t + 0.001) - path.add(x0, eps, t - 0.001)) / 0.002 * 1000
    np.testing.assert_allclose(path.target(x0, eps, t), slope, atol=1e-6)
    angle = 0.7  # alpha = cos, sigma = sin
    turned = [math.cos(a) * x0 + math.sin(a) * eps for a in (angle - 1e-5, angle + 1e-5)]
    x = math.cos(angle) * x0 + math.sin(angle) * eps
    found = convert(x, (turned[1] - turned[0]) / 2e-5, Level(math.cos(angle), math.sin(angle)), "v", "x0")
    np.testing.assert_allclose(found, x0, atol=1e-8)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.schedule)
def test_errors_of_the_four_differ_by_gain(path):
    x0, eps, t = some(path)
    x, level, wrong = path.add(x0, eps, t), path.level(float(t[2])), torch.full_like(x0[2], 0.01)
    for kind in KINDS:
        error = convert(x[2], x0[2] + wrong, level, "x0", kind) - convert(x[2], x0[2], level, "x0", kind)
        np.testing.assert_allclose(error.abs(), 0.01 * gain(level, kind), rtol=1e-6)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.schedule)
def test_noise_at_once_is_noise_step_by_step(path):
    """x_t = a x_s + b z again and again: the products of a give alpha, b^2 + a^2 (what was) gives sigma^2."""
    times = [path.clean, *path.times(path.steps)[:-1][::-1]]
    alpha, variance = 1.0, 0.0
    for s, t in pairwise(times):
        step, level = between(path.level(s), path.level(t)), path.level(t)
        alpha, variance = step.alpha * alpha, step.alpha**2 * variance + step.sigma**2
        assert (alpha, variance) == (pytest.approx(level.alpha, abs=1e-9), pytest.approx(level.sigma**2, rel=1e-9))
    if path.schedule != "flow":
        for t in (0, 1, 500, 999):
            beta = float(path.beta[t])
            here, before = path.level(t), path.level(t - 1)
            assert between(before, here) == pytest.approx((math.sqrt(1 - beta), math.sqrt(beta)), rel=1e-6)
            tilde = before.sigma**2 / here.sigma**2 * beta  # Ho et al. 2020, equation 7
            assert back(before, here) ** 2 == pytest.approx(tilde, rel=1e-6)


def test_times():
    assert Path("linear").times(5, "leading") == [800, 600, 400, 200, 0, -1]
    assert Path("linear").times(5, "trailing") == [999, 799, 599, 399, 199, -1]
    assert Path("linear").times(4, "linspace") == [999, 749, 500, 250, -1]
    assert Path("linear").times(1000) == [*range(999, -1, -1), -1]
    assert Path().times(4) == [1000, 750, 500, 250, 0]
    for s, moved in zip((0.75, 0.5, 0.25), Path(shift=3.0).times(4)[1:]):
        assert moved / (1000 - moved) == pytest.approx(3 * s / (1 - s))
    assert shifted(1.0, 5.0) == 1 and shifted(0.0, 5.0) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Path("cosine", shift=2.0), lambda: Path("flow", betas=(0.1, 0.2)), lambda: Path(steps=1),
        lambda: Path("linear").times(1001), lambda: Path("linear").times(0), lambda: Path().times(4, "leading"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_a_line(wrong):
    with pytest.raises(UserError) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def test_laws_of_times_and_noise():
    """One family, 1 % for all."""
    n = 4000
    drawn = Path().draw_times(n, 1, law="logit-normal", mean=-0.5, spread=0.8).double().numpy() / 1000
    shift = Path(shift=3.0).draw_times(n, 2).double().numpy() / 1000
    whole = Path("linear", steps=8).draw_times(n, 3)
    pictures = gaussian(5, 40, (3, 4, 8), 7)
    found = [
        stats.ks((np.log(drawn / (1 - drawn)) + 0.5) / 0.8, "norm"),
        stats.ks(shift / (3 - 2 * shift), "uniform"),  # undone
        stats.g_test(torch.bincount(whole.long(), minlength=8).tolist(), [1 / 8] * 8),
        stats.ks(pictures.double().flatten().numpy(), "norm"),
    ]
    assert min(stats.holm(found)) > 0.01
    assert stats.ks(np.log(drawn / (1 - drawn)), "norm") < 1e-6  # it can fail
    assert set(whole.tolist()) == set(range(8))
    assert torch.equal(Path().draw_times(5, 1, 4), Path().draw_times(9, 1, 4)[:5])
    assert torch.equal(gaussian(5, 3, (3, 4, 8), 7), pictures[:3])
    assert not torch.equal(gaussian(5, 1, (3, 4, 8)), pictures[:1])


def test_ends_of_a_path():
    x = torch.ones(2, 3)
    x0, eps = split(x, torch.zeros(2, 3), Level(0.0, 1.0), "velocity")  # pure noise: what is there is the noise
    assert torch.equal(eps, x) and torch.equal(x0, x)
    assert torch.equal(split(x, x, Level(1.0, 0.0), "v")[0], x)
