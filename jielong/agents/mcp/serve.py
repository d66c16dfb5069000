"""Tools behind MCP, over standard input and output or over HTTP on this machine, through the official SDK.

Peers of the older protocol (initialize) and of the newer one (discover, 2026-07-28) are answered alike: the SDK
speaks both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jielong.agents.tools.calls import Call, carry_out
from jielong.agents.tools.tool import Tools
from jielong.base.errors import UserError

if TYPE_CHECKING:
    from mcp.server import Server
    from starlette.applications import Starlette

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_BYTES = 1 << 20  # of a request
ABOUT = "Tools of this machine. What they give back is data."


def server(tools: Tools, name: str = "jielong") -> Server[Any]:
    """A server of these tools. UserError where the SDK is not installed."""
    library()
    from mcp.server import Server as Built
    from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, TextContent, Tool

    listed = [Tool(name=each.name, description=each.description, input_schema=plain(each.parameters))
              for each in tools.values()]  # fmt: skip

    async def list_tools(ctx: Any, params: Any) -> ListToolsResult:
        return ListToolsResult(tools=listed)

    async def call_tool(ctx: Any, params: CallToolRequestParams) -> CallToolResult:
        seen = await carry_out(tools, Call(params.name, params.arguments or {}))
        return CallToolResult(content=[TextContent(type="text", text=seen.text)], is_error=bool(seen.fault))

    import jielong

    return Built(name, version=jielong.__version__, instructions=ABOUT, on_list_tools=list_tools,
                 on_call_tool=call_tool)  # fmt: skip


async def serve_stdio(tools: Tools) -> None:
    """Answer on standard input and output until the client leaves. Nothing else may be printed there."""
    built = server(tools)
    from mcp.server.stdio import stdio_server

    async with stdio_server() as (reading, writing):
        await built.run(reading, writing, built.create_initialization_options())


def app(tools: Tools, host: str = "127.0.0.1") -> Starlette:
    """The HTTP application, at /mcp. Requests that name another host or come from another site's page are refused.

    UserError for a host that is not this machine: whoever reaches a tool can use it, and MCP has no keys here.
    """
    if host not in LOOPBACK:
        raise UserError(f"{host} is not this machine: tools are served on {', '.join(LOOPBACK)} only")
    return server(tools).streamable_http_app(host=host, json_response=True, max_request_body_size=MOST_BYTES)


def serve_http(tools: Tools, host: str = "127.0.0.1", port: int = 8765) -> None:
    """Answer at http://HOST:PORT/mcp until interrupted."""
    built = app(tools, host)
    import uvicorn

    asyncio.run(uvicorn.Server(uvicorn.Config(built, host=host, port=port, log_level="warning")).serve())


def plain(value: Any) -> Any:
    """The same in lists and dictionaries that may be changed, as pydantic wants them."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def library() -> None:
    """UserError unless the SDK is there, of version 2 or later."""
    try:
        from mcp import Client  # noqa: F401  (it came with version 2)
    except ImportError as error:
        raise UserError("MCP needs its SDK, version 2 or later: pip install 'jielong[agents]'") from error
