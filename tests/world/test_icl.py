"""In-context tasks: the examples settle the answer, and what is held out is never shown."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest

from jielong.world import World, icl
from jielong.world.words.icl import CATEGORIES, LABELS, STRINGS

WORLD = World()


@pytest.fixture(scope="module")
def asked() -> dict[str, list]:
    return {split: WORLD.questions("icl", 600, split=split) for split in ("train", "test")}


def shots(prompt: str) -> tuple[list[tuple[str, str]], str]:
    arrow = " => " if " => " in prompt else " -> "
    *lines, last = prompt.split("\n")
    return [tuple(line.split(arrow)) for line in lines], last.removesuffix(arrow.rstrip()).strip()


def test_the_oracle_finds_every_answer_from_the_prompt(asked: dict[str, list]) -> None:
    for question in asked["train"] + asked["test"]:
        assert WORLD.answer(question) == question.answer
        assert WORLD.check(question, question.answer) == "right"
        assert WORLD.check(question, f" {question.answer}。\nmore") == "right"
        assert WORLD.check(question, "xyzzy") == "wrong"
    assert icl.answer(WORLD, "What is the time?") is None
    assert icl.answer(WORLD, "a -> b\nc ->") is None


def test_spans_point_at_the_labels(asked: dict[str, list]) -> None:
    for question in asked["train"]:
        pairs, query = shots(question.prompt)
        spans = question.origin.get("labels")
        assert [question.prompt[a:b] for a, b in spans] == [y for _, y in pairs]
        assert question.origin.get("query") == query and question.origin.get("shots") == len(pairs)


def test_linear_rules_are_settled_by_brute_force(asked: dict[str, list]) -> None:
    seen = 0
    for question in asked["train"] + asked["test"]:
        if str(question.origin.get("rule", "")).startswith("x*"):
            pairs, query = shots(question.prompt)
            fit = {a * int(query) + b for a, b in product(range(-20, 21), repeat=2)
                   if all(a * int(x) + b == int(y) for x, y in pairs)}  # fmt: skip
            assert fit == {int(question.answer)}
            seen += 1
    assert seen > 50


def test_flipped_and_straight_are_as_frequent_and_part_ways(asked: dict[str, list]) -> None:
    flipped = [q for q in asked["train"] + asked["test"] if q.origin.get("task") == "flipped"]
    share = sum(q.origin.get("flipped") for q in flipped) / len(flipped)
    assert 0.4 < share < 0.6
    for question in flipped:
        assert (question.answer != question.origin.get("prior")) == question.origin.get("flipped")
    balance = Counter(q.answer == q.origin.get("prior") for q in flipped)
    assert min(balance.values()) > 0.4 * len(flipped)


def test_held_out_functions_groups_and_labels_are_disjoint(asked: dict[str, list]) -> None:
    rules = {s: {q.origin.get("rule") for q in asked[s] if q.origin.get("task") == "mapping"} for s in asked}
    assert rules["test"] <= icl.held_out(0) and not rules["train"] & icl.held_out(0)
    assert len(icl.held_out(0)) == pytest.approx(len(icl._rules()) / 5, abs=2)
    groups = {s: set(icl._groups(0, s)) for s in ("train", "test")}
    assert not groups["train"] & groups["test"]
    for lang in ("en", "zh"):
        assert not set(LABELS["train"][lang]) & set(LABELS["test"][lang])


@pytest.mark.parametrize("inputs", [icl.NUMBERS, STRINGS["en"], STRINGS["zh"]])
def test_two_examples_settle_every_function(inputs: tuple[str, ...]) -> None:
    family = [rule for name, rule in icl._rules().items() if (name[0] == "x") == inputs[0].isdecimal()]
    tables = [[rule(x) for x in inputs] for rule in family]
    assert all(all(table) for table in tables)  # and no answer is empty
    assert max(sum(map(str.__eq__, a, b)) for i, a in enumerate(tables) for b in tables[:i]) <= 1


def test_no_word_is_of_two_categories() -> None:
    for zh in (0, 1):
        words = [pair[zh] for pairs in CATEGORIES.values() for pair in pairs]
        assert len(set(words)) == len(words) == 12 * len(CATEGORIES)


def test_asked_has_the_held_out_look_and_trained_rules() -> None:
    for question in WORLD.questions("icl", 60, split="asked"):
        assert " => " in question.prompt
        assert question.origin.get("rule") not in icl.held_out(0)
