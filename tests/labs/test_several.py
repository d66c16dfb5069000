"""Questions with several right answers: what is counted, the closed forms, and both labs' rows at a small budget."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from jielong.base.result import Result
from jielong.infer.parallel import Passes
from jielong.labs import all_at_once, passes_quality, several
from jielong.labs.lab import Budget
from jielong.labs.several import Asked, Drawn
from jielong.labs.verdict import verdict
from jielong.units.codec import Tokenizer
from jielong.views.verdicts import CONTROL_FAILED, HELD, NOT_HELD, ONE_SEED, PART
from tests.infer.mixtures import Knows, Law, product
from tests.infer.test_parallel import enumerated

END = 9
TWO = Asked((1,), ((2, 3, END), (4, 5, 6, END)), "?")


@pytest.fixture(scope="module")
def codec() -> Tokenizer:
    return several.codec_of(0)


def test_what_counts_as_right_mixed_and_wrong() -> None:
    def of(*ids: int) -> str:
        return several.kind(Drawn(TWO, ids, 1), END)

    assert of(2, 3, END, END) == of(2, 3, END, 6) == of(4, 5, 6, END) == "right"
    assert of(4, 3, END, END) == of(2, 5, 6, END) == of(2, 3, 6, END) == "mixed"
    assert of(2, 2, END, END) == of(7, 3, END, END) == of(END, 3, END, END) == of(4, 5, 6, 6) == "wrong"
    assert several.whole(Drawn(TWO, (2, 3, END, END), 1), END) and not several.whole(Drawn(TWO, (2, 3, END, 6), 1), END)
    some = [Drawn(TWO, ids, 1) for ids in ((2, 3, END, END), (4, 5, 6, END), (4, 3, END, END), (8, 8, 8, 8))]
    assert several.shares(some, END) == {"right": 0.5, "mixed": 0.25, "wrong": 0.25}
    assert several.both_named(some, END) == 1 and several.both_named(some[1:], END) == 0


def test_closed_forms_by_enumeration() -> None:
    """The product of the marginals, and ancestral steps, of two answers of different lengths that share a token."""
    asked = Asked((1,), ((2, 5, END), (4, 5, 6, END)), "?")
    law: Law = {(2, 5, END, END): 0.5, (4, 5, 6, END): 0.5}
    once = product(law, 10)
    kinds = {ids: several.kind(Drawn(asked, ids, 1), END) for ids, p in once.items() if p}
    assert several.product_right(asked) == pytest.approx(
        sum(once[ids] for ids, kind in kinds.items() if kind == "right")
    )
    assert several.product_right(Asked((1,), ((2, END),), "?")) == 1
    for number in (1, 2, 4):
        found = enumerated(law, 10, Passes("ancestral", number)) if number < 4 else None
        if found is not None:
            due = sum(p for ids, p in found.items() if several.whole(Drawn(asked, ids, 1), END))
            # who knows the law and sees a mixture takes any token: it never comes back to an answer whole
            assert several.consistent(asked, 4, number) == pytest.approx(due, abs=1e-6)
        assert several.consistent(asked, 4, number) == pytest.approx(1 - 1 / (2 * number))
    assert Knows(law, 10, 10).slots == 4


def test_the_data(codec: Tokenizer) -> None:
    world = several.world_of(0)
    two, one = (several.questions(world, codec, "asked", both) for both in (True, False))
    assert len(two) > 100 and len(one) > 100
    assert all(len(q.answers) == 2 and q.answers[0] != q.answers[1] for q in two)
    assert all(len(q.answers) == 1 and q.answers[0][-1] == codec.end for q in one)
    taught = {ids for ids, _ in several.taught(0, codec)}
    assert not taught & {(*q.source, *answer) for q in two + one for answer in q.answers}
    facts = {answer for ids, mask in several.taught(0, codec) for answer in [tuple(itertools.compress(ids, mask))]}
    assert all(answer in facts for q in two + one for answer in q.answers)
    assert max(len(ids) for ids in taught) <= several.ROW
    assert 0.1 < sum(map(several.product_right, two)) / len(two) < 0.5


def test_small_models_of_every_kind_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Real, but hardly trained: every figure is there; knowing nothing, the controls fail, and nothing is claimed."""
    for module in (all_at_once, passes_quality):
        monkeypatch.setattr(module, "QUESTIONS", 4)
        monkeypatch.setattr(module, "DRAWS", 2)
    monkeypatch.setattr(all_at_once, "WIDE", 32)
    monkeypatch.setattr(all_at_once, "DEEP", 2)
    monkeypatch.setattr(passes_quality, "PASSES", (1, 3))
    monkeypatch.setattr(several, "ANSWERS", 200)
    budget = Budget(seeds=(0,), out=tmp_path, lab="all_at_once")
    result = all_at_once.run(budget)
    assert verdict(result) == CONTROL_FAILED
    assert Result.from_json(result.to_json()) == result
    shares = [result.row(f"{kind}, two right answers", "all at once").estimate for kind in ("right", "mixed", "wrong")]
    assert sum(shares) == pytest.approx(1)
    second = passes_quality.run(Budget(seeds=(0,), out=tmp_path, lab="passes_quality"))
    assert verdict(second) == CONTROL_FAILED and second.series["passes"]["lines"]
    assert second.row("readings that wait for each other, 1 passes", "confident").estimate == 1


def test_operations_are_about_as_many() -> None:
    config = all_at_once._config()
    blocks = config.parameters - config.vocab * config.dim
    assert all_at_once.operations(config, 1, 1, True) == 2 * (
        blocks + 2 * config.layers * config.heads * config.head_dim + config.dim * config.vocab
    )
    once, after = (all_at_once.operations(config, 32, 64, causal) for causal in (False, True))
    assert 1 < once / after < 1.16


def at_once(**changes: float) -> dict[str, Any]:
    found = {f"{kind}, two, {name}": 0.3 for kind in ("right", "mixed", "wrong") for name in ("next-token", "at-once")}
    found |= {"mixed, two, next-token": 0.01, "mixed, two, at-once": 0.6, "steps": 5.0, "product": 0.3, "lead": 0.6}
    found |= {"right, one, next-token": 0.9, "right, one, at-once": 0.9}
    return {"figures": found | changes, "seen": {}}


@pytest.mark.parametrize(
    "changes, ratio, told",
    [
        ({}, 0.1, HELD),
        ({}, 1.2, PART),
        ({}, 0.7, PART),
        ({"mixed, two, at-once": 0.005, "lead": -0.1}, 1.2, NOT_HELD),
        ({"right, one, at-once": 0.5}, 0.1, CONTROL_FAILED),
    ],
)
def test_verdicts_on_all_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, changes: dict[str, float], ratio: float, told: str
) -> None:
    monkeypatch.setattr(all_at_once, "measure", lambda budget, seed, answers: at_once(**changes))
    monkeypatch.setattr(all_at_once, "timed", lambda budget, seed: {"time, 1": [ratio] * 9, "time, 8": [0.5] * 9})
    assert verdict(all_at_once.run(Budget(out=tmp_path, lab="all_at_once"))) == told
    if told == HELD:
        assert verdict(all_at_once.run(Budget(out=tmp_path / "one", seeds=(0,), lab="all_at_once"))) == ONE_SEED


@pytest.mark.parametrize("rise, single, told", [(0.3, 0.95, HELD), (-0.1, 0.95, NOT_HELD), (0.3, 0.4, CONTROL_FAILED)])
def test_verdicts_on_passes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, rise: float, single: float, told: str
) -> None:
    found: dict[str, float] = {"right, after": 0.9, "mixed, after": 0.0}
    for number in passes_quality.PASSES:
        found[f"closed form, {number}"] = 0.5
        for way in passes_quality.WAYS:
            for kind in ("right", "mixed", "wrong", "both", "whole", "reads"):
                found[f"{kind}, {way}, {number}"] = 0.3 + rise * (number > 1)
    found |= {f"single, {name}": single for name in passes_quality.WAYS.values()}
    monkeypatch.setattr(passes_quality, "measure", lambda budget, seed, answers: found)
    assert verdict(passes_quality.run(Budget(out=tmp_path, lab="passes_quality"))) == told
