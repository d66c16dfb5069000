"""What the README files show is true to the letter: the lines parse, the Python runs, the files are there."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

from jielong.cli.main import build, take_config

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "README.zh-TW.md", "CONTRIBUTING.md", "docs/index.md", "docs/map.md"]
READMES = PAGES[:2]


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.M | re.S)


def lines() -> list[tuple[str, str]]:
    found = [(page, line) for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()]
    return [(page, line.strip()) for page, line in found if line.startswith("jielong ")]


@pytest.mark.parametrize("page, line", lines())
def test_every_command_shown_is_one_that_parses(page, line):
    tokens, _ = take_config(shlex.split(line, comments=True)[1:])
    command, _, _ = build(tokens).parse_args(tokens, exit_on_error=False, print_error=False)
    assert command.__module__.startswith("jielong.cli.")


@pytest.mark.parametrize("page", READMES)
def test_both_commands_are_shown(page):
    shown = "".join(blocks(page, "sh"))
    assert "make demo" in shown and "make test" in shown


@pytest.mark.parametrize("page", READMES)
def test_python_shown_runs(page, capsys):
    codes = blocks(page, "python")
    assert len(codes) == 4
    for code in codes:
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom):
                assert all(hasattr(importlib.import_module(node.module), a.name) for a in node.names)
        if "runs/" not in code:  # what needs a trained model is only checked for its names
            exec(compile(code, page, "exec"), {})  # noqa: S102 (our own page)
    out = capsys.readouterr().out
    assert "right" in out and out.count("torch.Size([1, 3, 256])") == 3


def test_both_readmes_show_the_same():
    for kind in ("sh", "python"):
        english, chinese = ([re.sub(r" *#.*", "", b) for b in blocks(page, kind)] for page in READMES)
        assert english == chinese


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    here = ROOT / page
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", here.read_text("utf-8")):
        assert (here.parent / target).exists(), f"{page} links to {target}"


def test_make_goals_shown_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for page in PAGES:
        for goal in re.findall(
            r"`?make ([a-z-]+)", "\n".join(re.findall(r"`[^`]*`", (ROOT / page).read_text("utf-8")))
        ):
            assert re.search(rf"^{goal}:", makefile, re.M), f"{page} shows make {goal}"
