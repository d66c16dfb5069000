"""The server as a process: it listens, and when it is told to stop it finishes what it has begun.

serve(service, "127.0.0.1", 8000, key="", grace=60, ready=print)
"""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from jielong.base.errors import UserError
from jielong.serve.app import build

if TYPE_CHECKING:
    from jielong.serve.service import Service

BACKLOG = 2048
HEADS = 30.0  # seconds in which a connection's first request must have its headers here
CLOSING = 10.0  # seconds that a closed connection may take to hand over what is left


class Patience(H11Protocol):
    """uvicorn's connection, which waits forever neither for headers nor for a reader who has stopped reading."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.closing = 0
        self.watch = self.loop.call_later(HEADS, self.look)

    def connection_lost(self, exc: Exception | None) -> None:
        self.watch.cancel()
        super().connection_lost(exc)

    def look(self) -> None:
        """Abort what has not asked anything yet, and what was closed and does not end."""
        if self.closing or self.cycle is None:
            self.transport.abort()
            return
        self.closing += self.transport.is_closing()
        self.watch = self.loop.call_later(CLOSING, self.look)


class Server(uvicorn.Server):
    """uvicorn's, which ends quietly after a signal, and says where it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[str], object]) -> None:
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = (sockets or [])[0].getsockname()[:2]
        self.ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The first signal ends gracefully, the second at once; neither is raised again afterwards."""
        main = threading.current_thread() is threading.main_thread()  # where alone signals can be had
        before = {s: signal.signal(s, self.stop) for s in (signal.SIGINT, signal.SIGTERM) if main}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def stop(self, number: int, frame: Any) -> None:
        """A signal has come."""
        self.force_exit = self.should_exit
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. UserError when the address cannot be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(found[0], found[1])
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(found[4])
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot listen on {host} port {port} ({reason}): choose another --port or --host") from error
    return listener


def serve(
    service: Service, listener: socket.socket, *, key: str = "", grace: int = 60,
    ready: Callable[[str], object] = lambda url: None,
) -> None:  # fmt: skip
    """Serve until SIGINT or SIGTERM, then finish within `grace` seconds. `ready` is told the URL."""
    configured(service, key, grace, ready).run(sockets=[listener])


def configured(service: Service, key: str, grace: int, ready: Callable[[str], object]) -> Server:
    """The server, not yet running."""
    config = uvicorn.Config(
        build(service, key),
        http=Patience,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=grace,
    )
    return Server(config, ready)
