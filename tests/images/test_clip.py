"""CLIP: its loss by hand, what it reads, and that it learns which words are a picture's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from jielong.base.talk import Talk
from jielong.images.clip import Clip, Config, retrieved, score
from jielong.images.clip_text import TextConfig
from jielong.images.fit import Fit
from jielong.images.pictures import Batch, Feed, to_net
from jielong.train import loop
from jielong.train.loop import Course

from .toys import blocks

SMALL = Config(TextConfig(10, 0, 9, 4, 32, 1, 1, 128), 8, 8, 3, 4, 32, 1, 16)


def words(ids: np.ndarray) -> np.ndarray:
    """With an end, and one more behind it that must not be read."""
    return np.concatenate([ids, np.full((len(ids), 1), 9), np.full((len(ids), 1), 8)], 1)


def test_the_loss_is_symmetric_and_alike_texts_are_not_held_against_each_other() -> None:
    torch.manual_seed(0)
    model = Clip(SMALL)
    pixels, ids = torch.randn(4, 3, 8, 8), torch.tensor([[1, 9, 8, 8], [2, 9, 8, 8], [1, 9, 8, 8], [3, 4, 9, 8]])
    a, b = model.pictures(pixels), model.texts(ids)
    assert torch.allclose(a.norm(dim=1), torch.ones(4)) and torch.allclose(b.norm(dim=1), torch.ones(4))
    near = (model.scale.exp() * a @ b.T).detach().double()
    keep = torch.tensor([[True, True, False, True], [True] * 4, [False, True, True, True], [True] * 4])
    wanted = 0.0
    for rows, kept in ((near, keep), (near.T, keep.T)):
        for i in range(4):
            wanted -= float(rows[i, i] - rows[i][kept[i]].logsumexp(0)) / 2
    loss = model.loss(Batch(pixels, ids, 0))
    assert float(loss.total.detach()) == pytest.approx(wanted, rel=1e-5) and loss.weight == 4
    assert torch.allclose(model.texts(torch.tensor([[1, 9, 3, 3]])), b[:1], atol=1e-6)


def test_it_finds_a_pictures_own_words(tmp_path: Path) -> None:
    model, (pixels, ids) = Clip(SMALL), blocks(512)
    objective = Fit(model, Feed(pixels, words(ids)[:, None], 64))
    loop.run(objective, Course(150, save_every=0.0, rates=loop.Rates(0.02, 0.005)), tmp_path, Talk(verbosity=-1))
    seen, asked = blocks(128, 5)
    right = torch.from_numpy(words(asked))
    assert retrieved(model, to_net(seen), right) > 0.9
    other = asked.copy()
    other[:, 1] = 4 + (asked[:, 1] - 3) % 4
    good, bad = (score(model, to_net(seen), torch.from_numpy(words(each))) for each in (asked, other))
    assert (good > bad).mean() > 0.95
