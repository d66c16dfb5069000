"""The stage of the labs of thinking: chats that are right, in the strategies' own words, and problems held out."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from jielong.labs import thinking
from jielong.labs import thinking_chats as taught
from jielong.labs.thinking_chats import Lot
from jielong.prompting import cot, debate, least_to_most, program_aided, retrieval
from jielong.prompting.readers import number
from jielong.prompting.strategy import Problem
from jielong.world.sums import long_split

MANY = 60
PARTS = ("row, taken apart", "row, smaller", "row, concluded")


def turns(kind: str) -> list[list[str]]:
    shares = {kind: 1.0}
    return [[str(turn["content"]) for turn in chat] for chat in taught.chats(3, MANY, shares, worlds=2)]


def value(text: str) -> int:
    """What a sum of plain numbers and products is, without evaluating it."""
    return sum(int(a) * int(b or 1) for a, b in re.findall(r"(\d+)(?:\*(\d+))?", text))


@pytest.mark.parametrize("kind", [k for k in taught.COUNTS if k not in PARTS])
def test_what_is_learnt_is_right(kind: str) -> None:
    for chat in turns(kind):
        asked, said = chat[0].split("\n")[0], chat[-1]
        if kind == "program":
            assert value(said.removeprefix("def solution():\n    return ")) == value(asked)
            assert program_aided.program(said) == said
        else:
            answer = cot.concluded(Problem(asked, read=number), said)
            assert answer.value == str(value(asked)), chat


def test_rows_are_taken_apart_into_questions_that_lead_to_the_sum() -> None:
    for chat in turns("row, taken apart"):
        terms = [int(t) for t in re.findall(r"\d+", chat[0].split("\n")[0])]
        questions = least_to_most.NUMBERED.findall(chat[-1])
        assert questions == taught.smaller(terms) and value(" ".join(questions)) == sum(terms) < 100
        assert 2 <= len(terms) <= taught.LISTED
    for chat in turns("row, smaller"):
        total = more = 0
        for question, said in zip(chat[::2], chat[1::2], strict=True):
            follows = question.startswith("And")
            total, more = (total + value(question), more + 1) if follows else (value(question), 0)
            assert said == f"{total}." and more <= taught.LONGEST - 2


def test_rows_are_concluded_by_what_was_said_last() -> None:
    for _, said, question, again in turns("row, concluded"):
        assert said == again == f"{value(question)}."


def test_prompts_are_the_strategies_own() -> None:
    def begins(kind: str, text: str) -> bool:
        fixed = [part for part in re.split(r"\{\w+\}", text) if part.strip()]
        return all(all(part in " ".join(chat) for part in fixed) for chat in turns(kind))

    assert begins("sum, steps", cot.ASK["en"]) and begins("row, taken apart", least_to_most.SPLIT["en"])
    assert begins("program", program_aided.ASK["en"]) and begins("others", debate.OTHERS["en"])
    assert begins("passages", retrieval.ASK["en"])


def test_pages_hold_the_answer_where_it_is_given() -> None:
    known = unknown = 0
    for chat in turns("passages"):
        for said in chat[1::2]:
            if said == retrieval.UNKNOWN["en"]:
                unknown += 1
                continue
            found = re.fullmatch(r"(.+) \[(\d)\]", said)
            assert found is not None
            page = chat[0].split(f"<passage {found[2]} ")[1].split("</passage")[0]
            assert retrieval.quoted(found[1], page)
            known += 1
    assert known > 2 * MANY and unknown > MANY // 10


def test_what_is_measured_was_held_out() -> None:
    for problem in thinking.sums(1, MANY):
        a, b = map(int, re.findall(r"\d+", problem.text))
        assert long_split(a, b) == "test" and problem.gold == str(a + b)
    for chat in turns("sum, steps"):
        a, b = map(int, re.findall(r"\d+", chat[0])[:2])
        assert long_split(a, b) == "train"
    assert all(p.text.count("+") == 7 and int(p.gold or 0) < 100 for p in thinking.rows(1, MANY, 8))
    problems, pages = thinking.about(2, 50)
    assert len(pages) == 30 and all(p.read(p.gold or "") == p.gold for p in problems)
    assert all(sum(retrieval.quoted(str(p.gold), page.text) for page in pages) >= 1 for p in problems)


def test_what_is_learnt_of_a_chat() -> None:
    def learnt(kind: str, marks: Sequence[int]) -> list[bool]:
        chat = next(taught.chats(3, 1, {kind: 1.0}, worlds=1))
        return taught.learnt(chat, [0] * len(marks), [bool(m) for m in marks])[1]

    marks = [0, 1, 1, 0, 0, 1, 0]
    assert learnt("others", marks) == [False] * 5 + [True, False] and learnt("others", [1, 1]) == [True, True]
    assert learnt("row, concluded", marks) == learnt("others", marks)
    assert learnt("row, smaller", marks) == [bool(m) for m in marks]


def test_wrong_replies_are_wrong_in_the_result_alone() -> None:
    for item in range(MANY):
        terms = taught.operands(Lot(1, item), "train")
        said, right = taught.wrong(Lot(1, item), terms, "w"), taught.in_steps(terms)
        assert len(said) == len(right) and said.split(", so")[0] == right.split(", so")[0]
        assert number(said) != str(sum(terms)) and len(str(number(said))) == len(str(sum(terms)))
