"""From small to large: what is given is kept, and the pictures come out as the small ones were."""

from __future__ import annotations

from pathlib import Path

import torch

from jielong.base.talk import Talk
from jielong.images.cascade import Cascade, Config, Enlarger, shrink
from jielong.images.denoiser import Config as DenoiserConfig
from jielong.images.denoiser import Denoiser
from jielong.images.dit import DitConfig
from jielong.images.fit import Fit
from jielong.images.pictures import Feed, to_bytes, to_net
from jielong.images.words import WordsConfig
from jielong.train import loop
from jielong.train.loop import Course

from .toys import blocks, right


def test_shrinking_and_the_net_beside_a_picture() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert torch.equal(shrink(x, 2), torch.tensor([[[[2.5, 4.5], [10.5, 12.5]]]]))
    config = Config(DitConfig(1, 4, 4, 2, 32, 1, 0), 2)
    one = Enlarger(config)
    with torch.no_grad():
        one.net.outward.normal_()
        given = one._given(torch.randn(2, 1, 2, 2), torch.tensor([0.0, 0.2]), torch.randn(2, 1, 4, 4))
        assert given.shape == (2, 2, 4, 4) and torch.equal(given[:, 1, 0, 0], torch.tensor([0.0, 0.2]))
        said = [one.net(torch.zeros(2, 1, 4, 4), torch.zeros(2), None, None, g) for g in (given, given * 0)]
    assert not torch.allclose(*said)


def test_small_pictures_are_made_larger_as_they_were(tmp_path: Path) -> None:
    large = blocks(512)[0].repeat(2, 1).repeat(2, 2)
    enlarger = Enlarger(Config(DitConfig(3, 16, 16, 4, 64, 2, 0), 4))
    loop.run(Fit(enlarger, Feed(large, None, 32)), Course(120, save_every=0.0, rates=loop.Rates(0.02, 0.005)), tmp_path,
             Talk(verbosity=-1))  # fmt: skip
    seen, told = blocks(48, 5)
    small = shrink(to_net(seen.repeat(2, 1).repeat(2, 2)), 4)
    made = to_bytes(enlarger.eval().enlarge(small, None, 0, 8))
    assert made.shape == (48, 16, 16, 3) and right(made[:, ::2, ::2], told) > 0.9
    first = Denoiser(DenoiserConfig(DitConfig(3, 4, 4, 2, 32, 1, 32), WordsConfig(8, 2, 32, 1), steps=2))
    whole = Cascade(first, [enlarger])
    assert whole.sample(torch.from_numpy(told[:3]), 3, 0).shape == (3, 3, 16, 16)
    assert whole.flops(2, [2, 8]) == 2 * 2 * first.net.config.flops(2) + 8 * enlarger.net.config.flops(2)  # type: ignore[union-attr]
