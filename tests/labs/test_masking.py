"""The lab on masking, on a model of random weights: its numbers exist, its controls come out, its rows are judged."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from jielong.labs import masking_distorts as lab
from jielong.labs.lab import Budget
from jielong.labs.verdict import verdict
from jielong.lm.local import Local, Parts
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.units import bpe
from jielong.views.verdicts import CONTROL_FAILED, HELD, ONE_SEED, PART
from jielong.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=0, people=20)


@pytest.fixture(scope="module")
def lm(world: World) -> Local:
    codec = bpe.train([t.text for t in world.texts("facts", 1500, lang="en")], 300, at_most=True)
    config = TransformerConfig(vocab=codec.size, dim=32, layers=1, heads=2, kv_heads=1, head_dim=16, context=256)
    model = Transformer(config)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.3, generator=generator)
    return Local(Parts(model.eval(), codec))


def test_what_is_asked_has_its_value_behind_other_words(world: World) -> None:
    found = lab.asked(world, 6)
    assert len(found) == 6
    for question, before, after, values in found:
        assert f"{before} {question.accept[0]}{after}" == question.answer
        assert question.accept[0] in values and max(map(len, values)) <= lab.SHORT


def test_both_laws_over_the_values(lm: Local, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found = lab.compared(lm, world, 1)
    for form in ("value", "JSON", "sentence"):
        assert 0 < found[f"KL, {form}"] < 100 and 0 < found[f"TV, {form}"] < 1
        assert 0 < found[f"right given, {form}"] < 1 and found[f"log10 mass, {form}"] < 0
    monkeypatch.setattr(lab, "DRAWS", 200)
    tests = lab.drawn(lm, world, 0)
    assert min(tests["p, rejection"], tests["p, masked"]) > 0.005
    assert tests["later attempts"] <= tests["first attempts"]
    assert 0 < lab.sentence(lm, [t.text for t in world.texts("facts", 300, lang="en")]) < 50


def columns(**changes: float) -> dict[str, float]:
    one: dict[str, float] = {}
    for form in ("value", "JSON", "sentence"):
        far = form != "sentence"
        one |= {f"KL, {form}": 5.0 if far else 0.01, f"TV, {form}": 0.7 if far else 0.01, f"log10 mass, {form}": -9.0}
        one |= {f"right given, {form}": 0.3, f"right masked, {form}": 0.02 if far else 0.3}
    one |= {"p, rejection": 0.4, "p, masked": 0.6, "p, crossed": 0.0, "KL, any sentence": 0.3}
    return {**one, "first attempts": 30.0, "later attempts": 1.0, **changes}


@pytest.mark.parametrize(
    "changes, told",
    [
        ({}, HELD),
        ({"right masked, JSON": 0.5}, PART),
        ({"p, rejection": 0.0001}, CONTROL_FAILED),
        ({"p, crossed": 0.4}, CONTROL_FAILED),
    ],
)
def test_verdicts(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, changes: dict[str, float], told: str) -> None:
    monkeypatch.setattr(lab, "measure", lambda budget, seed: columns(**changes))
    assert verdict(lab.run(Budget(seeds=(0, 1, 2), out=tmp_path, lab="masking_distorts"))) == told


def test_one_seed_is_no_verdict(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(lab, "measure", lambda budget, seed: columns())
    assert verdict(lab.run(Budget(seeds=(0,), out=tmp_path, lab="masking_distorts"))) == ONE_SEED
