"""Requests drawn from OpenAI's schema, right and wrong: fields as the public reference lists them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

CHAT, TEXT, EMBED, RESP = "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"
words = st.sampled_from(["hi", "the cat", "玉山", "", "<|im_end|>", "<tool_call>", "{", "a" * 300, "\x00", "é\u0301"])
junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
ids = st.integers(-2, 320)
schemas = st.sampled_from([
    {}, {"type": "object"}, {"type": "string", "maxLength": 3}, {"enum": [1, 2]}, {"type": "nothing"}, {"enum": []},
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False},
    {"$ref": "#/$defs/x"}, {"type": "string", "pattern": "("}, {"not": {}},
    {"type": "array", "items": {"type": "null"}},
])  # fmt: skip
names = st.sampled_from(["f", "g", "a b", "", "f" * 65])


def some(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


parts = st.one_of(
    some({"type": st.just("text"), "text": words}, {}),
    some({"type": st.just("image_url"), "image_url": st.fixed_dictionaries({"url": words})}, {}),
    junk,
)
made = some({"name": names, "arguments": st.sampled_from(["{}", "{", "[]", '{"a": 1}'])}, {})
call = some({"id": names, "type": st.just("function"), "function": made}, {})
messages = st.lists(
    some(
        {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function", "robot"])},
        {
            "content": st.one_of(words, words, st.none(), st.lists(parts, max_size=2)), "name": words,
            "tool_calls": st.lists(call, max_size=2), "tool_call_id": names, "refusal": st.none() | words,
            "audio": st.none() | junk, "annotations": st.just([]), "function_call": st.none() | junk,
        },
    ),
    max_size=4,
)  # fmt: skip
function = some({"name": names}, {"description": words, "parameters": schemas, "strict": st.booleans() | st.none()})
tools = st.lists(st.one_of(some({"type": st.just("function"), "function": function}, {}),
                           some({"type": st.sampled_from(["custom", "web_search"])}, {})), max_size=2)  # fmt: skip
forms = st.one_of(
    some({"type": st.sampled_from(["text", "json_object"])}, {}),
    some(
        {
            "type": st.just("json_schema"),
            "json_schema": some({"name": names}, {"schema": schemas, "strict": st.booleans()}),
        },
        {},
    ),
)
real = st.floats(-3, 3) | st.integers(-3, 3)
harmless = {
    "user": words, "safety_identifier": words, "metadata": st.dictionaries(words, words, max_size=2),
    "store": st.booleans(), "service_tier": st.sampled_from(["auto", "default", "flex", "gold"]),
    "prompt_cache_key": words, "prompt_cache_retention": st.sampled_from(["in_memory", "24h", "forever"]),
}  # fmt: skip
sampled = {
    "temperature": real, "top_p": real, "seed": st.integers(-(1 << 64), 1 << 64), "n": st.integers(-1, 4),
    "stop": st.one_of(words, st.lists(words, max_size=3)), "presence_penalty": real, "frequency_penalty": real,
    "logit_bias": st.dictionaries(st.sampled_from(["5", "260", "-1", "x", "99999"]), st.integers(-120, 120),
                                  max_size=2),
    "stream": st.booleans(), "stream_options": some({}, {"include_usage": st.booleans(),
                                                         "include_obfuscation": st.booleans()}),
    "max_tokens": st.integers(-1, 40), "top_k": st.integers(-2, 400), "min_p": real, "typical_p": real,
    "repetition_penalty": real, "bad_words": st.lists(words, max_size=2), "stop_token_ids": st.lists(ids, max_size=2),
    "ignore_eos": st.booleans(), "draft": st.sampled_from(["none", "lookup", "nobody"]), "guess": st.integers(-1, 4),
}  # fmt: skip
refused = {
    "audio": junk, "function_call": junk, "functions": junk, "moderation": junk, "prediction": junk,
    "prompt_cache_options": junk, "web_search_options": junk, "suffix": words, "best_of": st.integers(0, 3),
    "modalities": st.lists(st.sampled_from(["text", "audio"]), max_size=2), "verbosity": words,
    "reasoning_effort": st.sampled_from(["none", "low", "high"]), "no_such_field": junk,
}  # fmt: skip
model = st.sampled_from(["cat", "cat", "cat", "cat", "dog", ""])
choice = st.one_of(st.sampled_from(["none", "auto", "required", "never"]),
                   some({"type": st.just("function"), "function": some({"name": names}, {})}, {}))  # fmt: skip
prompts = st.one_of(words, st.lists(words, max_size=3), st.lists(ids, max_size=5),
                    st.lists(st.lists(ids, max_size=4), max_size=2))  # fmt: skip
items = st.one_of(
    some({"role": st.sampled_from(["user", "assistant", "system", "tool"]), "content": st.one_of(
        words, st.lists(some({"type": st.sampled_from(["input_text", "output_text", "input_image"])}, {"text": words}),
                        max_size=2))}, {"type": st.just("message"), "status": st.just("completed"), "id": words}),
    some({"type": st.just("function_call"), "call_id": names, "name": names,
          "arguments": st.sampled_from(["{}", "{", "null"])}, {"id": words}),
    some({"type": st.just("function_call_output"), "call_id": names, "output": words}, {}),
    some({"type": st.sampled_from(["reasoning", "item_reference"])}, {"id": words}),
)  # fmt: skip
BODIES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    CHAT: some(
        {"model": model, "messages": st.one_of(st.just([{"role": "user", "content": "hi"}]), messages)},
        {**harmless, **sampled, **refused, "max_completion_tokens": st.integers(-1, 40), "logprobs": st.booleans(),
         "top_logprobs": st.integers(-1, 22), "tools": tools, "tool_choice": choice,
         "parallel_tool_calls": st.booleans(), "response_format": forms},
    ),
    TEXT: some({"model": model, "prompt": prompts},
               {**harmless, **sampled, **refused, "echo": st.booleans(), "logprobs": st.integers(-1, 22)}),
    EMBED: some({"model": model, "input": prompts},
                {"user": words, "dimensions": st.integers(-1, 20),
                 "encoding_format": st.sampled_from(["float", "base64", "x"]),
                 "no_such_field": junk}),
    RESP: some(
        {"model": model, "input": st.one_of(words, st.lists(items, max_size=3))},
        {**harmless, "temperature": real, "top_p": real, "max_output_tokens": st.integers(0, 40),
         "top_logprobs": st.integers(-1, 22), "stream": st.booleans(), "instructions": words,
         "tools": st.lists(some({"type": st.sampled_from(["function", "web_search"])},
                                {"name": names, "parameters": schemas, "strict": st.booleans()}), max_size=2),
         "tool_choice": st.one_of(st.sampled_from(["none", "auto", "required"]),
                                  some({"type": st.just("function"), "name": names}, {})),
         "text": some({}, {"format": st.one_of(some({"type": st.just("text")}, {}), some(
             {"type": st.just("json_schema"), "name": names, "schema": schemas}, {"strict": st.booleans()}))}),
         "background": st.booleans(), "previous_response_id": words, "reasoning": junk, "include": st.lists(words),
         "truncation": st.sampled_from(["auto", "disabled"]), "conversation": words, "prompt": junk,
         "max_tool_calls": st.integers(0, 3), "parallel_tool_calls": st.booleans()},
    ),
}  # fmt: skip
