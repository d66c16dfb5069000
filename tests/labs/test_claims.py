"""The generated documents, against golden text."""

from pathlib import Path

from jielong.base.result import Interval, Result, Row
from jielong.labs.claims import claims_markdown, markdown_table, results_markdown
from jielong.labs.lab import Lab
from jielong.labs.pages import card, write_pages
from jielong.labs.store import machine_line
from jielong.views.markup import Words
from jielong.views.verdicts import CONTROL_FAILED, HELD, NOT_HELD, REACHED

MACHINE = {
    "cpu": "EPYC",
    "cores": 2,
    "memory": 8 * 2**30,
    "python": "3.11.7",
    "torch": "2.13.0",
    "features": ["amx"],
}


def lab(name: str) -> Lab:
    return Lab(name, f"jielong.labs.{name}", Words(f"Claim {name}", f"主張 {name}"), "Lecture 1", "much")


def result(name: str, *verdicts: str) -> Result:
    row = Row("accuracy", 0.953, Interval(0.91, 0.978), 400, 0.125, "chance", 1.0, unit="share")
    rows = tuple(Row(**{**row.__dict__, "verdict": v}) for v in verdicts)
    meta = {
        "machine": MACHINE,
        "mode": "fast",
        "command": f"jielong lab run {name} --seeds 5",
        "minutes": 3.46,
        "seeds": [0, 1],
        "sources": {},
    }
    return Result(name, f"Title {name}", rows, meta=meta)


GOLDEN = """\
| Claim | Source | Verdict | Figure | Control | Truth | Minutes | Command |
| --- | --- | --- | --- | --- | --- | ---: | --- |
| Claim a<br>主張 a | Lecture 1 | ✓ held | accuracy: 95.3% [91.0, 97.8] | 12.5% (chance) | 100.0% | 3.5 | `jielong lab run a --seeds 5` |
| Claim b<br>主張 b | Lecture 1 | ◐ held in part | accuracy: 95.3% [91.0, 97.8] | 12.5% (chance) | 100.0% | 3.5 | `jielong lab run b --seeds 5` |
| Claim c<br>主張 c | Lecture 1 | ⚠ control failed | – | – | – | 3.5 | `jielong lab run c --seeds 5` |
| Claim d<br>主張 d | Lecture 1 | ✗ did not hold here (stale) | accuracy: 95.3% [91.0, 97.8] | 12.5% (chance) | 100.0% | 3.5 | `jielong lab run d --seeds 5` |
| Claim e<br>主張 e | Lecture 1 | ○ not run | – | – | – | – | `jielong lab run e` |
"""  # noqa: E501


def test_the_table_of_claims_is_golden(tmp_path: Path) -> None:
    old = result("d", NOT_HELD)
    old = Result("d", "D", old.rows, meta={**old.meta, "sources": {"jielong/gone.py": "0" * 16}})
    stored = {
        "a": result("a", HELD),
        "b": result("b", HELD, NOT_HELD),
        "c": result("c", HELD, CONTROL_FAILED),
        "d": old,
    }
    text = claims_markdown([lab(name) for name in "abcde"], stored, tmp_path)
    assert text.endswith(GOLDEN) and "control failed*: the measurement cannot be trusted" in text
    assert claims_markdown([lab(name) for name in "abcde"], stored, tmp_path) == text


def bars() -> Result:
    rows = (
        Row(
            "facts, English",
            0.97,
            Interval(0.95, 0.98),
            400,
            0.125,
            "chance",
            bar=0.95,
            unit="share",
            group="asked",
        ),
        Row("facts, Chinese", 0.93, None, 1400, bar=0.95, unit="share", note="too few minutes | <b>"),
        Row("refused", 0.03, None, 200, bar=0.05, unit="share"),
        Row("minutes", 5.8, None, 3, bar=8, unit="min", verdict=REACHED),
    )
    meta = {"machine": "a laptop", "mode": "fast", "command": "jielong demo", "at_most": ["refused"],
            "versions": {"openai": "3.54.0", "lm-eval": "0.4.13", "gone": None}}  # fmt: skip
    return Result("demo", "The demo's bars", rows, meta=meta)


def test_bars_say_whether_they_were_reached_and_why_not() -> None:
    text = results_markdown([bars()])
    assert "| Measured | Estimate | n | Control | Bar | Verdict | Note |" in text  # no truth: no such column
    assert (
        "| asked: facts, English | 97.0% [95.0, 98.0] | 400 | 12.5% (chance) | ≥ 95% | reached | – |" in text
    )
    assert (
        "| facts, Chinese | 93.0% | 1,400 | – | ≥ 95% | **not reached** | too few minutes \\| &lt;b> |"
        in text
    )
    assert "| refused | 3.0% | 200 | – | ≤ 5% | reached | – |" in text
    assert "| minutes | 5.80 min | 3 | – | ≤ 8 min | reached | – |" in text
    assert "Machine: a laptop; mode: fast; beside openai 3.54.0, lm-eval 0.4.13." in text and "`jielong demo`" in text
    assert "**stale**: it does not say which code made it." in text


def test_sections_are_in_order_and_name_what_changed(tmp_path: Path) -> None:
    files = {f"jielong/{i}.py": "0" * 16 for i in range(7)}
    many = Result("z", "Last", (), meta={"sources": files})
    text = results_markdown([many, result("a", HELD)], tmp_path)
    assert text.index("## Title a") < text.index("## Last")
    assert "changed since: `jielong/0.py`, " in text and "and 2 more." in text
    assert "seeds: 0, 1." in text and "minutes: 3.46" in text and text.count("**stale**") == 1


def test_a_cell_stays_a_cell() -> None:
    table = markdown_table(["a|b"], [["x | y\nz"]])
    assert table.splitlines()[2] == "| x \\| y z |"


def test_the_machine_in_one_line() -> None:
    assert machine_line({"machine": MACHINE}) == "EPYC, 2 cores, 8.0 GB, python 3.11.7, torch 2.13.0"
    assert machine_line({}) == machine_line({"machine": {}}) == "not recorded"


def test_cards_and_pages(tmp_path: Path) -> None:
    made = card(lab("a"), result("a", HELD))
    assert made.figure == "accuracy: 95.3% [91.0, 97.8]; control 12.5% (chance)" and made.href == "a.html"
    assert card(lab("e"), None).verdict == "not run"
    written = write_pages([lab("a"), lab("e")], {"a": result("a", HELD), "demo": bars()}, tmp_path)
    assert [path.name for path in written] == ["a.html", "demo.html", "index.html"]
    assert "Claim a" in written[0].read_text() and "not reached" in written[1].read_text()
    only = write_pages([lab("a")], {"a": result("a", HELD)}, tmp_path / "one", index=False)
    assert [path.name for path in only] == ["a.html"]


def test_a_remark_stands_below_its_table() -> None:
    text = results_markdown([bars()], remarks={bars().name: "Why not more: memory.\n", "other": "unused"})
    assert text.rstrip().endswith("|\n\n\nWhy not more: memory.") and "unused" not in text, text[-120:]
