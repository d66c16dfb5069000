"""Tools of an MCP server as our own: of a URL, of a command that is started, or of a server in this process.

    async with tools_of("http://127.0.0.1:8765/mcp") as tools:
        strategy = with_tools(direct, {**mine, **tools})

Names, descriptions and schemas are the server's word and so untrusted: names are checked, descriptions cut, and what a
tool gives back is marked as data like that of any other.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from jielong.agents.mcp.serve import library
from jielong.agents.tools.tool import NAME, Refused, Tool, Tools
from jielong.base.errors import UserError, WorkFailed

if TYPE_CHECKING:
    from mcp import Client

MOST = 200  # tools of one server
DESCRIPTION = 1000  # characters
SECONDS = 30.0


@asynccontextmanager
async def tools_of(where: Any, seconds: float = SECONDS) -> AsyncIterator[Tools]:
    """The tools behind `where`: "http://..." (streamable HTTP), a command line, or an MCP server of this process.

    They work while the block runs. UserError where nothing can be reached or started; WorkFailed where what answers
    does not speak MCP, or not within `seconds`.
    """
    library()
    from mcp import Client

    async with _entered(Client(_target(where), read_timeout_seconds=seconds), where, seconds) as client:
        yield await _listed(client)


@asynccontextmanager
async def _entered(client: Client, where: Any, seconds: float) -> AsyncIterator[Client]:
    """Connected, with what can go wrong on the way in one line."""
    from mcp import MCPError

    inside = False
    try:
        async with asyncio.timeout(seconds) as clock, client:
            clock.reschedule(None)
            inside = True
            yield client
    except (UserError, WorkFailed):
        raise
    except BaseException as error:
        found = _first(error)
        if inside and not isinstance(found, MCPError | OSError):
            raise
        if isinstance(found, TimeoutError):
            raise WorkFailed(f"{_name(where)} did not answer within {seconds:g} s") from error
        if isinstance(found, Exception):
            raise WorkFailed(f"{_name(where)} does not answer as an MCP server: {_line(found)}") from error
        raise


async def _listed(client: Client) -> Tools:
    found: dict[str, Tool] = {}
    cursor: str | None = None
    while True:
        page = await client.list_tools(cursor=cursor)
        for each in page.tools:
            if NAME.match(each.name) and each.name not in found and len(found) < MOST:
                told = " ".join((each.description or "").split())[:DESCRIPTION]
                schema = MappingProxyType(each.input_schema)
                found[each.name] = Tool(each.name, told, schema, _caller(client, each.name))
        cursor = page.next_cursor
        if cursor is None or len(found) >= MOST:
            return MappingProxyType(found)


def _caller(client: Client, name: str) -> Callable[[Mapping[str, Any]], Awaitable[str]]:
    async def run(arguments: Mapping[str, Any]) -> str:
        from mcp import MCPError

        try:
            result = await client.call_tool(name, dict(arguments))
        except MCPError as error:
            raise Refused(_line(error)) from error
        text = "\n".join(_part(each) for each in result.content)
        if result.is_error:
            raise Refused(text or "the tool failed and said nothing")
        return text

    return run


def _part(content: Any) -> str:
    return content.text if content.type == "text" else f"[{content.type}]"


def _target(where: Any) -> Any:
    """What the SDK's client takes. UserError for a command that is not there."""
    from mcp import StdioServerParameters, stdio_client

    if not isinstance(where, str) or re.match(r"^https?://", where):
        return where
    words = shlex.split(where)
    if not words or shutil.which(words[0]) is None:
        raise UserError(f"{where!r} is neither a URL nor a command: give http://HOST:PORT/mcp, or a program")
    # Its words for people go where ours do, also where sys.stderr is something else (a notebook, a test).
    return stdio_client(StdioServerParameters(command=words[0], args=words[1:]), errlog=sys.__stderr__ or sys.stderr)


def _name(where: Any) -> str:
    return where if isinstance(where, str) else "the server"


def _first(error: BaseException) -> BaseException:
    """The cause inside groups of exceptions."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
