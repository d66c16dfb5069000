"""Graphs, searches in one reply, programs, questions put together: exact laws, recorded lists, prompts, mutations."""

from __future__ import annotations

import builtins
import csv
import json
import re
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from jielong.base.errors import UserError
from jielong.lm.protocol import LM
from jielong.lm.scripted import Scripted
from jielong.prompting import concatenation, sorting
from jielong.prompting.algorithm_of_thoughts import algorithm_of_thoughts
from jielong.prompting.concatenation import answer_all, asked, orders, parts
from jielong.prompting.game24 import problem as game
from jielong.prompting.game24_search import example
from jielong.prompting.graph_of_thoughts import Node, execute, graph_of_thoughts
from jielong.prompting.graph_operations import Thought, aggregate, generate, improve, keep_best, score
from jielong.prompting.program_aided import program, program_aided
from jielong.prompting.rational import evaluate
from jielong.prompting.readers import number
from jielong.prompting.sorting import errors, listed, merge_sort
from jielong.prompting.strategy import Answer, Problem, having, solve
from jielong.prompting.vote import majority, vote
from tests.prompting.laws import binomial, law_of, oracle, share_right

# ---------------------------------------------------------------- graph of thoughts


def lists(prompt: str) -> list[list[int]]:
    return [json.loads(each) for each in re.findall(r"\[[\d, ]*\]", prompt)]


def sorter(prompt: str) -> str:
    """What a model says that sorts, merges and mends without error."""
    given = lists(prompt)
    return str(sorted(given[0] if "Wrongly" in prompt else [each for one in given for each in one]))


def test_a_graph_has_the_law_of_its_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two parts, two tries each; a merge; a mender: what must hold, in one formula."""
    monkeypatch.setattr(sorting, "PART", 2)
    p, q, r, k, m = 0.3, 0.4, 0.5, 2, 1
    rates = {"Sort this": p, "Merge": q, "Wrongly": r}
    make = oracle(sorter, lambda text: next(rate for word, rate in rates.items() if word in text), lambda text: ["[9]"])
    graph = graph_of_thoughts(lambda problem: merge_sort(problem, k, m))
    solved = share_right(graph, sorting.problem([3, 1, 2, 0]), make)
    merged = (1 - p**k) ** 2 * (1 - q**m)
    assert solved == pytest.approx(1 - (1 - merged) * r**m, abs=1e-12)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_the_papers_lists(data: Path, size: int) -> None:
    """Count gaps and wrong neighbours, on every recorded list; and the whole plan with a model that does not err."""
    with (data / f"graph_of_thoughts/sorting/sorting_{size:03}.csv").open() as file:
        rows = [(json.loads(row["Unsorted"]), json.loads(row["Sorted"])) for row in csv.DictReader(file)]
    assert len(rows) == 100 and all(errors(given, wanted) == 0 for given, wanted in rows)
    for given, wanted in rows:
        assert errors(given, given) == sum(a > b for a, b in zip(given, given[1:])) > 0
        assert errors(given, wanted[3:]) == 3 and errors(given, [*wanted, 9, 9]) == 2
        digits = sum(abs(wanted[5:].count(each) - given.count(each)) for each in range(10))
        assert errors(given, wanted[5:][::-1]) == digits + sum(a < b for a, b in zip(wanted[5:], wanted[6:]))
    problem = sorting.problem(rows[0][0])
    lm = Scripted(lambda text, index: sorter(text))
    answer = solve(graph_of_thoughts("sort"), having(lm, max_tokens=1024), problem)
    assert problem.right(answer) and answer.value == str(rows[0][1])
    assert sum(call.n for call in lm.calls) == 5 * (size // 16) + 20 * (size // 16 - 1)


def test_the_order_of_the_papers_graph() -> None:
    plan = merge_sort(sorting.problem(list(range(32))))
    sort = ["select", "generate", "score", "keep_best"]
    mend = ["aggregate", "score", "keep_best", "improve", "score", "keep_best"]
    assert [node.name for node in plan] == ["select", *sort, *sort, *mend]
    before = [(), (0,), (1,), (2,), (3,), (0,), (5,), (6,), (7,), (4, 8), (9,), (10,), (11,), (12,), (13,)]
    assert [node.after for node in plan] == before
    odd = merge_sort(sorting.problem(list(range(40))))  # three parts: the third waits for the next level
    assert [node.name for node in odd].count("aggregate") == 2
    lm = Scripted(lambda text, index: sorter(text))
    assert solve(graph_of_thoughts("sort"), lm, sorting.problem([5, 2] * 20)).value == str([2] * 20 + [5] * 20)
    assert listed("x [1, 2] then [ 3,4 ]") == [3, 4] and listed("none") is None and listed("[]") == []


def test_each_operation_by_hand() -> None:
    def prompt(problem: Problem, value: Any) -> str:
        return f"{value}?"

    def parse(reply: str) -> int | None:
        return int(reply) if reply.isdigit() else None

    lm = Scripted({"None?": ["1", "x", "3"], "[1, 3]?": "7", "7?": ["y", "9"]})
    plan = [Node("generate", generate(prompt, parse, 3)), Node("aggregate", aggregate(prompt, parse, 2), (0,)),
            Node("improve", improve(prompt, parse, 2), (1,)), Node("score", score(lambda p, v: -abs(v - 8.6)), (2,)),
            Node("keep", keep_best(2), (3,))]  # fmt: skip

    async def run(lm: LM, problem: Problem) -> Any:
        return await execute(lm, problem, plan)

    at_zero = Scripted(lambda text, index: lm._reply(text, index & ((1 << 20) - 1)))  # a branch begins at its number
    found = solve(run, at_zero, Problem("q"))
    values = [[each.value for each in thoughts] for thoughts in found]
    assert values == [[1, 3], [7, 7], [7, 7, 9, 9, 9], [7, 7, 9, 9, 9], [9, 9]] and found[1] == [Thought(7), Thought(7)]
    for bad in ([], [Node("a", keep_best(), (0,))], [Node("a", keep_best(), (1,)), Node("b", keep_best())]):
        plan = bad
        with pytest.raises(UserError, match="mend their order"):
            solve(run, lm, Problem("q"))
    plan = [Node("generate", generate(prompt, parse)), Node("keep", keep_best(), (0,))]
    with pytest.raises(UserError, match="needs scores"):
        solve(run, at_zero, Problem("q"))
    with pytest.raises(UserError, match="no plan 'knit'"):
        graph_of_thoughts("knit")


def test_any_question_by_merging_attempts() -> None:
    lm = Scripted(lambda text, index: "The answer is 5." if "1. Hm 4" in text else "Hm 4")
    problem = Problem("2 + 3?", gold="5", read=number)
    assert problem.right(solve(graph_of_thoughts(k=2), lm, problem)) and [call.n for call in lm.calls] == [2, 1]
    nothing = solve(graph_of_thoughts(), Scripted({"": " "}), problem)
    assert nothing.value is None


# ---------------------------------------------------------------- a search in one reply


def test_a_search_in_one_reply_is_one_call_and_as_right_as_the_reply() -> None:
    problem = game((4, 5, 6, 10), examples=(example((1, 1, 4, 6)), example((2, 3, 4, 1))))
    right = "4 * 5 = 20\nback\nThe answer is Answer: (4 * 5) + (10 - 6) = 24."
    make = oracle(lambda text: right, 0.3, lambda text: ["4 * 5 + 10 = 30", "??"])
    assert share_right(algorithm_of_thoughts, problem, make) == pytest.approx(0.7, abs=1e-12)
    lm = Scripted({"": right})
    assert problem.right(solve(algorithm_of_thoughts, lm, problem)) and len(lm.calls) == 1
    roles = [message["role"] for message in lm.calls[0].prompt]
    assert roles == ["user", "assistant"] * 2 + ["user"] and lm.calls[0].prompt[-1]["content"] == problem.text
    shown = lm.calls[0].prompt[1]["content"]
    assert "(left: " in shown and "The answer is Answer: " in shown and shown.splitlines()[:-1] == \
        example((1, 1, 4, 6)).steps.splitlines()  # fmt: skip
    for question, words in (("2 + 3?", 'write "back"'), ("2加3是多少？", "就寫「回頭」")):
        lm = Scripted({"": "The answer is 5" if "back" in words else "答案是5。"})
        assert solve(algorithm_of_thoughts, lm, Problem(question, read=number)).value == "5"
        assert words in lm.calls[0].prompt[0]["content"] and len(lm.calls) == 1


# ---------------------------------------------------------------- programs


@dataclass(frozen=True)
class Printed:
    out: str
    err: str = ""

    @property
    def ok(self) -> bool:
        return not self.err


async def run(code: str) -> Printed:
    """A sandbox that can do one thing: work out the expression that solution() returns."""
    assert code.endswith("\nprint(solution())\n")
    found = re.search(r"return (.*)", code)
    value = evaluate(found[1]) if found else None
    return Printed(f"{value}\n") if value is not None else Printed("", "Traceback\nZeroDivisionError: no")


EGGS = Problem("Ann has 3 boxes of 12 eggs and breaks 5. How many are left?", gold="31", read=number)


def test_programs_do_not_slip() -> None:
    s, a = 0.2, 0.3  # misunderstands; slips in its head
    good, bad = "def solution():\n    return 3 * 12 - 5", "def solution():\n    return 3 * 12 + 5"
    make = oracle(lambda text: good, s, lambda text: [bad])
    assert share_right(program_aided(run), EGGS, make) == pytest.approx(1 - s, abs=1e-12)
    most = sum(binomial(k, 3, 1 - s) for k in (2, 3))
    assert share_right(vote(program_aided(run), n=3), EGGS, make) == pytest.approx(most, abs=1e-12)
    assert (1 - s) * (1 - a) < 1 - s


def test_a_program_is_found_or_there_is_no_answer() -> None:
    good = "def solution():\n    return 31"
    fenced = f"Like this:\n```python\nprint(1)\n```\nor\n```python\n{good}\n```\nDone."
    assert program(good) == good and program(fenced) == good and program("```\n" + good) == good
    assert [program(text) for text in ("31", "```python\nx = 31\n```", "def solution(x): ...")] == [None] * 3
    for reply, note in (("31", "defines no"), ("def solution():\n    return 1 / 0", "failed"), (good, "printed '31'")):
        lm = Scripted({"": reply})
        answer = solve(program_aided(run), lm, EGGS)
        assert note in answer.note and answer.text == reply and (answer.value == "31") == (reply == good)
        (call,) = lm.calls
        assert call.prompt[0]["content"].startswith(EGGS.text + "\nWrite a Python function solution()")


def test_programs_in_a_real_sandbox() -> None:
    pytest.importorskip("pydantic_monty")
    from jielong.agents.sandbox.monty import Monty
    from jielong.agents.sandbox.ran import Limits, arun

    head = "def solution():\n    "
    replies = {head + "eggs = 3 * 12\n    return eggs - 5": "31", head + "return 1 // 0": None,
               head + "while True: pass": None, "import os\n" + head + "return os.getpid()": None}  # fmt: skip
    with Monty() as box:
        for reply, value in replies.items():
            answer = solve(program_aided(partial(arun, box, limits=Limits(seconds=0.5))), Scripted({"": reply}), EGGS)
            assert answer.value == value, answer.note


def test_nothing_is_run_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    async def sandbox(code: str) -> Printed:
        seen.append(code)
        return Printed("31\n")

    def never(*args: Any, **named: Any) -> Any:
        raise AssertionError("run in this process")

    evil = "def solution():\n    raise SystemExit\nimport os; os.abort()"
    lm = Scripted({"": evil})
    for name in ("eval", "exec", "compile"):
        monkeypatch.setattr(builtins, name, never)
    answer = solve(program_aided(sandbox), lm, EGGS)
    monkeypatch.undo()
    assert answer.value == "31" and seen == [evil + "\nprint(solution())\n"]


# ---------------------------------------------------------------- questions put together

PAIR = (Problem("One?", "a", "1", number), Problem("Two?", "b", "2", number))


def both(prompt: str, answers: dict[str, str]) -> str:
    """A reply to a prompt of several questions; those without an answer are left out."""
    asked = re.findall(r"^Q(\d+): (.*)$", prompt, re.MULTILINE)
    return "\n".join(f"A{place}: {answers[text]}" for place, text in asked if text in answers)


def joined(e: float, alone: float) -> Any:
    """Both right with 1 - e; with e / 2 the second is left out, with e / 2 it is wrong. Alone wrong with `alone`."""

    def right(prompt: str) -> str:
        return both(prompt, {"One?": "1", "Two?": "2"}) if "Q1:" in prompt else "2"

    def wrong(prompt: str) -> list[str]:
        return [both(prompt, {"One?": "1"}), both(prompt, {"One?": "1", "Two?": "9"})] if "Q1:" in prompt else ["9"]

    return oracle(right, lambda prompt: e if "Q1:" in prompt else alone, wrong)


@pytest.mark.parametrize("repeats", [1, 2, 3])
def test_what_is_left_out_is_asked_alone(repeats: int) -> None:
    e, alone = 0.4, 0.25

    async def rights(lm: LM) -> tuple[bool, ...]:
        answers = await answer_all(lm, PAIR, repeats=repeats)
        return tuple(each.right(answer) for each, answer in zip(PAIR, answers))

    law = law_of(rights, joined(e, alone))
    second = 0.0
    for said in product([("2", 1 - e), (None, e / 2), ("9", e / 2)], repeat=repeats):
        weight = 1.0
        for _, each in said:
            weight *= each
        voted = majority([Answer(value) for value, _ in said]).value
        second += weight * (1 - alone if voted is None else float(voted == "2"))
    assert sum(q for (one, _), q in law.items() if one) == pytest.approx(1.0)
    assert sum(q for (_, two), q in law.items() if two) == pytest.approx(second, abs=1e-12)


def test_answers_are_found_by_their_numbers() -> None:
    found_by_number()
    assert parts("A2: b\nA1: a", 2) == {1: "a", 2: "b"} and parts("A1: a\nA7: x\nA0: y", 2) == {1: "a"}
    assert parts("**A1:** a\n**A2**: b\nmore", 2) == {1: "a", 2: "b\nmore"}
    assert parts("A1：甲\nA2：乙", 2) == {1: "甲", 2: "乙"}
    assert parts("A1: a\nA1: b\nA2: c\nA2: c", 2) == {2: "c"} and parts("a\nb", 2) == {} and parts("", 2) == {}


def found_by_number() -> None:
    lm = Scripted(lambda text, index: "A3: 9\nA2: 2\nA1: 1")
    assert [each.value for each in ask_all(lm)] == ["1", "2"]


def unread_does_not_vote() -> None:
    """Two repeats that leave a question out do not outvote the one that answers it."""
    lm = Scripted(lambda text, index: both(text, {"One?": "1", "Two?": "2"} if len(lm.calls) == 1 else {"One?": "1"}))
    assert [each.value for each in ask_all(lm, repeats=3)] == ["1", "2"] and len(lm.calls) == 3


def test_unread_does_not_vote() -> None:
    unread_does_not_vote()


def ask_all(lm: LM, **options: Any) -> list[Answer]:
    async def run(lm: LM, problem: Problem) -> Any:
        return await answer_all(lm, PAIR, **options)

    found: Any = solve(run, lm, PAIR[0])
    return list(found)


def test_injected_bugs_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_place(reply: str, n: int) -> dict[int, str]:
        return {i: line.partition(":")[2] for i, line in enumerate(reply.splitlines()[:n], 1)}

    def invalid(answers: Any) -> Answer:
        return majority([Answer(each.value or "[invalid]") for each in answers])

    for check, name, bug in ((found_by_number, "parts", by_place), (unread_does_not_vote, "majority", invalid)):
        with monkeypatch.context() as patch:
            patch.setattr(concatenation, name, bug)
            with pytest.raises(AssertionError):
                check()


def test_groups_orders_and_what_they_cost() -> None:
    problems = [Problem(f"What is {i} + {i}?", f"p{i}", str(2 * i), number) for i in range(7)]
    lm = Scripted(lambda text, index: both(text, {each.text: each.gold or "" for each in problems}))

    async def all_of(size: int, repeats: int) -> list[Answer]:
        return await answer_all(lm, problems, size=size, repeats=repeats)

    found: Any = solve(lambda lm, _: all_of(3, 2), lm, problems[0])  # type: ignore[arg-type]
    assert all(each.right(answer) for each, answer in zip(problems, found)) and len(lm.calls) == 6
    assert lm.calls[0].prompt[0]["content"] == (
        "Answer each of the 3 questions. Begin each answer on a new line with its number: A1: ...\n\n"
        "Q1: What is 0 + 0?\nQ2: What is 1 + 1?\nQ3: What is 2 + 2?")  # fmt: skip
    first, second = orders(problems, 2)
    assert first == list(range(7)) and sorted(second) == first != second and orders(problems, 3)[:2] == [first, second]
    lengths = [len(asked(problems[:k]).split()) for k in (1, 2, 3)]
    assert lengths[2] - lengths[1] == lengths[1] - lengths[0] == 6  # the instruction is paid once
    with pytest.raises(UserError, match="puts 0"):
        ask_all(lm, size=0)
