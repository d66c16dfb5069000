"""Generators of one pass: a variational autoencoder, a flow, a game of two nets."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.autograd.functional import jacobian

from jielong.base.talk import Talk
from jielong.images.fit import Fit
from jielong.images.flow import Config as FlowConfig
from jielong.images.flow import Flow
from jielong.images.gan import Config as GanConfig
from jielong.images.gan import Gan
from jielong.images.pictures import Feed, to_bytes, to_net
from jielong.images.tokens import Pixels
from jielong.images.vae import Config as VaeConfig
from jielong.images.vae import Vae
from jielong.images.words import WordsConfig
from jielong.train import loop
from jielong.train.loop import Course
from jielong.units import pixels

from .toys import blocks, right

WORDS = WordsConfig(8, 2, 32, 1)


def fit(model: torch.nn.Module, steps: int, folder: Path, words: bool = True, rate: float = 0.005) -> None:
    seen, said = blocks(512)
    objective = Fit(model, Feed(seen, said[:, None] if words else None, 32))
    loop.run(objective, Course(steps, save_every=0.0, rates=loop.Rates(0.02, rate)), folder, Talk(verbosity=-1))
    model.eval()


def test_the_bound_is_never_below_the_entropy_and_draws_can_be_read(tmp_path: Path) -> None:
    seen, _ = blocks(512)
    units, shares = Pixels(pixels.learn(seen, 8), 8, 8), {}
    for weight in (1.0, 0.0):
        model = Vae(VaeConfig(8, 4, 48, 1, weight), units)
        fit(model, 400, tmp_path / str(weight), words=False)
        made = to_bytes(model.sample(None, 200, 0))
        asked = np.array([[corner, 4 + colour] for corner in range(4) for colour in range(4)])
        shares[weight] = sum(max(right(picture[None], each[None]) for each in asked) for picture in made) / 200
        if weight:
            nats = float(model.loss(Feed(seen, None, 512, 3).at(0)).total.detach()) / 512
            assert math.log(16) - 0.05 < nats < 15
        else:
            assert right(to_bytes(model.decode(model.encode(to_net(seen[:64])))), blocks(512)[1][:64]) > 0.9
    assert shares[1.0] > shares[0.0] + 0.2


def stirred(model: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def test_a_flow_can_be_undone_and_knows_its_volume() -> None:
    model = stirred(Flow(FlowConfig(3, 4, 4, 2, 16, 4, WORDS)))
    x, words = torch.randn(5, 3, 4, 4) * 0.5, torch.tensor([[0, 4]]).expand(5, -1)
    z, volume = model.to_noise(x, words)
    assert torch.allclose(model.from_noise(z, words), x, atol=1e-4)
    full = jacobian(lambda one: model.to_noise(one[None], words[:1])[0].flatten(), x[0]).reshape(48, 48)
    assert float(volume[0].detach()) == pytest.approx(float(torch.linalg.slogdet(full.double())[1]), abs=1e-3)


def test_the_density_of_a_flow_integrates_to_one() -> None:
    model = stirred(Flow(FlowConfig(2, 1, 1, 1, 8, 3)))
    side = torch.linspace(-9, 9, 601)
    points = torch.cartesian_prod(side, side).view(-1, 2, 1, 1)
    with torch.no_grad():
        mass = float(model.log_density(points).double().exp().sum()) * float(side[1] - side[0]) ** 2
    assert mass == pytest.approx(1, abs=1e-3)


def test_the_first_batch_sets_scales_and_the_loss_falls_to_the_floor_never_below(tmp_path: Path) -> None:
    """Noise of 16 even levels a number: 4 bits each are its entropy, and no flow can say less."""
    levels = np.random.default_rng(0).integers(0, 16, (512, 4, 4, 3)).astype(np.uint8) * 16
    model = Flow(FlowConfig(3, 4, 4, 2, 16, 2)).train()
    objective = Fit(model, Feed(levels, None, 64))
    first = model.loss(objective.feed.at(0))
    z, _ = model.steps[0](objective.feed.at(0).pixels.reshape(64, 12, 2, 2), torch.zeros(64, 0))
    assert bool(model.steps[0].started) and z.isfinite().all()
    loop.run(objective, Course(60, save_every=0.0, rates=loop.Rates(0.01, 0.003)), tmp_path, Talk(verbosity=-1))
    bits = float(model.eval().loss(objective.feed.at(0)).total) / 64 / 48 / math.log(2)
    assert 4.0 < bits < float(first.total) / 64 / 48 / math.log(2) <= 9


def test_losses_of_the_game_by_hand() -> None:
    seen, said = blocks(8)
    batch = Feed(seen, said[:, None], 8).at(0)
    for kind in ("classical", "r3"):
        game = Gan(GanConfig(3, 8, 8, 4, 8, 16, 1, kind, 2.0, mismatched=False, words=WORDS))  # type: ignore[arg-type]
        z = torch.randn(8, 8, generator=batch.generator())
        made = game.draws(z, batch.words).detach().requires_grad_()
        real = batch.pixels.clone().requires_grad_()
        good, bad = game.tells(real, batch.words), game.tells(made, batch.words)
        if kind == "classical":
            wanted, drawn = (-F.logsigmoid(good) - F.logsigmoid(-bad)).sum(), -F.logsigmoid(bad).sum()
        else:
            steep = sum(torch.autograd.grad(value.sum(), at, retain_graph=True)[0].pow(2).sum()
                        for value, at in ((good, real), (bad, made)))  # fmt: skip
            wanted, drawn = -F.logsigmoid(good - bad).sum() + steep, -F.logsigmoid(bad - good).sum()
        assert float(game.loss_tells(batch).total.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
        assert float(game.loss_draws(batch).total.detach()) == pytest.approx(float(drawn.detach()), rel=1e-5)
        moved = {phase.name for phase in game.phases()}
        assert moved == {"tells", "draws"}


def test_the_game_is_played_in_turns(tmp_path: Path) -> None:
    """Each phase moves its own net alone, and one that may not draw is soon told."""
    game = Gan(GanConfig(3, 8, 8, 4, 16, 48, 1, words=WORDS, rate=0.3))
    before = {name: value.clone() for name, value in game.state_dict().items()}
    tells, draws = game.phases()
    assert {id(p) for p in tells.model.parameters()}.isdisjoint(id(p) for p in draws.model.parameters())
    batch = Feed(blocks(64)[0], blocks(64)[1][:, None], 64).at(0)
    optimiser = torch.optim.AdamW(tells.model.parameters(), 0.002)
    for _ in range(30):
        optimiser.zero_grad()
        loss = tells.loss(batch)
        (loss.total / loss.weight).backward()
        optimiser.step()
    assert loss.stats["told"] / loss.weight > 0.9
    assert all(torch.equal(value, before[name]) for name, value in game.state_dict().items() if "draws" in name)


def test_without_a_random_vector_one_text_has_one_picture() -> None:
    words = torch.tensor([[0, 4]]).expand(3, -1)
    lots, none = (Gan(GanConfig(3, 8, 8, 4, 8, 16, 1, noise=noise, words=WORDS)).sample(words, 3, 0)
                  for noise in (True, False))  # fmt: skip
    assert torch.equal(none[0], none[1]) and not torch.equal(lots[0], lots[1])
