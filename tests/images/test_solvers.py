"""Solvers: diffusers' golden numbers, textbook steps, orders, and a mixture whose score is known."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch

from jielong.base import stats
from jielong.base.errors import UserError
from jielong.images.mixture import Mixture
from jielong.images.path import Path, gaussian
from jielong.images.solvers import SOLVERS, ddim, dpm2m, heun, last, lcm, noise_of, unipc

GOLDEN = (torch.arange(768).reshape(3, 8, 8, 4) / 768).permute(3, 0, 1, 2)  # as in diffusers' tests/schedulers
THREE = Mixture([0.5, 0.3, 0.2], [[1.5, 0.5], [-1.2, 1.0], [0.2, -1.6]], [0.2, 0.15, 0.1])


def dummy(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    t = t.view(-1, 1, 1, 1)
    return x * t / (t + 1)


def drawing(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return lambda index: torch.randn(GOLDEN.shape, generator=generator)


def to_least(path: Path, n: int) -> list[float]:
    """diffusers' `final_sigmas_type="sigma_min"`: down to t = 0, where a little noise is left."""
    return [*path.times(n, "linspace")[:-1], 0.0]


@pytest.mark.parametrize(
    "solver, kind, times, total",
    [
        (partial(ddim, eta=0.0, clip=1.0), "eps", lambda p: p.times(10, "leading"), 172.0067),
        (partial(ddim, eta=0.0, clip=1.0), "v", lambda p: p.times(10, "leading"), 52.5302),
        (partial(ddim, eta=1.0, clip=1.0), "eps", lambda p: p.times(1000), 258.9606),
        (partial(ddim, eta=1.0, clip=1.0), "v", lambda p: p.times(1000), 202.0296),
        (dpm2m, "eps", lambda p: to_least(p, 10), 0.3301 * 768),
        (dpm2m, "v", lambda p: to_least(p, 10), 0.2251 * 768),
        (unipc, "eps", lambda p: to_least(p, 10), 0.2464 * 768),
        (unipc, "v", lambda p: to_least(p, 10), 0.1014 * 768),
    ],
)
def test_golden_numbers(solver, kind, times, total):
    """Sums of |x|; of the last four diffusers prints means to four places. It asks 1e-2 of sums, 1e-3 of means."""
    path = Path("linear", kind)
    found = last(solver(dummy, path, GOLDEN, times(path), noise=drawing()))
    assert float(found.abs().mean()) == pytest.approx(total / 768, abs=5e-5)
    if total not in (0.3301 * 768, 0.2251 * 768, 0.2464 * 768, 0.1014 * 768):
        assert float(found.abs().sum()) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("n, total", [(1, 18.7097), (10, 197.7616)])
def test_golden_numbers_of_lcm(n, total):
    times = [999.0 - 1000 // n * i for i in range(n)]
    path = Path("scaled_linear", "eps")
    found = last(lcm(dummy, path, GOLDEN, [*times, path.clean], noise=drawing()))
    assert float(found.abs().sum()) == pytest.approx(total, abs=1e-3)


@pytest.mark.parametrize(
    "name, kind, total",
    [
        ("euler", "eps", 10.0807), ("heun", "eps", 0.1233), ("euler-ancestral", "eps", 152.3192),
        ("euler-ancestral", "v", 108.4439),
    ],
)  # fmt: skip
def test_golden_numbers_of_euler_and_heun(name, kind, total):
    """diffusers' loop hands `step` the sample that was already scaled for the net, so it is scaled twice: y = x / alpha
    goes in, alpha y is shown and stepped from. Here the same is done, one step at a time."""
    path, noise = Path("linear", kind, steps=1100), drawing()
    times = [*(float(t) for t in np.linspace(1099, 0, 10)), path.clean]
    y = GOLDEN * path.level(1099).sigma / path.level(1099).alpha
    for t, s in zip(times, times[1:]):
        here, there = path.level(t), path.level(s)

        def model(x, at, t=t, alpha=here.alpha):
            return dummy(x / alpha if float(at[0]) == pytest.approx(t) else x, at)

        steps = SOLVERS[name](model, path, here.alpha * (here.alpha * y), [t, s], noise=noise)
        y = last(steps) / there.alpha
    assert float(y.abs().sum()) == pytest.approx(total, abs=1e-3)


def test_ddpm_is_the_textbooks():
    """Ho et al. 2020, equation 7 and algorithm 2, written out, at every kind of step."""
    path, x = Path("linear", "eps"), gaussian(1, 4, (3, 8, 8)).double()
    kept = torch.cumprod(1 - path.beta, 0)
    for t in (1, 7, 500, 999):
        eps = dummy(x, torch.full((4,), float(t)))
        z = gaussian(2, 4, (3, 8, 8)).double()
        a, before, now = 1 - path.beta[t], kept[t - 1], kept[t]
        mean = (x - path.beta[t] / (1 - now).sqrt() * eps) / a.sqrt()
        wanted = mean + ((1 - before) / (1 - now) * path.beta[t]).sqrt() * z
        found = last(SOLVERS["ddpm"](dummy, path, x, [t, t - 1], noise=lambda i, z=z: z))
        np.testing.assert_allclose(found, wanted, atol=1e-10)


def test_euler_is_the_textbooks():
    x = gaussian(1, 4, (3, 8, 8)).double()
    straight, circle = Path(), Path("linear", "eps")
    said = dummy(x, torch.full((4,), 700.0))
    found = last(SOLVERS["euler"](dummy, straight, x, [700, 300]))
    np.testing.assert_allclose(found, x + (0.3 - 0.7) * said, atol=1e-12)
    here, there = circle.level(700), circle.level(300)
    found = last(SOLVERS["euler"](dummy, circle, x, [700, 300])) / there.alpha
    np.testing.assert_allclose(
        found, x / here.alpha + (there.sigma / there.alpha - here.sigma / here.alpha) * said, atol=1e-10
    )


@pytest.mark.parametrize(
    "solver, order, more",
    [
        (SOLVERS["euler"], 1, 0), (heun, 2, 0), (dpm2m, 2, 0), (partial(unipc, order=1), 2, 0), (unipc, 3, 1),
        (partial(unipc, order=3), 4, 2),
    ],
)  # fmt: skip
def test_order(solver, order, more):
    """Half the step, 2^order times less error: to the exact solution for one Gaussian, between two levels. UniPC takes
    its last steps at a lower order, so it goes on a little."""
    path, one, spread = Path(predicts="x0"), Mixture([1.0], [[1.5, -0.5]], [0.2]), 0.2
    errors = []
    for n in (40, 80):
        ratio = np.exp(np.linspace(math.log(4.0), math.log(0.25), n + 1))  # even in lambda
        times = [float(1000 * r / (1 + r)) for r in ratio]
        here, there = path.level(times[0]), path.level(times[-1])
        x = one.draw(64, 1, here)
        deviation = [math.hypot(level.alpha * spread, level.sigma) for level in (here, there)]
        wanted = there.alpha * one.means + deviation[1] / deviation[0] * (x - here.alpha * one.means)
        steps = list(solver(one.says(path), path, x, [*times, *(times[-1] * 0.98**i for i in range(1, more + 1))]))
        errors.append(float((steps[n - 1].x - wanted).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


def laws(found: torch.Tensor) -> list[float]:
    """p-values of samples, were they the mixture's: along three lines, means, variances, and how many in each mode."""
    n, values = len(found), []
    for angle in (0.0, 1.0, 2.0):
        line = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
        centres, along = (THREE.means @ line).numpy(), (found @ line).numpy()
        modes = list(zip(THREE.weights.tolist(), centres, THREE.spreads.tolist()))
        values.append(stats.ks(along, lambda v, modes=modes: sum(w * _normal((v - m) / s) for w, m, s in modes)))
    away = found - THREE.mean
    squares, crossed = (away**2, THREE.covariance.diag()), (away[:, :1] * away[:, 1:], THREE.covariance[:1, 1])
    for each, truth in ((away, torch.zeros(2)), squares, crossed):
        z = (each.mean(0) - truth) / each.std(0) * n**0.5
        values += [2 * _normal(-abs(float(v))) for v in z]
    modes = torch.cdist(found, THREE.means).argmin(1)
    return [*values, stats.g_test(torch.bincount(modes, minlength=3).tolist(), THREE.weights.tolist())]


def _normal(v):
    from scipy.special import ndtr

    return ndtr(v)


RUNS = [
    (name, path, steps)
    for path in (Path(), Path("linear", "eps"), Path("cosine", "v"))
    for name, steps in (("ddpm", 150), ("ddim", 150), ("heun", 80), ("dpm2m", 60), ("unipc", 50))
]


def reached(name: str, path: Path, steps: int, model=None, seed: int = 3, noise=None) -> torch.Tensor:
    times = path.times(steps)
    x = THREE.draw(2000, seed, path.level(times[0]))
    return last(SOLVERS[name](model or THREE.says(path), path, x, times, noise=noise or many(seed, x)))


def many(seed: int, x: torch.Tensor):
    generator = torch.Generator().manual_seed(seed)
    return lambda index: torch.randn(x.shape, dtype=x.dtype, generator=generator)


def test_every_solver_reaches_the_mixture_without_training():
    """Fifteen runs, nine tests each, one family of 1 %."""
    values = [value for run in RUNS for value in laws(reached(*run))]
    assert min(stats.holm(values)) > 0.01


def test_a_wrong_solver_does_not():
    path = Path()
    exact = THREE.says(path)
    late = reached("ddim", path, 100, lambda x, t: exact(x, (t - 60).clamp(min=1)))
    silent = reached("ddpm", path, 100, noise=lambda index: torch.zeros(2000, 2, dtype=torch.float64))
    coarse = reached("euler", path, 4)
    for wrong in (late, silent, coarse):
        assert min(stats.holm(laws(wrong))) < 1e-4


def test_lcm_draws_with_a_perfect_consistency_function():
    """For one Gaussian the end of the flow is a straight line of x: any number of steps gives its law."""
    path, one = Path("linear", "x0"), Mixture([1.0], [[0.7, -0.4]], [0.3])

    def model(x, t):
        level = path.level(float(t[0]))
        return one.means + 0.3 / math.hypot(level.alpha * 0.3, level.sigma) * (x - level.alpha * one.means)

    values = []
    for n in (1, 2, 4):
        times = path.times(n)
        x = one.draw(4000, 5, path.level(times[0]))
        found = (last(lcm(model, path, x, times, noise=many(5, x))) - one.means) / 0.3
        values += [stats.ks(found[:, i].numpy(), "norm") for i in range(2)]
    assert min(stats.holm(values)) > 0.01


def test_from_a_picture_to_its_noise_and_back():
    path = Path()
    times = path.times(400)[:-1]
    x = THREE.draw(200, 1, path.level(times[-1]))
    noise = last(ddim(THREE.says(path), path, x, times[::-1], eta=0.0))
    assert abs(float(noise.std()) - 1) < 0.15
    assert float((last(ddim(THREE.says(path), path, noise, times, eta=0.0)) - x).abs().mean()) < 0.01


def test_samples_do_not_depend_on_how_many_are_drawn():
    path = Path()
    few, more = (gaussian(3, n, (3, 8, 8)) for n in (2, 5))
    for name, solver in SOLVERS.items():
        found = [last(solver(dummy, path, x, path.times(6), noise=noise_of(3, x))) for x in (few, more)]
        assert torch.allclose(found[0], found[1][:2], atol=1e-6), name


def test_steps_can_be_watched():
    path = Path("linear", "eps")
    for name, solver in SOLVERS.items():
        steps = list(solver(dummy, path, GOLDEN, path.times(5), noise=noise_of(0, GOLDEN), clip=0.5))
        assert [step.index for step in steps] == [0, 1, 2, 3, 4] and steps[0].t == 999, name
        assert all(step.x0.abs().max() <= 0.5 for step in steps) or name == "lcm"
    asked = []
    list(heun(lambda x, t: asked.append(float(t[0])) or x, Path(), GOLDEN, [900, 500, 0]))
    assert asked == [900, 500, 500]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: last(SOLVERS["ddpm"](dummy, Path(), GOLDEN, [1000, 0, 500])),
        lambda: last(SOLVERS["ddpm"](dummy, Path(), GOLDEN, [500, 1000])),
        lambda: last(heun(dummy, Path(), GOLDEN, [0, 1000])),
        lambda: last(heun(dummy, Path(), GOLDEN, [1000])),
        lambda: last(SOLVERS["ddpm"](dummy, Path(), GOLDEN, [1000, 500, 0])),
        lambda: last(unipc(dummy, Path(), GOLDEN, [1000, 500], order=4)),
    ],
)
def test_wrong_input_is_said_in_a_line(wrong):
    with pytest.raises(UserError):
        wrong()


def test_moments_of_the_mixture():
    found = THREE.draw(200_000, 1)
    np.testing.assert_allclose(found.mean(0), THREE.mean, atol=0.01)
    np.testing.assert_allclose(np.cov(found.T), THREE.covariance, atol=0.02)
    path = Path()
    level = path.level(300)
    x = THREE.draw(5, 2, level).requires_grad_()
    variance = level.alpha**2 * THREE.spreads**2 + level.sigma**2
    away = (x[:, None] - level.alpha * THREE.means).square().sum(-1)
    log = torch.logsumexp(THREE.weights.log() - away / 2 / variance - variance.log(), 1)
    log.sum().backward()  # the score, by autograd: -eps / sigma
    x0, eps = THREE.guess(x.detach(), level)
    np.testing.assert_allclose(-eps / level.sigma, x.grad, atol=1e-10)
    np.testing.assert_allclose(level.alpha * x0 + level.sigma * eps, x.detach(), atol=1e-12)
