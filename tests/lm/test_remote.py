"""A model behind OpenAI's API: our own server over a real socket, and one that misbehaves in every way."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from jielong.base.errors import UserError, WorkFailed
from jielong.infer.engine import Engine
from jielong.lm.local import Local, Parts
from jielong.lm.meter import Budget, BudgetSpent
from jielong.lm.protocol import BadPrompt
from jielong.lm.remote import KEY, Remote
from jielong.serve.service import Limits, Service
from tests.lm.conftest import random_parts
from tests.serve.conftest import running, service_of, the_codec

CHAT = [{"role": "user", "content": "the cat"}]
Handler = Callable[[str, dict[str, Any]], "tuple[int, Any] | None"]


@contextmanager
def fake(handler: Handler) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that answers as `handler` says: (status, JSON or raw bytes); None: nothing at all for a second."""
    seen: list[dict[str, Any]] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(size)) if size else {}
            seen.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
            found = handler(self.path, body)
            if found is None:
                time.sleep(1.0)
                return
            status, said = found
            raw = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def said(text: Any, **more: Any) -> tuple[int, Any]:
    choice = {"message": {"content": text}, "finish_reason": "stop"}
    return 200, {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}, **more}


def quick(url: str, **more: Any) -> Remote:
    return Remote(url, more.pop("model", "m"), **{"timeout": 5, "retries": 2, "pause": 0.01, **more})


def test_our_own_server_answers_chats_and_texts_and_streams() -> None:
    with running(service_of("the cat sat on the mat")) as url:
        lm = Remote(url, timeout=20)
        (draw,) = lm.sample(CHAT, max_tokens=40)
        assert (draw.text, draw.reason, lm.model) == ("the cat sat on the mat", "stop", "cat")
        assert draw.usage.prompt > 0 and lm.usage.completion == draw.usage.completion > 0
        assert "".join(lm.stream(CHAT)) == "the cat sat on the mat" == "".join(lm.stream("the"))
        assert [d.text for d in lm.sample("the", 3)] == ["the cat sat on the mat"] * 3
        assert lm.sample(list(the_codec().encode("the")))[0].text == "the cat sat on the mat"
        cut = lm.sample("the", max_tokens=1)[0]
        assert cut.reason == "length" and lm.sample("the", stop=[" sat"])[0].text == "the cat"
        with pytest.raises(BadPrompt, match="refused the request"):
            lm.sample("the cat " * 2000)
        with pytest.raises(UserError, match=r"answered 404.*nobody"):
            Remote(url, "nobody", timeout=20).sample("the")


@pytest.mark.slow
def test_our_own_server_draws_and_scores_as_the_model_itself() -> None:
    parts: Parts = random_parts(the_codec(), context=64)
    here = Local(parts)
    engine = Engine(parts.model, parts.codec, mode="fast")
    service = Service(engine, parts.codec, name="tiny", context=64, width=16, limits=Limits())
    with running(service) as url:
        there = Remote(url, "tiny", timeout=30)
        for prompt, texts in (("the cat", [" sat", " ate the mat"]), ("th", ["e cat"]), ("玉", ["山很高", "山"])):
            for mine, theirs in zip(here.score(prompt, texts), there.score(prompt, texts)):
                assert list(theirs) == pytest.approx(list(mine), abs=1e-4)
        many = there.sample("the cat", 4, max_tokens=8, temperature=1.0)
        assert len({d.text for d in many}) > 1
        assert [d.text for d in there.sample("the cat", 2, max_tokens=8)] == [d.text for d in many[:2]]
        assert [d.text for d in there.sample("the cat", 1, 3, max_tokens=8)] == [many[3].text]


def test_what_passes_is_tried_again() -> None:
    answers = [(500, {"error": {"message": "boom"}}), (429, b"slow down"), said("at last")]
    with fake(lambda path, body: answers.pop(0)) as (url, seen):
        assert quick(url).sample(CHAT)[0].text == "at last"
        assert len(seen) == 3 and len({request["seed"] for request in seen}) == 1


@pytest.mark.parametrize(
    ("answer", "kind", "line"),
    [
        ((500, {"error": {"message": "boom"}}), WorkFailed, r"answered 500 \(boom\) in 3 tries"),
        ((503, b"<html>busy</html>"), WorkFailed, r"answered 503 \(<html>busy"),
        ((200, b"<html>hello</html>"), WorkFailed, r"not OpenAI's form \(<html>hello"),
        ((200, {"choices": []}), WorkFailed, "not OpenAI's form"),
        ((200, {"choices": [{"message": {"content": 7}}]}), WorkFailed, "not OpenAI's form"),
        ((200, [1]), WorkFailed, "not OpenAI's form"),
        ((400, {"error": {"message": "too long"}}), BadPrompt, r"refused the request \(400\): too long"),
        ((401, {"error": {"message": "no such key: sk-secret"}}), UserError, r"refuses the key in .*\*\*\*"),
        ((404, b"?"), UserError, "path or model are wrong"),
        ((302, b""), UserError, "answered 302"),
    ],
)
def test_what_is_wrong_is_one_clear_line(
    answer: Any, kind: type[Exception], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "sk-secret")
    with fake(lambda path, body: answer) as (url, seen):
        with pytest.raises(kind, match=line) as caught:
            quick(url).sample(CHAT)
        assert "sk-secret" not in str(caught.value) and "\n" not in str(caught.value)
        assert seen[0]["key"] == "Bearer sk-secret" and len(seen) == (3 if kind is WorkFailed else 1)


def test_no_answer_and_no_server() -> None:
    with fake(lambda path, body: None) as (url, seen):
        with pytest.raises(WorkFailed, match=r"did not answer within 0\.2 s in 2 tries"):
            quick(url, timeout=0.2, retries=1).sample(CHAT)
        assert len(seen) == 2
    with pytest.raises(WorkFailed, match="cannot be reached"):
        quick("http://127.0.0.1:9/v1", retries=0).sample(CHAT)
    for wrong in ("127.0.0.1:8000", "ftp://x", "http://"):
        with pytest.raises(UserError, match="no address of a server"):
            Remote(wrong)
    with pytest.raises(UserError, match="holds a password") as caught:
        Remote("https://me:sk-secret@example.org/v1")
    assert "sk-secret" not in str(caught.value)


def test_no_key_is_sent_where_none_is_set_and_it_is_nowhere_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    with fake(lambda path, body: said("x")) as (url, seen):
        lm = quick(url)
        draw = lm.sample(CHAT)[0]
        monkeypatch.setenv(KEY, "sk-secret")
        lm.sample(CHAT)
    assert [request["key"] for request in seen] == [None, "Bearer sk-secret"]
    assert "sk-secret" not in repr(vars(lm)) + repr(draw) + lm.name


def test_settings_go_over_the_wire() -> None:
    with fake(lambda path, body: said("x")) as (url, seen):
        lm = quick(url)
        lm.sample(CHAT, temperature=0.5, top_k=4, stop=["."], logit_bias={3: -1.0}, grammar=("json_schema", "{}"))
        assert seen[0]["temperature"] == 0.5 and seen[0]["top_k"] == 4 and seen[0]["stop"] == ["."]
        assert seen[0]["logit_bias"] == {"3": -1.0} and seen[0]["response_format"]["type"] == "json_schema"
        assert "min_p" not in seen[0] and seen[0]["messages"] == CHAT and 0 <= seen[0]["seed"] < 1 << 31
        with pytest.raises(UserError, match="regex"):
            lm.sample(CHAT, grammar=("regex", "a"))
        with pytest.raises(UserError, match="logprobs"):
            lm.sample(CHAT, logprobs=2)
        with pytest.raises(UserError, match="unknown sampling setting"):
            lm.sample(CHAT, heat=1)
        assert "embed" in lm.capabilities


def test_null_content_is_an_empty_answer_and_half_a_character_is_mended() -> None:
    answers = [said(None), said("a\ud83d")]
    with fake(lambda path, body: answers.pop(0)) as (url, _):
        assert [quick(url).sample(CHAT)[0].text for _ in range(2)] == ["", "a\ufffd"]


def test_a_server_of_several_models_wants_a_name() -> None:
    models = (200, {"data": [{"id": "a"}, {"id": "b"}]})
    with fake(lambda path, body: models) as (url, _), pytest.raises(UserError, match="has a, b: say which"):
        quick(url, model="").sample(CHAT)


def test_a_server_that_does_not_echo_cannot_score() -> None:
    answer = (200, {"choices": [{"text": "x", "logprobs": None}]})
    with fake(lambda path, body: answer) as (url, _):
        with pytest.raises(UserError, match="cannot score"):
            quick(url).score("a", ["b"])
        with pytest.raises(UserError, match="not what follows messages"):
            quick(url).score(CHAT, ["b"])


def test_a_stream_that_breaks_is_told() -> None:
    good = b'data: {"choices": [{"delta": {"content": "hel"}}]}\n\n'
    for bad, line in ((b"data: {nonsense\n\n", "not JSON"), (b'data: {"error": {"message": "oom"}}\n\n', "oom"),
                      (b'data: {"choices": [3]}\n\n', "another form")):  # fmt: skip
        with fake(lambda path, body, bad=bad: (200, good + bad)) as (url, _):  # type: ignore[misc]
            pieces = quick(url).stream(CHAT)
            assert next(pieces) == "hel"
            with pytest.raises(WorkFailed, match=line):
                next(pieces)
    with fake(lambda path, body: (500, b"boom")) as (url, _), pytest.raises(WorkFailed, match="answered 500: boom"):
        list(quick(url).stream(CHAT))


def test_requests_run_together_but_not_too_many() -> None:
    under_way, most = 0, 0

    def handler(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        time.sleep(0.05)
        under_way -= 1
        return said("x")

    with fake(handler) as (url, _):
        lm = quick(url, at_once=3)
        began = time.monotonic()
        assert len(lm.sample(CHAT, 12)) == 12
        assert 1 < most <= 3 and time.monotonic() - began < 5

        async def cancelled() -> None:
            task = asyncio.ensure_future(lm.asample(CHAT, 12))
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancelled())


def test_a_budget_is_kept() -> None:
    with fake(lambda path, body: said("x")) as (url, seen):
        lm = quick(url, budget=Budget(60))
        lm.sample(CHAT, max_tokens=20)
        assert lm.usage.prompt == 7 and lm.usage.completion == 3 and lm.meter.budget is not None
        assert lm.meter.budget.left == 50
        with pytest.raises(BudgetSpent):
            lm.sample(CHAT, max_tokens=60)
        assert len(seen) == 1


def test_a_server_that_counts_below_nothing_fills_no_budget() -> None:
    def lying(path: str, body: dict[str, Any]) -> Any:
        status, answer, *rest = said("x y")
        return status, {**answer, "usage": {"prompt_tokens": -1000, "completion_tokens": -5}}, *rest

    with fake(lying) as (url, _):
        lm = quick(url, budget=Budget(60))
        lm.sample(CHAT, max_tokens=20)
        assert lm.meter.budget is not None and lm.meter.budget.left < 60 and lm.usage.completion == 2
