"""The labs of learning in context: their data by hand, closed forms, small runs, verdicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jielong.labs import examples_chosen, labels_in_context, learning_in_context, shots
from jielong.labs.lab import Budget
from jielong.labs.verdict import verdict
from jielong.lm.local import Local, Parts
from jielong.nets.config import shape
from jielong.nets.transformer import Transformer
from jielong.views.verdicts import CONTROL_FAILED, HELD, ONE_SEED, PART
from jielong.world.words.icl import CATEGORIES


@pytest.fixture(scope="module")
def reader() -> Local:
    """Random weights."""
    codec = shots.codec_of()
    return Local(Parts(Transformer(shape(32, codec.size, shots.CONTEXT, 1), seed=0).eval(), codec))


def test_lines_cut_the_square() -> None:
    every, places = learning_in_context.cuts(), learning_in_context.places()
    assert len({row.tobytes() for row in every}) == len(every) > 1000
    for row in every[::97]:  # the halves can be told apart: the perceptron ends
        x = np.column_stack([places, np.ones(len(places))])
        w = np.zeros(3)
        for _ in range(20_000):
            wrong = np.flatnonzero(row * (x @ w) <= 0)
            if not len(wrong):
                break
            w += row[wrong[0]] * x[wrong[0]]
        assert not len(wrong)
    new, old = (learning_in_context.tasks_of(3, new) for new in (True, False))
    assert len(new) + len(old) == len(every) and not {r.tobytes() for r in new} & {r.tobytes() for r in old}


def test_classifiers_and_the_best_possible() -> None:
    """The left half is A: told apart by both classifiers after many examples, by nobody where labels are by lot."""
    lot = np.random.default_rng(0)
    words = lot.integers(0, 100, (60, 65))
    right = np.where(words < 50, 1, -1)
    every = learning_in_context.cuts()
    for name in ("logistic", "machine"):
        assert learning_in_context.classified(name, words, right, 64, 0.001).mean() > 0.9
        lost = learning_in_context.classified(name, words, lot.choice([-1, 1], words.shape), 64, 0.001)
        assert 0.25 < lost.mean() < 0.75
    assert learning_in_context.weighed(words, right, 64, every).mean() > 0.95
    assert (learning_in_context.weighed(words, right, 0, every) == 0.5).mean() > 0.9  # lines come with their mirrors
    one = every[:1]
    followed = np.take_along_axis(np.repeat(one, 60, axis=0), words, axis=1)
    assert (learning_in_context.weighed(words, followed, 3, one) == 1).all()


def test_labels_are_read_behind_their_words() -> None:
    """A model that knows the word's own label by its token says it, whatever stands before."""
    from jielong.units import tokenlist

    codec = tokenlist.build([f"w{i:02}" for i in range(100)] + ["A", "B"])
    a, b = (codec.encode(name)[0] for name in "AB")

    class Knows(torch.nn.Module):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            logits = torch.zeros(*ids.shape, codec.size)
            first = codec.encode("w50")[0]
            logits[..., a], logits[..., b] = (ids < first).float(), (ids >= first).float()
            return logits

    words = np.random.default_rng(1).integers(0, 100, (70, 9))
    labels: Any = learning_in_context.labels(Knows(), codec, words, np.ones_like(words))  # type: ignore[arg-type]
    assert (labels == np.where(words < 50, 1, -1)).all()
    row = learning_in_context.sequences(codec, words[:1, :2], np.array([[1, -1]]))[0]
    assert codec.decode(row[1:].tolist()) == f"w{words[0, 0]:02}Aw{words[0, 1]:02}B"


def test_learning_in_context_runs_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"WIDTH": 32, "LAYERS": 1, "TASKS": 12}.items():
        monkeypatch.setattr(learning_in_context, name, value)
    result = learning_in_context.run(Budget(tokens=9000, seeds=(0,), out=tmp_path, lab="learning_in_context"))
    assert verdict(result) in (ONE_SEED, CONTROL_FAILED)
    assert len(result.rows) == 5 + 4 * len(learning_in_context.AFTER) and result.series["examples"]["lines"]


def columns(model: float, by_lot: float) -> dict[str, Any]:
    few = len(learning_in_context.AFTER)
    others = {name: [0.9] * few for name in ("logistic", "machine", "best")}
    return {"model": [model] * few, "nothing": 0.5, "by lot": by_lot, "shuffled": 0.6, **others}


@pytest.mark.parametrize("model, by_lot, told", [(0.9, 0.5, HELD), (0.8, 0.5, PART), (0.9, 0.6, CONTROL_FAILED)])
def test_verdicts_on_learning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: float, by_lot: float, told: str
) -> None:
    monkeypatch.setattr(learning_in_context, "measure", lambda budget, seed: columns(model + 0.001 * seed, by_lot))
    assert verdict(learning_in_context.run(Budget(out=tmp_path, lab="learning_in_context"))) == told


def test_texts_are_mostly_natural() -> None:
    some = [item for item, _ in zip(shots.told(5), range(4000))]
    feelings = [item for item in some if item.task == "flipped"]
    flipped = sum(item.flipped for item in feelings) / len(feelings)
    assert 0.005 < flipped < 0.05 and 1000 < len(feelings) < 3000
    codec = shots.codec_of()
    for item in some[:50]:
        ids, marks = shots.learnt(codec, item)
        learnt = [codec.decode([token]) for token, mark in zip(ids, marks, strict=True) if mark]
        assert learnt == [label for _, label in item.shots] + [item.label]
        assert len(ids) == 4 * (len(item.shots) + 1) + 1
    known = {label for item in shots.items(5, "test", 400) for _, label in item.shots}
    assert known <= {*shots.NAMES, shots.NICE, shots.NASTY}


def test_conditions_differ_in_labels_alone() -> None:
    asked = labels_in_context.conditions(2)
    natural = asked[labels_in_context.NATURAL]
    assert {item.flipped for item in natural} == {False} and len(natural) == labels_in_context.ASKED
    good = {word for item in natural for word, label in item.shots if label == shots.NICE}
    bad = {word for item in natural for word, label in item.shots if label == shots.NASTY}
    assert good and bad and not good & bad
    for name in (labels_in_context.FLIPPED, labels_in_context.LOT, labels_in_context.NONE):
        for item, other in zip(natural, asked[name], strict=True):
            assert item.query == other.query
            assert [x for x, _ in other.shots] in ([x for x, _ in item.shots], [])
            assert (other.label == item.label) == (name != labels_in_context.FLIPPED)
    lot = [label for item in asked[labels_in_context.LOT] for _, label in item.shots]
    assert 0.4 < lot.count(shots.NICE) / len(lot) < 0.6
    words = asked[labels_in_context.NOTHING]
    assert 1 / 3 <= labels_in_context.chance(words) <= 1 / 2
    assert all(item.label in {label for _, label in item.shots} for item in words)


def test_small_models_of_labels_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(labels_in_context, "WIDTHS", (32,))
    monkeypatch.setattr(labels_in_context, "ASKED", 10)
    monkeypatch.setattr(shots, "TEXTS", 200)
    monkeypatch.setattr(shots.model, "__defaults__", (8192,))
    result = labels_in_context.run(Budget(seeds=(0,), out=tmp_path, lab="labels_in_context"))
    assert verdict(result) in (ONE_SEED, CONTROL_FAILED) and result.series["widths"]["lines"]


@pytest.mark.parametrize("flipped, natural, told", [(0.9, 1.0, HELD), (0.0, 1.0, PART), (0.9, 0.5, CONTROL_FAILED)])
def test_verdicts_on_labels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flipped: float, natural: float, told: str
) -> None:
    def measured(budget: Budget, seed: int) -> dict[str, dict[str, float]]:
        one = dict.fromkeys(labels_in_context.conditions(0), 0.4) | {"chance": 0.42}
        one |= {labels_in_context.NATURAL: natural, labels_in_context.LOT: 0.9}
        wide = one | {labels_in_context.FLIPPED: flipped + 0.01 * seed, labels_in_context.NOTHING: 0.9}
        return {"32": one | {labels_in_context.FLIPPED: 0.1}, "64": one, "96": wide}

    monkeypatch.setattr(labels_in_context, "measure", measured)
    assert verdict(labels_in_context.run(Budget(out=tmp_path, lab="labels_in_context"))) == told


def test_pools_hold_the_answer() -> None:
    for number in range(20):
        problem = examples_chosen.pool(1, number)
        shown = {example.question: example.answer for example in problem.examples}
        group = next(name for name, pairs in CATEGORIES.items() if problem.text in {pair[0] for pair in pairs})
        same = [label for word, label in shown.items() if word in {pair[0] for pair in CATEGORIES[group]}]
        assert problem.text not in shown and len(shown) == 24 and same == [problem.gold] * 8


def test_what_orders_do_by_hand(reader: Local) -> None:
    """Two orders, one right about all, one about none: as far apart as can be. Dealt out anew: 1 on the average."""
    apart = np.array([[True] * 4, [False] * 4])
    # variance (ddof 1) of (1, 0) is 1/2; four questions alone: 4 * 1/4 / 16 * 2 = 1/8
    assert examples_chosen.spread([apart]) == pytest.approx(4.0)
    assert examples_chosen.spread([np.array([[True, False], [False, True]])]) == 0
    lot = np.random.default_rng(0)
    dealt = [examples_chosen.spread([lot.permuted(lot.random((24, 12)) < 0.6, axis=0)]) for _ in range(200)]
    assert np.mean(dealt) == pytest.approx(1.0, abs=0.1)
    right, last = examples_chosen.behind(reader, 0, 0)
    assert right.shape == (24, 12) and 0 <= last <= 1


def test_examples_are_chosen_as_few_shot_does(reader: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples_chosen, "ASKED", 6)
    monkeypatch.setattr(examples_chosen, "SETS", 2)
    found = examples_chosen.chosen(reader, 0) | examples_chosen.ordered(reader, 0)
    assert 0 <= found["shown, random"] <= 1 and found["worst"] <= found["middle"] <= found["best"]
    item = next(shots.items(0, "test", 40))
    assert shots.problem(replace(item, shots=[]), "x").examples == ()


@pytest.mark.parametrize("nearest, missed, told", [(0.9, 0.0, HELD), (0.6, 0.0, PART), (0.9, 0.4, CONTROL_FAILED)])
def test_verdicts_on_examples(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nearest: float, missed: float, told: str
) -> None:
    def measured(budget: Budget, seed: int) -> dict[str, float]:
        one = {"fixed": 0.6, "random": 0.6, "nearest": nearest + 0.001 * seed, "not shown": missed, "last": 0.7}
        one |= {f"shown, {name}": 0.8 for name in examples_chosen.CHOICES}
        return one | {"spread": 2.0 + seed / 10, "dealt": 1.0, "best": 0.9, "middle": 0.7, "worst": 0.5, "depends": 0.3}

    monkeypatch.setattr(examples_chosen, "measure", measured)
    assert verdict(examples_chosen.run(Budget(out=tmp_path, lab="examples_chosen"))) == told
