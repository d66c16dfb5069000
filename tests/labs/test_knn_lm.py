"""The lab on kNN-LM: its parts by hand, a small run, and its verdicts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from jielong.labs import knn_lm as lab
from jielong.labs import windows
from jielong.labs.lab import Budget
from jielong.labs.verdict import verdict
from jielong.nets.config import shape
from jielong.nets.transformer import Transformer
from jielong.views.verdicts import CONTROL_FAILED, HELD, PART


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SIZES": (64, 512), "TUNED": 100, "TESTED": 200, "CONTEXT": 16, "NEIGHBOURS": 8}.items():
        monkeypatch.setattr(lab, name, value)


@pytest.mark.usefixtures("small")
def test_the_lab_runs_whole(tmp_path: Any) -> None:
    result = lab.run(Budget(tokens=8192, seeds=(0, 1), out=tmp_path, lab="knn_lm"))
    assert verdict(result) != ""
    assert len(result.rows) == 7 and all(math.isfinite(row.estimate) for row in result.rows)
    assert [len(result.series[name]["lines"]) for name in ("perplexity", "time")] == [2, 1]
    assert 0 < result.rows[2].estimate < 1


def test_contexts_are_those_of_the_documents() -> None:
    text = windows.stream(0, 1000, 400, people=20)
    model = Transformer(shape(32, text.codec.size, 17, 1), seed=0).eval()
    vectors, follows, own = lab.read(model, text.fresh, text.end, 150)
    assert vectors.shape == (150, 32) and follows.tolist() == text.fresh[1:151].tolist()
    first = text.fresh[:17].tolist()  # a document begins with the end token before it
    if text.end not in first[1:]:
        with torch.no_grad():
            law = torch.log_softmax(model(torch.tensor([first[:-1]]))[0].double(), -1)
        wanted = [float(law[i, token]) for i, token in enumerate(first[1:])]
        assert own[:16] == pytest.approx(wanted, abs=1e-4)
    with pytest.raises(RuntimeError, match="are needed"):
        lab.read(model, text.fresh, text.end, 10**6)


def test_the_best_settings_are_chosen() -> None:
    own = np.full(10, math.log(0.1))
    far, follows = np.zeros((10, 4)), np.arange(10)
    right = np.repeat(follows[:, None], 4, axis=1)
    assert lab.choose(own, (far, right), follows)[0] == max(lab.SHARES)
    assert lab.choose(own, (far, right + 1), follows)[0] == min(lab.SHARES)
    near = np.tile([0.0, 5.0, 5.0, 5.0], (10, 1))  # the nearest is right: distance must count
    only = np.concatenate([follows[:, None], right[:, 1:] + 1], axis=1)
    assert lab.choose(own, (near, only), follows)[1] == min(lab.TEMPERATURES)
    assert lab.perplexity(own) == pytest.approx(10)


def columns(seed: int, **changes: float) -> dict[str, float]:
    most = lab.SIZES[-1]
    found: dict[str, float] = {lab.ALONE: 6.0 + 0.01 * seed}
    for place, size in enumerate(lab.SIZES):
        found |= {f"{size}": 5.9 - 0.2 * place, f"{size} time": 0.2 + 0.2 * place + 0.01 * seed,
                  f"{size} share": 0.2, f"{size} temperature": 10.0}  # fmt: skip
    return {**found, f"{most} {lab.SHUFFLED}": 6.5, **changes}


MOST = lab.SIZES[-1]


@pytest.mark.parametrize("changes, told", [
    ({}, HELD), ({f"{MOST} time": 0.4}, PART), ({f"{MOST}": 5.9}, PART), ({f"{MOST}": 6.2}, PART),
    ({f"{MOST} {lab.SHUFFLED}": 5.5}, CONTROL_FAILED),
])  # fmt: skip
def test_verdicts(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, changes: dict[str, float], told: str) -> None:
    monkeypatch.setattr(lab, "measure", lambda budget, seed: columns(seed, **changes))
    assert verdict(lab.run(Budget(seeds=(0, 1, 2), out=tmp_path, lab="knn_lm"))) == told
