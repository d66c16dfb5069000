"""Sums: steps add up, held-out pairs stay out in every form, the oracle reads the prompt."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jielong.base.errors import UserError
from jielong.world import World
from jielong.world.puzzles import evaluate, solutions
from jielong.world.sums import STORIES_TEST, held_out, long_split, pairs, steps

WORLD = World(0, 75)
TWO_DIGITS = ("sums", "sums_direct", "sums_words")
ALL = (*TWO_DIGITS, "sums_long", "sums_chain")


@pytest.mark.parametrize(
    ("a", "b", "lang", "text"),
    [
        (47, 38, "en", "7+8=15, 4+3+1=8, so 85."),
        (47, 38, "zh", "7+8=15，4+3+1=8，所以是85。"),
        (95, 89, "en", "5+9=14, 9+8+1=18, so 184."),
        (10, 20, "en", "0+0=0, 1+2=3, so 30."),
        (999, 1, "en", "9+1=10, 9+0+1=10, 9+0+1=10, so 1000."),
        (100, 23456, "en", "0+6=6, 0+5=5, 1+4=5, 0+3=3, 0+2=2, so 23556."),
    ],
)
def test_steps_by_hand(a, b, lang, text):
    assert steps(a, b, lang) == text


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_steps_are_right_for_all_numbers(a, b):
    *lines, last = steps(a, b, "en").removesuffix(".").split(", ")
    for line in lines:
        left, right = line.split("=")
        assert sum(int(each) for each in left.split("+")) == int(right)
    assert last == f"so {a + b}"


def test_a_fifth_of_the_unordered_pairs_is_held_out():
    out = held_out(0)
    assert len(out) == 4095 // 5 and out != held_out(1)
    train, test = set(pairs(0, False)), set(pairs(0, True))
    assert not train & test and len(train | test) == 8100
    assert all((b, a) in test for a, b in test)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_held_out_pairs_appear_in_no_form_of_training(kind, lang):
    out = held_out(0)

    def inside(text: str) -> bool:
        numbers = [int(each) for each in re.findall(r"\d+", text)][:2]
        if kind == "sums_long":
            return long_split(*numbers) == "test"
        return (min(numbers), max(numbers)) in out

    written = [t.text for t in WORLD.texts(kind, 2000, lang=lang)]
    written += [c.messages[0].content for c in WORLD.chats(kind, 2000, lang=lang)]
    written += [q.prompt for q in WORLD.questions(kind, 500, split="train", lang=lang)]
    assert not any(map(inside, written))
    assert all(inside(q.prompt) for q in WORLD.questions(kind, 500, split="test", lang=lang))
    assert all(inside(t.text) for t in WORLD.texts(kind, 500, split="test", lang=lang))


def test_long_pairs_are_split_whatever_the_order():
    share = sum(long_split(a, b) == "test" for a in range(100, 300) for b in range(1000, 1050)) / 10_000
    assert abs(share - 0.2) < 0.02
    assert all(long_split(a, 54321) == long_split(54321, a) for a in range(100, 400))


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("split", ["train", "test", "asked"])
def test_every_sum_is_answered_by_itself_and_by_the_oracle(kind, split):
    for question in WORLD.questions(kind, 400, split=split):
        origin = question.origin
        result = origin.get("a") + origin.get("b") - origin.get("c", 0)
        assert question.accept == (str(result),) and origin.get("result") == result >= 0
        assert WORLD.check(question, question.answer) == "right"
        assert WORLD.answer(question) == question.answer


def test_stories_of_tests_are_worded_otherwise():
    for lang in ("en", "zh"):
        starts = tuple(re.split(r"\{a\}", story)[0] for story in STORIES_TEST[lang])
        for question in WORLD.questions("sums_words", 200, split="test", lang=lang):
            assert question.prompt.startswith(starts)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("85", "right"), ("7+8=15, 4+3+1=8, so 85.", "right"), ("085", "right"), ("８５", "right"),
        ("84", "wrong"), ("85 or 86", "wrong"), ("7+8=15", "wrong"), ("I do not know.", "refused"),
        ("many", "nonsense"), ("", "nonsense"),
    ],
)  # fmt: skip
def test_the_last_number_counts(reply, verdict):
    from jielong.world.text import Origin, Question

    asked = Question("What is 47+38?", "85.", ("85",), Origin("sums", "en"))
    assert WORLD.check(asked, reply) == verdict


def test_the_oracle_reads_only_sums():
    from jielong.world.sums import answer

    assert answer(WORLD, "What is 5?") is None
    assert answer(WORLD, "What is 50+30-20?") == "50+30=80, 80-20=60, so 60."


@pytest.mark.parametrize("kind", ["sums_long", "sums_chain"])
def test_streams_without_a_written_law_say_so(kind):
    with pytest.raises(UserError, match="not known exactly"):
        WORLD.entropy(kind)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1+2*3", 7), ("(1+2)*3", 9), ("2-3-4", -5), ("2*(3-4)*5", -10), ("7", 7), (" 1 + 1 ", 2),
        ("1+", None), ("(1+2", None), ("1)", None), ("", None), ("a+1", None), ("1/2", None), ("+1", None),
        ("(" * 150 + "1" + ")" * 150, None), ("__import__('os')", None),
    ],
)  # fmt: skip
def test_expressions_are_parsed_not_run(text, value):
    assert evaluate(text) == value


def test_solutions_are_all_there_are():
    every = solutions()
    for (numbers, target), found in every.items():
        assert all(evaluate(text) == target for text in found)
        assert all(sorted(map(int, re.findall(r"\d", text))) == list(numbers) for text in found)
    assert "(9-6)*5" in every[(5, 6, 9), 15]
    assert ((1, 1, 1), 30) not in every


@pytest.mark.parametrize("split", ["train", "test"])
def test_puzzles(split):
    asked = WORLD.questions("sums_puzzle", 300, split=split)
    for question in asked:
        assert WORLD.check(question, question.answer) == "right"
        assert WORLD.check(question, WORLD.answer(question)) == "right"
        assert all(WORLD.check(question, f"{each}.") == "right" for each in question.accept)
        assert WORLD.check(question, "1+1") == "wrong"
        assert WORLD.check(question, "I do not know.") == "refused"
        assert WORLD.check(question, "yes") == "nonsense"
    other = WORLD.questions("sums_puzzle", 300, split="test" if split == "train" else "train")
    assert not {q.origin.get("numbers") for q in asked} & {q.origin.get("numbers") for q in other}


def test_puzzles_without_solution():
    from jielong.world.puzzles import answer

    assert answer(WORLD, "Make 29 from 1, 1 and 1.") is None
    assert answer(WORLD, "Hello") is None
