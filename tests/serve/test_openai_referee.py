"""OpenAI's own client reads every answer: strictly typed, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.serve.conftest import running

pytestmark = pytest.mark.referee
openai = pytest.importorskip("openai")

CALLS = (
    'I look. <tool_call>{"name": "find", "arguments": {"what": "cat {1}", "n": 2}}</tool_call>\n'
    '<tool_call>{"name": "stop", "arguments": {}}</tool_call>'
)
TOOLS = [
    {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "stop"}},
]
USER = [{"role": "user", "content": "where is the cat?"}]


@pytest.fixture
def client(make):
    """`client(script)`: openai's client; its answers are validated field by field, not merely constructed."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def made(script: Any = "the cat 玉山 sat", key: str = "sk-test", strict: bool = True):
            service = make(script)
            url = stack.enter_context(running(service, key))
            found = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=20,
                                  _strict_response_validation=strict)  # fmt: skip
            stack.callback(found.close)
            found.service = service
            return found

        yield made


def test_chat(client):
    answer = client().chat.completions.create(model="cat", messages=USER, seed=1, user="me", store=False,
                                              metadata={"a": "b"}, service_tier="auto")  # fmt: skip
    assert answer.choices[0].message.content == "the cat 玉山 sat"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


def test_chat_stream_with_usage_and_logprobs(client):
    c = client()
    with c.chat.completions.create(model="cat", messages=USER, stream=True, logprobs=True, top_logprobs=3,
                                   stream_options={"include_usage": True}) as stream:  # fmt: skip
        chunks = list(stream)
    assert "".join(x.choices[0].delta.content or "" for x in chunks if x.choices) == "the cat 玉山 sat"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [x.usage is not None for x in chunks] == [False] * (len(chunks) - 1) + [True]
    listed = [t for x in chunks if x.choices and x.choices[0].logprobs for t in x.choices[0].logprobs.content]
    assert b"".join(bytes(t.bytes) for t in listed).decode() == "the cat 玉山 sat"
    assert all(len(t.top_logprobs) == 3 and t.logprob <= 0 for t in listed)
    whole = c.chat.completions.create(model="cat", messages=USER, logprobs=True, top_logprobs=3)
    assert whole.choices[0].logprobs.content == listed
    assert whole.usage == chunks[-1].usage


def test_n_choices_in_a_stream(client):
    c = client(lambda request: f"the cat {request.index}")
    with c.chat.completions.create(model="cat", messages=USER, stream=True, n=3) as stream:
        said = ["", "", ""]
        for chunk in stream:
            said[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert said == ["the cat 0", "the cat 1", "the cat 2"]
    whole = c.chat.completions.create(model="cat", messages=USER, n=3)
    assert [x.message.content for x in whole.choices] == said


def test_parallel_tool_calls(client):
    c = client(CALLS)
    answer = c.chat.completions.create(model="cat", messages=USER, tools=TOOLS)
    one = answer.choices[0]
    assert one.finish_reason == "tool_calls" and one.message.content == "I look."
    assert [(t.function.name, json.loads(t.function.arguments)) for t in one.message.tool_calls] == [
        ("find", {"what": "cat {1}", "n": 2}),
        ("stop", {}),
    ]
    assert len({t.id for t in one.message.tool_calls}) == 2
    back = [*USER, one.message.model_dump(), {"role": "tool", "content": "on the mat",
                                              "tool_call_id": one.message.tool_calls[0].id}]  # fmt: skip
    c.chat.completions.create(model="cat", messages=back, tools=TOOLS)
    read = c.service.codec.decode(c.service.engine.seen[-1].prompt)
    assert '"arguments": {"what": "cat {1}", "n": 2}' in read and "on the mat" in read


def test_tool_deltas_add_up(client):
    c = client(CALLS)
    with c.chat.completions.stream(model="cat", messages=USER, tools=TOOLS) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert [t.function.name for t in calls] == ["find", "stop"]
    assert json.loads(calls[0].function.arguments) == {"what": "cat {1}", "n": 2}
    assert final.choices[0].message.content == "I look."
    deltas = [e for e in events if e.type == "tool_calls.function.arguments.delta"]
    assert len(deltas) > 3  # as they come, not at the end


def test_one_call_where_calls_may_not_be_parallel(client):
    c = client(CALLS)
    answer = c.chat.completions.create(model="cat", messages=USER, tools=TOOLS, parallel_tool_calls=False)
    assert [t.function.name for t in answer.choices[0].message.tool_calls] == ["find"]
    assert json.loads(answer.choices[0].message.tool_calls[0].function.arguments) == {"what": "cat {1}", "n": 2}
    assert answer.choices[0].finish_reason == "tool_calls"


def test_no_calls_where_none_are_wanted(client):
    answer = client(CALLS).chat.completions.create(model="cat", messages=USER, tools=TOOLS, tool_choice="none")
    assert answer.choices[0].message.tool_calls is None and "<tool_call>" in answer.choices[0].message.content


def test_completions(client):
    c = client()
    answer = c.completions.create(model="cat", prompt=["the cat", "玉山"], echo=True, max_tokens=3)
    assert [x.text for x in answer.choices] == ["the catthe cat 玉山", "玉山the cat 玉山"]
    answer = c.completions.create(model="cat", prompt=[5, 6], logprobs=2)
    one = answer.choices[0].logprobs
    assert all(p <= 0 for p in one.token_logprobs) and all(2 <= len(t) <= 3 for t in one.top_logprobs)
    assert all(answer.choices[0].text[a:].startswith(t) for a, t in zip(one.text_offset, one.tokens[:-1]))


# What follows with strict=False is so at OpenAI too, though the client's own types do not know it: a completion's
# chunk has no finish_reason until the last, an echoed prompt's first token no log-probability, and vectors come
# in base64.


def test_completions_streamed(client):
    with client(strict=False).completions.create(model="cat", prompt=[5, 6], stream=True, max_tokens=2) as stream:
        chunks = list(stream)
    assert "".join(x.choices[0].text for x in chunks) == "the cat"
    assert [x.choices[0].finish_reason for x in chunks] == [None, "length"]


def test_logprobs_of_an_echoed_prompt(client):
    answer = client(strict=False).completions.create(model="cat", prompt="the cat", echo=True, logprobs=2, max_tokens=2)
    one = answer.choices[0].logprobs
    assert one.token_logprobs[0] is None and all(p <= 0 for p in one.token_logprobs[1:])
    assert "".join(one.tokens) == answer.choices[0].text == "the catthe cat"
    assert one.text_offset == [0, 3, 7, 10]


def test_embeddings(client):
    answer = client().embeddings.create(model="cat", input=["the cat", "玉山"], encoding_format="float")
    assert len(answer.data) == 2 and answer.usage.prompt_tokens > 0
    assert all(abs(sum(x * x for x in d.embedding) - 1) < 1e-5 for d in answer.data)


def test_embeddings_as_the_client_asks_by_default(client):
    c = client(strict=False)  # in base64
    default = c.embeddings.create(model="cat", input="the cat").data[0].embedding
    listed = c.embeddings.create(model="cat", input="the cat", encoding_format="float").data[0].embedding
    assert default == pytest.approx(listed)


def test_models(client):
    c = client()
    assert [m.id for m in c.models.list()] == ["cat"] and c.models.retrieve("cat").owned_by == "jielong"
    with pytest.raises(openai.NotFoundError):
        c.models.retrieve("dog")


def test_responses(client):
    c = client()
    answer = c.responses.create(model="cat", input="hi", instructions="be brief", metadata={"a": "b"}, store=False,
                                top_logprobs=2, include=["message.output_text.logprobs"])  # fmt: skip
    assert answer.output_text == "the cat 玉山 sat" and answer.status == "completed"
    assert answer.metadata == {"a": "b"} and answer.usage.output_tokens > 3
    part = answer.output[0].content[0]
    assert b"".join(bytes(t.bytes) for t in part.logprobs).decode() == part.text
    again = c.responses.create(model="cat", input=[{"role": "user", "content": "hi"}, *answer.output,
                                                   {"role": "user", "content": "and?"}])  # fmt: skip
    assert again.output_text == answer.output_text
    assert "the cat 玉山 sat" in c.service.codec.decode(c.service.engine.seen[-1].prompt)


def test_responses_events_add_up(client):
    c = client()
    with c.responses.stream(model="cat", input="hi") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == "the cat 玉山 sat"
    assert [e.sequence_number for e in events if hasattr(e, "sequence_number")] == list(range(len(events)))
    assert [e.type for e in events][:4] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]  # fmt: skip
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == final.output_text
    assert events[-1].type == "response.completed"


def test_responses_calls(client):
    c = client(CALLS)
    tools = [{"type": "function", "strict": None, "parameters": None, **t["function"]} for t in TOOLS]
    with c.responses.stream(model="cat", input="hi", tools=tools) as stream:
        kinds = [e.type for e in stream]
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["message", "function_call", "function_call"]
    assert json.loads(final.output[1].arguments) == {"what": "cat {1}", "n": 2}
    assert kinds.count("response.function_call_arguments.done") == 2
    items = [x.model_dump(exclude_none=True) for x in final.output]
    items = [{k: v for k, v in item.items() if k != "parsed_arguments"} for item in items]
    for part in items[0]["content"]:
        part.pop("parsed", None)
    answer = {"type": "function_call_output", "call_id": final.output[1].call_id, "output": "on the mat"}
    c.responses.create(model="cat", input=[{"role": "user", "content": "hi"}, *items, answer], tools=tools)
    read = c.service.codec.decode(c.service.engine.seen[-1].prompt)
    assert read.count("<tool_call>{") >= 2 and "on the mat" in read


def test_a_response_that_is_cut_off(client):
    c = client()
    assert c.responses.create(model="cat", input="hi", max_output_tokens=1).incomplete_details.reason
    with c.responses.create(model="cat", input="hi", max_output_tokens=1, stream=True) as stream:
        assert list(stream)[-1].type == "response.incomplete"


@pytest.mark.parametrize(
    "more, kind, param",
    [
        ({"prediction": {"type": "content", "content": "x"}}, "BadRequestError", "prediction"),
        ({"store": True}, "BadRequestError", "store"),
        ({"modalities": ["text", "audio"]}, "BadRequestError", "modalities[1]"),
        ({"model": "dog"}, "NotFoundError", "model"),
        ({"temperature": 3}, "BadRequestError", "temperature"),
        ({"messages": []}, "BadRequestError", "messages"),
    ],
)
def test_errors_arrive_as_the_client_knows_them(client, more, kind, param):
    with pytest.raises(getattr(openai, kind)) as caught:
        client().chat.completions.create(**{"model": "cat", "messages": USER, **more})
    assert caught.value.param == param and caught.value.type == "invalid_request_error"


def test_a_fault_of_the_engine_is_an_error(client):
    c = client()
    c.service.engine.fault = "boom"
    with pytest.raises(openai.InternalServerError):
        c.chat.completions.create(model="cat", messages=USER)


def test_the_wrong_key(client):
    c = client().with_options(api_key="wrong")
    with pytest.raises(openai.AuthenticationError):
        c.models.list()
