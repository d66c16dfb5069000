"""The rules of the house that a machine can check. `lint-imports` checks the floors themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "jielong"
HEAVY = {"torch", "scipy", "transformers", "datasets", "matplotlib", "pandas", "pyarrow", "tokenizers"}
LIGHT_ROOMS = ("base", "world", "prompting", "agents", "evals", "views", "labs", "cli")
LIGHT_FILES = ("lm/protocol.py", "nets/config.py")
MODULES = sorted(PACKAGE.rglob("*.py"))
CONFINED = "agents/sandbox/boot.py"  # its text runs a program with exec, inside a confined process and nowhere else


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported: none inside functions, none for typing only."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from at_import(node.orelse)
            continue
        yield node
        for field in ("body", "orelse", "finalbody"):
            yield from at_import(getattr(node, field, []))
        for handler in getattr(node, "handlers", []):
            yield from at_import(handler.body)


def imported(source: ast.Module) -> set[str]:
    """First parts of the names that a module imports at its top."""
    found: set[str] = set()
    for node in at_import(source.body):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_what_counts_as_imported_at_the_top():
    source = """
import torch.nn
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import scipy
else:
    import pandas
try:
    import pyarrow
except ImportError:
    import datasets
def f():
    import tokenizers
class C:
    import transformers
"""
    assert imported(ast.parse(source)) & HEAVY == {"torch", "pandas", "pyarrow", "datasets", "transformers"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_keeps_the_rules(path):
    name = path.relative_to(PACKAGE).as_posix()
    source = tree(path)
    if name.split("/")[0] in LIGHT_ROOMS or name in LIGHT_FILES or "/" not in name:
        assert not imported(source) & HEAVY, f"{name} imports something heavy at its top"
    assert ast.get_docstring(source) or not source.body, f"{name} does not say what it is"
    for node in ast.walk(source):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            ran = node.func.id in {"eval", "exec"} and name != CONFINED
            assert not ran, f"{name}:{node.lineno} calls {node.func.id}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            assert not {"pickle", "cPickle", "dill", "cloudpickle"} & set(names), (
                f"{name}:{node.lineno} pickles"
            )
            if name.startswith(("base/", "world/")):
                assert "random" not in names, f"{name}:{node.lineno}: randomness comes from base.noise"


def test_what_runs_programs_is_never_imported_and_read_in_one_place():
    """The one file that calls exec is no module of ours: its text goes to `python -c` in a sandbox."""
    mentions = {}
    for path in MODULES:
        nodes = list(ast.walk(tree(path)))
        names = {n.name for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for n in node.names}
        names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        assert not any(each.split(".")[-1] == "boot" for each in names), f"{path} imports {CONFINED}"
        constants = [node.value for node in nodes if isinstance(node, ast.Constant) and node.value == "boot.py"]
        mentions |= {path.relative_to(PACKAGE).as_posix(): len(constants)} if constants else {}
    assert mentions == {"agents/sandbox/confined.py": 1}
    assert not imported(tree(PACKAGE / CONFINED)) - {"__future__", "sys"}


def test_every_room_has_its_floor_and_only_the_top_calls_views():
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
        "contracts"
    ][0]
    floors = [{room.strip(" ()") for room in layer.split("|")} for layer in contract["layers"]]
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms <= set().union(*floors)
    views = next(index for index, floor in enumerate(floors) if "views" in floor)
    assert set().union(*floors[:views]) == {"cli", "labs", "bench", "serve"}
    assert floors[-1] == {"base"}


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, jielong; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "jielong" in loaded
    assert not (HEAVY | {"numpy", "rich", "cyclopts"}) & set(loaded)


def test_the_version_is_said_once_and_the_same():
    import jielong

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == jielong.__version__
    assert f"version: {jielong.__version__}" in (ROOT / "CITATION.cff").read_text("utf-8")
