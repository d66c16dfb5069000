"""Requests of every shape: each is answered rightly or refused with its reason, and nothing stays behind."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jielong.serve.app import build
from tests.serve.conftest import service_of
from tests.serve.requests import BODIES, CHAT, EMBED, RESP, TEXT, junk, refused
from tests.serve.test_wire import BASE

REFUSALS = {400, 404}


def check_answer(path: str, body: dict[str, Any], answer: httpx.Response) -> bool:
    """Whether it was served; AssertionError unless it is right, or one clear refusal."""
    if answer.status_code in REFUSALS:
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"} and error["type"] == "invalid_request_error"
        assert error["message"] and "\n" not in error["message"]
        assert (answer.status_code == 404) == (error["code"] == "model_not_found")
        return False
    assert answer.status_code == 200, (answer.status_code, answer.text[:300], body)
    if body.get("stream"):
        events = [e for e in answer.text.split("\n\n") if e]
        last = events[-1]
        assert last == "data: [DONE]" if path != RESP else '"status":"in_progress"' not in last
        assert not any('"error":{' in e for e in events), events[-2:]
        return True
    found = answer.json()
    if path == EMBED:
        given = body["input"]
        assert len(found["data"]) == (1 if isinstance(given, str) or isinstance(given[0], int) else len(given))
        return True
    usage = found["usage"]
    if path == RESP:
        wrote, choices = usage["output_tokens"], 1
        most = body.get("max_output_tokens")
    else:
        n, prompt = body.get("n") or 1, body.get("prompt")
        choices = n * (len(prompt) if isinstance(prompt, list) and not isinstance(prompt[0], int) else 1)
        assert len(found["choices"]) == choices and [c["index"] for c in found["choices"]] == list(range(choices))
        wrote = usage["completion_tokens"]
        lengths = [body.get(name) for name in ("max_tokens", "max_completion_tokens")]
        most = next((x for x in lengths if x is not None), None)
        if path == CHAT and body.get("logprobs"):
            for c in found["choices"]:
                assert all(len(t["top_logprobs"]) == (body.get("top_logprobs") or 0) for t in c["logprobs"]["content"])
    assert most is None or wrote <= most * choices
    return True


class Server:
    """One application, one loop, many requests."""

    def __init__(self, service: Any) -> None:
        self.service, self.loop = service, asyncio.new_event_loop()
        transport = httpx.ASGITransport(build(service))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://localhost")
        self.served = self.asked = 0
        self.statuses: Counter[int] = Counter()

    def ask(self, path: str, body: dict[str, Any]) -> None:
        content = json.dumps(body)  # NaN and all, as a careless client would

        async def send() -> httpx.Response:
            return await asyncio.wait_for(
                self.client.post(path, content=content, headers={"content-type": "application/json"}), 20
            )

        answer = self.loop.run_until_complete(send())
        self.asked += 1
        self.statuses[answer.status_code] += 1
        self.served += check_answer(path, body, answer)
        assert self.service.busy == self.service.engine.open == 0
        assert len(asyncio.all_tasks(self.loop)) == 0

    def close(self) -> None:
        self.loop.run_until_complete(self.client.aclose())
        self.loop.close()


def fuzz(make, examples: int, kind: type[Server] = Server) -> Server:
    """The server after so many requests."""
    server = kind(make(lambda request: "the cat sat on the mat <tool_call>{}</tool_call>"))
    body = st.sampled_from(list(BODIES)).flatmap(lambda path: st.tuples(st.just(path), BODIES[path]))

    @settings(max_examples=examples, deadline=None, database=None)
    @given(body, st.none() | st.tuples(st.integers(0, 30), junk), st.none() | st.integers(0, 4), st.randoms())
    def run(drawn, spoilt, few, chance):
        path, asked = drawn
        if few is not None:  # as most clients ask: a right model, and some fields that exist
            more = sorted(set(asked) - set(BASE[path]) - set(refused))
            asked = {**asked, "model": "cat"} | ({"messages": BASE[CHAT]["messages"]} if path == CHAT else {})
            asked = {n: asked[n] for n in (*BASE[path], *chance.sample(more, min(few, len(more))))}
        elif spoilt is not None:
            names = sorted(asked)
            asked = {**asked, names[spoilt[0] % len(names)]: spoilt[1]}
        server.ask(path, asked)
        server.service.engine.seen.clear()

    try:
        run()
    finally:
        server.close()
    return server


def test_some_requests(make):
    server = fuzz(make, 300)
    assert 0.1 < server.served / server.asked < 0.9  # both happen


@pytest.mark.slow
def test_ten_thousand_requests(make):
    server = fuzz(make, 10_000)
    assert server.asked >= 10_000 and server.served > 1000


@pytest.mark.parametrize("path", [CHAT, TEXT, EMBED, RESP])
@given(data=st.data())
@settings(max_examples=40)
def test_a_right_request_with_one_more_field_is_right_or_refused_by_that_name(path, data):
    extra = _fields(path)
    name = data.draw(st.sampled_from(sorted(extra)))
    body = {**BASE[path], name: data.draw(extra[name])}
    server = Server(service_of("the cat"))
    try:
        server.ask(path, body)
    finally:
        server.close()


def _fields(path: str) -> dict[str, Any]:
    from tests.serve import requests as r

    shared = {**r.harmless, **r.sampled, **r.refused}
    return {
        CHAT: {**shared, "tools": r.tools, "response_format": r.forms, "logprobs": st.booleans()},
        TEXT: {**shared, "echo": st.booleans(), "logprobs": st.integers(-1, 22)},
        EMBED: {"dimensions": st.integers(-1, 20), "encoding_format": st.sampled_from(["float", "base64"])},
        RESP: {**r.harmless, "top_logprobs": st.integers(-1, 22), "instructions": r.words},
    }[path]
