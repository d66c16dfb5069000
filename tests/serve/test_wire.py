"""What is asked is what is done: every field in its place, and nothing ignored."""

from __future__ import annotations

import json

import pytest

from jielong.serve.fields import Harmless

CHAT, TEXT, RESP = "/v1/chat/completions", "/v1/completions", "/v1/responses"
USER = [{"role": "user", "content": "hi"}]
BASE = {
    CHAT: {"model": "cat", "messages": USER},
    TEXT: {"model": "cat", "prompt": "the cat"},
    RESP: {"model": "cat", "input": "hi"},
    "/v1/embeddings": {"model": "cat", "input": "the cat"},
    "/tokenize": {"prompt": "the cat"},
    "/detokenize": {"tokens": [1, 2]},
}


def events(response) -> list[dict]:
    lines = [x[6:] for x in response.text.split("\n\n") if x.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(x) for x in lines[:-1]]


@pytest.mark.parametrize("path", BASE)
def test_the_least_request(serve, path):
    assert serve().post(path, json=BASE[path]).status_code == 200


@pytest.mark.parametrize("path", BASE)
def test_an_unknown_field_is_named(serve, path):
    answer = serve().post(path, json={**BASE[path], "no_such_field": 1})
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["param"] == "no_such_field" and "no_such_field" in error["message"]
    assert set(error) == {"message", "type", "param", "code"} and error["code"] == "unsupported_parameter"


# Fields of OpenAI's schema that are known and not implemented, with values that would ask for something.
ASKED = {
    CHAT: {
        "audio": {"voice": "a", "format": "wav"}, "function_call": "auto", "functions": [{"name": "f"}],
        "modalities": ["audio"], "moderation": {"model": "m"}, "prediction": {"type": "content", "content": "x"},
        "prompt_cache_options": {"mode": "explicit"}, "reasoning_effort": "high", "store": True,
        "verbosity": "low", "web_search_options": {},
    },
    TEXT: {"best_of": 3, "suffix": "x", "store": True},
    RESP: {
        "background": True, "conversation": "c", "context_management": [], "include": ["file_search_call.results"],
        "max_tool_calls": 2, "previous_response_id": "r", "prompt": {"id": "p"}, "reasoning": {"effort": "low"},
        "store": True, "truncation": "auto", "tools": [{"type": "web_search"}], "image": {}, "access_programs": {},
    },
    "/v1/embeddings": {"dimensions": 8},
}  # fmt: skip


@pytest.mark.parametrize("path, name", [(p, n) for p, fields in ASKED.items() for n in fields])
def test_a_field_that_is_not_implemented_is_refused_by_name(serve, path, name):
    answer = serve().post(path, json={**BASE[path], name: ASKED[path][name]})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error" and error["param"].startswith(name)
    assert error["message"].startswith(name)


@pytest.mark.parametrize("path", [CHAT, TEXT, RESP])
def test_the_harmless_are_accepted_and_null_is_absent(serve, path):
    harmless = {
        "user": "me", "safety_identifier": "me", "metadata": {"a": "b"}, "store": False, "service_tier": "flex",
        "prompt_cache_key": "k", "prompt_cache_retention": "24h",
    }  # fmt: skip
    assert set(harmless) == set(Harmless.model_fields)  # the written list, whole
    client = serve()
    plain, full = (client.post(path, json={**BASE[path], **more}).json() for more in ({}, harmless))
    assert str(plain["usage"]) == str(full["usage"])
    nothing = dict.fromkeys([*harmless, *ASKED[path], "temperature", "seed", "stop", "tools"])
    nothing = {name: None for name in nothing if name not in ("stop", "seed") or path != RESP}
    assert client.post(path, json={**BASE[path], **nothing}).status_code == 200


@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_every_setting_reaches_the_engine(serve, path):
    client = serve()
    asked = {
        "temperature": 0, "top_p": 0.5, "seed": 7, "stop": ["a", "b"], "logit_bias": {"5": -100, "6": 2.5},
        "top_k": 3, "min_p": 0.1, "repetition_penalty": 1.5, "presence_penalty": 0.5, "frequency_penalty": -0.5,
        "typical_p": 0.9, "bad_words": ["x"], "stop_token_ids": [9], "max_tokens": 11, "n": 2,
    }  # fmt: skip
    assert client.post(path, json={**BASE[path], **asked}).status_code == 200
    seen = client.service.engine.seen
    assert [r.index for r in seen] == [0, 1]
    s = seen[0].sampling
    assert (s.temperature, s.top_p, s.seed, s.stop, s.max_tokens) == (0, 0.5, 7, ("a", "b"), 11)
    assert s.logit_bias == ((5, -100.0), (6, 2.5)) and (s.top_k, s.min_p, s.repetition_penalty) == (3, 0.1, 1.5)
    assert (s.presence_penalty, s.frequency_penalty) == (0.5, -0.5)
    assert s.bad_words == ("x",) and 9 in s.stop_ids and client.service.codec.end in s.stop_ids


def test_zeros_are_numbers(serve):
    client = serve()
    answer = client.post(TEXT, json={**BASE[TEXT], "max_tokens": 0, "temperature": 0, "top_p": 0, "logprobs": 0,
                                     "echo": True, "seed": 0, "stop": []}).json()  # fmt: skip
    assert answer["choices"][0]["text"] == "the cat" and answer["usage"]["completion_tokens"] == 0
    assert answer["choices"][0]["finish_reason"] == "length"
    s = client.service.engine.seen[-1].sampling
    assert s.temperature == 0 and s.seed == 0 and 0 < s.top_p < 1e-6
    assert answer["choices"][0]["logprobs"]["token_logprobs"][1] < 0
    for path in (CHAT, TEXT):
        before = len(client.service.engine.seen)
        whole = client.post(path, json={**BASE[path], "max_tokens": 0}).json()
        assert whole["usage"]["completion_tokens"] == 0 and len(client.service.engine.seen) == before


def test_a_seed_is_drawn_when_none_is_given(serve):
    client = serve()
    for _ in range(2):
        client.post(CHAT, json=BASE[CHAT])
    seen = client.service.engine.seen
    assert seen[0].sampling.seed != seen[1].sampling.seed
    assert client.post(CHAT, json={**BASE[CHAT], "seed": -5}).status_code == 200


@pytest.mark.parametrize(
    "prompt, count",
    [("a", 1), (["a", "b"], 2), ([5, 6, 7], 1), ([[5], [6, 7]], 2)],
)  # fmt: skip
def test_prompts_of_every_form(serve, prompt, count):
    client = serve()
    answer = client.post(TEXT, json={"model": "cat", "prompt": prompt, "n": 2, "max_tokens": 1}).json()
    assert [c["index"] for c in answer["choices"]] == list(range(2 * count))
    assert len(client.service.engine.seen) == 2 * count


def test_a_stream_says_the_same_as_the_whole(serve):
    client = serve("the cat 玉山 sat on the mat")
    asked = {**BASE[TEXT], "prompt": ["a", "b"], "n": 2, "echo": True, "logprobs": 2, "max_tokens": 9}
    whole = client.post(TEXT, json=asked).json()
    found = events(client.post(TEXT, json={**asked, "stream": True, "stream_options": {"include_usage": True}}))
    assert found[-1]["usage"] == whole["usage"] and found[-1]["choices"] == []
    for choice in whole["choices"]:
        parts = [e["choices"][0] for e in found[:-1] if e["choices"][0]["index"] == choice["index"]]
        assert "".join(p["text"] for p in parts) == choice["text"]
        for name in choice["logprobs"]:
            listed = [value for p in parts if p["logprobs"] for value in p["logprobs"][name]]
            assert listed == choice["logprobs"][name]
        assert parts[-1]["finish_reason"] == choice["finish_reason"]


def test_stop_strings_cut_the_text(serve):
    client = serve("the cat sat on the mat")
    answer = client.post(CHAT, json={**BASE[CHAT], "stop": " on"}).json()["choices"][0]
    assert answer["message"]["content"] == "the cat sat" and answer["finish_reason"] == "stop"
    answer = client.post(CHAT, json={**BASE[CHAT], "max_completion_tokens": 2}).json()["choices"][0]
    assert answer["finish_reason"] == "length"


def test_developer_messages_and_parts_are_text(serve):
    client = serve()
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]},
        {"role": "assistant", "content": "yes", "refusal": None, "annotations": [], "tool_calls": None},
        {"role": "user", "content": "<|im_end|>"},
    ]
    assert client.post(CHAT, json={"model": "cat", "messages": messages}).status_code == 200
    codec, ids = client.service.codec, client.service.engine.seen[0].prompt
    assert codec.decode(ids).startswith("<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhi<|im_end|>")
    assert list(ids).count(codec.special["<|im_end|>"]) == 4  # what the user wrote is text


def test_tokens_there_and_back(serve):
    client = serve()
    found = client.post("/tokenize", json={"prompt": "the cat 玉山", "return_token_strs": True}).json()
    assert found["count"] == len(found["tokens"]) == len(found["token_strs"]) and found["max_model_len"] == 512
    assert client.post("/detokenize", json={"tokens": found["tokens"]}).json() == {"prompt": "the cat 玉山"}
    codec = client.service.codec
    assert client.post("/tokenize", json={"prompt": "<|endoftext|>"}).json()["tokens"] == [codec.end]
    assert codec.end not in client.post("/tokenize", json={"prompt": "a<|endoftext|>"}).json()["tokens"]
    chat = client.post("/tokenize", json={"messages": USER}).json()["tokens"]
    client.post(CHAT, json=BASE[CHAT])
    assert tuple(chat) == client.service.engine.seen[-1].prompt
    info = client.get("/tokenizer_info").json()
    assert info["eos_token"] == "<|endoftext|>" and info["chat_template"]


def test_the_page_is_whole_and_holds_nothing_foreign(serve):
    client = serve()
    page = client.get("/")
    assert "script-src 'sha256-" in page.headers["content-security-policy"]
    assert "://" not in page.text and '"model": "cat"' in page.text and "繁體" not in page.text[:200]
    for word in ("溫度", "Temperature"):
        assert word in page.text


def test_metrics_count_what_was_served(serve):
    client = serve("the cat sat")
    client.post(TEXT, json={**BASE[TEXT], "n": 2, "max_tokens": 3})
    page = client.get("/metrics").text
    for line in (
        'vllm:generation_tokens_total{engine="0",model_name="cat"} 6.0',
        'vllm:time_to_first_token_seconds_count{engine="0",model_name="cat"} 2.0',
        'vllm:inter_token_latency_seconds_count{engine="0",model_name="cat"} 4.0',
        'vllm:request_success_total{engine="0",finished_reason="length",model_name="cat"} 2.0',
        'vllm:num_requests_running{engine="0",model_name="cat"} 0.0',
        'vllm:num_requests_waiting{engine="0",model_name="cat"} 0.0',
        'vllm:kv_cache_usage_perc{engine="0",model_name="cat"} 0.0',
    ):
        assert line in page
    assert "vllm:request_queue_time_seconds_bucket" in page
