"""What a command line gives to strategies that act: a sandbox for the programs they write, and tools by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jielong.prompting.strategy import Strategy


@contextmanager
def hands(sandbox: str = "", *, replay: bool = False) -> Iterator[Mapping[str, Any]]:
    """`given` of `spec.parse`: `run`, a runner on the sandbox of that name (default: the best that works here), and
    `with_tools(strategy, "calculator, clock")`. With `replay` nothing is ever run.

    A sandbox is only looked for where a strategy wants one. UserError, in one line, where none works.
    """
    with ExitStack() as open_:

        def run() -> Any:
            if replay:
                return _nothing
            from jielong.agents.sandbox.choose import choose, named
            from jielong.agents.sandbox.ran import arun

            return partial(arun, open_.enter_context(named(sandbox) if sandbox else choose()))

        def with_tools(strategy: Strategy, tools: str, constrained: bool = True) -> Strategy:
            from jielong.agents.tools import kit, loop

            return loop.with_tools(strategy, open_.enter_context(kit.kit(tools)), constrained=constrained)

        yield _Lazy({"run": run, "with_tools": lambda: with_tools})


class _Lazy(Mapping[str, Any]):
    """Values that are made when somebody asks for them, once."""

    def __init__(self, makers: Mapping[str, Callable[[], Any]]) -> None:
        self.makers, self.made = makers, dict[str, Any]()

    def __getitem__(self, name: str) -> Any:
        if name not in self.made:
            self.made[name] = self.makers[name]()
        return self.made[name]

    def __contains__(self, name: object) -> bool:
        return name in self.makers

    def __iter__(self) -> Iterator[str]:
        return iter(self.makers)

    def __len__(self) -> int:
        return len(self.makers)


async def _nothing(code: str) -> Any:
    raise AssertionError("a replay takes what a program printed from the trace")
