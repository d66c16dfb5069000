"""From a connection to an endpoint and back: bodies with limits, answers whole or as events, and clients that leave.

An endpoint is `async (Call) -> dict | AsyncIterator[...]`: an object is sent as JSON, an iterator as
server-sent events. While it works, the connection is watched: when the client hangs up, the work is cancelled,
and with it every text it had asked of the engine.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from jielong.serve.errors import BROKEN, ApiError
from jielong.serve.service import Service, new_id
from jielong.serve.strict import read_json

log = logging.getLogger("jielong.serve")
Answer = Mapping[str, Any] | AsyncIterator[Mapping[str, Any]]
JSON = [(b"content-type", b"application/json")]
EVENTS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # proxies of nginx's kind hold events back otherwise
]
DONE = b"data: [DONE]\n\n"
LINGER = 2.0  # seconds for which a refused body may go on arriving


class Gone(Exception):
    """The client has hung up, or reads too slowly: there is nobody to answer."""


@dataclass
class Call:
    """One request: its body as JSON (None for GET), who sent it, and the name it goes by."""

    body: Any
    client: str
    path: Mapping[str, str]
    id: str = field(default_factory=lambda: new_id("req_"))


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass
class Endpoint:
    """An ASGI application around one handler. `named` events carry their type (the Responses API)."""

    service: Service
    handler: Handler
    reads: bool = True
    named: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(None, (scope.get("client") or ("",))[0], scope.get("path_params", {}))
        out = Sender(send, self.service.limits.stall, call.id)
        began = time.perf_counter()
        try:
            if self.reads:
                call.body = read_json(await read_body(scope, receive, self.service.limits.body,
                                                      self.service.limits.arrival))  # fmt: skip
            await unless_gone(receive, self._answer(call, out))
        except Gone:
            out.status = 499  # nginx's word for it: the client has closed
        except ApiError as error:
            await out.fail(error, receive)
        except Exception:
            log.exception("%s failed", call.id)
            await out.fail(ApiError(500, BROKEN, code="internal_error"), receive)
        took = (time.perf_counter() - began) * 1e3
        log.info("%s %s %s %d %.0f ms", call.id, scope["method"], scope["path"], out.status, took)

    async def _answer(self, call: Call, out: Sender) -> None:
        answer = await self.handler(call)
        if isinstance(answer, Mapping):
            await out.whole(200, dump(answer), JSON)
            return
        async with aclosing(answer) as events:  # type: ignore[type-var]
            async for event in events:  # the first comes before any header: until then a wrong request is a 400
                await out.part(event_bytes(event, self.named))
        if not self.named:
            await out.part(DONE)
        await out.end()


@dataclass
class Sender:
    """The answer's way out. A reader who takes nothing for `stall` seconds is left."""

    send: Send
    stall: float
    id: str
    status: int = 0  # of what was sent; 0: nothing yet

    @property
    def begun(self) -> bool:
        """Whether the headers are out."""
        return self.status > 0

    async def whole(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """A complete answer."""
        size = [(b"content-length", str(len(body)).encode())]
        await self._start(status, headers + size)
        await self._put({"type": "http.response.body", "body": body})

    async def part(self, data: bytes) -> None:
        """One more event; the first sends the headers."""
        if not self.begun:
            await self._start(200, EVENTS)
        await self._put({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """No more events."""
        await self._put({"type": "http.response.body", "body": b""})

    async def fail(self, error: ApiError, receive: Receive) -> None:
        """The error with its status; once events have begun, as the last of them."""
        with suppress(Gone):
            if self.begun:
                await self.part(event_bytes(error.body(), False))
                await self.end()
            elif error.status in (408, 413):  # the body is still coming
                await self.refuse(error, receive)
            else:
                await self.whole(error.status, dump(error.body()), JSON + extra(error))

    async def refuse(self, error: ApiError, receive: Receive) -> None:
        """The error as a complete answer to a request whose body was not read, and the end of the connection.

        What still comes is thrown away for a moment: to close at once would reset the connection, and the client
        would lose the answer.
        """
        body = dump(error.body())
        size = (b"content-length", str(len(body)).encode())
        await self._start(error.status, [*JSON, *extra(error), size, (b"connection", b"close")])
        await self._put({"type": "http.response.body", "body": body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while (await receive()).get("more_body", False):
                    pass
        await self.end()

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        head = [*headers, (b"x-request-id", self.id.encode())]
        await self._put({"type": "http.response.start", "status": status, "headers": head})

    async def _put(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self.stall):
                await self.send(message)
        except (TimeoutError, OSError) as error:
            raise Gone from error


async def read_body(scope: Scope, receive: Receive, most: int, seconds: float) -> bytes:
    """The body, which is JSON and arrives in time. ApiError 408, 413, 415; Gone."""
    headers = dict(scope["headers"])
    kind = headers.get(b"content-type", b"application/json").split(b";")[0].strip().lower()
    if kind != b"application/json":
        raise ApiError(415, "the body must be JSON: send content-type: application/json")
    too_big = ApiError(413, f"the body has more than {most} bytes: send less at once", code="request_too_large")
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length[:20]) > most:
        raise too_big
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                size += len(message.get("body", b""))
                if size > most:
                    raise too_big
                parts.append(message.get("body", b""))
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError as error:
        raise ApiError(408, f"the body did not arrive within {seconds:g} s") from error


async def unless_gone(receive: Receive, work: Any) -> None:
    """Run `work` to its end, or until the client hangs up: then it is cancelled, and Gone raised."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_hang_up(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Gone
        task.result()
    finally:
        for each in (task, watch):
            each.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def extra(error: ApiError) -> list[tuple[bytes, bytes]]:
    """The headers that an error brings."""
    return [(k.encode(), v.encode()) for k, v in error.headers().items()]


def dump(value: Mapping[str, Any]) -> bytes:
    """JSON in UTF-8. Every number is finite: see `tokens.py`."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def event_bytes(event: Mapping[str, Any], named: bool) -> bytes:
    """One server-sent event."""
    head = b"event: " + event["type"].encode() + b"\n" if named else b""
    return head + b"data: " + dump(event) + b"\n\n"
