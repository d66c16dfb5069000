"""The lab on longer texts than any in training."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from jielong.labs import train_short_test_long as lab
from jielong.labs import windows
from jielong.labs.lab import Budget
from jielong.labs.verdict import verdict
from jielong.nets.transformer import Transformer
from jielong.views.verdicts import CONTROL_FAILED, HELD, ONE_SEED, PART


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "CONTEXT", 16)
    monkeypatch.setattr(lab, "SCORED", 8)


def random(kind: str, text: windows.Stream, **changes: Any) -> Transformer:
    model = Transformer(replace(lab.shapes(text.codec.size)[kind], **changes))
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.2, generator=generator)
    return model.eval()


@pytest.mark.usefixtures("small")
def test_the_lab_runs_whole(tmp_path: Any) -> None:
    result = lab.run(Budget(tokens=12_288, seeds=(0,), out=tmp_path, lab="train_short_test_long"))
    assert verdict(result) in (ONE_SEED, CONTROL_FAILED)  # so little training need not beat single tokens
    assert len(result.rows) == 11 and all(math.isfinite(row.estimate) for row in result.rows)
    assert len(result.series["lengths"]["lines"]) == len(lab.NAMES)


@pytest.mark.usefixtures("small")
def test_the_same_tokens_are_scored_at_every_length() -> None:
    """One layer whose window ends before the scored half begins cannot see what a longer text adds."""
    text = windows.stream(0, 1000, 16 * 12, people=20)
    blind = random("window", text, layers=1)
    scores = [lab.scored(blind, text, times) for times in lab.TIMES]
    assert scores[1:] == pytest.approx([scores[0]] * 2, rel=1e-5)
    seeing = random("rope", text, layers=1)
    assert abs(lab.scored(seeing, text, 4) - lab.scored(seeing, text, 1)) > 1e-4


@pytest.mark.usefixtures("small")
def test_scores_are_those_of_the_model_itself() -> None:
    text = windows.stream(0, 1000, 16 * 12, people=20)
    model = random("learned", text)
    total, size = 0.0, 0
    for at in lab.places():
        ids = torch.tensor([[text.end, *text.fresh[at - 32 : at].tolist()]])
        with torch.no_grad():
            law = torch.log_softmax(model(ids[:, :-1]).double(), -1)[0]
        total -= sum(float(law[place, ids[0, place + 1]]) for place in range(24, 32))
        size += int(text.bytes[text.fresh[at - 8 : at]].sum())
    assert lab.scored(model, text, 2) == pytest.approx(total / math.log(2) / size, rel=1e-5)


@pytest.mark.usefixtures("small")
def test_frequencies_are_changed_and_weights_are_not() -> None:
    text = windows.stream(0, 1000, 16 * 12, people=20)
    model = random("rope", text)
    plain = lab.scored(model, text, 2)
    assert lab.scored(lab.scaled(model, "none", 2), text, 2) == pytest.approx(plain, rel=1e-6)
    for kind in lab.SCALED:
        changed = lab.scaled(model, kind, 2)
        assert torch.equal(changed.embed, model.embed) and abs(lab.scored(changed, text, 2) - plain) > 1e-6


@pytest.mark.usefixtures("small")
def test_single_tokens_by_their_frequencies() -> None:
    text = windows.stream(0, 1000, 16 * 12, people=20)
    counts = np.bincount(text.train, minlength=text.codec.size) + 1
    ids = np.concatenate([text.fresh[at - 8 : at] for at in lab.places()])
    wanted = -np.log2(counts[ids] / counts.sum()).sum() / text.bytes[ids].sum()
    assert lab.single(text) == pytest.approx(wanted)


def columns(**changes: float) -> dict[str, float]:
    at_four = {"none": 1.8, "learned": 2.5, "sinusoid": 3.0, "rope": 1.2, "alibi": 0.81, "window": 0.8, "linear": 2.2}
    one = {f"{kind}, {times}": 0.8 for kind in lab.NAMES for times in lab.TIMES}
    one |= {f"{kind}, 4": value for kind, value in {**at_four, "ntk": 1.1, "yarn": 1.0}.items()}
    return {**one, "none tuned, 4": 0.95, "linear tuned, 4": 0.85, "single tokens": 4.3, **changes}


@pytest.mark.parametrize(
    "changes, told",
    [
        ({}, HELD),
        ({"alibi, 4": 0.83}, PART),
        ({"ntk, 4": 1.3}, PART),
        ({"linear tuned, 4": 1.0}, PART),
        ({"learned, 1": 4.0}, CONTROL_FAILED),
    ],
)
def test_verdicts(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, changes: dict[str, float], told: str) -> None:
    monkeypatch.setattr(lab, "measure", lambda budget, seed: columns(**changes))
    assert verdict(lab.run(Budget(seeds=(0, 1, 2), out=tmp_path, lab="train_short_test_long"))) == told
