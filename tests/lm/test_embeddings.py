"""Vectors from a server: asked for in batches, put in their order, refused where they are none."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from jielong.base.errors import UserError, WorkFailed
from jielong.lm.embeddings import Embedder, open_embedder, vectors
from jielong.lm.protocol import BadPrompt
from jielong.lm.remote import Remote
from jielong.lm.scripted import Scripted


@pytest.fixture
def server() -> Iterator[tuple[str, list[Any]]]:
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append(body)
            rows = [{"index": i, "embedding": [float(len(text)), 1.0]} for i, text in enumerate(body["input"])]
            answer = {"data": rows[::-1], "usage": {"prompt_tokens": 7}}
            if body["model"] == "liar":
                answer = {"data": rows[1:]}
            self.reply(200, answer)

        def do_GET(self) -> None:
            self.reply(200, {"data": [{"id": "only"}]})

        def reply(self, status: int, answer: Any) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/v1", asked
        http.shutdown()
        thread.join()


def test_a_server(server: tuple[str, list[Any]]) -> None:
    url, asked = server
    model = open_embedder(url)
    assert (model.model, model.name) == ("remote only", f"{url}#only")
    texts = ["x" * i for i in range(1, 80)]
    assert model(texts)[:, 0].tolist() == list(range(1, 80))
    assert sorted(len(body["input"]) for body in asked) == [1, 15, 32, 32] and model.lm.usage.prompt == 28
    with pytest.raises(WorkFailed, match="not OpenAI's form"):
        Remote(url, "liar", retries=0).embed(["a", "b"])


@pytest.mark.parametrize("wrong", [
    {}, {"data": []}, {"data": [{"index": 0, "embedding": []}]}, {"data": [{"index": 0, "embedding": ["x"]}]},
    {"data": [{"index": 1, "embedding": [1.0]}]}, {"data": [{"index": 0, "embedding": [float("nan")]}]},
    {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0]}]}, {"data": 3},
])  # fmt: skip
def test_what_is_no_vectors(wrong: Any) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        vectors(wrong, 1)


class Short(Scripted):
    """Reads four characters at most."""

    async def aembed(self, texts: Any) -> np.ndarray:
        if any(len(text) > 4 for text in texts):
            raise BadPrompt("too long")
        return np.array([[text.count("a"), text.count("b")] for text in texts], np.float32)


def test_long_texts_are_read_in_halves() -> None:
    model = Short([])
    with pytest.raises(UserError, match="cannot embed"):
        Embedder(model, "m", "m")
    model.capabilities |= {"embed"}
    found = Embedder(model, "m", "m")(["ab", "aaaabbbb", "aaaaaaabb"])
    assert found[:2].tolist() == [[1, 1], [2, 2]] and found.shape == (3, 2)
    with pytest.raises(UserError, match="name a model"):
        open_embedder("")


def test_only_what_is_too_long_is_cut() -> None:
    """A key that is refused is not taken for a text that is too long: it is asked once."""
    asked = []

    class Refused(Short):
        async def aembed(self, texts: Any) -> np.ndarray:
            asked.append(texts)
            raise UserError("the key is refused")

    lm = Refused({})
    lm.capabilities |= {"embed"}
    with pytest.raises(UserError, match="key"):
        Embedder(lm, "m", "m")(["aaaaaaaa", "b"])
    assert len(asked) == 1
