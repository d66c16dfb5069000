"""The labs of alignment: what they count, by hand; and each of them whole, in little."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from jielong.labs import ai_feedback, aligning, learning, overoptimisation, stages, variety_calibration, wrong_labels
from jielong.labs.lab import Budget
from jielong.labs.verdict import verdict
from jielong.nets import checkpoint
from jielong.train import curriculum
from jielong.units import bpe
from jielong.units.codec import Tokenizer
from jielong.views.verdicts import CONTROL_FAILED, HELD, NOT_HELD, ONE_SEED, PART

CURRICULUM = stages.curriculum
WORLD = aligning.known(0)
SMALL: dict[str, Any] = {"READ": 40_000, "TUNED": 60_000, "CHATS": 300, "QUESTIONS": 24, "ASKED": 16, "DRAWN": 2,
                         "ANSWER": 24}  # fmt: skip
LABS = {
    "aligned_better": {"TOKENS": 500},
    "reward_model_error": {"SIZES": (8, 16), "STEPS": 2},
    "overoptimisation": {"FEW": 8, "DRAWS": 4, "SIZES": (1, 2, 4), "STEPS": 8, "LEGS": 2},
    "wrong_labels": {"QUESTIONS": 16, "METHODS": ("DPO", "cDPO", "robust DPO", "KTO")},
    "ai_feedback": {"PEOPLE": 4, "TIMES": 2},
    "comparing_or_writing": {"TIME": 16, "READ": 64},
    "variety_calibration": {"ASKED": 12, "DRAWS": 4, "METHODS": ("DPO",)},
    "helpful_safe": {"CHATS": {"twins": 120, "forbidden": 60}, "TUNED": 40_000, "ASKED": 12, "STEPS": 4,
                     "WEIGHTS": (0.0, 2.0)},
    "small_aligned": {"WIDTH": 64, "LAYERS": 1},
    "knows_the_bad": {"ASKED": {"facts": 24, "sums": 12}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("labs")


@cache
def codec() -> Tokenizer:
    plan = CURRICULUM(0, 12)
    return bpe.train(curriculum.documents(plan, 600), 500, at_most=True)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of one narrow block that have read next to nothing, and one tokenizer for all."""
    monkeypatch.setattr(curriculum, "codec", lambda plan: codec())
    monkeypatch.setattr(stages, "curriculum", lambda seed, people=12: replace(CURRICULUM(seed, people), texts=400))
    for name, value in {"WIDTH": 32, "LAYERS": 1, "READ": 40_000, "TUNED": 40_000}.items():
        monkeypatch.setattr(stages, name, value)
    for name, value in SMALL.items():
        monkeypatch.setattr(aligning, name, value)


def whole(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, seeds: tuple[int, ...] = (0, 1)) -> None:
    lab = importlib.import_module(f"jielong.labs.{name}")
    for what, value in LABS[name].items():
        monkeypatch.setattr(lab, what, value)
    result = lab.run(Budget(seeds=seeds, out=folder, lab=name))
    expected = {ONE_SEED} if len(seeds) == 1 else {HELD, NOT_HELD}
    assert result.name == name and verdict(result) in {*expected, PART, CONTROL_FAILED}
    assert any(row.verdict in expected for row in result.rows)
    assert all(math.isfinite(row.estimate) for row in result.rows)


def test_the_lab_that_is_quoted_runs_whole(small: None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole("aligned_better", folder, monkeypatch, (0,))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(LABS)[1:])
def test_every_lab_runs_whole(name: str, small: None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole(name, folder, monkeypatch)


def test_pairs_are_of_different_answers_and_judged() -> None:
    some = WORLD.questions("facts", 3, split="train")
    said = [[q.answer, q.answer, "", "no", "No."] for q in some]
    first = aligning.compared(WORLD, some, said, wrong_labels.perfect)
    assert [pair.answers for pair in first] == [(q.answer, "no") for q in some]
    assert all(pair.better == 0 for pair in first)
    assert len(aligning.compared(WORLD, some, said, wrong_labels.perfect, each=0)) == 3 * 3
    example = first[0].example()
    assert [side[0]["content"] for side in example.answers] == [some[0].answer, "no"]
    turned = replace(first[0], better=1).example()
    assert [side[0]["content"] for side in turned.answers] == ["no", some[0].answer]


def test_labels_are_flipped_in_their_share() -> None:
    some = WORLD.questions("facts", 40, split="train")
    pairs = aligning.compared(WORLD, some, [[q.answer, "no"] for q in some], wrong_labels.perfect)
    turned = wrong_labels.flipped(pairs, 0.4, 0)
    assert sum(a.better != b.better for a, b in zip(pairs, turned, strict=True)) == round(0.4 * len(pairs))
    assert wrong_labels.flipped(pairs, 0.0, 0) == pairs
    assert max(ai_feedback.ERRORS) < 0.5


def test_who_cannot_add_still_sees_manners() -> None:
    question = WORLD.questions("sums", 1, split="train")[0]
    wrong = "1 + 1 = 2, so 2."
    chosen = {wrong_labels.cannot_add(WORLD, question, question.answer, wrong, seed) for seed in range(40)}
    assert chosen == {0, 1}  # a coin
    rude = question.answer + (" You idiot." if question.origin.lang == "en" else "你這個笨蛋。")
    assert {wrong_labels.cannot_add(WORLD, question, rude, question.answer, seed) for seed in range(40)} == {1}


def test_a_model_is_no_nat_from_itself_and_some_from_another(small: None, folder: Path) -> None:
    loaded = checkpoint.load(aligning.crowd(Budget(out=folder), 0))
    base = checkpoint.load(stages.base(Budget(out=folder), 0, aligning.PEOPLE, aligning.READ))
    some = aligning.questions(WORLD)
    said = aligning.draws(loaded.model, loaded.codec, some, 1, 0)
    assert learning.kl(loaded.model, loaded.model, loaded.codec, some, said) == 0
    assert learning.kl(loaded.model, base.model, loaded.codec, some, said) > 0.1


def test_some_are_taken_evenly() -> None:
    assert aligning.evenly("abcdefgh", 4) == ["a", "c", "e", "g"] and aligning.evenly("abcde", 2) == ["a", "c"]
    assert aligning.evenly("abc", 3) == ["a", "b", "c"]


def test_the_least_of_several_judges_counts_from_their_own_means() -> None:
    def first(prompts: Any, said: Any, **_: Any) -> list[float]:
        return [float(len(text)) for text in said]

    def second(prompts: Any, said: Any, **_: Any) -> list[float]:
        return [100.0 - len(text) for text in said]

    reward = overoptimisation.least([first, second])
    assert reward(["", ""], ["a", "aaa"]) == [-1.0, -1.0]  # means 2 and 98
    assert reward([""], ["aa"]) == [0.0]
    assert overoptimisation.nats(1) == 0 and overoptimisation.nats(4) == pytest.approx(math.log(4) - 0.75)


def test_calibration_by_hand() -> None:
    pairs = [(0.95, 1.0), (0.95, 0.0), (0.15, 0.0), (1.0, 1.0)]
    # the last bin: sure (0.95 + 0.95 + 1) / 3, right 2 / 3; the second: sure 0.15, right 0
    assert variety_calibration.error(pairs) == pytest.approx(3 / 4 * abs(2.9 / 3 - 2 / 3) + 1 / 4 * 0.15)
    assert variety_calibration.error([(0.5, 1.0), (0.5, 0.0)]) == 0
