"""The measurement behind docs/results/server.json: small ones of each part, and what is kept of earlier ones."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from jielong.base.result import Result
from jielong.labs import store

ROOT = Path(__file__).resolve().parents[2]


def measured(out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/server_results.py", "--quick", "--out", str(out), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def groups(found: Result) -> set[str]:
    return {row.group for row in found.rows}


def missed(found: Result) -> list[str]:
    at_most = found.meta["at_most"]
    return [
        row.name for row in found.rows
        if row.bar is not None and (row.estimate > row.bar if row.name in at_most else row.estimate < row.bar)
    ]  # fmt: skip


def test_requests_are_counted_and_kept_while_the_code_is_the_same(tmp_path):
    done = measured(tmp_path, "fuzz")
    assert done.returncode == 0, done.stderr
    found = store.load("server", tmp_path)
    assert found is not None and groups(found) == {"request fields"} and not missed(found)
    count = {row.name: row.estimate for row in found.rows}
    assert count["answers that are wrong, or no answer"] == count["errors inside (500)"] == 0
    statuses = [count[name] for name in count if name.endswith(")")]
    assert sum(statuses) == found.rows[0].n >= 100 and count["answered (200)"] > 10
    assert found.meta["machine"] and found.meta["versions"]["starlette"]
    assert "jielong/serve/app.py" in found.meta["sources"] and "jielong/infer/engine.py" in found.meta["sources"]

    path = tmp_path / "server.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for group, kept in (("many clients", True), ("lm-eval, unmodified", False)):
        document["rows"][0]["group"] = group
        document["meta"]["part_minutes"] = {"clients": 1.0, "lm-eval": 1.0}
        document["meta"]["sources_hash"] = found.meta["sources_hash"] if kept else "other"
        path.write_text(json.dumps(document), encoding="utf-8")
        assert measured(tmp_path, "fuzz").returncode == 0
        again = store.load("server", tmp_path)
        assert again is not None and groups(again) == {"request fields", *([group] if kept else [])}
        assert (again.meta["minutes"] > 1) == kept


def test_what_is_asked_wrongly_is_said(tmp_path):
    assert "no part dog; there are openai, lm-eval, fuzz, clients" in measured(tmp_path, "dog").stderr
    into = measured(ROOT / "docs" / "results", "fuzz")
    assert into.returncode == 2 and "give --out" in into.stderr
    if find_spec("openai") is None:
        without = measured(tmp_path)
        assert without.returncode == 2 and "make referees" in without.stderr and "Traceback" not in without.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_clients(tmp_path):
    done = measured(tmp_path, "clients")
    found = store.load("server", tmp_path)
    assert found is not None and not missed(found), done.stderr
    assert found.row("answered").estimate > 10 and found.row("memory at the end").estimate > 10


@pytest.mark.referee
def test_the_referees(tmp_path):
    pytest.importorskip("openai")
    pytest.importorskip("lm_eval")
    done = measured(tmp_path, "openai", "lm-eval")
    found = store.load("server", tmp_path)
    assert found is not None and not missed(found), done.stderr
    assert groups(found) == {"openai-python", "lm-eval, unmodified"} and all(row.n > 1 for row in found.rows)
