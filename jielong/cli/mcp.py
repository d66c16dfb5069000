"""``jielong mcp``: our tools for others, and others' tools for us, over the Model Context Protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jielong.cli.common import Common


def serve(
    *,
    tools: str = "calculator, clock",
    http: bool = False,
    host: str = "127.0.0.1",
    port: int = 8765,
    common: Common = Common(),
) -> None:
    """Serve tools over MCP: on standard input and output, or with --http on this machine.

    Parameters
    ----------
    tools
        Which: calculator, clock, python, search=STORE, FILE.py:FUNCTION.
    http
        At http://HOST:PORT/mcp instead of standard input and output.
    host
        With --http: a name of this machine. Others are refused, for there is no key.
    port
        With --http.
    """
    import asyncio

    from jielong.agents.mcp.serve import serve_http, serve_stdio
    from jielong.agents.tools.kit import kit

    talk = common.talk()
    with kit(tools) as found:
        if http:
            talk.detail(f"{', '.join(found)} at http://{host}:{port}/mcp")
            serve_http(found, host, port)
        else:
            asyncio.run(serve_stdio(found))


def tools(where: str, *, call: str = "", arguments: str = "{}", seconds: float = 30.0,
          common: Common = Common()) -> None:  # fmt: skip
    """List the tools of an MCP server, or call one.

    Parameters
    ----------
    where
        http://HOST:PORT/mcp, or in quotes the command that starts it.
    call
        The tool to call.
    arguments
        With --call: its arguments as JSON.
    seconds
        How long to wait for an answer.
    """
    from jielong.lm.sync import run

    talk = common.talk()
    found, said = run(_ask(where, call, _object(arguments), seconds))
    if call:
        talk.answer(said)
    else:
        talk.table(["tool", "parameters", "what it does"], [
            [each["name"], ", ".join(each["parameters"].get("properties", {})), each["description"].split("\n")[0][:80]]
            for each in found])  # fmt: skip
    talk.document({"where": where, "tools": found, **({"call": call, "observation": said} if call else {})})


async def _ask(where: str, call: str, given: Mapping[str, Any], seconds: float) -> tuple[list[dict[str, Any]], str]:
    from jielong.agents.mcp.consume import tools_of
    from jielong.agents.tools.calls import Call, carry_out
    from jielong.base.errors import WorkFailed

    async with tools_of(where, seconds) as tools:
        listed = [{"name": each.name, "description": each.description, "parameters": dict(each.parameters)}
                  for each in tools.values()]  # fmt: skip
        if not call:
            return listed, ""
        seen = await carry_out(tools, Call(call, given))
        if seen.fault:
            raise WorkFailed(f"{call}: {seen.text}")
        return listed, seen.text


def _object(text: str) -> Mapping[str, Any]:
    from jielong.base.errors import UserError

    try:
        found = json.loads(text)
    except ValueError as error:
        example = '{"expression": "2+2"}'
        raise UserError(f"--arguments is not JSON ({error}): give an object such as '{example}'") from error
    if not isinstance(found, dict):
        raise UserError("--arguments is no object: give one such as '{\"expression\": \"2+2\"}'")
    return found
