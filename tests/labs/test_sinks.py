"""The lab on reading past the context, with models of which the right numbers are known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from jielong.labs import sinks_stream as lab
from jielong.labs.lab import Budget
from jielong.labs.verdict import verdict
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.views.verdicts import CONTROL_FAILED, HELD, ONE_SEED, PART

END, CONTEXT = 0, 64


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "CONTEXT", CONTEXT)
    monkeypatch.setattr(lab, "LONG", 3)
    monkeypatch.setattr(lab, "TEXTS", 2)


def model(layers: int = 1) -> Transformer:
    config = TransformerConfig(50, dim=32, layers=layers, heads=2, kv_heads=1, head_dim=16, hidden=64, context=CONTEXT)
    made = Transformer(config)
    generator = torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.3, generator=generator)
    return made.eval()


def texts() -> list[list[int]]:
    ids = np.random.default_rng(0).integers(1, 50, (2, 3 * CONTEXT))
    return [[END, *row.tolist()] for row in ids]


def law(made: Transformer, ids: list[int], token: int) -> float:
    """ln p of a token after a text that is read from its beginning."""
    with torch.no_grad():
        roomy = Transformer(replace(made.config, context=4 * CONTEXT), seed=None)
        roomy.load_state_dict(made.state_dict())
        return float(torch.log_softmax(roomy(torch.tensor([ids]))[0, -1].double(), -1)[token])


@pytest.mark.parametrize("sinks", [0, 4])
def test_with_one_layer_streaming_is_reading_what_is_held_anew(sinks: int) -> None:
    """Keys and values of a first layer depend on their own tokens only, and places are turned back."""
    made, some, first = model(), texts(), 16 if sinks else 0
    found = lab.streamed(made, some, sinks)
    keep = lab.held(sinks) - first
    for each, logprobs in zip(some, found):
        assert len(logprobs) == len(each) - 1
        for t in (1, 40, CONTEXT, CONTEXT + 1, CONTEXT + 9, 2 * CONTEXT + 7, 3 * CONTEXT):
            gone, step = 0, CONTEXT - lab.held(sinks)
            while t - gone > CONTEXT:  # full before token t - 1 was read
                gone += step
            seen = each[:first] + each[first + gone : t] if gone else each[:t]
            assert logprobs[t - 1] == pytest.approx(law(made, seen, each[t]), abs=2e-4), t
    assert keep + first == CONTEXT - 16


def test_what_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "CONTEXT", 128)
    assert (lab.held(0), lab.held(4), lab.held(16), lab.held(17)) == (96, 112, 112, 112)


def test_the_window_read_anew() -> None:
    made, some = model(2), texts()
    keep = lab.held(4)
    for each, logprobs in zip(some, lab.anew(made, some, keep)):
        assert len(logprobs) == len(each) - 1
        for t in (1, 30, CONTEXT):
            assert logprobs[t - 1] == pytest.approx(law(made, each[:t], each[t]), abs=1e-4)
        for t in range(CONTEXT + 1, 2 * CONTEXT, 13):
            begin = CONTEXT + 1 + (t - CONTEXT - 1) // (CONTEXT - keep) * (CONTEXT - keep)
            seen = [END, *each[begin - keep : t]]
            assert len(seen) <= CONTEXT and logprobs[t - 1] == pytest.approx(law(made, seen, each[t]), abs=1e-4)
    for each, logprobs in zip(some, lab.everything(made, some)):
        assert logprobs[150] == pytest.approx(law(made, each[:151], each[151]), abs=1e-4)


def test_attention_that_looks_at_nothing_is_uniform() -> None:
    made = model(2)
    for block in made.blocks:
        torch.nn.init.zeros_(block.attention.qkv)
    share, uniform = lab.first(made, texts())
    assert share == pytest.approx(uniform, rel=1e-5)
    assert uniform == pytest.approx(sum(1 / k for k in range(33, 65)) / 32)


def test_the_lab_runs_whole(tmp_path: Any) -> None:
    result = lab.run(Budget(tokens=6_000, seeds=(0,), out=tmp_path, lab="sinks_stream"))
    assert verdict(result) in (ONE_SEED, CONTROL_FAILED)
    assert all(math.isfinite(row.estimate) for row in result.rows)
    assert result.row("difference within the first window, before anything is let go").estimate < 1e-4
    assert [len(line["y"]) for line in result.series["places"]["lines"]] == [3] * 4


def columns(**changes: list[float]) -> dict[str, list[float]]:
    same = [0.5, 0.45, 0.45]
    ways = {"sinks": same, "plain": [0.5, 0.9, 0.9], "anew": same, "anew, plain": same, "all": [0.5, 1.0, 1.5]}
    return {**ways, "attention": [0.3, 0.011], **changes}


@pytest.mark.parametrize(
    "changes, told",
    [
        ({}, HELD),
        ({"plain": [0.5, 0.45, 0.45]}, PART),
        ({"sinks": [0.5, 0.6, 0.6]}, PART),
        ({"sinks": [0.6, 0.45, 0.45]}, CONTROL_FAILED),
        ({"all": [0.5, 0.45, 0.45]}, CONTROL_FAILED),
    ],
)
def test_verdicts(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, changes: dict[str, Any], told: str) -> None:
    monkeypatch.setattr(lab, "measure", lambda budget, seed: columns(**changes))
    assert verdict(lab.run(Budget(seeds=(0, 1, 2), out=tmp_path, lab="sinks_stream"))) == told
