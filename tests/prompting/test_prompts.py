"""What exactly is asked, how often, and in which order; how replies are read; what a wrong use is told."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from jielong.base.errors import UserError
from jielong.lm.meter import count_words
from jielong.lm.scripted import Scripted
from jielong.prompting import readers
from jielong.prompting.context import context
from jielong.prompting.cot import concluded, cot
from jielong.prompting.critique import PRINCIPLES, critique, pairs
from jielong.prompting.direct import direct
from jielong.prompting.few_shot import few_shot
from jielong.prompting.least_to_most import least_to_most
from jielong.prompting.readers import number, one_of
from jielong.prompting.refine import refine
from jielong.prompting.reflexion import reflexion
from jielong.prompting.self_check import self_check
from jielong.prompting.spells import SPELLS, spells
from jielong.prompting.strategy import Answer, Example, Problem, solve, tongue
from jielong.prompting.vote import majority, vote
from jielong.prompting.zero_shot_cot import zero_shot_cot

SHOWN = (Example("1 + 1?", "2", "One and one make two."), Example("How many legs has a duck?", "2"),
         Example("5 + 5?", "10", "Five and five make ten."))  # fmt: skip
SUM = Problem("2 + 2?", "sum", "4", number, examples=SHOWN)
BARE = Problem("2 + 2?", "bare", "4", number)
SUM_ZH = Problem("2 加 2 是多少？", "sum-zh", "4", number)


def asked(strategy: Any, problem: Problem, replies: Any) -> tuple[Answer, list[list[tuple[str, str]]], Scripted]:
    """The answer, and of each call the turns as (role, content)."""
    lm = Scripted(replies)
    answer = solve(strategy, lm, problem)
    return answer, [[(m["role"], m["content"]) for m in call.prompt] for call in lm.calls], lm


def test_direct_asks_the_question_and_nothing_else() -> None:
    answer, calls, lm = asked(direct, BARE, ["It is 4."])
    assert calls == [[("user", "2 + 2?")]] and (answer.value, answer.text) == ("4", "It is 4.")
    assert lm.calls[0].start == 0


def test_few_shot_shows_its_examples_as_turns() -> None:
    _, calls, _ = asked(partial(few_shot, k=2), SUM, ["4"])
    assert calls == [[("user", "1 + 1?"), ("assistant", "2"), ("user", "How many legs has a duck?"),
                      ("assistant", "2"), ("user", "2 + 2?")]]  # fmt: skip


def test_the_nearest_example_stands_last() -> None:
    class Embedding(Scripted):
        async def aembed(self, texts: Any) -> np.ndarray:
            at = {"2 + 2?": (1, 0), "1 + 1?": (0.9, 0.1), "5 + 5?": (0.99, 0.01)}
            return np.array([at.get(t, (0, 1)) for t in texts], dtype=np.float32)

    for choice, lm in (("nearest", Embedding(["4"])), ("words", Scripted(["4"]))):
        problem = SUM if choice == "nearest" else Problem("5 + 2?", "w", "7", number, examples=SHOWN)
        solve(partial(few_shot, k=2, choice=choice), lm, problem)
        shown = [m["content"] for m in lm.calls[0].prompt if m["role"] == "user"][:-1]
        assert shown == ["1 + 1?", "5 + 5?"]


def test_random_examples_are_those_of_the_problem() -> None:
    many = tuple(Example(f"q{i}", str(i)) for i in range(20))
    problems = [Problem("2 + 2?", str(i), "4", number, examples=many) for i in range(6)]
    drawn = [asked(partial(few_shot, k=3, choice="random"), each, ["4"])[1][0] for each in problems]
    assert drawn == [asked(partial(few_shot, k=3, choice="random"), each, ["4"])[1][0] for each in problems]
    assert len({str(each) for each in drawn}) == 6 and all(len(each) == 7 for each in drawn)


def test_cot_shows_steps_and_where_there_are_none_asks_for_them() -> None:
    _, calls, _ = asked(cot, SUM, ["Two and two. The answer is 4."])
    assert calls == [[("user", "1 + 1?"), ("assistant", "One and one make two. The answer is 2."), ("user", "5 + 5?"),
                      ("assistant", "Five and five make ten. The answer is 10."), ("user", "2 + 2?")]]  # fmt: skip
    _, calls, _ = asked(cot, BARE, ["The answer is 4."])
    assert calls == [[("user", '2 + 2?\nThink step by step, and end with "The answer is" and the answer.')]]
    _, calls, _ = asked(cot, SUM_ZH, ["答案是4。"])
    assert calls[0][0][1] == "2 加 2 是多少？\n請一步一步想，最後寫「答案是」和答案。"


@pytest.mark.parametrize("reply, value", [
    ("7 steps. The answer is 4. Bye 9", "4"), ("the answer is: **4**\n12 more", "4"), ("答案是「4」。再見 5", "4"),
    ("so 4", "4"), ("The answer is 3. No: the answer is 4.", "4"), ("The answer is 4.5.", "4.5"), ("nothing", None),
])  # fmt: skip
def test_the_conclusion_is_read(reply: str, value: str | None) -> None:
    assert concluded(BARE, reply).value == value


def test_any_text_may_be_an_answer() -> None:
    assert concluded(Problem("Who?"), "Hm. The answer is Dr. Wren.").value == "Dr. Wren"


def test_zero_shot_cot_makes_two_calls_and_the_second_holds_the_first_reply() -> None:
    answer, calls, _ = asked(zero_shot_cot, BARE, ["Two, 9 and two.", "4, not 5."])
    assert calls == [[("user", "2 + 2?\nLet's think step by step.")],
                     [("user", "2 + 2?\nLet's think step by step."), ("assistant", "Two, 9 and two."),
                      ("user", "Therefore, the answer (arabic numerals) is")]]  # fmt: skip
    assert answer.value == "4" and answer.text == "Two, 9 and two.\n4, not 5."
    _, calls, _ = asked(zero_shot_cot, Problem("Yes?", read=one_of(("yes", "no"))), ["Hm.", "yes"])
    assert calls[1][-1] == ("user", "Therefore, the answer is")


@pytest.mark.parametrize("cast", SPELLS)
def test_a_spell_and_its_twin_are_equally_long(cast: str) -> None:
    spell = SPELLS[cast]
    assert count_words(spell.en) == count_words(spell.neutral_en)
    assert count_words(spell.zh) == count_words(spell.neutral_zh)
    for neutral in (False, True):
        said = {"en": (spell.en, spell.neutral_en), "zh": (spell.zh, spell.neutral_zh)}
        for problem in (BARE, SUM_ZH):
            _, calls, _ = asked(spells(direct, cast, neutral), problem, ["4"])
            assert calls == [[("user", f"{problem.text}\n{said[tongue(problem.text)][neutral]}")]]


def test_context_stands_before_the_question() -> None:
    _, calls, _ = asked(context(direct, "Sums are in base 3."), BARE, ["11"])
    assert calls == [[("user", "What you should know:\nSums are in base 3.\n\n2 + 2?")]]


def test_least_to_most_asks_once_for_each_part_and_its_prompts_grow() -> None:
    replies = ["1. What is 1 + 1?\n2) And 2 more?\n- Is that all?\n2 + 2?", "2", "4", "yes", "The answer is 4."]
    answer, calls, _ = asked(least_to_most, BARE, replies)
    assert [len(call) for call in calls] == [1, 1, 3, 5, 7]
    assert calls[-1] == [("user", "What is 1 + 1?"), ("assistant", "2"), ("user", "And 2 more?"), ("assistant", "4"),
                         ("user", "Is that all?"), ("assistant", "yes"), ("user", "2 + 2?")]  # fmt: skip
    assert answer.value == "4"
    assert len(asked(partial(least_to_most, most=1), BARE, [*replies[:2], "4"])[1]) == 3


def test_vote_runs_on_branches_and_more_runs_begin_with_fewer() -> None:
    _, calls, three = asked(vote(direct, 3), BARE, ["4", "5", "5"])
    assert calls == [[("user", "2 + 2?")]] * 3
    _, _, five = asked(vote(direct, 5), BARE, ["4"] * 5)
    starts = [call.start for call in five.calls]
    assert starts[:3] == [call.start for call in three.calls] and len(set(starts)) == 5


def test_majority_drops_what_was_not_read_and_takes_the_earlier_of_equals() -> None:
    values = [None, None, None, "5", "4", "4", "5", None]
    found = majority([Answer(v, f"said {i}") for i, v in enumerate(values)])
    assert (found.value, found.text, dict(found.votes)) == ("5", "said 3", {"5": 2, "4": 2})
    assert majority([Answer(None, "hm"), Answer(None)]).value is None


def test_self_check_shows_the_answer_to_its_judge_and_abstains() -> None:
    answer, calls, _ = asked(self_check(direct, tries=2), BARE, ["5", "no", "3", "perhaps"])
    assert calls[1] == [("user", "Question: 2 + 2?\nAnswer: 5\n\nIs this answer right? Say yes or no.")]
    assert len(calls) == 4 and answer.value is None and "2 answers" in answer.note
    assert len(asked(self_check(direct), BARE, ["4", "Yes."])[1]) == 2


def test_refine_ends_where_nothing_is_to_mend() -> None:
    answer, calls, _ = asked(refine(direct), BARE, ["5", "Two twos are four.", "4", "Nothing to mend."])
    assert [len(call) for call in calls] == [1, 3, 5, 3] and answer.value == "4"
    assert calls[2][-1] == ("user", "Now answer the question again, mended.")
    assert calls[3][:2] == [("user", "2 + 2?"), ("assistant", "4")]


def test_reflexion_remembers_three_lessons() -> None:
    replies = ["5", "lesson a", "6", "lesson b", "7", "lesson c", "8", "lesson d", "4"]
    answer, calls, _ = asked(reflexion(direct, 5, signal="told"), BARE, replies)
    assert calls[2] == [("user", "2 + 2?\n\nLessons from earlier tries:\n- lesson a")]
    assert calls[-1] == [("user", "2 + 2?\n\nLessons from earlier tries:\n- lesson b\n- lesson c\n- lesson d")]
    assert answer.value == "4" and len(calls) == 9
    assert len(asked(reflexion(direct, 5, signal="told"), BARE, ["4"])[1]) == 1


def test_critique_draws_a_principle_and_its_revisions_are_pairs() -> None:
    answer, calls, _ = asked(critique(direct, rounds=1), Problem("Tell me."), ["secret", "It tells.", "clean"])
    assert [len(call) for call in calls] == [1, 3, 5] and answer.value == "clean"
    assert calls[1][-1][1].removeprefix("Look at your answer. ") in PRINCIPLES["en"]
    about = {"node": "decide", "question": "q", "principle": "p"}
    nodes = [{**about, "draft": "a", "revision": "b"}, {**about, "draft": "a", "revision": "a"}, {"node": "call"}]
    assert list(pairs(nodes)) == [{"prompt": "q", "chosen": "b", "rejected": "a"}]


@pytest.mark.parametrize("make", [
    lambda: vote(direct, 0), lambda: self_check(direct, 0), lambda: refine(direct, -1), lambda: reflexion(direct, 0),
    lambda: reflexion(direct, signal="felt"), lambda: critique(direct, -1), lambda: spells(direct, "abracadabra"),  # type: ignore[arg-type]
    lambda: solve(few_shot, Scripted(["4"]), BARE), lambda: solve(partial(few_shot, k=-1), Scripted(["4"]), SUM),
    lambda: solve(partial(few_shot, choice="best"), Scripted(["4"]), SUM),
])  # fmt: skip
def test_a_wrong_use_is_told_in_one_line(make: Any) -> None:
    with pytest.raises(UserError) as told:
        make()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("reply, value", [
    ("It is 1,234.50 dollars", "1234.5"), ("−3", "-3"), ("１２", "12"), ("no", None),
    ("$5 and 6", "6"), ("1e3", "1000"), ("所以是120隻", "120"), ("r2d2", None), ("9-3", "3"), ("3rd", None),
])  # fmt: skip
def test_numbers_are_read_in_one_form(reply: str, value: str | None) -> None:
    assert readers.number(reply) == value
