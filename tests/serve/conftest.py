"""A service over a scripted engine, asked in process or over a real socket."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import httpx
import pytest

from jielong.infer.request import Request
from jielong.serve.app import build
from jielong.serve.run import configured, listen
from jielong.serve.service import Limits, Service
from jielong.units import bpe
from jielong.units.chat import TEMPLATE
from jielong.units.codec import Tokenizer
from tests.serve.scripted import ScriptedEngine

TEXT = 'the cat sat on the mat, the cat ate. 玉山很高。 {"name": 1}'


@cache
def the_codec() -> Tokenizer:
    """A small tokenizer with a chat template."""
    found = bpe.train([TEXT] * 20, size=300, at_most=True)
    found.template = found.template or TEMPLATE
    return found


@pytest.fixture(scope="session")
def codec() -> Tokenizer:
    return the_codec()


def service_of(script: Any = "the cat sat", delay: float = 0.0, **limits: Any) -> Service:
    """A service whose model says `script`: a text, or a function of the request."""

    def told(request: Request) -> str:
        return script(request) if callable(script) else str(script)

    engine = ScriptedEngine(the_codec(), told, delay)
    return Service(engine, the_codec(), name="cat", context=512, width=16, limits=Limits(**limits))


Make = Callable[..., Service]


@pytest.fixture
def make() -> Make:
    return service_of


@contextmanager
def running(service: Service, key: str = "", grace: int = 5, buffer: int = 0) -> Iterator[str]:
    """The URL of a server that really listens; it is stopped gracefully afterwards."""
    listener = listen("127.0.0.1", 0)
    if buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = configured(service, key, grace, lambda url: None)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        until = time.monotonic() + 20
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        yield url
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


class Inside:
    """A client of the application itself, without a socket: quick, and each request has a loop of its own."""

    def __init__(self, service: Service, key: str = "") -> None:
        self.service, self.app = service, build(service, key)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.request("POST", path, **more)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, **more)

        return asyncio.run(send())


@pytest.fixture
def serve(make: Make) -> Callable[..., Inside]:
    """`serve(script, ...)`: a client of a new application."""

    def made(script: Any = "the cat sat", key: str = "", **more: Any) -> Inside:
        return Inside(make(script, **more), key)

    return made


@pytest.fixture
def listening(make: Make) -> Iterator[Callable[..., httpx.Client]]:
    """The same over a real socket."""
    with ExitStack() as stack:

        def made(script: Any = "the cat sat", key: str = "", **more: Any) -> httpx.Client:
            service = make(script, **more)
            client = httpx.Client(base_url=stack.enter_context(running(service, key)), timeout=20)
            client.service = service  # type: ignore[attr-defined]
            return stack.enter_context(client)

        yield made
