"""`jielong serve` as a process, and all that is wrong: one clear error each, while others are served."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from jielong.nets import checkpoint
from jielong.units.codec import Tokenizer
from tests.serve.conftest import the_codec
from tests.serve.test_clients import small_model

CHAT, TEXT, RESP, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"
USER = [{"role": "user", "content": "hi"}]
TEMPLATE = (
    "{% if messages[0].content == 'loop' %}"
    "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}"
    "{% elif messages[0].content == 'escape' %}{{ ''.__class__.__mro__[1].__subclasses__() }}"
    "{% elif messages[0].content == 'grow' %}{{ 'a' * 10 ** 10 }}{% endif %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
)


def chat(content: Any = "hi", **more: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": content}], **more}


def text(prompt: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "prompt": prompt, "max_tokens": 8, **more}


def schema(wanted: Any) -> dict[str, Any]:
    return chat(response_format={"type": "json_schema", "json_schema": {"name": "f", "schema": wanted}})


def nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        found = {"type": "array", "items": found}
    return found


WRONG: dict[str, tuple[str, Any, int, str]] = {
    "a long text": (TEXT, text("the cat " * 600), 400, "context is 512"),
    "many ids": (TEXT, text([5] * 512), 400, "context is 512"),
    "a long chat": (CHAT, chat("cat " * 900), 400, "context is 512"),
    "many messages": (CHAT, {"model": "m", "messages": USER * 4000}, 400, "context is 512"),
    "a long input": (RESP, {"model": "m", "input": "cat " * 900}, 400, "context is 512"),
    "a long text to embed": (EMBED, {"model": "m", "input": "cat " * 900}, 400, "context is 512"),
    "no messages": (CHAT, {"model": "m", "messages": []}, 400, "messages"),
    "a wrong role": (CHAT, {"model": "m", "messages": [{"role": "robot", "content": "x"}]}, 400, "messages[0].role"),
    "no role": (CHAT, {"model": "m", "messages": [{"role": None, "content": "x"}]}, 400, "messages[0].role"),
    "an answer to no call": (CHAT, {"model": "m", "messages": [{"role": "tool", "content": "x", "tool_call_id": "a"}]},
                             400, "tool_call_id"),
    "NaN": (TEXT, b'{"model": "m", "prompt": "a", "temperature": NaN}', 400, "NaN"),
    "beyond numbers": (TEXT, b'{"model": "m", "prompt": "a", "temperature": 1e999}', 400, "temperature"),
    "below nought": (TEXT, text("a", temperature=-1), 400, "temperature"),
    "nothing can be it": (CHAT, schema({"allOf": [{"type": "string"}, {"type": "integer"}]}), 400, "schema"),
    "itself in itself": (CHAT, schema({"$ref": "#"}), 400, "schema"),
    "somebody else's file": (CHAT, schema({"$ref": "file:///etc/passwd"}), 400, "schema"),
    "too deep a schema": (CHAT, schema(nested(200)), 400, "levels"),
    "too wide a schema": (CHAT, schema({"enum": [f"v{i}" * 10 for i in range(3000)]}), 400, "characters"),
    "an expression that grows": (CHAT, schema({"type": "string", "pattern": "((a{1,99}){1,99}){1,99}"}), 400,
                                 "regular expression"),
    "too many texts": (TEXT, text(["a"] * 3000), 400, "at most 2048"),
    "a giant body": (CHAT, b"[" * 5_000_000, 413, "bytes"),
    "brackets": (CHAT, b"[" * 100_000, 400, "deep"),
    "a template that loops": (CHAT, chat("loop"), 400, "chat template"),
    "a template that escapes": (CHAT, chat("escape"), 400, "chat template"),
    "a template that grows": (CHAT, chat("grow"), 400, "chat template"),
}  # fmt: skip


@contextmanager
def process(folder: Path, log: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The URL of a server, and its process; killed at the end if it still runs."""
    command = [sys.executable, "-m", "jielong", "serve", str(folder), "--port", "0", "--name", "m", "--body", "0.2"]
    with log.open("wb") as out:
        made = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        end = time.monotonic() + 120
        while "next:" not in log.read_text(encoding="utf-8"):
            assert made.poll() is None and time.monotonic() < end, log.read_text(encoding="utf-8")
            time.sleep(0.05)
        found = re.search(r"http://[\d.:]+", log.read_text(encoding="utf-8"))
        assert found is not None
        yield found[0], made
    finally:
        made.kill()
        made.wait()


class Other:
    """Somebody who asks rightly all the time."""

    def __init__(self, url: str) -> None:
        self.url, self.over, self.served, self.longest = url, False, 0, 0.0
        self.faults: list[str] = []
        self.thread = threading.Thread(target=self.ask, daemon=True)
        self.thread.start()

    def ask(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not self.over:
                began = time.monotonic()
                answer = client.post(TEXT, json=text("the cat", max_tokens=3))
                self.longest = max(self.longest, time.monotonic() - began)
                self.served += 1
                if answer.status_code != 200:
                    self.faults.append(answer.text)


def stalled(url: str) -> socket.socket:
    """Somebody who asks for much and never reads."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    where = httpx.URL(url)
    raw.connect((where.host, where.port))
    body = json.dumps(text("the cat", n=8, max_tokens=400, stream=True, logprobs=5)).encode()
    raw.sendall(
        b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%s" % (TEXT.encode(), len(body), body)
    )
    return raw


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile")
    model = checkpoint.load(small_model(path / "plain")).model
    codec = the_codec()
    checkpoint.save(path / "model", model, Tokenizer(codec.trusted, codec.config, TEMPLATE))
    return path / "model"


def test_everything_that_is_wrong_and_others_are_served(folder: Path, tmp_path: Path) -> None:
    with process(folder, tmp_path / "log") as (url, server), httpx.Client(base_url=url, timeout=60) as client:
        shutil.rmtree(folder)  # all of it is in memory
        other, slow = Other(url), [stalled(url) for _ in range(3)]
        for name, (path, body, status, said) in WRONG.items():
            content = body if isinstance(body, bytes) else json.dumps(body)
            before = other.served
            answer = client.post(path, content=content, headers={"content-type": "application/json"})
            assert answer.status_code == status, (name, answer.text)
            error = answer.json()["error"]
            assert said in error["message"] and "\n" not in error["message"] and len(error["message"]) < 400, (
                name,
                error,
            )
            end = time.monotonic() + 30
            while other.served <= before and time.monotonic() < end:
                time.sleep(0.005)
            assert other.served > before, name
        assert client.post(CHAT, json=chat()).status_code == 200
        other.over = True
        other.thread.join(60)
        assert not other.faults and other.longest < 30
        for raw in slow:
            raw.close()
        end = time.monotonic() + 30
        idle = 'vllm:num_requests_running{engine="0",model_name="m"} 0.0'
        while idle not in (page := client.get("/metrics").text) and time.monotonic() < end:
            time.sleep(0.05)
        assert idle in page and 'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.0' in page
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    assert "Traceback" not in (tmp_path / "log").read_text(encoding="utf-8")
