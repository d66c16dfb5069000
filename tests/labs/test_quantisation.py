"""The lab on fewer bits: what is rounded and how far apart two laws are, by hand; a small run; its verdicts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from jielong.labs import quantisation as lab
from jielong.labs import stages
from jielong.labs.lab import Budget
from jielong.labs.verdict import verdict
from jielong.nets import quant
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.views.verdicts import CONTROL_FAILED, HELD, ONE_SEED, PART


@pytest.fixture(scope="module")
def model() -> Transformer:
    config = TransformerConfig(64, dim=64, layers=2, heads=2, kv_heads=1, head_dim=32, hidden=96, context=64)
    made = Transformer(config)
    generator = torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.15, generator=generator)
    return made.eval()


def test_one_scale_a_row() -> None:
    weight = torch.tensor([[7.0, -3.4, 0.4, 0.6], [0.7, 0.34, -0.7, 0.0]])
    wanted = torch.tensor([[7.0, -3.0, 0.0, 1.0], [0.7, 0.3, -0.7, 0.0]])
    assert torch.allclose(lab.by_row(weight, 4), wanted, atol=1e-6)
    large = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    scale = large.abs().amax(1, keepdim=True) / 7
    assert bool(((lab.by_row(large, 4) - large).abs() <= scale / 2 + 1e-6).all())
    assert torch.equal(lab.by_row(large, 8), quant.integers(large, 8).values())


def test_what_is_compared(model: Transformer) -> None:
    found = {way.name: way for way in lab.ways(model, 0)}
    assert list(found) == [lab.PLAIN, lab.EIGHT, lab.CACHE, lab.FOUR, lab.COARSE, lab.NOISE]
    assert found[lab.CACHE].model is model and found[lab.CACHE].cache == 8
    before, after, noise, coarse = (
        each.blocks[0].feed.up.detach()
        for each in (model, *(found[name].model for name in (lab.FOUR, lab.NOISE, lab.COARSE)))
    )
    size = float((after - before).square().mean())
    assert float((noise - before).square().mean()) == pytest.approx(size, rel=0.05)
    assert float((coarse - before).square().mean()) > size
    for name in (lab.COARSE, lab.NOISE):  # embeddings get 8 bits everywhere
        assert torch.equal(found[name].model.embed, found[lab.FOUR].model.embed)
        assert not found[name].model.quantised


def test_bytes_of_the_weights(model: Transformer) -> None:
    found = {way.name: way.model for way in lab.ways(model, 0)}
    numbers = {name: p.numel() for name, p in model.named_parameters()}
    assert lab.weight_bytes(model) == 4 * sum(numbers.values())
    inner = {name: p for name, p in model.named_parameters() if p.ndim == 2 and name != "embed"}
    rest = 4 * sum(n for name, n in numbers.items() if name not in inner and name != "embed")
    embed = model.embed.numel() + 4 * len(model.embed)
    eight = sum(p.numel() + 4 * len(p) for p in inner.values())
    four = sum(p.numel() // 2 + p.numel() // quant.GROUP * 4 for p in inner.values())
    assert lab.weight_bytes(found[lab.EIGHT]) == rest + embed + eight
    assert lab.weight_bytes(found[lab.FOUR]) == rest + embed + four


def test_distance_by_hand() -> None:
    known = [np.log(np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]))]
    other = [np.log(np.array([[0.25, 0.5, 0.25], [0.5, 0.25, 0.25]]))]
    found = lab.distance(known, other, [[2, 0, 1]], 4.0)
    assert found["bits"] == pytest.approx((2 + 2) / 4)
    assert found["KL"] == pytest.approx((0.5 * math.log(2) - 0.25 * math.log(2)) / 2)
    assert lab.distance(known, known, [[2, 0, 1]], 4.0)["KL"] == 0


def test_laws_are_whole_and_the_models_own(model: Transformer) -> None:
    rows = [[1, 5, 9, 2, 40], [3, 3, 60]]
    for way in lab.ways(model, 0):
        found = lab.laws(way, rows)
        assert [law.shape for law in found] == [(4, 64), (2, 64)]
        for law, row in zip(found, rows):
            assert np.exp(law).sum(1) == pytest.approx(np.ones(len(law)), abs=1e-5)
            with torch.no_grad():
                own = torch.log_softmax(way.model(torch.tensor([row[:-1]]))[0].double(), -1).numpy()
            exact = way.cache == 32 and not way.model.quantised
            assert np.abs(law - own).max() < (1e-4 if exact else 0.1)


@pytest.mark.slow
def test_the_lab_runs_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name, value in {"READ": 4096, "TUNED": 4096, "WIDTH": 32, "LAYERS": 1, "PEOPLE": 20}.items():
        monkeypatch.setattr(stages, name, value)
    plan = stages.curriculum(0)
    monkeypatch.setattr(stages, "curriculum", lambda seed, _=0: replace(plan, texts=400, chats=200, vocab=400))
    small = {"TEXTS": 4, "QUESTIONS": 3, "WIDTH": 64, "LAYERS": 1, "VOCAB": 256, "PROMPT": 4, "WRITTEN": 4}
    for name, value in small.items():
        monkeypatch.setattr(lab, name, value)
    result = lab.run(Budget(minutes=0.01, seeds=(0,), out=tmp_path, lab="quantisation"))
    assert verdict(result) in (ONE_SEED, CONTROL_FAILED)
    assert all(math.isfinite(row.estimate) for row in result.rows)
    assert result.row("KL(float32 || it), a token", lab.PLAIN).estimate == 0
    assert result.row("KL(float32 || it), a token", lab.FOUR).estimate > 0


def columns(**changes: Any) -> dict[str, Any]:
    ways = {}
    for name, bits, apart in ((lab.PLAIN, 1.0, 0.0), (lab.EIGHT, 1.001, 0.001), (lab.CACHE, 1.0, 0.0001),
                              (lab.FOUR, 1.02, 0.02), (lab.COARSE, 1.1, 0.1), (lab.NOISE, 1.03, 0.03)):  # fmt: skip
        ways[name] = {"bits": bits, "KL": apart, "right": 0.8}
    for name, figures in changes.items():
        ways[{"eight": lab.EIGHT, "four": lab.FOUR, "plain": lab.PLAIN}[name]] |= figures
    return {"ways": ways, "guess": 0.1, "tokens": 1000}


@pytest.mark.parametrize(
    "changes, quick, told",
    [
        ({}, 0.5, HELD),
        ({"eight": {"bits": 1.02}}, 0.5, PART),
        ({"eight": {"right": 0.7}}, 0.5, PART),
        ({"four": {"KL": 0.2}}, 0.5, PART),
        ({}, 1.1, PART),
        ({"plain": {"right": 0.15}}, 0.5, CONTROL_FAILED),
    ],
)
def test_verdicts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, changes: dict[str, Any], quick: float, told: str
) -> None:
    seconds = {lab.PLAIN: [1.0] * 6, lab.EIGHT: [quick] * 6, lab.FOUR: [0.4] * 6}
    clock = {"seconds": seconds, "bytes": {lab.PLAIN: 400, lab.EIGHT: 100, lab.FOUR: 60}}
    monkeypatch.setattr(lab, "measure", lambda budget, seed: columns(**changes))
    monkeypatch.setattr(lab, "speed", lambda budget, seed: clock)
    assert verdict(lab.run(Budget(seeds=(0, 1, 2), out=tmp_path, lab="quantisation"))) == told
