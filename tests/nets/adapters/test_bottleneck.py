"""Bottleneck adapters: the papers' formulas, and everything that runs on a model that cannot hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from jielong.base.errors import UserError
from jielong.infer.generate import generate
from jielong.infer.sampling import Sampling
from jielong.nets.adapters import attach as on
from jielong.nets.adapters.config import Bottleneck, Lora
from jielong.nets.adapters.folder import Upon
from jielong.nets.adapters.targets import family_of
from jielong.nets.block import Scene
from jielong.units import chars
from tests.nets.adapters.test_lora import IDS, logits, shaken
from tests.nets.test_transformer import TINY, lively


@pytest.mark.parametrize("parallel", [False, True])
def test_the_formula(parallel: bool) -> None:
    model = lively(TINY)
    before = logits(model)
    adapter = on.attach(model, Bottleneck(narrow=5, parallel=parallel))
    assert torch.equal(logits(model), before)
    assert len(adapter.places) == TINY.layers * (1 if parallel else 2)
    shaken(adapter)
    assert (logits(model) - before).abs().max() > 0.01
    x = torch.randn(2, 3, TINY.dim, generator=torch.Generator().manual_seed(3))
    feed: Any = model.blocks[1].feed
    site: Any = adapter.sites[-1]
    h = F.linear(F.silu((x @ feed.up.t()).chunk(2, -1)[0]) * (x @ feed.up.t()).chunk(2, -1)[1], feed.down)
    wide = F.gelu((x if parallel else h) @ site.down.t() + site.down_bias) @ site.up.t() + site.up_bias
    torch.testing.assert_close(feed(x, Scene(1)), h + (4 * wide if parallel else wide))


def test_written_with_and_kept(tmp_path: Path) -> None:
    """The engine runs it unmerged, with its cache: greedy text is that of the whole model read again."""
    model = lively(TINY)
    adapter = shaken(on.attach(model, Bottleneck(narrow=4)))
    prompt = [1, 2, 3]
    with torch.no_grad():
        for _ in range(6):
            prompt.append(int(model(torch.tensor([prompt]))[0, -1].argmax()))
    found = generate(model, [[1, 2, 3]], [Sampling(temperature=0, max_tokens=6)])
    assert list(found[0].ids) == prompt[3:]
    with pytest.raises(UserError, match="cannot be merged"):
        on.merge(model)
    codec = chars.train(["abcdefghij"])
    upon = Upon(model, family_of(TINY))
    upon.save(tmp_path / "a", adapter, codec)
    assert not (tmp_path / "a" / "adapter_config.json").exists()
    other = lively(TINY)
    on.attach(other, Upon(other, family_of(TINY)).load(tmp_path / "a", codec).model)
    assert torch.equal(logits(other), logits(model)) and IDS.shape


def test_beside_changes_of_matrices() -> None:
    """It stands between matrices: what is written into these after it does the same."""
    model = lively(TINY)
    shaken(on.attach(model, Bottleneck(narrow=4), "between"))
    shaken(on.attach(model, Lora(rank=2), "thin"), 1)
    both = logits(model)
    on.merge(model, "thin")
    assert on.loose(model) == ["between"]
    torch.testing.assert_close(logits(model), both, rtol=1e-5, atol=1e-5)
