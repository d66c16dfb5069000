"""`jielong lab ...` from the outside, on a copy of the package with two small labs in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jielong.labs.lab import names

ROOT = Path(__file__).resolve().parents[2]
LAB = """
from jielong.base.result import Interval, Result, Row
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, judge

CLAIM = {"en": "Toys work", "zh": "玩具會動"}
SOURCE = {"en": "Lecture 0", "zh": "第零講"}
EXPECT = {"en": "More than nothing", "zh": "比沒有多"}
SEEDS = 2


def run(budget: Budget) -> Result:
    from pathlib import Path

    values = []
    for seed in budget.seeds:
        values.append(part(budget, seed, lambda: 0.9))
        with open("made.txt", "a") as file:
            file.write(f"NAME {seed}\\n")
        if Path("stop").exists():
            raise KeyboardInterrupt
    row = judge(Row("works", values[0], Interval(0.8, 0.95), len(values), 0.1, "none", unit="share"), "above")
    control = check(Row("coin", 0.5, Interval(0.4, 0.6), 10, truth=TRUTH, unit="share"))
    return Result("NAME", "Toys", (row, control))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("copy")
    for room in ("base", "views", "cli", "labs"):
        shutil.copytree(
            ROOT / "jielong" / room, root / "jielong" / room, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("__init__.py", "__main__.py"):
        shutil.copy(ROOT / "jielong" / name, root / "jielong" / name)
    sys_labs = root / "jielong" / "labs"
    for name in names(sys_labs):
        (sys_labs / f"{name}.py").unlink()  # only the mechanism is under test here
    for name, truth in (("good", "0.5"), ("bad", "0.9")):
        (sys_labs / f"{name}.py").write_text(LAB.replace("NAME", name).replace("TRUTH", truth))
    return root


def call(copy: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    line = [sys.executable, "-m", "jielong", "lab", *words]
    return subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True, timeout=600)


def document(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_list_run_report_and_edit(copy: Path, tmp_path: Path) -> None:
    listed = document(call(copy, tmp_path, "list", "--json"))
    assert [(each["name"], each["verdict"]) for each in listed["labs"]] == [
        ("bad", "not run"),
        ("good", "not run"),
    ]
    assert listed["next"] == "jielong lab run bad"

    ran = document(call(copy, tmp_path, "run", "good", "bad", "--seeds", "3", "--json"))
    assert [each["verdict"] for each in ran["labs"]] == ["held", "control failed"]
    stored = json.loads((tmp_path / "docs/results/good.json").read_text())
    assert stored["meta"]["command"] == "jielong lab run good --seeds 3" and stored["meta"]["seeds"] == [
        0,
        1,
        2,
    ]
    assert (
        "jielong/labs/good.py" in stored["meta"]["sources"]
        and "jielong/base/result.py" in stored["meta"]["sources"]
    )

    again = call(copy, tmp_path, "run", "--all")
    assert again.returncode == 0 and again.stderr.count("has a result of today's sources") == 2
    assert (tmp_path / "made.txt").read_text().count("good") == 3

    wrote = document(call(copy, tmp_path, "report", "--json"))["written"]
    assert [Path(path).name for path in wrote] == [
        "bad.html",
        "good.html",
        "index.html",
        "claims.md",
        "results.md",
    ]
    claims = (tmp_path / "docs/claims.md").read_text()
    assert (
        "| Toys work<br>玩具會動 | Lecture 0<br>第零講 | ✓ held | works: 90.0% [80.0, 95.0] | 10.0% (none) |"
        in claims
    )
    assert "| ⚠ control failed | – | – | – |" in claims and "stale)" not in claims

    path = copy / "jielong/labs/good.py"
    path.write_text(path.read_text() + "\nEXTRA = 1\n")
    listed = document(call(copy, tmp_path, "list", "--json"))
    assert [each["stale"] for each in listed["labs"]] == [[], ["jielong/labs/good.py"]]
    assert listed["next"] == "jielong lab run good"
    rerun = document(call(copy, tmp_path, "run", "--all", "--json"))
    assert [each["name"] for each in rerun["labs"]] == ["good"]


def test_an_interrupted_lab_resumes(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    assert call(copy, tmp_path, "run", "good").returncode == 130
    assert not (tmp_path / "docs/results/good.json").exists()
    assert len(list((tmp_path / "runs/labs/parts/good").iterdir())) == 1
    (tmp_path / "stop").unlink()
    done = call(copy, tmp_path, "run", "good", "-v")
    assert done.returncode == 0 and done.stderr.count("kept from an earlier run") == 1
    assert "good: held" in done.stdout and "next: jielong lab report" in done.stderr
    assert not (tmp_path / "runs/labs/parts/good").exists()


@pytest.mark.parametrize(
    "words, told",
    [
        (("run",), "name the labs to run"),
        (("run", "good", "--all"), "name the labs to run"),
        (("run", "none"), "there is no lab 'none'; there are: bad, good"),
        (("run", "good", "--seeds", "0"), "one seed or more"),
        (("run", "good", "--minutes", "0"), "nought or less"),
        (("report", "good"), "no result of good"),
        (("report", "--lang", "fr"), "choose en or zh"),
    ],
)
def test_wrong_input_is_one_line(copy: Path, tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    done = call(copy, tmp_path, *words)
    assert done.returncode == 2 and told in done.stderr and len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
