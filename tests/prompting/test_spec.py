"""Strategies as text: what they come to, what is refused, and that nothing is evaluated."""

from __future__ import annotations

from pathlib import Path

import pytest

from jielong.base.errors import UserError
from jielong.lm.scripted import Scripted
from jielong.prompting import readers, spec
from jielong.prompting.cot import cot
from jielong.prompting.direct import direct
from jielong.prompting.strategy import Problem, solve, whole
from jielong.prompting.vote import vote

SUM = Problem("2 + 2?", "sum", "4", readers.number)


def calls(text: str) -> int:
    lm = Scripted(lambda prompt, index: "4")
    assert solve(spec.parse(text), lm, SUM).value == "4"
    return len(lm.calls)


def test_a_text_is_the_strategy_that_it_says() -> None:
    assert spec.parse("direct") is direct and spec.parse("cot") is cot
    assert calls("vote(cot, n=4)") == 4
    assert calls("vote(vote(direct, 2), n = 3)") == 6
    assert calls("vote(strategy=zero_shot_cot, n=2)") == 4
    assert calls("cot(k=0)") == 1
    assert calls("spells(context(direct, 'all is well'), cast='tip')") == 1


def test_every_technique_can_be_named() -> None:
    known = spec.names()
    wanted = {"direct", "few_shot", "cot", "zero_shot_cot", "spells", "context", "least_to_most", "vote", "self_check",
              "refine", "reflexion", "critique"}  # fmt: skip
    assert wanted <= set(known)
    assert not {"parse", "solve", "branch", "having", "note"} & set(known)


def test_several_are_apart_by_commas_or_semicolons_and_named_alike() -> None:
    assert list(spec.parse_many("direct,cot ;vote( cot,n=5 )")) == ["direct", "cot", "vote(cot, n=5)"]
    assert spec.canonical(" vote( cot,n=5 )") == "vote(cot, n=5)"
    with pytest.raises(UserError, match="stands twice"):
        spec.parse_many("direct, direct")


def test_a_strategy_of_ones_own_file(tmp_path: Path) -> None:
    own = tmp_path / "mine.py"
    own.write_text(
        "from jielong.prompting.strategy import read, say, user\n"
        "async def think(lm, problem, *, twice=False):\n"
        "    await say(lm, user('hm')) if twice else None\n"
        "    return read(problem, await say(lm, user(problem.text)))\n"
    )
    assert calls(f"{own}:think") == 1
    assert calls(f"vote('{own}:think', n=3)") == 3
    for wrong in (f"{own}:none", f"{tmp_path}/other.py:think"):
        with pytest.raises(UserError, match="of your own is"):
            spec.parse(wrong)
    own.write_text("1 +")
    with pytest.raises(UserError, match="SyntaxError"):
        spec.parse(f"{own}:think")


@pytest.mark.parametrize("text", [
    "", "vote", "vote(", "vote(cot, m=3)", "vote()", "nothing", "vote(nothing)", "direct(1)", "1", "'direct'", "cot.k",
    "__import__('os').system('true')", "vote(cot, n=__import__('os'))", "vote(cot, **{})", "(lambda: 1)()", "cot[0]",
    "vote(cot, n=2+2)", "[cot for _ in '']", "f'{cot}'", "vote(cot, n=0)", "vote(" * 900 + "cot" + ")" * 900,
    "parse('cot')", "spells(cot, 'none')", "exec('1')", "os", "strategy", "trace", "self_check(cot, tries='many')",
])  # fmt: skip
def test_anything_else_is_one_line(text: str) -> None:
    with pytest.raises(UserError) as told:
        spec.parse_many(text) if not text else spec.parse(text)
    assert "\n" not in str(told.value)


def test_what_a_text_leaves_open_is_given_by_name() -> None:
    from jielong.prompting.program_aided import Ended
    from jielong.prompting.strategy import Strategy

    ran: list[str] = []

    async def run(code: str) -> Ended:
        ran.append(code)
        return Ended(True, "4\n", "")

    def twice(strategy: Strategy, n: int = 2) -> Strategy:
        return vote(strategy, n=n)

    given = {"run": run, "twice": twice}
    lm = Scripted(lambda prompt, index: "def solution():\n    return 2 + 2")
    answer = solve(spec.parse("vote(twice(program_aided), n=3)", given), lm, SUM)
    assert answer.value == "4" and answer.votes == {"4": 3} and len(ran) == 6
    for wrong in ("program_aided", "vote(program_aided)", "twice(direct)"):
        with pytest.raises(UserError, match=r"run|no strategy"):
            spec.parse(wrong)
    for wrong in ("run", "vote(run)"):  # a runner is no strategy
        with pytest.raises(UserError, match="no strategy"):
            spec.parse(wrong, given)
    assert spec.parse("vote(cot, n=2)", {"n": 9, "k": 9}) is not None  # what has a default stays
    lm = Scripted(lambda prompt, index: "4")
    solve(spec.parse("vote(direct)", {"n": 9}), lm, SUM)
    assert len(lm.calls) == 5


@pytest.mark.parametrize("text, reply, value", [
    ("number", "so 4", "4"), ("first_number", "3 or 4", "3"), ("whole", " a b ", "a b"), ("last_line", "a\nb\n", "b"),
    ("one_of('yes', 'no')", "Yes!", "yes"), ("after('so', number)", "1 so 2", "2"),
    ("value_of('animal')", "a fox", "fox"),
    ("value_of('animal')", "I do not know.", "declined"), ("value_of('animal')", "a fox and a cat", None),
])  # fmt: skip
def test_readers_have_a_text_form_too(text: str, reply: str, value: str | None) -> None:
    assert spec.reader(text)(reply) == value


@pytest.mark.parametrize(
    "text", ["", "numbers", "one_of('a')", "one_of(1, 2)", "after(number)", "value_of('star')", "4"]
)
def test_a_wrong_reader_is_one_line(text: str) -> None:
    with pytest.raises(UserError) as told:
        spec.reader(text)
    assert "\n" not in str(told.value)


def test_python_and_text_give_the_same_draws() -> None:
    one, other = Scripted(lambda prompt, index: "4"), Scripted(lambda prompt, index: "4")
    solve(vote(cot, n=3), one, SUM)
    solve(spec.parse("vote(cot, n=3)"), other, SUM)
    assert one.calls == other.calls and spec.reader("whole") is whole
