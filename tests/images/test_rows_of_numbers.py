"""Autoregression and mask-predict over a picture's numbers: exact laws on pictures of four pixels, then a world that is
learnt."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from jielong.base.talk import Talk
from jielong.images.fit import Fit
from jielong.images.maskgit import Config as MaskConfig
from jielong.images.maskgit import MaskGit, halton
from jielong.images.pictures import Feed, to_bytes
from jielong.images.raster import Config as RasterConfig
from jielong.images.raster import Raster
from jielong.images.tokens import Pixels
from jielong.images.words import WordsConfig
from jielong.train import loop
from jielong.train.loop import Course
from jielong.units import pixels

from .toys import blocks, right

UNITS = Pixels(pixels.Palette(np.array([[0, 0, 0], [128, 0, 0], [255, 255, 255]], np.uint8)), 2, 2)
WORDS = WordsConfig(5, 2, 32, 1)
EVERY = torch.tensor(list(itertools.product(range(3), repeat=4)))


def stirred(model: torch.nn.Module) -> torch.nn.Module:
    """With all weights away from their start, so that everything matters."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.25)
    return model.eval()


def test_probabilities_of_all_pictures_sum_to_one_and_are_drawn() -> None:
    model = stirred(Raster(RasterConfig(32, 2, WORDS), UNITS))
    words = torch.tensor([[1, 4]])
    law = model.log_probs(EVERY, words.expand(81, -1)).exp()
    law = law.detach()
    assert float(law.sum()) == pytest.approx(1, abs=1e-5)
    assert not torch.allclose(law, model.log_probs(EVERY, None).exp(), atol=1e-3)
    n = 4000
    drawn = model.write(words.expand(n, -1), n, 0)
    counts = torch.bincount((drawn * torch.tensor([27, 9, 3, 1])).sum(1), minlength=81).double()
    kept = law.double() * n >= 5
    chi = float(((counts - law * n) ** 2 / (law * n))[kept].sum())
    assert chi < kept.sum() + 4 * math.sqrt(2 * int(kept.sum()))  # four standard deviations of chi squared
    assert torch.equal(model.write(words.expand(3, -1), 3, 0), drawn[:3])


def test_guidance_is_the_product_of_powers_at_every_step() -> None:
    model = stirred(Raster(RasterConfig(32, 1, WORDS), UNITS))
    words, n = torch.tensor([[1, 4]]), 3000

    def law(asked: torch.Tensor | None) -> torch.Tensor:
        before = model._before(asked, 1)
        return model.body.logits(model.body.hidden(embeds=before)[:, -1]).log_softmax(-1)[0]

    with torch.no_grad():
        wanted = (law(None) + 3 * (law(words) - law(None))).softmax(-1)
    model.config = replace(model.config, guidance=3.0)
    got = torch.bincount(model.write(words.expand(n, -1), n, 1)[:, 0], minlength=3) / n
    assert torch.allclose(got, wanted, atol=4 * float((wanted * (1 - wanted) / n).max().sqrt()))


def test_a_picture_that_is_begun_is_gone_on_with() -> None:
    model = stirred(Raster(RasterConfig(32, 2), UNITS))
    start = torch.tensor([[2, 1], [0, 0]])
    assert torch.equal(model.write(None, 2, 0, start)[:, :2], start)


def test_one_pass_draws_each_code_by_its_own_law_and_many_passes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    model = stirred(MaskGit(MaskConfig(32, 1, WORDS, guidance=1.0), UNITS))
    n, words = 3000, torch.tensor([[0, 3]])
    empty = torch.full((n, 4), model.mask)
    with torch.no_grad():
        wanted = model._logits(empty[:1], words).softmax(-1)[0]
    got = model.fill(empty, words.expand(n, -1), 0, 1)
    for place in range(4):
        share = torch.bincount(got[:, place], minlength=3) / n
        assert torch.allclose(share, wanted[place], atol=4 * math.sqrt(0.25 / n))
    passes: list[int] = []
    plain = model._logits

    def counted(ids: torch.Tensor, asked: torch.Tensor | None) -> torch.Tensor:
        passes.append(int((ids == model.mask).sum()))
        return plain(ids, asked)

    monkeypatch.setattr(model, "_logits", counted)
    given = torch.tensor([[2, model.mask, model.mask, model.mask]])
    filled = model.fill(given, words, 0, 3)
    assert passes == [3, 2, 1] and filled[0, 0] == 2 and int(filled.max()) < 3


def test_places_spread_over_the_grid() -> None:
    order = halton(4, 4)
    assert sorted(order.tolist()) == list(range(16))
    rows, columns = order[:4] // 4, order[:4] % 4
    assert len(set(rows.tolist())) == 4 and len(set((columns // 2).tolist())) == 2


def test_loss_is_that_of_the_masked_alone() -> None:
    model = MaskGit(MaskConfig(32, 1), UNITS)
    with torch.no_grad():
        model.body.embed[:] = 0  # every code as likely
    batch = Feed(np.zeros((8, 2, 2, 3), np.uint8), None, 8).at(0)
    loss = model.loss(batch)
    assert float(loss.total) / loss.weight == pytest.approx(math.log(3), abs=1e-5)


@pytest.mark.parametrize("kind", ["raster", "maskgit"])
def test_it_draws_what_the_words_say(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    seen, words = blocks(512)
    units = Pixels(pixels.learn(seen[:, ::2, ::2], 8), 4, 4)
    model = (Raster(RasterConfig(64, 2, WordsConfig(8, 2, 32, 1), guidance=1.0), units) if kind == "raster"
             else MaskGit(MaskConfig(64, 2, WordsConfig(8, 2, 32, 1)), units))  # fmt: skip
    objective = Fit(model, Feed(seen[:, ::2, ::2], words[:, None], 32))
    loop.run(objective, Course(150, save_every=0.0, rates=loop.Rates(0.02, 0.005)), tmp_path_factory.mktemp(kind),
             Talk(verbosity=-1))  # fmt: skip
    _, asked = blocks(64, 7)
    made = to_bytes(model.eval().sample(torch.from_numpy(asked), 64, 0)).repeat(2, 1).repeat(2, 2)
    assert right(made, asked) > 0.8 > 0.2 > right(made, asked[::-1])
    if kind == "raster":  # sixteen pictures, all as likely: their entropy is the floor
        bits = float(model.loss(Feed(seen[:, ::2, ::2], None, 512).at(0)).total) / 512 / math.log(2)
        assert bits > 4 - 0.15
