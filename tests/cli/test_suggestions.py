"""Every command line that the package itself suggests ("next: jielong ...") is one that parses."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from jielong.cli.main import GROUPS, VERBS, build, spelt_out

PACKAGE = Path(__file__).resolve().parents[2] / "jielong"


def text_of(node: ast.expr) -> str:
    """A literal string; what an f-string fills in becomes 1, which passes for a number, a name and a path."""
    if isinstance(node, ast.JoinedStr):
        return "".join(p.value if isinstance(p, ast.Constant) else "1" for p in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def suggested(source: str) -> list[str]:
    """Literals that are a whole command line with something after the verb, or a verb alone."""
    tree = ast.parse(source)
    docs = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    inside = {id(p) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for p in n.values}
    texts = [text_of(n) for n in ast.walk(tree) if isinstance(n, ast.expr) and id(n) not in docs | inside]
    verbs = "|".join(sorted({words.split()[0] for words in VERBS}))
    return [text for text in texts if re.match(rf"jielong ([a-z]+ .|({verbs})$)", text)]


def test_what_counts_as_a_suggestion():
    source = """
"jielong demo is what this module is about"
a = f"jielong chat {b} --seed {c}"
d = "see jielong lab"
e = "jielong lab list"
f = "jielong budget"
"""
    assert sorted(suggested(source)) == ["jielong chat 1 --seed 1", "jielong lab list"]


def lines() -> list[str]:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        found |= set(suggested(path.read_text(encoding="utf-8")))
    return sorted(found)


@pytest.mark.parametrize("line", lines())
def test_suggested_line_parses(line):
    tokens = spelt_out(shlex.split(line.replace("jielong train 1 ", "jielong train lm "))[1:])
    if " ".join(tokens) in {"", *GROUPS}:
        return
    assert any(words.split() == tokens[: len(words.split())] for words in VERBS), "no such verb"
    build(tokens).parse_args(tokens, exit_on_error=False, print_error=False)
