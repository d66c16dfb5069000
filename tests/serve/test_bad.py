"""What is wrong gets one clear error, and other requests go on."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from contextlib import suppress

import httpx
import pytest

from jielong.serve import http, run
from jielong.serve.errors import ApiError
from jielong.serve.guard import Rate, check_browser, same
from tests.serve.conftest import running

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
USER = [{"role": "user", "content": "hi"}]
BODY = {"model": "cat", "messages": USER}


def post(client, content: bytes | str, path: str = CHAT, **headers: str) -> httpx.Response:
    return client.post(path, content=content, headers={"content-type": "application/json", **headers})


def patched(**more: object) -> str:
    return json.dumps({**BODY, **more})


BODIES = {
    "not json": (b"{", "JSON"),
    "nothing": (b"", "JSON"),
    "not utf-8": (b'{"model": "\xff"}', "JSON"),
    "half a character, raw": (b'{"model": "\xed\xa0\x80"}', "JSON"),
    "a list": (b"[]", "object"),
    "a number": (b"3", "object"),
    "too deep": (b"[" * 100_000, "deep"),
    "NaN": (patched(temperature=float("nan")), "NaN"),
    "infinity": (patched(temperature=float("inf")), "Infinity"),
    "a number too large": (patched().replace("}", ', "temperature": 1e999}', 1) and
                           '{"model":"cat","messages":[{"role":"user","content":"hi"}],"temperature":1e999}',
                           "temperature"),
    "a number of many digits": ('{"seed": ' + "9" * 5000 + "}", "JSON"),
    "a name twice": (b'{"model": "cat", "n": 1, "n": 2}', "'n' stands there twice"),
    "a name twice, inside": (patched()[:-1] + ', "metadata": {"a": "b", "a": "c"}}', "'a' stands there twice"),
    "half a character": (patched(messages=[{"role": "user", "content": "\ud800"}]), "half a character"),
    "half a character in a key": (patched(metadata={"\udfff": "x"}), "half a character"),
    "no messages": (patched(messages=[]), "messages"),
    "messages missing": ('{"model": "cat"}', "messages"),
    "model missing": (json.dumps({"messages": USER}), "model"),
    "a wrong role": (patched(messages=[{"role": "robot", "content": "x"}]), "messages[0].role"),
    "no content": (patched(messages=[{"role": "user"}]), "messages[0]"),
    "a picture": (patched(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]), "content"),
    "an answer to no call": (patched(messages=[*USER, {"role": "tool", "content": "x", "tool_call_id": "a"}]), "tool"),
    "broken arguments": (
        patched(messages=[{"role": "assistant", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}]}]), "arguments"),
    "a text for a number": (patched(temperature="1"), "temperature"),
    "true for a number": (patched(n=True), "n is True"),
    "a half token": (patched(max_tokens=1.5), "max_tokens"),
    "less than none": (patched(max_tokens=-1), "max_tokens"),
    "a huge seed": (patched(seed=1 << 70), "seed"),
    "two lengths": (patched(max_tokens=1, max_completion_tokens=2), "max_completion_tokens"),
    "an empty stop": (patched(stop=""), "stop"),
    "a bias without a token": (patched(logit_bias={"x": 1}), "logit_bias"),
    "a bias on no token": (patched(logit_bias={"99999": 1}), "logit_bias"),
    "a bias too strong": (patched(logit_bias={"5": 101}), "logit_bias"),
    "alternatives without logprobs": (patched(top_logprobs=2), "top_logprobs"),
    "too many alternatives": (patched(logprobs=True, top_logprobs=21), "top_logprobs"),
    "stream options without a stream": (patched(stream_options={"include_usage": True}), "stream_options"),
    "an unknown stream option": (patched(stream=True, stream_options={"x": 1}), "stream_options.x"),
    "a choice without tools": (patched(tool_choice="auto"), "tool_choice"),
    "a tool that is not there": (
        patched(tools=[{"type": "function", "function": {"name": "f"}}],
                tool_choice={"type": "function", "function": {"name": "g"}}), "tool_choice"),
    "a tool of another kind": (patched(tools=[{"type": "custom", "custom": {"name": "f"}}]), "tools[0]"),
    "a tool without a good name": (patched(tools=[{"type": "function", "function": {"name": "a b"}}]), "tools[0]"),
    "a schema missing": (patched(response_format={"type": "json_schema"}), "response_format"),
    "a format unknown": (patched(response_format={"type": "yaml"}), "response_format"),
    "a prompt beyond the context": (patched(messages=[{"role": "user", "content": "cat" * 2000}]), "context"),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_wrong_bodies(serve, name):
    content, said = BODIES[name]
    client = serve()
    answer = post(client, content)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error" and said in error["message"] and "\n" not in error["message"]
    assert len(error["message"]) < 400
    assert client.service.busy == client.service.engine.open == 0


@pytest.mark.parametrize("prompt", ["", [], [[]], [""], [999_999], [-1], [[5], [999_999]], [5, "a"], [1.5], {}, 3])
def test_wrong_prompts(serve, prompt):
    answer = serve().post(TEXT, json={"model": "cat", "prompt": prompt})
    assert answer.status_code == 400 and "prompt" in answer.json()["error"]["message"]


def test_too_many_at_once(serve):
    client = serve(choices=5)
    answer = client.post(TEXT, json={"model": "cat", "prompt": ["a", "b"], "n": 3})
    assert answer.status_code == 400 and "5" in answer.json()["error"]["message"]
    answer = serve(queue=1).post(CHAT, json={**BODY, "n": 2})
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"


def test_a_giant_body(serve, listening):
    client = serve(body=1000)
    answer = post(client, patched(user="x" * 2000))
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "request_too_large"

    def endless():
        for _ in range(100):
            yield b"[" * 100

    client = listening(body=1000)
    assert post(client, endless()).status_code == 413  # without a length said beforehand
    assert client.post(CHAT, json=BODY).status_code == 200


@pytest.mark.parametrize("key, status", [("sk-right", b"413"), ("wrong", b"401")])
def test_who_is_refused_while_they_still_send_reads_why(listening, monkeypatch, key, status):
    """Most clients read nothing until all is sent; a connection that is reset meanwhile loses the answer."""
    monkeypatch.setattr(http, "LINGER", 20.0)
    client = listening(key="sk-right", body=1000)
    with socket.create_connection((str(client.base_url.host), client.base_url.port), timeout=10) as raw:
        raw.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
                    "content-length: 500000\r\n\r\n".encode())  # fmt: skip
        for _ in range(5):
            raw.sendall(b"[" * 100_000)
            time.sleep(0.1)
        said = raw.makefile("rb").read()
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.split()[1] == status and b"connection: close" in head.lower() and json.loads(body)["error"]["message"]


def test_who_goes_on_sending_is_left(listening, monkeypatch):
    monkeypatch.setattr(http, "LINGER", 0.2)
    client = listening(body=1000)

    def endless(raw: socket.socket) -> None:
        raw.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(100_000):  # ten gigabytes
            raw.sendall(b"186a0\r\n" + b"[" * 100_000 + b"\r\n")

    where = str(client.base_url.host), client.base_url.port
    with socket.create_connection(where, timeout=10) as raw, pytest.raises(OSError):
        endless(raw)
    assert client.post(CHAT, json=BODY).status_code == 200


def test_a_body_that_is_no_json_is_sent_back(serve):
    assert serve().post(CHAT, content=b"{}", headers={"content-type": "text/plain"}).status_code == 415


def test_wrong_paths_and_methods(serve):
    client = serve()
    for method, path, status in [("GET", "/v2", 404), ("GET", CHAT, 405), ("POST", "/health", 405)]:
        answer = client.request(method, path)
        assert answer.status_code == status and answer.json()["error"]["type"] == "invalid_request_error"


def test_a_fault_inside_is_told_without_its_inside(serve, caplog):
    client = serve()
    client.service.engine.fault = "secret detail"
    answer = client.post(CHAT, json=BODY)
    assert answer.status_code == 500 and "secret" not in answer.text
    assert "secret detail" in caplog.text  # for whoever runs the server
    client.service.engine.fault = ""
    assert client.post(CHAT, json=BODY).status_code == 200


def test_the_key(serve, caplog):
    client = serve(key="sk-very-secret")
    with caplog.at_level(logging.DEBUG):
        for headers, status in [
            ({}, 401),
            ({"authorization": "Bearer wrong"}, 401),
            ({"authorization": "Basic sk-very-secret"}, 401),
            ({"authorization": "bearer sk-very-secret"}, 200),
        ]:
            for path in (CHAT, "/tokenize"):
                body = BODY if path == CHAT else {"prompt": "a"}
                assert client.post(path, json=body, headers=headers).status_code == status
            for path in ("/metrics", "/v1/models"):
                assert client.get(path, headers=headers).status_code == status
        answer = client.get("/v1/models?api_key=sk-very-secret")
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert client.get("/health").status_code == client.get("/").status_code == 200
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith("httpx")]  # httpx speaks as the client
    assert ours and "very-secret" not in str(ours) + answer.text
    assert same("a", "a") and not same("a", "b") and not same("", "a") and not same("玉", "山")


@pytest.mark.parametrize(
    "headers, keyed, fine",
    [
        ({"host": "localhost:8000"}, False, True),
        ({"host": "127.0.0.1:8000"}, False, True),
        ({"host": "[::1]:8000"}, False, True),
        ({"host": "evil.example"}, False, False),  # a domain that points here
        ({"host": "evil.example"}, True, True),
        ({"host": "localhost:8000", "origin": "http://localhost:8000"}, False, True),
        ({"host": "localhost:8000", "origin": "http://evil.example"}, True, False),
        ({"host": "localhost:8000", "origin": "null"}, False, False),
    ],
)
def test_what_strange_pages_may_not(headers, keyed, fine):
    given = {k.encode(): v.encode() for k, v in headers.items()}
    if fine:
        check_browser(given, keyed)
    else:
        with pytest.raises(ApiError):
            check_browser(given, keyed)


def test_the_rate(serve):
    now = [0.0]
    rate = Rate(60, lambda: now[0])
    assert [rate.take("a") for _ in range(60)] == [0] * 60
    assert rate.take("a") == pytest.approx(1) and rate.take("b") == 0
    now[0] = 1.0
    assert rate.take("a") == 0 and rate.take("a") > 0
    client = serve(rate=2)
    answers = [client.get("/v1/models") for _ in range(3)]
    assert [a.status_code for a in answers] == [200, 200, 429] and int(answers[2].headers["retry-after"]) > 0
    assert answers[2].json()["error"]["code"] == "rate_limit_exceeded"


def wait(until, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        time.sleep(0.02)
    return until()


LONG = "the cat sat on the mat " * 20


@pytest.mark.parametrize("stream", [True, False])
def test_who_hangs_up_frees_their_slots(listening, stream):
    client = listening(LONG, delay=0.05)
    engine, service = client.service.engine, client.service
    host, port = str(client.base_url.host), client.base_url.port
    body = json.dumps({**BODY, "n": 3, "stream": stream}).encode()
    raw = socket.create_connection((host, port))
    raw.sendall(b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\n\r\n%s" % (CHAT.encode(), len(body), body))  # fmt: skip
    assert wait(lambda: engine.open == 3)
    raw.close()
    assert wait(lambda: engine.open == 0 and service.busy == 0, 3)
    assert client.get("/health").status_code == 200


def test_time_is_up(listening):
    client = listening(LONG, delay=0.05, seconds=0.3)
    answer = client.post(CHAT, json=BODY)
    assert answer.status_code == 504 and answer.json()["error"]["code"] == "timeout"
    lines = client.post(CHAT, json={**BODY, "stream": True}).text.strip().split("\n\n")
    assert "timeout" in json.loads(lines[-1][6:])["error"]["code"] and len(lines) > 2
    assert wait(lambda: client.service.engine.open == 0)


def test_a_body_that_does_not_arrive(listening):
    client = listening(arrival=0.3)
    raw = socket.create_connection((str(client.base_url.host), client.base_url.port))
    raw.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50\r\n\r\n{")
    raw.settimeout(5)
    assert b"408" in raw.recv(100)


def test_a_reader_who_does_not_read_is_left(make):
    service = make("the cat sat on the mat " * 100, stall=0.3)
    service.context = 10_000
    body = json.dumps({**BODY, "n": 4, "stream": True, "logprobs": True, "top_logprobs": 20}).encode()
    with running(service, buffer=4096) as url, socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", httpx.URL(url).port))
        raw.sendall(b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                    b"content-length: %d\r\n\r\n%s" % (CHAT.encode(), len(body), body))  # fmt: skip
        assert wait(lambda: service.engine.begun == 4)
        few = {**BODY, "max_tokens": 3}
        assert httpx.post(url + CHAT, json=few, timeout=20).status_code == 200  # others are served meanwhile
        assert service.engine.begun == 5
        assert wait(lambda: service.engine.open == 0 and service.busy == 0)


def test_what_runs_is_finished_when_the_server_stops(make):
    service = make("the cat sat on the mat", delay=0.1)
    found: list[httpx.Response] = []
    with running(service, grace=10) as url:
        thread = threading.Thread(target=lambda: found.append(httpx.post(url + CHAT, json=BODY, timeout=20)))
        thread.start()
        assert wait(lambda: service.engine.open == 1)
    thread.join()
    assert found[0].json()["choices"][0]["message"]["content"] == "the cat sat on the mat"
    assert service.engine.closed


def test_an_address_in_use_is_said():
    from jielong.base.errors import UserError
    from jielong.serve.run import listen

    taken = listen("127.0.0.1", 0)
    taken.listen()
    with pytest.raises(UserError, match="cannot listen on"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(UserError, match="no-such-host"):
        listen("no-such-host.invalid", 1)


@pytest.mark.parametrize("said", [b"", b"POST /v1/completions HT", b"GET /health HTTP/1.1\r\nhost: loc"])
def test_who_never_says_what_they_want_is_left(make, monkeypatch, said):
    monkeypatch.setattr(run, "HEADS", 0.2)
    with running(make()) as url, socket.create_connection(("127.0.0.1", httpx.URL(url).port)) as raw:
        raw.sendall(said)
        raw.settimeout(5)
        with suppress(ConnectionResetError):
            assert raw.recv(100) == b""
        assert httpx.get(url + "/health").status_code == 200


def test_connections_are_kept_between_requests(listening):
    client = listening()
    for _ in range(3):
        assert client.post(CHAT, json=BODY).status_code == 200
    assert post(client, b"{").status_code == 400  # also after an error
    assert len(client._transport._pool.connections) == 1
