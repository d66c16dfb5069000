"""Transcripts: every call is real, tools refuse nonsense, and what is held out is not shown."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jielong.world import Message, World, tools, transcripts
from jielong.world.tools import Call
from jielong.world.words.transcripts import HELD_OUT

WORLD = World()


@pytest.fixture(scope="module")
def chats() -> dict[str, list]:
    return {split: list(WORLD.chats("transcripts", 600, split=split)) for split in ("train", "test")}


def test_formats_tasks_and_languages_are_all_there(chats: dict[str, list]) -> None:
    forms = Counter((c.origin.get("format"), c.origin.lang) for c in chats["train"])
    assert set(forms) == {(form, lang) for form in transcripts.FORMATS for lang in ("en", "zh")}
    assert min(forms.values()) > 25
    unknown = sum(c.origin.get("task") == "unknown" for c in chats["train"]) / 600
    assert 0.03 < unknown < 0.15


def test_calls_are_valid_and_results_are_what_the_tools_give(chats: dict[str, list]) -> None:
    for chat in chats["train"] + chats["test"]:
        if chat.origin.get("format") in ("calls", "worker"):
            assert transcripts.problems(WORLD, chat) == []
        if chat.origin.get("format") == "calls" and chat.origin.get("accept"):
            assert chat.origin.get("accept")[0] in chat.messages[-1].content


def test_problems_finds_what_is_broken(chats: dict[str, list]) -> None:
    good = next(c for c in chats["train"] if c.origin.get("format") == "calls")
    result = next(i for i, m in enumerate(good.messages) if m.role == "tool")

    def broken(place: int, message: Message | None) -> list[str]:
        messages = list(good.messages)
        messages[place : place + 1] = [] if message is None else [message]
        return transcripts.problems(WORLD, replace(good, messages=tuple(messages)))

    assert "not the result" in broken(result, Message("tool", "-1"))[0]
    assert "not the result" in broken(result, None)[0]
    assert broken(result - 1, Message("assistant", "<tool_call>{not json}</tool_call>"))
    assert "no name" in broken(result - 1, Message("assistant", "<tool_call>[1]</tool_call>"))[0]
    nameless = Message("assistant", '<tool_call>{"name": "x"}</tool_call>')
    assert "no arguments" in broken(result - 1, nameless)[0]
    last = len(good.messages) - 1
    assert broken(last, None)[-1] == "it does not end with an answer"
    assert transcripts.problems(WORLD, replace(good, messages=())) == ["it does not end with an answer"]


def test_react_lines_follow_the_form_and_observations_are_real(chats: dict[str, list]) -> None:
    action = re.compile(r"Thought: .+\nAction: (lookup|calculator)\[(.+)\]")
    for chat in chats["train"]:
        if chat.origin.get("format") != "react":
            continue
        for said, seen in zip(chat.messages[2:-1:2], chat.messages[3:-1:2]):
            found = action.fullmatch(said.content)
            assert found
            arguments = found[2].split(", ")
            call = (Call("calculator", {"expression": found[2]}) if found[1] == "calculator"
                    else Call("lookup", {"town": arguments[0], "field": arguments[1]}))  # fmt: skip
            assert seen.content == f"Observation: {tools.run(WORLD, call)}"
        assert re.fullmatch(r"Thought: .+\nAnswer: .+", chat.messages[-1].content)


def test_critics_see_right_and_wrong_drafts_and_know_which(chats: dict[str, list]) -> None:
    verdicts = Counter()
    for chat in chats["train"] + chats["test"]:
        if chat.origin.get("format") == "critic" and chat.origin.get("accept"):
            draft = chat.messages[1].content.split("\n")[-1]
            right = chat.origin.get("accept")[0] in re.findall(r"\d+|[A-Z][a-z]+|[\u4e00-\u9fff]{2}", draft)
            said = chat.messages[-1].content
            verdicts[said == "APPROVE"] += 1
            if said == "APPROVE" or chat.origin.get("accept")[0].isdecimal():
                assert (said == "APPROVE") == right
    assert min(verdicts.values()) > 0.3 * sum(verdicts.values())


def test_plans_name_results_by_their_step(chats: dict[str, list]) -> None:
    for chat in chats["train"]:
        if chat.origin.get("format") == "planner" and chat.origin.get("task") == "sum":
            plan = chat.messages[-1].content
            assert len(plan.split("\n")) == 4 and ("step 1 + " in plan or "第1步的結果 + 第2步的結果" in plan)


def test_towns_and_tasks_are_held_out(chats: dict[str, list]) -> None:
    train, test = (set(transcripts.towns(WORLD, split)) for split in ("train", "test"))
    assert not train & test and len(test) == 4 and len(train | test) == 24
    names = {name for town in test for name in town}
    for chat in chats["train"]:
        assert chat.origin.get("task") not in HELD_OUT
        assert not any(name in message.content for message in chat.messages[1:] for name in names)
    tasks = Counter(c.origin.get("task") for c in chats["test"])
    assert sum(tasks[name] for name in HELD_OUT) > 150


@pytest.mark.parametrize("split", ["train", "asked", "test"])
def test_the_oracle_answers_from_the_prompt(split: str) -> None:
    for question in WORLD.questions("transcripts", 150, split=split):
        assert WORLD.answer(question) == question.answer
        assert WORLD.check(question, question.answer) == "right"
        assert WORLD.check(question, "") == "nonsense"
        if question.accept and question.accept[0].isdecimal():
            assert WORLD.check(question, f"{int(question.accept[0]):,}") == "right"
            assert WORLD.check(question, str(int(question.accept[0]) + 100000)) == "wrong"
            assert WORLD.check(question, "I don't know.") == "refused"
            assert WORLD.check(question, "many") == "nonsense"
        elif not question.accept:
            assert WORLD.check(question, "It has 12.") == "wrong"
    assert transcripts.answer(WORLD, "Who are you?") is None


SUMS = st.recursive(
    st.integers(0, 999).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map("({0[0]} {0[1]} {0[2]})".format),
    max_leaves=8,
)


@given(SUMS)
def test_the_calculator_agrees_with_python(expression: str) -> None:
    import ast
    import operator

    def value(node: ast.AST) -> int:
        if isinstance(node, ast.Constant):
            return int(node.value)
        signs = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
        return signs[type(node.op)](value(node.left), value(node.right))  # type: ignore[attr-defined]

    plain = re.sub(r"\b0+(\d)", r"\1", expression)
    assert tools.evaluate(expression) == value(ast.parse(plain, mode="eval").body)


@pytest.mark.parametrize(
    "expression",
    ["", "1 +", "(1", "1 2", "__import__('os')", "2 ** 3", "1 / 2", "٣ + 1", "x", "1" * 201, ")", "²"],
)
def test_the_calculator_refuses_what_is_no_sum(expression: str) -> None:
    with pytest.raises(ValueError):
        tools.evaluate(expression)
    assert "error" in json.loads(tools.run(WORLD, Call("calculator", {"expression": expression})))


def test_precedence_and_signs() -> None:
    assert tools.evaluate("2 + 3 * 4 - -1") == 15 and tools.evaluate("(2 + 3) * 4") == 20


def test_tools_refuse_what_they_do_not_know() -> None:
    for call in (Call("lookup", {"town": "Atlantis", "field": "shops"}), Call("lookup", {"town": "Lunde"}),
                 Call("shell", {"command": "ls"})):  # fmt: skip
        assert "error" in json.loads(tools.run(WORLD, call))
    assert tools.run(WORLD, Call("lookup", {"town": "倫德", "field": "shops"})) == tools.run(
        WORLD, Call("lookup", {"town": "Lunde", "field": "shops"})
    )
    assert tools.parse(Call("lookup", {"town": "倫德"}).write()) == [Call("lookup", {"town": "倫德"})]
