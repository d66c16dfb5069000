"""Bottlenecks by their formulas, and an autoencoder that learns."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from jielong.base.errors import UserError
from jielong.base.talk import Talk
from jielong.images.autoencoder import Autoencoder, Config
from jielong.images.fit import Fit
from jielong.images.fsq import Fsq
from jielong.images.kl import Gaussian, divergence
from jielong.images.pictures import Feed, to_bytes, to_net
from jielong.images.vq import Vq, perplexity
from jielong.train import loop
from jielong.train.loop import Course

from .toys import blocks


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (3,), (2, 4, 7)])
def test_fsq_reaches_every_code_and_decodes_it_to_itself(levels: tuple[int, ...]) -> None:
    fsq = Fsq(levels)
    codes = torch.arange(math.prod(levels)).reshape(1, 1, -1)
    vectors = fsq.decode(codes)
    half = (fsq.levels - 1)[:, None, None] / 2
    offset = (fsq.levels % 2 == 0)[:, None, None] / 2
    inside = vectors * (fsq.levels // 2)[:, None, None]  # what the rounding is to give
    wide = half * (1 + 1e-3)
    z = torch.atanh(((inside + offset) / wide).clamp(-1 + 1e-7, 1 - 1e-7)) - torch.atanh(offset / wide)
    back, found, loss = fsq(z)
    assert torch.equal(found, codes) and torch.allclose(back, vectors, atol=1e-6) and float(loss) == 0
    assert [len(torch.unique(vectors[0, i])) for i in range(len(levels))] == list(levels)
    assert float(vectors.abs().max()) <= 1


def test_fsq_passes_the_gradient_of_what_is_not_rounded() -> None:
    fsq = Fsq((5, 4))
    z = torch.randn(2, 2, 3, 3, dtype=torch.float32, requires_grad=True)
    fsq(z)[0].sum().backward()
    again = z.detach().clone().requires_grad_()
    (fsq._bound(again) / (fsq.levels // 2)[:, None, None]).sum().backward()
    assert torch.allclose(z.grad, again.grad)  # type: ignore[arg-type]


def test_vq_takes_the_nearest_and_its_codes_become_the_means() -> None:
    torch.manual_seed(0)
    centres = torch.tensor([[4.0, 0.0], [0.0, 4.0], [-4.0, -4.0]])
    vq = Vq(3, 2).train()
    for _ in range(600):
        which = torch.randint(0, 3, (64,))
        z = (centres[which] + 0.1 * torch.randn(64, 2)).reshape(64, 2, 1, 1)
        out, ids, _ = vq(z)
    distance = torch.cdist(vq.codes, centres).min(0).values
    assert float(distance.max()) < 0.1  # also where all codes began in one corner
    vq.eval()
    out, ids, loss = vq(z)
    assert torch.equal(ids[:, 0, 0], torch.cdist(z[:, :, 0, 0], vq.codes).argmin(1))
    assert torch.allclose(out, vq.decode(ids)) and loss == pytest.approx(0.25 * float((z - out).pow(2).mean(1).sum()))
    assert 2.5 < perplexity(ids, 3) <= 3


def test_perplexity_counts_codes_in_even_use() -> None:
    assert perplexity(torch.arange(8).repeat(5), 16) == pytest.approx(8)
    assert perplexity(torch.zeros(9, dtype=torch.long), 16) == pytest.approx(1)


def test_divergence_is_that_of_two_normal_laws() -> None:
    mean, logvar = torch.randn(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    law = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    exact = torch.distributions.kl_divergence(law, torch.distributions.Normal(torch.zeros(5), torch.ones(5))).sum()
    assert torch.allclose(divergence(mean, logvar), exact)
    draws, mean_, _ = Gaussian(1, 1.0)(torch.stack([torch.full((4000, 1, 1), 2.0), torch.full((4000, 1, 1), -1.0)], 1)
                                       .reshape(4000, 2, 1, 1), torch.Generator().manual_seed(0))  # fmt: skip
    assert abs(float(draws.mean()) - 2) < 0.05 and abs(float(draws.std()) - math.exp(-0.5)) < 0.03
    assert torch.equal(mean_, torch.full((4000, 1, 1, 1), 2.0))


@pytest.mark.parametrize("bottleneck", ["kl", "fsq", "vq"])
def test_it_learns_pictures_it_has_never_seen(bottleneck: str, tmp_path: Path) -> None:
    model = Autoencoder(Config(8, 8, 3, 4, 32, 1, bottleneck, 3, (5, 5, 5), 32))  # type: ignore[arg-type]
    objective = Fit(model, Feed(blocks(256)[0], None, 32), Feed(blocks(64, 1)[0], None, 64))
    course = Course(150, save_every=0.0, rates=loop.Rates(matrices=0.02, others=0.003))
    loop.run(objective, course, tmp_path, Talk(verbosity=-1))
    pixels = to_net(blocks(64, 2)[0])
    back = model.decode(model.encode(pixels))
    flat = float((pixels - pixels.mean((0, 2, 3), keepdim=True)).pow(2).mean())
    assert float((back - pixels).pow(2).mean()) < 0.1 * flat
    if bottleneck == "kl":
        with pytest.raises(UserError, match="numbers and no codes"):
            model.codes(pixels)
    else:
        assert torch.allclose(model.decode_codes(model.codes(pixels)), back, atol=1e-5)


def test_bytes_go_to_the_net_and_back() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, -1)
    assert np.array_equal(to_bytes(to_net(every)), every)


def test_what_it_cannot_be() -> None:
    with pytest.raises(UserError, match="do not fill"):
        Config(30, 32)
    with pytest.raises(UserError, match="no bottleneck 'x'"):
        Config(bottleneck="x")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="codes are numbered 0 to 999"):
        Fsq((8, 5, 5, 5)).decode(torch.tensor([[[1000]]]))
