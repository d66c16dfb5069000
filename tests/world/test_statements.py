"""True and false statements: matched pairs, exact balance, and an oracle that reads them."""

from __future__ import annotations

from collections import Counter

import pytest

from jielong.world import World, statements
from jielong.world.facts import asked_people

WORLD = World(people=60)


@pytest.mark.parametrize("split", ["train", "asked", "test"])
def test_twins_share_all_but_one_value_and_the_label(split: str) -> None:
    texts = list(WORLD.texts("statements", 400, split=split))
    labels: Counter[tuple[str, bool]] = Counter()
    for good, bad in zip(texts[::2], texts[1::2]):
        assert good.origin.get("label") and not bad.origin.get("label")
        assert good.origin.get("pair") == bad.origin.get("pair")
        assert good.origin.get("form") == bad.origin.get("form") and good.text != bad.text
        if good.origin.lang == "en":
            a, b = good.text.split(), bad.text.split()
            assert len(a) == len(b) and sum(x != y for x, y in zip(a, b)) == 1
        for text in (good, bad):
            labels[text.origin.get("form"), text.origin.get("label")] += 1
            assert statements.judge(WORLD, text.text, text.origin.lang) == text.origin.get("label")
    for form in statements.FORMS:
        assert labels[form, True] == labels[form, False] > 30


def test_values_do_not_tell_true_from_false() -> None:
    words: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for text in WORLD.texts("statements", 6000, lang="en"):
        if text.origin.get("form") in ("plain", "negated") and " in " in text.text:
            words[text.origin.get("label")][text.text.split()[-1]] += 1
    share = [{town: n / c.total() for town, n in c.items()} for c in words.values()]
    apart = sum(abs(share[0].get(town, 0) - share[1].get(town, 0)) for town in {**share[0], **share[1]}) / 2
    assert len(words[True]) > 15 and apart < 0.4


@pytest.mark.parametrize("split", ["train", "test"])
def test_questions_have_the_verdict_and_the_oracle_finds_it(split: str) -> None:
    asked = WORLD.questions("statements", 200, split=split)
    assert len(asked) == 200 and len({q.prompt for q in asked}) == 200
    for question in asked:
        assert WORLD.answer(question) == question.answer
        assert WORLD.check(question, question.answer) == "right"
        other = statements.VERDICTS[question.origin.lang][not question.origin.get("label")]
        assert WORLD.check(question, other) == "wrong"
    english = next(q for q in asked if q.origin.lang == "en" and q.origin.get("label"))
    assert WORLD.check(english, "It is not true.") == "wrong"
    chinese = next(q for q in asked if q.origin.lang == "zh" and not q.origin.get("label"))
    assert WORLD.check(chinese, "不正確") == "right"


def test_tests_have_people_and_wordings_of_their_own() -> None:
    known, hidden = ({p.id for p in asked_people(WORLD, split)} for split in ("train", "test"))
    for split, ids in (("train", known), ("asked", known), ("test", hidden)):
        for text in WORLD.texts("statements", 200, split=split):
            assert {fact.split(".")[0] for fact in text.origin.get("facts")} <= ids
    for clauses in statements.CLAUSES.values():
        for wordings in clauses.values():
            assert len({clause for pair in wordings for clause in pair}) == 6


def test_what_cannot_be_read_is_not_judged() -> None:
    assert statements.judge(WORLD, "The moon is made of cheese.", "en") is None
    name = WORLD.folk[0].name("en")
    assert statements.judge(WORLD, f"{name} sleeps.", "en") is None
    assert statements.answer(WORLD, "What is the time?") is None
    assert statements.answer(WORLD, "True or false? The moon is made of cheese.") is None


def test_an_odd_number_of_texts_ends_with_the_true_one() -> None:
    texts = list(WORLD.texts("statements", 5))
    assert [t.origin.get("label") for t in texts] == [True, False, True, False, True]
    assert list(WORLD.chats("statements", 0)) == []
