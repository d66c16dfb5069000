"""A server on the loopback that answers OpenAI's API, and does whatever a bad one does, by order.

    with faulty(["stall", "ok"]) as server:
        Remote(server.url, "m").sample("hi")       # the first request stalls, the second is answered
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

TEXT = "the answer is 42"
READ, WRITTEN = 5, 4


@dataclass
class Server:
    """`plan`: what each request meets, in order; the last one stays. `seen`: the requests' bodies."""

    url: str
    plan: list[str]
    seen: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)

    def next(self, body: dict[str, Any]) -> str:
        with self.lock:
            self.seen.append(body)
            return self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]


def body_of(usage: Any = None, text: str = TEXT) -> bytes:
    usage = {"prompt_tokens": READ, "completion_tokens": WRITTEN} if usage is None else usage
    choice = {"message": {"content": text}, "text": text, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


LIES = {
    "billion": {"prompt_tokens": READ, "completion_tokens": 10**9},
    "nothing": {"prompt_tokens": 0, "completion_tokens": 0},
    "negative": {"prompt_tokens": -(10**9), "completion_tokens": -(10**9)},
    "words": {"prompt_tokens": "many", "completion_tokens": None},
    "absent": [],
}


def answer(how: str, out: socket.socket, server: Server) -> None:
    """One answer. Unknown orders are a mistake of the test."""
    if how == "ok":
        send(out, 200, body_of())
    elif how in LIES:
        send(out, 200, body_of(LIES[how]))
    elif how == "stall":
        server.over.wait(20)
    elif how == "half":  # dies in the middle of its body
        whole = body_of()
        out.sendall(head(200, len(whole)) + whole[: len(whole) // 2])
    elif how == "garbage":
        send(out, 200, bytes(range(256)) * 4)
    elif how == "noise":  # not even HTTP
        out.sendall(b"\x00\xff\x13" * 50)
    elif how == "hang up":
        return
    elif how == "429":
        send(out, 429, b'{"error": {"message": "slow down"}}', "Retry-After: 0.05\r\n")
    elif how == "500":
        send(out, 500, b"boom")
    elif how == "stream":
        stream(out, [b"the ", b"answer ", b"is ", b"42"], end=b"data: [DONE]\n\n")
    elif how == "stream garbage":
        stream(out, [b"the "], end=b"data: \xff\xfe{{{\n\n")
    elif how == "stream dies":
        stream(out, [b"the ", b"answer "], end=b"data: {")
    elif how == "stream endless":
        with suppress(OSError):
            stream(out, [b"again "] * 100_000, end=b"")
    else:
        raise AssertionError(how)


def head(status: int, length: int, more: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n".encode()


def send(out: socket.socket, status: int, data: bytes, more: str = "") -> None:
    out.sendall(head(status, len(data), more) + data)


def stream(out: socket.socket, pieces: Sequence[bytes], end: bytes) -> None:
    out.sendall(b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    for piece in pieces:
        said = {"choices": [{"delta": {"content": piece.decode()}, "text": piece.decode()}]}
        out.sendall(b"data: " + json.dumps(said).encode() + b"\n\n")
    out.sendall(end)


def read(connection: socket.socket) -> dict[str, Any]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    top, _, body = data.partition(b"\r\n\r\n")
    sizes = [line.split(b":")[1] for line in top.lower().split(b"\r\n") if line.startswith(b"content-length")]
    while sizes and len(body) < int(sizes[0]):
        body += connection.recv(65536)
    return json.loads(body) if body else {}


@contextmanager
def faulty(plan: Sequence[str]) -> Iterator[Server]:
    """A server that meets the requests as `plan` says."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", list(plan))

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            answer(server.next(read(connection)), connection, server)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
