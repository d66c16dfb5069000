"""`jielong sandbox` and `jielong mcp` at the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from jielong.agents.sandbox.choose import probe
from jielong.cli.main import main

pytest.importorskip("pydantic_monty", reason="the extra `agents` is not installed")


def test_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.py").write_text("with open('left.txt', 'w') as f:\n    f.write('x')\nprint('hello')\n6 * 7")
    asked = ["sandbox", "run", str(tmp_path / "p.py"), "--seconds", "30", "--out", str(tmp_path / "left"), "--json"]
    assert main(asked) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["sandbox"], said["end"], said["out"]) == ("monty", "done", "hello\n42\n")
    assert said["files"] == {"left.txt": 1}
    assert (tmp_path / "left" / "left.txt").read_text() == "x"
    assert main(asked) == 2 and "is there already" in capsys.readouterr().err


def test_a_program_that_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.py").write_text("1 / 0")
    assert main(["sandbox", "run", str(tmp_path / "p.py"), "--seconds", "30"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    (tmp_path / "p.py").write_bytes(b"\xff")
    assert main(["sandbox", "run", str(tmp_path / "p.py")]) == 2
    assert main(["sandbox", "run", str(tmp_path / "p.py"), "--sandbox", "moon"]) == 2
    assert main(["sandbox", "run", str(tmp_path / "none.py")]) == 2


def test_check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from jielong.agents.sandbox.escapes.table import ESCAPES

    few = tuple(each for each in ESCAPES if each.name in ("open", "fork"))
    monkeypatch.setattr("jielong.agents.sandbox.escapes.table.ESCAPES", few)
    if not probe("monty").works:
        pytest.skip("monty does not work here")
    assert main(["sandbox", "check", "--sandbox", "monty", "--control", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [each[1] for each in said["escapes"]["monty"]] == [True, True]
    assert [each[1] for each in said["escapes"]["exec"]] == [False, False]
    monkeypatch.setattr("jielong.agents.sandbox.choose.SANDBOXES", {})
    assert main(["sandbox", "check"]) == 2 and "no sandbox works" in capsys.readouterr().err


def test_mcp_tools(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mcp", reason="the extra `agents` is not installed")
    where = f"{sys.executable} -m jielong mcp serve"
    assert main(["mcp", "tools", where, "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)["tools"]] == ["calculator", "clock"]
    assert main(["mcp", "tools", where, "--call", "calculator", "--arguments", '{"expression": "6*7"}']) == 0
    assert capsys.readouterr().out == "42\n"
    assert main(["mcp", "tools", where, "--call", "calculator", "--arguments", "[]"]) == 2
    assert main(["mcp", "tools", "no-such-command"]) == 2
    assert main(["mcp", "serve", "--http", "--host", "0.0.0.0"]) == 2
    assert "not this machine" in capsys.readouterr().err
