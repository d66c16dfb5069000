"""The server over the real engine: grammars are kept, seeds repeat, slots and pages come back."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import torch

from jielong.infer.engine import Engine
from jielong.lm.local import Local, Parts
from jielong.nets import checkpoint
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.serve.load import around
from tests.serve.conftest import Inside, running, the_codec

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
USER = [{"role": "user", "content": "the cat"}]
FIND = {
    "type": "object",
    "properties": {"what": {"enum": ["cat", "mat"]}, "n": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["what", "n"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def parts() -> Parts:
    codec = the_codec()
    config = TransformerConfig(vocab=codec.size, dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, hidden=64,
                               context=512)  # fmt: skip
    model = Transformer(config)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.2, generator=generator)
    return Parts(model.eval(), codec)


@pytest.fixture
def client(parts) -> Inside:
    return Inside(around(Engine(parts.model, parts.codec), parts.model, parts.codec, "tiny"))


def test_the_text_is_the_library_s(client, parts):
    answer = client.post(TEXT, json={"model": "tiny", "prompt": "the cat", "temperature": 0, "max_tokens": 12}).json()
    assert answer["choices"][0]["text"] == Local(parts).sample("the cat", temperature=0, max_tokens=12)[0].text
    assert answer["system_fingerprint"] == "fp_" + Local(parts).fingerprint[:12]


def test_seeds_repeat_and_draws_differ(client):
    asked = {"model": "tiny", "messages": USER, "seed": 3, "n": 3, "max_tokens": 20}
    one, two = (client.post(CHAT, json=asked).json()["choices"] for _ in range(2))
    assert one == two and len({c["message"]["content"] for c in one}) == 3
    fewer = client.post(CHAT, json={**asked, "n": 1}).json()["choices"]
    assert fewer == one[:1]


@pytest.mark.parametrize("stream", [False, True])
def test_json_follows_its_schema(client, stream):
    form = {"type": "json_schema", "json_schema": {"name": "f", "schema": FIND, "strict": True}}
    for seed in range(5):
        asked = {"model": "tiny", "messages": USER, "response_format": form, "seed": seed, "max_tokens": 200}
        answer = client.post(CHAT, json={**asked, "stream": stream})
        assert answer.status_code == 200
        text = said(answer) if stream else answer.json()["choices"][0]["message"]["content"]
        found = json.loads(text)
        assert found["what"] in ("cat", "mat") and 0 <= found["n"] <= 9 and len(found) == 2


def said(answer: httpx.Response) -> str:
    events = [json.loads(e[6:]) for e in answer.text.strip().split("\n\n")[:-1]]
    return "".join(e["choices"][0]["delta"].get("content") or "" for e in events)


def test_a_forced_call_is_made(client):
    tool = {"type": "function", "function": {"name": "find", "parameters": FIND}}
    choice = {"type": "function", "function": {"name": "find"}}
    for seed in range(3):
        answer = client.post(CHAT, json={"model": "tiny", "messages": USER, "tools": [tool], "tool_choice": choice,
                                         "seed": seed, "max_tokens": 200}).json()["choices"][0]  # fmt: skip
        assert answer["finish_reason"] == "tool_calls" and answer["message"]["content"] is None
        (call,) = answer["message"]["tool_calls"]
        assert call["function"]["name"] == "find" and json.loads(call["function"]["arguments"])["what"] in (
            "cat",
            "mat",
        )


def test_logprobs_are_the_model_s(client, parts):
    ids = parts.codec.encode("the cat sat on the mat")
    asked = {"model": "tiny", "prompt": ids, "echo": True, "logprobs": 3, "max_tokens": 0}
    found = client.post(TEXT, json=asked).json()["choices"][0]["logprobs"]
    with torch.no_grad():
        law = parts.model(torch.tensor([ids]))[0].log_softmax(-1)
    want = [law[i - 1, ids[i]].item() for i in range(1, len(ids))]
    assert found["token_logprobs"][0] is None and found["token_logprobs"][1:] == pytest.approx(want, abs=1e-4)
    for row, top in zip(law, found["top_logprobs"][1:]):
        assert sorted(top.values())[-3:] == pytest.approx(sorted(row.topk(3).values.tolist()), abs=1e-4)


def test_biases_and_penalties_reach_the_law(client, parts):
    asked = {"model": "tiny", "prompt": "the cat", "max_tokens": 10, "temperature": 0}
    token = parts.codec.encode(" sat")[0]
    found = client.post(TEXT, json={**asked, "logit_bias": {str(token): 100}}).json()["choices"][0]["text"]
    assert found == " sat" * 10
    other = client.post(TEXT, json={**asked, "logit_bias": {str(token): 5}, "frequency_penalty": 2}).json()
    assert other["choices"][0]["text"] != found


def wait(until, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        time.sleep(0.02)
    return until()


def test_who_hangs_up_frees_pages(parts):
    service = around(Engine(parts.model, parts.codec), parts.model, parts.codec, "tiny")
    body = json.dumps({"model": "tiny", "prompt": "the cat", "n": 8, "max_tokens": 480, "ignore_eos": True,
                       "stream": True}).encode()  # fmt: skip
    with running(service) as url:
        for _ in range(3):
            raw = socket.create_connection(("127.0.0.1", httpx.URL(url).port))
            raw.sendall(b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%s"
                        % (TEXT.encode(), len(body), body))  # fmt: skip
            assert raw.recv(10)
            raw.close()
        assert wait(lambda: service.engine.stats().running + service.engine.stats().waiting == 0)
        assert wait(lambda: service.engine.stats().used == 0) and service.busy == 0
        page = httpx.get(url + "/metrics").text
    assert 'vllm:num_requests_running{engine="0",model_name="tiny"} 0.0' in page
    waited = re.search(r"vllm:request_queue_time_seconds_count\{.*\} (\d+)", page)
    assert waited is not None and 1 <= int(waited[1]) <= 24 and not service.metrics.arrived


def test_exact_answers_do_not_depend_on_company(parts):
    try:
        engine = Engine(parts.model, parts.codec, mode="exact")
    except Exception as error:
        pytest.skip(f"no exact mode here: {error}")
    client = Inside(around(engine, parts.model, parts.codec, "tiny"))

    async def many(count: int) -> list[str]:
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as http:
            asked = [{"model": "tiny", "prompt": f"the cat {'sat ' * i}", "seed": i, "max_tokens": 24, "logprobs": 1}
                     for i in range(count)]  # fmt: skip
            answers = await asyncio.gather(*(http.post(TEXT, json=a) for a in asked))
            return [json.dumps(a.json()["choices"]) for a in answers]

    def alone(i: int) -> str:
        asked = {"model": "tiny", "prompt": f"the cat {'sat ' * i}", "seed": i, "max_tokens": 24, "logprobs": 1}
        return json.dumps(client.post(TEXT, json=asked).json()["choices"])

    assert asyncio.run(many(6)) == [alone(i) for i in range(6)]


@pytest.fixture
def folder(parts, tmp_path) -> Path:
    checkpoint.save(tmp_path / "model", parts.model, parts.codec)
    return tmp_path / "model"


def test_the_command(folder, tmp_path):
    """Starts, answers, does not mind its folder's end, finishes what runs at SIGTERM, and exits with 0."""
    command = [sys.executable, "-m", "jielong", "serve", str(folder), "--port", "0", "--name", "tiny", "--json"]
    process = subprocess.Popen([*command[:-1], "-v"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "JIELONG_API_KEY": "sk-secret"}, cwd=tmp_path)  # fmt: skip
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("next:"):
            break
    url = next(w for line in said for w in line.split() if w.startswith("http://")).split("/v1")[0]
    shutil.rmtree(folder)
    headers = {"authorization": "Bearer sk-secret"}
    asked = {"model": "tiny", "prompt": "the cat", "max_tokens": 400, "ignore_eos": True, "stream": True}
    with httpx.stream("POST", url + TEXT, json=asked, headers=headers, timeout=60) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        process.send_signal(signal.SIGTERM)
        rest = list(lines)
    assert rest[-2:] == ["data: [DONE]", ""] or rest[-1] == "data: [DONE]"
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and out == ""
    assert "sk-secret" not in "".join(said) + err and f"POST {TEXT} 200" in err


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:100]), "safetensors"),
        (lambda f: (f / "config.json").write_text("{"), "config.json"),
        (lambda f: (f / "config.json").write_text('{"model_type": "no_such_family"}'), "no_such_family"),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer"),
        (lambda f: shutil.rmtree(f), "is not there"),
    ],
)
def test_a_folder_that_cannot_be_served_is_one_line(folder, capsys, spoil, words):
    from jielong.cli.main import main

    spoil(folder)
    assert main(["serve", str(folder), "--port", "0"]) == 2
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error


def test_other_machines_need_a_key(folder, capsys, monkeypatch):
    from jielong.cli.main import main

    monkeypatch.delenv("JIELONG_API_KEY", raising=False)
    assert main(["serve", str(folder), "--host", "0.0.0.0", "--port", "0"]) == 2
    assert "JIELONG_API_KEY" in capsys.readouterr().err


TEMPLATES = [
    "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    "{{ ''.__class__.__mro__ }}",
    "{{ raise_exception('no') }}",
    "{% if %}",
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_that_loops_or_escapes(parts, template):
    from jielong.units.codec import Tokenizer

    codec = Tokenizer(parts.codec.trusted, parts.codec.config, template)
    client = Inside(around(Engine(parts.model, codec), parts.model, codec, "tiny"))

    async def both() -> list[httpx.Response]:
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as http:
            bad = asyncio.ensure_future(http.post(CHAT, json={"model": "tiny", "messages": USER}))
            fine = await http.post(TEXT, json={"model": "tiny", "prompt": "the cat", "max_tokens": 3})
            return [await bad, fine]

    bad, fine = asyncio.run(both())
    assert bad.status_code == 400 and "chat template" in bad.json()["error"]["message"]
    assert fine.status_code == 200
