"""Grammars of answers: whatever is drawn under them is what was asked for."""

from __future__ import annotations

import json

import numpy as np
import pytest

from jielong.base.errors import UserError
from jielong.serve.schema import Format, NamedChoice, ToolFunction
from jielong.serve.structure import called, formatted
from jielong.serve.toolcalls import OPEN, Finder

FIND = {
    "type": "object",
    "properties": {"what": {"enum": ["cat", "mat"]}, "n": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["what", "n"],
    "additionalProperties": False,
}
TOOLS = [ToolFunction(name="find", parameters=FIND), ToolFunction(name="stop")]
MOST = 400


def drawn(codec, rule, seed: int, likes: str = "") -> str:
    """A text under the rule, every allowed token as likely; those of `likes` come first where they may."""
    chance = np.random.default_rng(seed)
    place, ids = rule.start(()), []
    wanted = codec.encode(likes)
    while not rule.done(place) and len(ids) < MOST:
        allowed = np.flatnonzero(rule.allowed(place))
        token = int(chance.choice(allowed))
        token = wanted.pop(0) if wanted and wanted[0] in allowed else token
        if token in rule.vocabulary.ends:
            break
        ids.append(token)
        place = rule.advance(place, token)
    return codec.decode(ids)


def calls(text: str) -> list[tuple[str, object]]:
    finder = Finder(frozenset({"find", "stop"}))
    content = "".join(n.content for n in finder.push(text) + finder.close())
    assert not content
    return [(c.name, json.loads(c.arguments)) for c in finder.calls]


def fits(name: str, arguments: object) -> bool:
    if name == "stop":
        return isinstance(arguments, dict)
    return isinstance(arguments, dict) and arguments["what"] in ("cat", "mat") and 0 <= arguments["n"] <= 9


@pytest.mark.parametrize("seed", range(8))
def test_a_required_call_is_a_call(codec, seed):
    named = NamedChoice.model_validate({"type": "function", "function": {"name": "find"}})
    (rule,) = called(codec, TOOLS, named, True)
    assert [(n, fits(n, a)) for n, a in calls(drawn(codec, rule, seed))] == [("find", True)]
    (rule,) = called(codec, TOOLS[:1], "required", False)
    assert [(n, fits(n, a)) for n, a in calls(drawn(codec, rule, seed))] == [("find", True)]


def test_required_calls_may_be_several(codec):
    (rule,) = called(codec, TOOLS[:1], "required", True)
    found = [calls(t) for t in (drawn(codec, rule, seed) for seed in range(12)) if len(codec.encode(t)) < MOST]
    assert {1, 2} <= {len(f) for f in found}
    assert all(fits(*call) for f in found for call in f)


def test_strict_tools_keep_to_their_schema_when_they_are_called(codec):
    strict = [ToolFunction(name="find", parameters=FIND, strict=True)]
    assert called(codec, TOOLS, "auto", True) == ()  # nothing to keep to
    (rule,) = called(codec, strict, "auto", False)
    for seed in range(6):
        text = drawn(codec, rule, seed, likes="the cat " + OPEN)
        assert text.startswith("the cat " + OPEN)
        assert [(n, fits(n, a)) for n, a in calls(text[len("the cat ") :])] == [("find", True)]
    place = rule.start(())
    assert rule.allowed(place)[codec.end]  # nothing must be called, or said


@pytest.mark.parametrize("seed", range(6))
def test_json_of_a_schema(codec, seed):
    form = Format.model_validate({"type": "json_schema", "json_schema": {"name": "f", "schema": FIND}})
    (rule,) = formatted(codec, form)
    assert fits("find", json.loads(drawn(codec, rule, seed)))
    assert formatted(codec, None) == formatted(codec, Format(type="text")) == ()


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/a"}}}},
        {"type": "nothing"},
        {"enum": []},
        {"type": "string", "pattern": "("},
        {"type": "string", "pattern": "(a{1000}){1000}"},
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_met_is_one_clear_400(serve, schema):
    client = serve()
    asked = {"model": "cat", "messages": [{"role": "user", "content": "hi"}]}
    form = {"type": "json_schema", "json_schema": {"name": "f", "schema": schema}}
    answer = client.post("/v1/chat/completions", json={**asked, "response_format": form})
    assert answer.status_code == 400 and "\n" not in answer.json()["error"]["message"]
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": schema}}}}
    answer = client.post("/v1/chat/completions", json={**asked, "tools": [tool], "tool_choice": "required"})
    assert answer.status_code in (200, 400)  # a property that cannot be is one that is left out
    assert client.post("/v1/chat/completions", json=asked).status_code == 200


def test_a_tool_that_cannot_be_called_is_refused(codec):
    with pytest.raises(UserError):
        called(codec, [ToolFunction(name="f", parameters={"type": "string"})], "required", True)
