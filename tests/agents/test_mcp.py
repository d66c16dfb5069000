"""The same tools served and consumed over MCP, with peers of both generations of the SDK.

A peer of version 1 is there as recorded lines, both of its server and of its client. JIELONG_MCP_V1 may name a Python
that has `mcp<2`: then it takes part itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("mcp", reason="the extra `agents` is not installed")

from jielong.agents.mcp.consume import tools_of
from jielong.agents.mcp.serve import app, server
from jielong.agents.tools.calculator import calculator
from jielong.agents.tools.calls import Call, carry_out
from jielong.agents.tools.clock import clock
from jielong.agents.tools.tool import Tools, toolbox
from jielong.base.errors import UserError, WorkFailed

HERE = Path(__file__).parent
TOOLS: Tools = toolbox(calculator, clock(lambda: datetime(2026, 1, 1, tzinfo=UTC)))
SERVE = f"{sys.executable} -m jielong mcp serve"
CALLS = [Call("calculator", {"expression": "2**10"}), Call("calculator", {"expression": "2**"}), Call("calculator", {}),
         Call("clock", {"zone": "Asia/Taipei"}), Call("clock", {"zone": "Moon"})]  # fmt: skip
# Answers what a server of version 1 answered to the same request, as it was recorded.
PEER = """
import json, sys
left = [json.loads(line) for line in open(sys.argv[1])]
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    for place, each in enumerate(left):
        said = each["line"]
        if each["from"] == "client" and said["method"] == asked["method"] and (
                asked["method"] != "tools/call" or said["params"]["arguments"] == asked["params"]["arguments"]):
            answer = next(a["line"] for a in left[place:] if a["from"] == "server" and a["line"]["id"] == said["id"])
            print(json.dumps({**answer, "id": asked["id"]}), flush=True)
            break
"""


async def same(where: Any) -> None:
    async with tools_of(where) as theirs:
        assert list(theirs) == list(TOOLS)
        for name, mine in TOOLS.items():
            assert dict(theirs[name].parameters) == dict(mine.parameters)
            assert theirs[name].description == " ".join(mine.description.split())
        for call in CALLS:
            one, other = await carry_out(TOOLS, call), await carry_out(theirs, call)
            assert (one.text, one.fault) == (other.text, other.fault)


def test_served_and_consumed_in_memory() -> None:
    asyncio.run(same(server(TOOLS)))


def test_a_client_of_the_older_handshake_in_memory() -> None:
    from mcp import Client

    async def talk() -> None:
        async with Client(server(TOOLS), mode="legacy") as client:
            assert [each.name for each in (await client.list_tools()).tools] == list(TOOLS)
            assert (await client.call_tool("calculator", {"expression": "1+1"})).content[0].text == "2"
            assert (await client.call_tool("calculator", {"expression": "1+"})).is_error

    asyncio.run(talk())


def test_through_the_command_line_over_stdio() -> None:
    async def talk() -> None:
        async with tools_of(SERVE) as tools:
            assert (await carry_out(tools, CALLS[0])).text == "1024"

    asyncio.run(talk())


def test_over_http_on_this_machine_only() -> None:
    import uvicorn

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = uvicorn.Server(uvicorn.Config(app(TOOLS), port=port, log_level="error"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    try:
        while not running.started:
            time.sleep(0.02)
        asyncio.run(same(f"http://127.0.0.1:{port}/mcp"))
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        kinds = {"Accept": "application/json, text/event-stream"}
        for forged in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
            answer = httpx.post(f"http://127.0.0.1:{port}/mcp", json=body, headers=kinds | forged)
            assert answer.status_code in (403, 421)
    finally:
        running.should_exit = True
        thread.join(10)
    with pytest.raises(UserError, match="not this machine"):
        app(TOOLS, host="0.0.0.0")


def test_a_recorded_server_of_version_1(tmp_path: Path) -> None:
    (tmp_path / "peer.py").write_text(PEER)

    async def talk() -> None:
        async with tools_of(f"{sys.executable} {tmp_path}/peer.py {HERE}/mcp_v1_server.jsonl") as tools:
            assert list(tools) == ["area", "fail"] and tools["area"].description == "The area of a rectangle."
            assert (await carry_out(tools, Call("area", {"width": 2, "height": 3}))).text == "6.0"
            assert (await carry_out(tools, Call("fail", {"why": "x"}))).fault == "arguments"

    asyncio.run(talk())


def test_a_recorded_client_of_version_1() -> None:
    """Its requests, line by line, get from our server what they got when they were recorded."""
    lines = [json.loads(line) for line in (HERE / "mcp_v1_client.jsonl").read_text().splitlines()]
    child = subprocess.Popen([*SERVE.split()], stdin=-1, stdout=-1, text=True)
    assert child.stdin is not None and child.stdout is not None
    for each in lines:
        if each["from"] == "client":
            child.stdin.write(json.dumps(each["line"]) + "\n")
            child.stdin.flush()
            continue
        got = json.loads(child.stdout.readline())
        for part in ("serverInfo", "_meta"):  # a version changes
            got["result"].pop(part, None), each["line"]["result"].pop(part, None)
        assert got == each["line"]
    child.stdin.close()
    assert child.wait(20) == 0


@pytest.mark.skipif("JIELONG_MCP_V1" not in os.environ, reason="JIELONG_MCP_V1 names no Python with mcp<2")
def test_a_living_server_of_version_1(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text(
        "from mcp.server.fastmcp import FastMCP\ns = FastMCP('old')\n"
        "@s.tool()\ndef area(width: float, height: float) -> float:\n    return width * height\ns.run()\n"
    )

    async def talk() -> None:
        async with tools_of(f"{os.environ['JIELONG_MCP_V1']} {tmp_path}/old.py") as tools:
            assert (await carry_out(tools, Call("area", {"width": 2, "height": 3}))).text == "6.0"

    asyncio.run(talk())


@pytest.mark.parametrize("where, error, said", [
    ("no-such-command x", UserError, "neither a URL nor a command"),
    ("http://127.0.0.1:1/mcp", WorkFailed, "does not answer as an MCP server"),
    ("true", WorkFailed, "does not answer as an MCP server"),
    (f"{sys.executable} -c 'print(1);input()'", WorkFailed, "answer"),
    ("sleep 60", WorkFailed, "did not answer within"),
])  # fmt: skip
def test_peers_that_are_none_are_one_line(where: str, error: type[Exception], said: str) -> None:
    async def talk() -> None:
        async with tools_of(where, seconds=3.0):
            raise AssertionError("it connected")

    with pytest.raises(error, match=said):
        asyncio.run(talk())
