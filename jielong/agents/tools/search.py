"""Looking something up in documents on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import Field

from jielong.agents.tools.tool import Tool, tool

SHOWN = 600  # characters of a text


class Hit(Protocol):
    """A document that was found: `store.Found` is one."""

    @property
    def id(self) -> str: ...
    @property
    def text(self) -> str: ...


Find = Callable[[str, int], Sequence[Hit]]  # question, how many -> the best first


def search(find: Find, most: int = 3) -> Tool:
    """The tool over any index: `in_store(path)`, or your own function."""

    def look(query: Annotated[str, Field(max_length=200)]) -> list[dict[str, str]]:
        """Search the local documents: the texts that fit best, each with its id.

        Parameters
        ----------
        query
            Words, or a question.
        """
        return [{"id": hit.id, "text": _short(hit.text)} for hit in find(query, most)]

    return tool(look, name="search")


def in_store(path: str | Path) -> Find:
    """Search in a store that `jielong index` made. UserError, at once, where there is none."""
    from jielong.store import store

    store.load(path).close()

    def find(query: str, most: int) -> Sequence[Hit]:
        with store.load(path) as opened:  # calls come from several threads, and a connection belongs to one
            return opened.search(query, most)

    return find


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} [...]"

