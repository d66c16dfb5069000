"""diffusers' schedulers take the same steps. (make referees)"""

from __future__ import annotations

import pytest
import torch

from jielong.images.path import Path
from jielong.images.solvers import SOLVERS, ddim, dpm2m, heun, lcm, unipc

pytestmark = [pytest.mark.referee, pytest.mark.filterwarnings("ignore:__array__ implementation")]

NAMES = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
PATHS = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}
X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))
N = 12


def model(x: torch.Tensor, t: torch.Tensor | float) -> torch.Tensor:
    t = torch.as_tensor(t, dtype=x.dtype).view(-1, 1, 1, 1)
    return torch.tanh(0.7 * x + 0.3 * x.roll(1, 1)) * torch.cos(t / 700) + 0.1 * x


def theirs(name: str, path: Path, **settings):
    diffusers = pytest.importorskip("diffusers")
    ends = {} if path.schedule == "cosine" else {"beta_start": float(path.beta[0]), "beta_end": float(path.beta[-1])}
    return getattr(diffusers, name)(
        num_train_timesteps=path.steps, beta_schedule=PATHS[path.schedule], prediction_type=NAMES[path.predicts],
        **ends, **settings,
    )  # fmt: skip


def together(scheduler, steps, scale, sample, **more) -> None:
    """Their sample after every step (times alpha, where theirs is x / alpha) is ours."""
    generator = torch.Generator().manual_seed(0)
    for t, ours in zip(scheduler.timesteps, steps, strict=True):
        shown = scheduler.scale_model_input(sample, t) if hasattr(scheduler, "scale_model_input") else sample
        if "generator" in scheduler.step.__code__.co_varnames:
            more["generator"] = generator
        sample = scheduler.step(model(shown, float(t)), t, sample, **more).prev_sample
        torch.testing.assert_close(sample * scale(ours.index), ours.x, atol=2e-4, rtol=2e-4)


def drawing():
    generator = torch.Generator().manual_seed(0)
    return lambda index: torch.randn(X.shape, generator=generator)


def one(index: int) -> float:
    return 1.0


CIRCLES = [Path(s, k) for s, k in (("linear", "eps"), ("scaled_linear", "v"), ("cosine", "v"), ("linear", "x0"))]
circles = pytest.mark.parametrize("path", CIRCLES, ids=lambda p: f"{p.schedule}-{p.predicts}")


@circles
def test_noise_is_added_alike(path):
    scheduler, eps, t = theirs("DDPMScheduler", path), X.roll(1, 0), torch.tensor([0, 10, 500, 999])
    torch.testing.assert_close(path.add(X, eps, t), scheduler.add_noise(X, eps, t), atol=1e-5, rtol=1e-5)
    if path.predicts == "v":
        torch.testing.assert_close(path.target(X, eps, t), scheduler.get_velocity(X, eps, t), atol=1e-5, rtol=1e-5)


@circles
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddpm(path, spacing):
    scheduler = theirs("DDPMScheduler", path, timestep_spacing=spacing, clip_sample_range=1.0)
    scheduler.set_timesteps(N)
    times = path.times(N, spacing)
    assert [float(t) for t in scheduler.timesteps] == times[:-1]
    if spacing == "trailing":  # its previous time is t - 1000 // N, not the next of its list: give it that list
        times = [*times[:-1], path.clean]
        scheduler.previous_timestep = lambda t: int(times[times.index(float(t)) + 1])
    together(scheduler, ddim(model, path, X, times, clip=1.0, noise=drawing()), one, X)


@circles
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(path, eta):
    scheduler = theirs("DDIMScheduler", path, clip_sample_range=0.8)
    scheduler.set_timesteps(10)
    steps = ddim(model, path, X, path.times(10, "leading"), eta=eta, clip=0.8, noise=drawing())
    together(scheduler, steps, one, X, eta=eta, use_clipped_model_output=True)


@pytest.mark.parametrize("path", [p for p in CIRCLES if p.schedule != "cosine"], ids=lambda p: p.schedule + p.predicts)
@pytest.mark.parametrize("name", ["Euler", "EulerAncestral", "Heun"])
def test_euler_and_heun(path, name):
    """Theirs is x / alpha in float32, which on the cosine path begins at 20,000 and is no referee there."""
    if name == "EulerAncestral" and path.predicts == "x0":
        pytest.skip("diffusers has no such thing")
    scheduler = theirs(f"{name}DiscreteScheduler", path)
    scheduler.set_timesteps(N)
    times = [float(t) for t in dict.fromkeys(scheduler.timesteps.tolist())] + [path.clean]
    start = path.level(times[0])
    alphas = [path.level(t).alpha for t in times]
    solver = {"Euler": SOLVERS["euler"], "EulerAncestral": SOLVERS["euler-ancestral"], "Heun": heun}[name]
    steps = list(solver(model, path, X, times, noise=drawing()))
    sample = X / start.alpha
    if name != "Heun":
        together(scheduler, steps, lambda i: alphas[i + 1], sample)
        return
    for i, t in enumerate(scheduler.timesteps):  # two calls a step, but for the last
        sample = scheduler.step(model(scheduler.scale_model_input(sample, t), float(t)), t, sample).prev_sample
        if i % 2 or i == len(scheduler.timesteps) - 1:
            torch.testing.assert_close(sample * alphas[i // 2 + 1], steps[i // 2].x, atol=2e-4, rtol=2e-4)


@circles
@pytest.mark.parametrize("spacing", ["linspace", "trailing"])
@pytest.mark.parametrize("name", ["dpm2m", "unipc1", "unipc2", "unipc3"])
def test_many_steps(path, spacing, name):
    if name == "dpm2m":
        scheduler = theirs("DPMSolverMultistepScheduler", path, timestep_spacing=spacing)
    else:
        scheduler = theirs("UniPCMultistepScheduler", path, timestep_spacing=spacing, solver_order=int(name[-1]),
                           final_sigmas_type="zero")  # fmt: skip
    scheduler.set_timesteps(N)
    times = path.times(N, spacing)
    assert [float(t) for t in scheduler.timesteps] == times[:-1]
    steps = dpm2m(model, path, X, times) if name == "dpm2m" else unipc(model, path, X, times, order=int(name[-1]))
    together(scheduler, steps, one, X)


def test_lcm():
    path = Path("scaled_linear", "eps")
    scheduler = theirs("LCMScheduler", path)
    scheduler.set_timesteps(5)
    times = [*(float(t) for t in scheduler.timesteps), path.clean]
    together(scheduler, lcm(model, path, X, times, noise=drawing()), one, X)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow(shift):
    """Their own times, and ours given to them."""
    diffusers = pytest.importorskip("diffusers")
    path = Path(shift=shift)
    for given in (None, [1 - i / N for i in range(N)]):
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
        scheduler.set_timesteps(N, sigmas=given)
        times = [1000 * float(s) for s in scheduler.sigmas]
        if given:
            assert times == pytest.approx(path.times(N), abs=1e-3)
        together(scheduler, SOLVERS["euler"](model, path, X, times), one, X)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("name", ["heun", "dpm2m", "unipc"])
def test_flow_of_higher_order(shift, name):
    diffusers = pytest.importorskip("diffusers")
    path = Path()
    if name == "heun":
        scheduler = diffusers.FlowMatchHeunDiscreteScheduler(shift=shift)
    else:
        kind = {"dpm2m": "DPMSolverMultistepScheduler", "unipc": "UniPCMultistepScheduler"}[name]
        scheduler = getattr(diffusers, kind)(
            use_flow_sigmas=True, flow_shift=shift, prediction_type="flow_prediction", final_sigmas_type="zero"
        )
    scheduler.set_timesteps(N)
    times = [1000 * s for s in dict.fromkeys(float(s) for s in scheduler.sigmas)]
    steps = list(SOLVERS[name](model, path, X, times))
    sample, done = X, 0
    for i, t in enumerate(scheduler.timesteps):
        at = times[(i + 1) // 2] if name == "heun" else times[i]  # theirs are rounded to whole t for the net
        sample = scheduler.step(model(sample, at), t, sample).prev_sample
        if name != "heun" or i % 2 or i == len(scheduler.timesteps) - 1:
            torch.testing.assert_close(sample, steps[done].x, atol=2e-4, rtol=2e-4)
            done += 1
    assert done == len(steps) == N
