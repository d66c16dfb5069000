"""Tools by their names on the command line: `calculator, clock, python, search=store.db`, or functions of your own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jielong.agents.tools.tool import Tool, Tools, tool, toolbox
from jielong.base.errors import UserError

NAMES = "calculator, clock, python, search=STORE, FILE.py:FUNCTION"


def now() -> datetime:
    """The machine's time: what `clock` tells on the command line."""
    return datetime.now(UTC)


@contextmanager
def kit(text: str, clock_: Callable[[], datetime] = now) -> Iterator[Tools]:
    """The tools that the text names, apart by commas. UserError for one that there is not, or that cannot work here."""
    with ExitStack() as open_:
        yield toolbox(*(_named(each.strip(), clock_, open_) for each in text.split(",") if each.strip()))


def _named(name: str, clock_: Callable[[], datetime], open_: ExitStack) -> Tool:
    word, _, value = name.partition("=")
    if word == "calculator":
        from jielong.agents.tools.calculator import calculator

        return tool(calculator)
    if word == "clock":
        from jielong.agents.tools.clock import clock

        return clock(clock_)
    if word == "python":
        from jielong.agents.sandbox.choose import choose
        from jielong.agents.sandbox.choose import named as box
        from jielong.agents.tools.python import python

        return python(open_.enter_context(box(value) if value else choose()))
    if word == "search" and value:
        from jielong.agents.tools.search import in_store, search

        return search(in_store(value))
    if ".py:" in name:
        return tool(_own(name))
    raise UserError(f"there is no tool {name!r}: give {NAMES}")


def _own(name: str) -> Callable[..., Any]:
    """A function of a person's own file, which is run as a module."""
    import importlib.util

    path, _, function = name.rpartition(":")
    found = importlib.util.spec_from_file_location(f"jielong_tool_{Path(path).stem}", Path(path).expanduser())
    if not Path(path).expanduser().is_file() or found is None or found.loader is None:
        raise UserError(f"{path}: no such Python file; a tool of your own is FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except Exception as error:  # somebody else's code
        raise UserError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    made = getattr(module, function, None)
    if not callable(made):
        raise UserError(f"{path} has no function {function!r}: a tool of your own is FILE.py:FUNCTION")
    function_: Callable[..., Any] = made
    return function_
