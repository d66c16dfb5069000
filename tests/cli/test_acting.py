"""Programs, tables and tools at the command line: run in a sandbox, recorded, replayed without one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jielong.agents.sandbox import choose
from jielong.base.errors import UserError
from jielong.cli import feedback
from jielong.cli.charting import drawn
from jielong.cli.main import main
from jielong.lm.remote import Remote
from jielong.lm.scripted import Scripted
from jielong.prompting.charts import Chart

PROGRAM = "def solution():\n    return {}"
CHART = """```python
def solution(columns, rows):
    known = [row for row in rows if row[1] is not None]
    return {"answer": sum(row[1] for row in known), "title": "People <b>", "kind": "bars",
            "x": [row[0] for row in rows], "series": {"people": [row[1] for row in rows]}}
```"""
CALL = '<tool_call>{"name": "calculator", "arguments": {"expression": "17*23"}}</tool_call>'
Says = Callable[[Callable[[str, int], str]], None]


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch, in_tmp: Path) -> Says:
    """What the model says from now on."""

    def set_(replies: Callable[[str, int], str]) -> None:
        monkeypatch.setattr(feedback, "open_lm", lambda *_: Scripted(replies))

    return set_


@pytest.fixture
def no_sandbox(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def forbid() -> None:
        def refuse(full: bool = False) -> None:
            raise UserError("no sandbox works on this machine (Plan 9), so nothing is run: monty: it is not installed")

        monkeypatch.setattr(choose, "choose", refuse)

    return forbid


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def sums(prompt: str, index: int) -> str:
    """A program for the sum; each fifth one is wrong."""
    return PROGRAM.format(" + ".join(re.findall(r"\d+", prompt.split("\n")[0])) + (" + 1" if index % 5 == 4 else ""))


def test_a_vote_of_programs_and_its_replay_without_a_sandbox(capsys: Any, says: Says, no_sandbox: Any) -> None:
    pytest.importorskip("pydantic_monty")
    says(sums)
    flags = ("ask", "What is 17 + 25?", "--strategy", "vote(program_aided, n=5)", "--read", "number",
             "--trace", "t.jsonl")  # fmt: skip
    told = json.loads(run(capsys, *flags, "--sandbox", "monty", "--json")[1])
    assert told["answer"] == "42" and sum(told["votes"].values()) == 5
    assert told["strategy"] == "vote(program_aided, n=5)"
    no_sandbox()
    code, out, _ = run(capsys, "replay", "t.jsonl")
    assert code == 0 and "5 calls, none to a model" in out
    code, out, err = run(capsys, *flags)
    assert (code, out) == (2, "") and "no sandbox works on this machine" in err and err.count("\n") == 1
    assert run(capsys, "ask", "What is 1 + 1?")[0] == 0  # whoever runs nothing needs none


def test_programs_compared(capsys: Any, says: Says, tmp_path: Path) -> None:
    pytest.importorskip("pydantic_monty")
    says(lambda prompt, index: sums(prompt, index) if "solution()" in prompt else "I think 7.")
    data = [{"question": f"What is {i} + {i + 3}?", "answer": 2 * i + 3} for i in range(10, 30)]
    Path("q.jsonl").write_text("".join(json.dumps(each) + "\n" for each in data))
    flags = ("compare", "q.jsonl", "--strategies", "direct, program_aided", "--once", "--budget", "100k", "--json",
             "--max-tokens", "60")  # fmt: skip
    told = json.loads(run(capsys, *flags)[1])
    assert told["meta"]["tiers"] == [["program_aided"], ["direct"]]
    other = json.loads(run(capsys, *flags, "--at-once", "1", "--out", "d")[1])
    assert other["meta"]["trace"] == told["meta"]["trace"]


def test_a_table_gives_an_answer_a_chart_and_the_program(capsys: Any, says: Says) -> None:
    pytest.importorskip("pydantic_monty")
    says(lambda prompt, index: CHART)
    Path("towns.csv").write_text("town,people\nTarn,30\nTiko,12\nOld,\n", encoding="utf-8")
    flags = ("ask", "How many people are there?", "--table", "towns.csv")
    code, out, err = run(capsys, *flags, "--out", "made", "--trace", "t.jsonl")
    assert (code, out) == (0, "42\n") and "report.html" in err
    page = Path("made/report.html").read_text(encoding="utf-8")
    assert "<svg" in page and "def solution" in page and "People &lt;b&gt;" in page and "<b>" not in page
    assert Path("made/chart.svg").read_text("utf-8").startswith("<svg")
    assert Path("made/program.py").read_text("utf-8") == CHART.split("```")[1].removeprefix("python\n")
    assert run(capsys, "replay", "t.jsonl")[0] == 0
    code, out, err = run(capsys, *flags)
    assert out == "42\n" and "def solution" in err
    told = json.loads(run(capsys, *flags, "--json")[1])
    assert told["chart"]["series"] == {"people": [30.0, 12.0, None]} and told["strategy"] == "chart('towns.csv')"
    code, out, err = run(capsys, *flags, "--out", "made")
    assert code == 2 and "made is there already" in err


def test_tools_are_called_and_a_replay_calls_none(capsys: Any, says: Says) -> None:
    says(lambda prompt, index: "It is 391." if "391" in prompt else CALL)
    flags = ("ask", "What is 17 * 23?", "--tools", "calculator, clock", "--read", "number")
    told = json.loads(run(capsys, *flags, "--trace", "t.jsonl", "--json")[1])
    assert told["answer"] == "391" and told["strategy"] == "with_tools(direct, 'calculator, clock')"
    assert run(capsys, "replay", "t.jsonl")[0] == 0
    told = json.loads(run(capsys, *flags, "--model", "http://127.0.0.1:1/v1#m", "--json")[1])
    assert told["strategy"].endswith("constrained=False)")


def test_the_clock_of_a_trace_stands_still(capsys: Any, says: Says, monkeypatch: Any) -> None:
    """What a tool said once is in the trace: a replay does not ask for the time."""
    says(lambda prompt, i: "Some day." if "<data" in prompt else CALL.replace("calculator", "clock").replace(
        '"expression": "17*23"', ""))
    flags = ("ask", "What day is it?", "--tools", "clock", "--trace", "t.jsonl")
    assert run(capsys, *flags)[1] == "Some day.\n"

    def never() -> None:
        raise AssertionError

    monkeypatch.setattr("jielong.agents.tools.kit.now", never)
    assert run(capsys, "replay", "t.jsonl")[0] == 0
    assert run(capsys, *flags)[1] == "Some day.\n"


@pytest.mark.parametrize("words, told", [
    (("--table", "none.csv"), "no such file"), (("--tools", "magic"), "no tool 'magic'"),
    (("--strategy", "program_aided", "--sandbox", "moon"), "no sandbox 'moon'"), (("--out", "x"), "--table"),
    (("--table", "a.csv", "--strategy", "cot"), "leave out"), (("--table", "a.csv", "--tools", "clock"), "leave out"),
    (("--strategy", "run"), "no strategy 'run'"),
])  # fmt: skip
def test_what_is_wrong_is_one_line(words: tuple[str, ...], told: str, capsys: Any, says: Says) -> None:
    says(lambda prompt, index: "x")
    code, out, err = run(capsys, "ask", "x", *words)
    assert code == 2 and out == "" and told in err and err.count("\n") == 1


@pytest.mark.parametrize("chart", [
    Chart("t", "bars", ("a", "b"), {"s": (None, None)}),
    Chart("t", "line", ("a", "a"), {"s": (1, 2), "r": (None, 3.5)}),
    Chart("t", "line", (1, 2, 3), {"s": (1, None, 2)}), Chart("t", "bars", (2001, 2002), {"s": (0.2, 0.5)}),
    Chart("", "bars", ("", "x"), {"": (-1, 1234567)}), Chart("t", "line", (1, 2), {"s": (None, None)}),
])  # fmt: skip
def test_every_chart_can_be_drawn(chart: Chart) -> None:
    picture, (head, rows) = drawn(chart)
    assert str(picture).startswith("<svg") and len(head) == 1 + len(chart.series) and len(rows) == len(chart.x)


def test_the_one_model_of_a_server_need_not_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def named(self: Remote) -> None:
        self.model = "only"

    monkeypatch.setattr(Remote, "named", named)
    assert feedback.open_lm("http://127.0.0.1:1/v1", "cpu").name == "http://127.0.0.1:1/v1#only"
    assert feedback.open_lm("http://127.0.0.1:1/v1#this", "cpu").name == "http://127.0.0.1:1/v1#this"
