"""The labs on adapters: what they count, by hand; that a tuned adapter leaves its base alone; small runs; verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from jielong.base.talk import Talk
from jielong.labs import adapter_per_task, adapter_shape, aligning, forgetting, tuning
from jielong.labs.forgetting import Look
from jielong.labs.lab import Budget
from jielong.labs.tuning import FULL, WAYS
from jielong.labs.verdict import verdict
from jielong.nets import checkpoint
from jielong.nets.adapters.attach import detach
from jielong.nets.checkpoint import Loaded
from jielong.nets.config import shape
from jielong.nets.transformer import Transformer
from jielong.train import curriculum as plans
from jielong.units import bpe
from jielong.views.verdicts import CONTROL_FAILED, HELD, NOT_HELD, ONE_SEED, PART
from jielong.world import facts
from jielong.world.world import World

QUIET = Talk(verbosity=-1)
LABS = (adapter_shape, forgetting, adapter_per_task)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A small model that has read nothing."""
    plan = plans.Curriculum(people=30, texts=400)
    codec = bpe.train(plans.documents(plan, 200), 300, at_most=True)
    folder = tmp_path_factory.mktemp("made") / "base"
    checkpoint.save(folder, Transformer(shape(32, codec.size, 256, 1), seed=1), codec, {})
    return checkpoint.load(folder)


@pytest.fixture(scope="module")
def stirred(loaded: Loaded) -> Loaded:
    """The same with noise in every matrix: those that begin as zeros would hide what an adapter does before them."""
    model, generator = deepcopy(loaded.model), torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return replace(loaded, model=model)


def test_spans_are_of_the_means_of_places_and_of_ranks() -> None:
    values = {f"LoRA {rank}, {place}": 10.0 * i + j for i, place in enumerate(adapter_shape.PLACES)
              for j, rank in enumerate(tuning.RANKS)}  # fmt: skip
    assert adapter_shape.spans(values) == (20.0, 2.0)
    values["LoRA 1, all"] += 3.0  # one cell moves a mean of three by a third
    assert adapter_shape.spans(values) == (pytest.approx(21.0), pytest.approx(1.0))


def test_what_is_forgotten_where_both_have_learnt_as_much() -> None:
    fast = [Look(0, 4.0, 1.0, 0.9), Look(10, 2.0, 1.4, 0.5), Look(20, 1.0, 2.4, 0.1)]
    slow = [Look(0, 4.0, 1.0, 0.9), Look(10, 3.0, 1.1, 0.8), Look(20, 1.5, 1.2, 0.7), Look(30, 1.6, 1.3, 0.7)]
    assert forgetting.equal(fast, slow) == forgetting.equal(slow, fast) == 1.5
    assert forgetting.at(fast, 1.5) == Look(15, 1.5, pytest.approx(1.9), pytest.approx(0.3))
    assert forgetting.at(slow, 1.5) == slow[2] and forgetting.at(fast, 5.0) == fast[0]
    assert forgetting.at(slow, 1.0) == slow[-1]  # never: what it has in the end
    assert forgetting.marks(120) == {120, 75, 47, 29, 18, 11, 7, 4} and forgetting.marks(1) == {1}


def test_specialists_answer_their_own_task_and_strangers_another() -> None:
    tasks = list(adapter_per_task.TASKS)
    right = {adapter_per_task.special(mine, adapter_per_task.EACH):
             {task: 0.8 if task == mine else 0.1 * i for i, task in enumerate(tasks)} for mine in tasks}  # fmt: skip
    assert adapter_per_task.specialists(right, adapter_per_task.EACH) == pytest.approx(0.8)
    assert adapter_per_task.others(right, adapter_per_task.EACH) == pytest.approx(3 * (0.0 + 0.1 + 0.2 + 0.3) / 12)


def test_statements_are_cut_before_the_value() -> None:
    world = World(1, 30)
    told = {text.text for lang in ("en", "zh") for text in facts.table(world, lang)}
    some = forgetting.statements(world, 60)
    assert len(some) == 60 and any(before.isascii() for before, _ in some)
    for before, value in some:
        assert any(text.startswith(before) and text[len(before) :].strip().startswith(value) for text in told)


def test_statements_are_completed_where_the_greedy_text_begins_with_the_value(loaded: Loaded) -> None:
    codec, prompts = loaded.codec, ["Zoe Kane lives in", "It is a"]
    said = []
    for prompt in prompts:
        ids = [codec.end, *codec.encode(prompt)]
        begun = len(ids)
        with torch.no_grad():
            for _ in range(8):
                ids.append(int(loaded.model(torch.tensor([ids]))[0, -1].argmax()))
        said.append(codec.decode(ids[begun:], skip_special=True).strip())
    assert all(said)
    assert forgetting.completed(loaded.model, loaded, [(prompts[0], said[0][:3]), (prompts[1], "§")]) == 0.5


@pytest.mark.parametrize("name", WAYS)
def test_a_run_moves_the_whole_model_or_the_adapter_alone(stirred: Loaded, name: str) -> None:
    tokens = tuning.chats(World(1, 30), stirred.codec, {"sums": 1.0}, 60)
    before = {key: value.clone() for key, value in stirred.model.state_dict().items()}
    model = tuning.tuned(stirred, WAYS[name], tokens, 0, 2, QUIET)
    assert all(torch.equal(value, before[key]) for key, value in stirred.model.state_dict().items())
    assert tuning.nats(model, tokens) != tuning.nats(stirred.model, tokens)
    if name == FULL:
        assert tuning.trained(model) == sum(p.numel() for p in model.parameters())
        assert not forgetting.alike(model, stirred.model)
        return
    assert 0 < tuning.trained(model) < 0.7 * sum(p.numel() for p in model.parameters())
    detach(model)
    assert forgetting.alike(model, stirred.model)


def test_a_lora_has_its_rank_times_both_sides_of_every_matrix(loaded: Loaded) -> None:
    tokens = tuning.chats(World(1, 30), loaded.codec, {"sums": 1.0}, 60)
    width, hidden = loaded.config.dim, loaded.config.hidden
    for rank in tuning.RANKS:
        model = tuning.tuned(loaded, WAYS[f"LoRA {rank}, feed-forward"], tokens, 0, 1, QUIET)
        assert tuning.trained(model) == rank * 3 * (width + hidden)


def test_steps_follow_the_budget() -> None:
    assert tuning.steps(Budget(), 120, 6.0) == 120 and tuning.steps(Budget(minutes=3), 120, 6.0) == 60
    assert tuning.steps(Budget(tokens=20_480), 120, 6.0) == 10 and tuning.steps(Budget(tokens=1), 120, 6.0) == 1


@pytest.mark.parametrize("lab", LABS)
def test_a_lab_runs_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, loaded: Loaded, lab: ModuleType
) -> None:
    monkeypatch.setattr(tuning, "base", lambda budget, seed: loaded)
    for module, name, value in (
        (tuning, "CHATS", 80), (aligning, "ASKED", 12), (forgetting, "TOLD", 8), (forgetting, "ASKED", 4),
        (forgetting, "LOOKS", 2), (adapter_per_task, "QUESTIONS", 3),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(forgetting.stages, "curriculum", lambda seed, people: plans.Curriculum(seed, people, texts=200))
    name = lab.__name__.rpartition(".")[2]
    budget = Budget(tokens=4096, seeds=(0,), out=tmp_path, lab=name)
    result = lab.run(budget)
    assert result.name == name and verdict(result) in (ONE_SEED, CONTROL_FAILED)  # one that has read nothing
    assert all(math.isfinite(row.estimate) for row in result.rows) and result.series
    assert lab.run(budget) == result and len(budget.spent) == 1  # of its parts


def shares(seed: int, **changes: float) -> dict[str, dict[str, float]]:
    """What `adapter_shape` measures: places matter, ranks hardly."""
    found = {adapter_shape.BEFORE: 0.01, **dict.fromkeys(WAYS, 0.6 - 0.002 * seed)}
    for i, place in enumerate(adapter_shape.PLACES):
        for rank in tuning.RANKS:
            found[f"LoRA {rank}, {place}"] = 0.4 + 0.1 * i + 0.001 * rank + 0.002 * seed
    found |= changes
    return {name: {"right": value, "nats": 1 - value, "trained": 100.0 + i} for i, (name, value) in
            enumerate(found.items())}  # fmt: skip


def paths(seed: int, **changes: Any) -> dict[str, Any]:
    """What `forgetting` measures: adapters learn less, and forget less."""

    def path(new: float, old: float, told: float) -> list[dict[str, float]]:
        first = {"step": 0.0, "new": 3.0, "old": 1.0, "told": 0.9}
        return [first, {"step": 10.0, "new": new + 0.01 * seed, "old": old + 0.01 * seed, "told": told - 0.01 * seed}]

    found = {name: path(0.8, 1.1, 0.85) for name in forgetting.ADAPTERS}
    found |= {FULL: path(0.3, 2.0, 0.3), forgetting.OLD: path(3.0, 1.0 - 0.01 * seed, 0.9)}
    found |= {name: path(*what) for name, what in changes.items() if name in found}
    return {"paths": found, "right": {FULL: 0.5}, "same": changes.get("same", 1.0)}


def tasks(seed: int, **changes: float) -> dict[str, dict[str, float]]:
    """What `adapter_per_task` measures."""
    lab, every = adapter_per_task, list(adapter_per_task.TASKS)
    found = {lab.BEFORE: dict.fromkeys(every, 0.0), lab.WHOLE: dict.fromkeys(every, changes.get("whole", 0.6)),
             lab.ONE: dict.fromkeys(every, 0.4)}  # fmt: skip
    for budgeted in (lab.TOTAL, lab.EACH):
        own = changes.get(budgeted, 0.6) + 0.002 * seed
        found |= {lab.special(mine, budgeted): dict.fromkeys(every, changes.get("strange", 0.1)) | {mine: own}
                  for mine in every}  # fmt: skip
    return found


@pytest.mark.parametrize("lab, made, changes, told", [
    (adapter_shape, shares, {}, HELD),
    (adapter_shape, shares, {"LoRA 4, all": 0.5}, PART),
    (adapter_shape, shares, {adapter_shape.BEFORE: 0.3}, CONTROL_FAILED),
    (adapter_shape, shares, {FULL: 0.2}, CONTROL_FAILED),
    (forgetting, paths, {}, HELD),
    (forgetting, paths, {FULL: (0.3, 1.01, 0.3)}, PART),
    (forgetting, paths, {FULL: (0.9, 1.01, 0.89)}, NOT_HELD),
    (forgetting, paths, {"same": 0.8}, CONTROL_FAILED),
    (forgetting, paths, {forgetting.OLD: (3.0, 1.5, 0.9)}, CONTROL_FAILED),
    (adapter_per_task, tasks, {}, HELD),
    (adapter_per_task, tasks, {adapter_per_task.TOTAL: 0.45}, PART),
    (adapter_per_task, tasks, {adapter_per_task.TOTAL: 0.35, adapter_per_task.EACH: 0.3}, NOT_HELD),
    (adapter_per_task, tasks, {"strange": 0.5}, CONTROL_FAILED),
    (adapter_per_task, tasks, {"whole": 0.2}, CONTROL_FAILED),
])  # fmt: skip
def test_verdicts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lab: ModuleType, made: Any, changes: Mapping[str, Any], told: str
) -> None:
    monkeypatch.setattr(lab, "measure", lambda budget, seed: made(seed, **changes))
    seeds: Sequence[int] = (0, 1, 2)
    assert verdict(lab.run(Budget(seeds=tuple(seeds), out=tmp_path, lab="any"))) == told
