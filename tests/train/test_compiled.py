"""Compiled blocks: when they pay, that they compute the same, and that they are left aside where they should be."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest
import torch

from jielong.nets.config import shape
from jielong.nets.losses import next_token_loss
from jielong.nets.transformer import Transformer
from jielong.train import compiled
from jielong.train.settings import Settings

READY = shutil.which("g++") is not None and (Path(sysconfig.get_path("include")) / "Python.h").is_file()


def test_what_decides() -> None:
    model = Transformer(shape(32, 64, 32, 2), seed=0)
    assert not compiled.pays(model, Settings(steps=10))
    assert compiled.pays(model, Settings(steps=10, compile=True))
    assert not compiled.pays(model, Settings(tokens=10**12, compile=False))
    assert compiled.pays(model, Settings(tokens=10**12)) == READY


def test_without_a_compiler_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled.shutil, "which", lambda _: None)
    assert not compiled.pays(Transformer(shape(32, 64, 32, 2), seed=0), Settings(tokens=10**12))


@pytest.mark.skipif(not READY, reason="no C++ compiler, or no Python headers")
def test_compiled_blocks_compute_the_same() -> None:
    ids = torch.randint(0, 64, (2, 32), generator=torch.Generator().manual_seed(0))
    documents = (torch.arange(32) // 10).expand(2, 32)
    found = []
    for wanted in (False, True):
        model = Transformer(shape(32, 64, 32, 2), seed=0)
        with torch.no_grad():
            for block in model.blocks:  # outputs begin at zero: the blocks would not matter
                block.attention.out.normal_(0, 0.2, generator=torch.Generator().manual_seed(1))
                block.feed.down.normal_(0, 0.2, generator=torch.Generator().manual_seed(2))
        with compiled.compiled(model, wanted):
            hidden = model.hidden(ids, documents=documents).flatten(0, 1)
            next_token_loss(hidden, model.head_weight, ids.flatten())[0].backward()
            with compiled.plainly(model), torch.no_grad():
                model(ids[:, :7])  # another shape, not compiled for
        found.append([p.grad for p in model.parameters()])
        assert all(block._compiled_call_impl is None for block in model.blocks)
    for plain, quick in zip(*found, strict=True):
        torch.testing.assert_close(quick, plain, rtol=1e-4, atol=1e-5)
