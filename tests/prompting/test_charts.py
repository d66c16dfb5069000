"""A table in, an answer with its chart and its code out; what a program says is read and never evaluated."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.data.tables import Table, read_table, value
from jielong.lm.noisy import NoisyOracle
from jielong.lm.protocol import LM
from jielong.lm.scripted import Scripted
from jielong.prompting.charts import Charted, chart, understood, whole
from jielong.prompting.readers import number
from jielong.prompting.strategy import Problem, solve

TABLE = Table(("town", "people"), (("Tarn", 30), ("Tiko", 12), ("台南", None)))
GOOD = """Here:
```python
def solution(columns, rows):
    at = columns.index("people")
    known = [row for row in rows if row[at] is not None]
    return {"answer": sum(row[at] for row in known), "title": "人", "kind": "bars",
            "x": [row[0] for row in known], "series": {"people": [row[at] for row in known]}}
```"""
BROKEN = GOOD.replace("rows if", "rowz if")
WRONG = GOOD.replace("sum(row[at] for row in known)", "7")
PROBLEM = Problem("How many people are there?", gold="42", read=number)


@dataclass(frozen=True)
class Ran:
    ok: bool
    out: str
    err: str = ""


async def run(code: str) -> Ran:
    """As a sandbox does, without one: only the programs of this file come here."""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    return Ran(done.returncode == 0, done.stdout, done.stderr)


def ask(lm: LM, tries: int = 3) -> Charted:
    found = solve(chart(TABLE, run, tries), lm, PROBLEM)
    assert isinstance(found, Charted)
    return found


def test_an_answer_a_chart_and_the_code() -> None:
    model = Scripted([GOOD])
    found = ask(model)
    assert found.value == "42" and found.chart is not None and found.code.startswith("def solution")
    assert (found.chart.kind, found.chart.x) == ("bars", ("Tarn", "Tiko"))
    assert found.chart.series == {"people": (30, 12)}
    (call,) = model.calls
    assert "no instructions" in call.prompt[0]["content"] and "['台南', None]" in call.prompt[0]["content"]


def test_what_failed_is_told() -> None:
    model = Scripted(["no program", BROKEN, GOOD])
    assert ask(model).value == "42"
    turns = model.calls[2].prompt
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user", "assistant", "user"]
    assert "no function" in turns[2]["content"] and "rowz" in turns[4]["content"]
    failed = ask(Scripted(lambda asked, i: BROKEN), 2)
    assert failed.value is None and failed.chart is None and "none of 2" in failed.note and "rowz" in failed.note


def test_the_closed_form() -> None:
    """Right with p, wrong with w, broken with b: after t tries right p (1 - b^t) / (1 - b)."""
    known = {GOOD: Ran(True, "{'answer': 42, 'title': '', 'kind': 'bars', 'x': [1], 'series': {'a': [1]}}"),
             WRONG: Ran(True, "{'answer': 7, 'title': '', 'kind': 'bars', 'x': [1], 'series': {'a': [1]}}")}

    async def told(code: str) -> Ran:
        return next((ran for reply, ran in known.items() if reply.split("```python\n")[1].split("\n```")[0] in code),
                    Ran(False, "", "NameError: rowz"))  # fmt: skip

    def once(source: noise.Source) -> str | None:
        oracle = NoisyOracle(lambda asked: GOOD, 0.5, lambda asked: [WRONG, *[BROKEN] * 4], source=source)
        return solve(chart(TABLE, told, 3), oracle, PROBLEM).value

    law = noise.law(noise.enumerate_choices(once))
    p, b = 0.5, 0.4
    assert law["42"] == pytest.approx(p * (1 - b**3) / (1 - b))
    assert law[None] == pytest.approx(b**3)


@pytest.mark.parametrize("out, why", [
    ("", "dictionary"), ("open('x')", "dictionary"), ("[1]", "lacks"), ("{'answer': 1}", "lacks"),
    ("{'answer': 1, 'title': '', 'kind': 'pie', 'x': [1], 'series': {'a': [1]}}", "kind"),
    ("{'answer': 1, 'title': '', 'kind': 'bars', 'x': [], 'series': {'a': []}}", "1 to"),
    ("{'answer': 1, 'title': '', 'kind': 'bars', 'x': [1], 'series': {'a': [1, 2]}}", "list of 1"),
    ("{'answer': 1, 'title': '', 'kind': 'bars', 'x': [1], 'series': {'a': [1e999]}}", "finite"),
    ("{'answer': 1, 'title': '', 'kind': 'bars', 'x': [1], 'series': {'a': ['x']}}", "finite"),
    ("(" * 500, "dictionary"),
])  # fmt: skip
def test_what_is_no_chart_is_told(out: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        understood(out)


def test_values_come_to_the_program_as_they_are() -> None:
    table = Table(('a"b', "c"), (("'\n玉", 1.5), (None, float("inf"))))
    scope: dict = {}
    exec(whole("def solution(columns, rows): return [columns, rows]", table).replace("print", "found = list"), scope)  # noqa: S102
    assert scope["columns"] == ['a"b', "c"] and scope["rows"] == [["'\n玉", 1.5], [None, None]]


def test_tables_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('\ufefftown;people;people\n"Tarn; old";1,234;x\n007;;-2.5e3\n', encoding="utf-8")
    rows = (("Tarn; old", 1234, "x"), ("007", None, -2500.0))
    assert read_table(path) == Table(("town", "people", "people (3)"), rows)
    (tmp_path / "a.tsv").write_text("a\tb\n1\t2\n")
    assert read_table(tmp_path / "a.tsv") == Table(("a", "b"), ((1, 2),))
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"b": [2]}\n')
    assert read_table(tmp_path / "a.jsonl") == Table(("a", "b"), ((1, None), (None, "[2]")))
    (tmp_path / "a.md").write_text("# T\n\n| a | b |\n")
    assert read_table(tmp_path / "a.md") == Table(("page", "heading", "line"), ((None, "T", "| a | b |"),))
    for name, text in [("b.csv", "a,b\n1\n"), ("c.csv", "a\n"), ("d.csv", 'a\n"b'), ("e.bin", ""), ("f.jsonl", "1")]:
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError):
            read_table(tmp_path / name)
    with pytest.raises(UserError, match="no such file"):
        read_table(tmp_path / "nowhere.csv")
    cells = {" 1 ": 1, "1.0": 1.0, "+3": 3, "1,23": "1,23", "0": 0, "0.5": 0.5, "x": "x", "": None}
    assert {cell: value(cell) for cell in cells} == cells
