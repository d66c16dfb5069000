"""Tools by their names on the command line: `calculator, clock, python, search=store.db`, or functions of your own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from jielong.agents.tools.tool import Tool, Tools, tool, toolbox
from jielong.base.errors import UserError
from jielong.prompting.spec import own_function

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
        path, _, function = name.rpartition(":")
        return tool(own_function(Path(path), function, "tool"))
    raise UserError(f"there is no tool {name!r}: give {NAMES}")
