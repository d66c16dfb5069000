"""A net over patches, and denoising with it along any path."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from jielong.base.errors import UserError
from jielong.base.talk import Talk
from jielong.images.denoiser import Config, Denoiser
from jielong.images.dit import Dit, DitConfig, places
from jielong.images.fit import Fit
from jielong.images.path import Path
from jielong.images.pictures import Feed, to_bytes, to_net
from jielong.images.words import Words, WordsConfig
from jielong.train import loop
from jielong.train.loop import Course

from .toys import blocks, right

SMALL = DitConfig(3, 8, 8, 4, 64, 2, 32)


def test_it_says_nothing_at_the_start_and_all_of_it_can_learn() -> None:
    net = Dit(SMALL)
    x, words = torch.randn(5, 3, 8, 8), torch.randn(5, 2, 32)
    t = torch.linspace(0, 1000, 5)
    assert not net(x, t, words).any()
    for _ in range(2):  # behind the last layer and the gates everything wakes up within two steps
        with torch.enable_grad():
            (net(x, t, words) - torch.randn(5, 3, 8, 8)).pow(2).mean().backward()
        with torch.no_grad():
            for parameter in net.parameters():
                if parameter.grad is not None:
                    parameter -= 0.1 * parameter.grad
    net.zero_grad()
    net(x, t, words).sum().backward()
    dead = [name for name, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert dead == []


def test_neighbouring_places_differ() -> None:
    for side in (2, 8, 16):
        table = torch.nn.functional.normalize(places(side, side, 64))
        alike = table @ table.T - 2 * torch.eye(side**2)
        assert float(alike.max()) < 0.99 and places(side, side, 66).shape == (side**2, 66)


def test_operations_are_those_of_the_formula() -> None:
    config = DitConfig(4, 8, 8, 2, 128, 3, 64)
    net = Dit(config)
    with FlopCounterMode(display=False) as counter:
        net(torch.randn(1, 4, 8, 8), torch.zeros(1), torch.randn(1, 6, 64))
    assert counter.get_total_flops() == pytest.approx(config.flops(6), rel=0.03)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Denoiser:
    pixels, words = blocks(512)
    model = Denoiser(Config(SMALL, WordsConfig(8, 2, 32, 1)))
    objective = Fit(model, Feed(pixels, words[:, None], 48), Feed(pixels[:64], words[:64, None], 32), decay=0.98)
    course = Course(450, save_every=0.0, rates=loop.Rates(0.02, 0.005))
    figures = loop.run(objective, course, tmp_path_factory.mktemp("denoiser"), Talk(verbosity=-1))
    assert figures["val_loss"] < 0.3
    assert objective.mean is not None
    objective.mean.exchange()
    return model.eval()


@pytest.mark.parametrize("solver, steps", [("euler", 12), ("heun", 6), ("unipc", 8)])
def test_it_draws_what_the_words_say(learnt: Denoiser, solver: str, steps: int) -> None:
    _, words = blocks(96, 7)
    learnt.config = replace(learnt.config, solver=solver)
    made = to_bytes(learnt.sample(torch.from_numpy(words), 96, 0, steps))
    assert right(made, words) > 0.7 > 0.2 > right(made, words[::-1])


def test_a_picture_does_not_depend_on_those_drawn_beside_it(learnt: Denoiser) -> None:
    words = torch.from_numpy(blocks(6, 3)[1])
    all_, first = learnt.sample(words, 6, 5, 4), learnt.sample(words[:2], 2, 5, 4)
    assert torch.allclose(all_[:2], first, atol=1e-4)
    assert not torch.allclose(all_, learnt.sample(words, 6, 6, 4), atol=0.1)


def test_from_a_picture_little_is_changed_and_from_noise_much(learnt: Denoiser) -> None:
    pixels, words = blocks(48, 4)
    x = to_net(pixels)
    other = words.copy()
    other[:, 1] = 4 + (words[:, 1] - 3) % 4  # another colour in the same corner
    near, far = (to_bytes([*learnt.walk(torch.from_numpy(other), 48, 0, 20, start=(x, share))][-1].x)
                 for share in (0.05, 0.9))  # fmt: skip
    assert right(near, words) > 0.9 and right(far, other) > 0.5


def test_what_is_kept_stays_and_the_rest_is_filled_in(learnt: Denoiser) -> None:
    pixels, words = blocks(48, 9)
    lower = words[:, 0] >= 2
    x, words = to_net(pixels[lower]), words[lower]
    kept = torch.zeros(len(x), 1, 8, 8, dtype=torch.bool)
    kept[:, :, :4] = True  # the upper half, which is empty
    for solver in ("euler", "heun", "ddpm"):
        steps = [*learnt.walk(torch.from_numpy(words), len(x), 0, 12, solver=solver, keep=(x, kept))]
        made = steps[-1].x
        assert torch.allclose(made[:, :, :4], x[:, :, :4], atol=1e-4)
        assert right(to_bytes(made), words) > 0.7


def test_a_picture_can_be_taken_back_to_its_noise(learnt: Denoiser) -> None:
    """Without words, which would say all: then the noise alone says which picture it was."""
    pixels, words = blocks(24, 11)
    noise = learnt.invert(to_net(pixels), None, 60)
    again, other = ([*learnt.walk(None, 24, 0, 60, guidance=1.0, solver="euler", noise=each)][-1].x
                    for each in (noise, None))  # fmt: skip
    assert right(to_bytes(again), words) > 0.8 > 0.3 > right(to_bytes(other), words)


def test_ddpm_is_the_same_with_another_path() -> None:
    pixels, words = blocks(64)
    for predicts in ("eps", "x0", "v"):
        model = Denoiser(Config(SMALL, WordsConfig(8, 2, 32, 1), Path("cosine", predicts), "uniform", solver="ddpm"))
        batch = Feed(pixels, words[:, None], 32).at(0)
        loss = model.loss(batch)
        assert loss.weight == 32 and float(model.loss(batch).total) == float(loss.total)
        assert model.sample(None, 2, 0, 5).isfinite().all()


def test_what_cannot_be_asked() -> None:
    with pytest.raises(UserError, match="no solver 'x'"):
        Config(SMALL, solver="x")
    with pytest.raises(UserError, match="3 tokens are more than the 2"):
        Words(WordsConfig(8, 2, 32, 1))(torch.zeros(1, 3, dtype=torch.long))
