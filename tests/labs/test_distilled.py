"""The lab on distilled drafters: what it counts, by hand; a small run; and its verdicts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from jielong.labs import distilled as lab
from jielong.labs import stages
from jielong.labs.lab import Budget
from jielong.labs.verdict import verdict
from jielong.nets import checkpoint
from jielong.nets.config import shape
from jielong.nets.transformer import Transformer
from jielong.train import curriculum as plans
from jielong.units import bpe
from jielong.views.verdicts import CONTROL_FAILED, HELD, NOT_HELD, ONE_SEED, PART
from tests.infer.conftest import random_model

PROMPTS = [[1 + (7 * i + j) % 40 for j in range(lab.BEGUN)] for i in range(6)]


def near(model: Transformer) -> Transformer:
    """One that is near it: a little noise in its weights."""
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data += 0.01 * torch.randn(parameter.shape, generator=generator)
    return model


def test_greedy_guesses_that_are_kept_are_those_that_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a plain loop: the drafter's own greedy text, up to where the model would write another token."""
    monkeypatch.setattr(lab, "WRITTEN", 30)
    model, small = random_model(context=64), near(random_model(context=64))
    steps: list[tuple[int, int]] = []  # guesses, and how many of them stayed
    with torch.no_grad():
        for prompt in PROMPTS:
            text = [*prompt, int(model(torch.tensor([prompt]))[0, -1].argmax())]
            while len(text) < lab.BEGUN + lab.WRITTEN:
                most = min(lab.GUESSES, lab.BEGUN + lab.WRITTEN - len(text) - 1)
                ahead = list(text)
                for _ in range(most):
                    ahead.append(int(small(torch.tensor([ahead]))[0, -1].argmax()))
                true = model(torch.tensor([ahead]))[0, len(text) - 1 :].argmax(-1).tolist()
                stayed = next((i for i in range(most) if ahead[len(text) + i] != true[i]), most)
                text += true[: stayed + 1]
                if most:
                    steps.append((most, stayed))
    found = lab.kept(model, PROMPTS, small, "greedy")
    stayed, guessed = (sum(step[i] for step in steps) for i in (1, 0))
    assert found["kept greedy"] == pytest.approx(stayed / guessed) and 0.1 < stayed / guessed < 0.9
    for place in range(1, lab.GUESSES + 1):  # the last steps of a text have fewer guesses
        due = sum(s >= place for _, s in steps) / sum(most >= place for most, _ in steps)
        assert found[f"kept greedy, {place}"] == pytest.approx(due)
    assert found["tokens a step greedy"] == pytest.approx(1 + stayed / len(steps))


def test_who_is_the_model_loses_nothing_and_nobody_changes_a_text() -> None:
    model, small = random_model(context=64), random_model(context=64, seed=6)
    for kind, heat in lab.KINDS.items():
        itself = lab.kept(model, PROMPTS, model, kind)
        assert itself[f"kept {kind}"] > 0.99 and itself[f"tokens a step {kind}"] > 4.5
        plain = lab.written(model, PROMPTS, heat)
        assert all(len(text) == lab.WRITTEN for text in plain)
        assert lab.written(model, PROMPTS, heat, lab.drafting(small)) == plain


def test_the_lab_runs_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan = plans.Curriculum(people=20, texts=400)
    codec = bpe.train(plans.documents(plan, 200), 300, at_most=True)
    model = Transformer(shape(32, codec.size, 2 * stages.CONTEXT, 1), seed=1)
    checkpoint.save(tmp_path / "base", model, codec, {})
    monkeypatch.setattr(stages, "base", lambda budget, seed: tmp_path / "base")
    monkeypatch.setattr(stages, "curriculum", lambda seed: plan)
    for name, value in {"TEXTS": 8, "CHECKED": 4, "WRITTEN": 12}.items():
        monkeypatch.setattr(lab, name, value)
    result = lab.run(Budget(tokens=8192, seeds=(0,), out=tmp_path, lab="distilled"))
    assert verdict(result) in (ONE_SEED, CONTROL_FAILED)
    assert all(math.isfinite(row.estimate) for row in result.rows) and len(result.rows) == 2 + 3 + 3 * 6
    assert len(result.series["kept"]["lines"]) == 3
    assert result.rows[2].estimate == 1.0


def columns(seed: int, **changes: float) -> dict[str, float]:
    found = {"same text": 1.0}
    for name, share in ((lab.TAUGHT, 0.45), (lab.READ, 0.4), ("untrained", 0.01), (lab.SAME, 1.0)):
        wobble = 0.0 if name == lab.SAME else 0.004 * seed * (name == lab.TAUGHT)
        for kind in lab.KINDS:
            found |= {f"{name} kept {kind}": share + wobble, f"{name} tokens a step {kind}": 2.0}
            found |= {f"{name} kept {kind}, {place}": share for place in range(1, lab.GUESSES + 1)}
        found |= {f"{name} overlap": share, f"{name} loss": 1.0}
    return {**found, **changes}


@pytest.mark.parametrize("changes, told", [
    ({}, HELD),
    ({f"{lab.TAUGHT} kept greedy": 0.39}, PART),
    ({f"{lab.TAUGHT} kept greedy": 0.39, f"{lab.TAUGHT} kept at temperature 1": 0.4}, NOT_HELD),
    ({"same text": 0.99}, CONTROL_FAILED),
    ({f"{lab.SAME} kept greedy": 0.9}, CONTROL_FAILED),
    ({"untrained kept at temperature 1": 0.3}, CONTROL_FAILED),
])  # fmt: skip
def test_verdicts(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, changes: dict[str, float], told: str) -> None:
    monkeypatch.setattr(lab, "measure", lambda budget, seed: columns(seed, **changes))
    assert verdict(lab.run(Budget(seeds=(0, 1, 2), out=tmp_path, lab="distilled"))) == told
