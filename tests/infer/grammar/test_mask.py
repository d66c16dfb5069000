"""Grammars through llguidance: masks, purity, batches, limits, odd input."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jielong.base.errors import UserError
from jielong.infer import grammar
from jielong.infer.core import Core
from jielong.infer.grammar import checks
from jielong.infer.grammar.mask import Mask, source
from jielong.infer.grammar.vocabulary import Vocabulary
from jielong.infer.pieces import Pieces
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.units.codec import Tokenizer

LOOP = {"$defs": {"n": {"type": "object", "properties": {"x": {"$ref": "#/$defs/n"}}, "required": ["x"]}}}
TREE = {
    "type": "object",
    "properties": {"v": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#"}}},
    "required": ["v", "kids"],
    "additionalProperties": False,
}


def through(rule: Any, data: bytes) -> Any:
    """The state after some bytes, one at a time, where tokens 0..255 are the bytes; None where one is forbidden."""
    state = rule.start(())
    for byte in data:
        if not rule.allowed(state)[byte]:
            return None
        state = rule.advance(state, byte)
    return state


def accepts(rule: Any, text: str) -> bool:
    state = through(rule, text.encode())
    return state is not None and bool(rule.allowed(state)[rule.vocabulary.ends[0]])


def test_ends_and_control_tokens(small: Vocabulary) -> None:
    rule = grammar.regex(small, "a(ab)?|<chat>")
    end, turn, chat = small.ends[0], small.ends[1], max(small.control)
    start = rule.start((1, 2, 3))
    assert np.flatnonzero(start.allowed).tolist() == sorted([ord("a"), ord("<"), small.tokens.index(b"aa")])
    middle = rule.advance(start, ord("a"))
    assert middle.allowed[[end, turn]].all() and not middle.allowed[chat] and not rule.done(middle)
    assert not middle.allowed[small.tokens.index(b"")]
    full = rule.advance(middle, small.tokens.index(b"ab"))
    assert rule.done(full) and np.flatnonzero(full.allowed).tolist() == [end, turn]
    over = rule.advance(full, turn)
    assert rule.done(over) and not over.allowed.any()
    with pytest.raises(ValueError, match="not allowed after 1 tokens"):
        rule.advance(middle, ord("b"))


def test_process_leaves_its_logits_and_masks_a_padded_model(small: Vocabulary) -> None:
    rule = grammar.regex(small, "[ab]")
    logits = torch.arange(small.size + 5.0)
    kept = rule.process(rule.start(()), logits)
    assert torch.equal(logits, torch.arange(small.size + 5.0))
    assert kept.isfinite().nonzero()[:, 0].tolist() == [ord("a"), ord("b")] and kept[ord("a")] == ord("a")


def test_a_state_is_a_value(small: Vocabulary) -> None:
    """Many threads go on from one state; nobody changes what another sees."""
    rule = grammar.json_schema(small, TREE)
    state = through(rule, b'{"v": 1')
    before = state.allowed.copy()
    found: list[list[bytes]] = []

    def work(seed: int) -> None:
        rng, here, text = np.random.default_rng(seed), state, []
        for _ in range(30):
            if rule.done(here):
                break
            token = int(rng.choice(np.flatnonzero(here.allowed)))
            text.append(small.tokens[token])
            here = rule.advance(here, token)
        found.append(text)

    work(0)
    threads = [threading.Thread(target=work, args=(0,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 9 and all(text == found[0] for text in found)
    assert np.array_equal(state.allowed, before) and np.array_equal(rule.start(()).allowed, rule.first.allowed)


def test_the_wrapped_vocabulary_is_the_tokenizers_own(codec: Tokenizer, words: Vocabulary) -> None:
    """Masks over our bytes are those that llguidance finds for the tokenizer.json itself."""
    from llguidance import LLMatcher, LLTokenizer

    own = LLTokenizer(codec.backend.to_str(), eos_token=list(words.ends))
    assert own.vocab_size == words.size
    rng = np.random.default_rng(0)
    for kind, text in [
        ("regex", r"(\w+ ){2,}玉.*"),
        ("json_schema", json.dumps(TREE)),
        ("lark", 'start: "a" start | /[^x]/'),
    ]:
        rule = grammar.make(words, kind, text)
        theirs, state = LLMatcher(own, source(rule.kind, rule.text)), rule.start(())
        for _ in range(40):
            bits = np.unpackbits(np.frombuffer(theirs.compute_bitmask(), dtype=np.uint8), bitorder="little")
            assert np.array_equal(bits[: words.size].astype(bool), rule.allowed(state))
            if rule.done(state):
                break
            token = int(rng.choice(np.flatnonzero(rule.allowed(state))))
            if token in words.ends:
                break
            state = rule.advance(state, token)
            assert theirs.consume_token(token)


def test_texts_of_a_batch_keep_to_their_grammars(codec: Tokenizer, words: Vocabulary) -> None:
    """Rows with and without grammars side by side: each is what it is alone, and of its language."""
    torch.manual_seed(0)
    config = TransformerConfig(vocab=codec.size + 9, dim=32, layers=1, heads=2, kv_heads=1, head_dim=16, context=96)
    model = Transformer(config).eval()
    rules: list[Mask | None] = [
        grammar.regex(words, "(yes|no)[.!]"),
        grammar.regex(words, "[a-z]{3,5}(, [a-z]{3,5}){2}"),
        grammar.json_schema(words, {"type": "array", "items": {"enum": ["玉山", 1, 2]}, "minItems": 2, "maxItems": 2}),
        grammar.lark(words, 'start: "(" start ")" | "x"'),
        None,
    ]
    asks = [
        Request(
            tuple(codec.encode("Who")),
            Sampling(max_tokens=60, seed=seed, stop_ids=words.ends),
            processors=(r,) if r else (),
        )
        for seed in range(4)
        for r in rules
    ]

    def texts(requests: list[Request]) -> list[str]:
        core = Core(model, Pieces(codec), mode="exact", streams=32)
        rows = [core.submit(request) for request in requests]
        while core.busy:
            assert not any(token.error for token in core.step())
        return [codec.decode([i for i in row.text[len(row.request.prompt) :] if i not in words.ends]) for row in rows]

    together = texts(asks)
    assert together == [texts([ask])[0] for ask in asks]
    for text, ask in zip(together, asks):
        if not ask.processors or ask.processors[0].kind == "lark":
            continue
        if ask.processors[0].kind == "regex":
            assert re.fullmatch(ask.processors[0].text, text), text
        else:
            assert len(json.loads(text)) == 2 and set(json.loads(text)) <= {"玉山", 1, 2}
    nested = [t for t, a in zip(together, asks) if a.processors and a.processors[0].kind == "lark"]
    assert all(re.fullmatch(r"\(*x?\)*", text) for text in nested)


def test_blanks_in_json_come_to_an_end(small: Vocabulary) -> None:
    rule = grammar.json_schema(small, TREE)
    assert accepts(rule, '{"v":1,"kids":[]}') and accepts(
        rule, '{\n  "v": 1,\n  "kids": [\n    {"v": -2, "kids": []}]\n}'
    )
    for text in ('{  "v"', '{"v":  1', '{\n\n"v"', " {", '{"kids"', '{"v": 01', '{"v": 1.5'):
        assert through(rule, text.encode()) is None, text
    assert accepts(grammar.json_schema(small, True), '{"any": [1, "thing"]}')
    assert accepts(grammar.json_schema(small, json.dumps({"const": "é\n"})), '"é\\n"')


def test_a_schema_inside_a_grammar(small: Vocabulary) -> None:
    """As the server writes calls of tools: bounded blanks there too."""
    text = f'start: "<call>" args "</call>"\nargs: %json {grammar.guided(TREE)}\n'
    rule = grammar.lark(small, text)
    assert accepts(rule, '<call>{"v": 1, "kids": []}</call>')
    assert through(rule, b'<call>{  "v"') is None


def test_a_users_guidance_does_not_loosen_ours(small: Vocabulary) -> None:
    schema = {"type": "object", "x-guidance": {"whitespace_flexible": True, "whitespace_pattern": " *"}}
    assert through(grammar.json_schema(small, schema), b"{  ") is None
    forced = grammar.lark(small, '%llguidance {"no_forcing": false}\nstart: "abc"')
    allowed = {small.tokens[i] for i in np.flatnonzero(forced.first.allowed)}
    assert allowed == {b"a", b"ab", b"abc"}


@pytest.mark.parametrize(
    "kind, text, word",
    [
        ("regex", "(", "unclosed group"),
        ("regex", r"\bfoo", "lookarounds"),
        ("regex", "(?=a)b", "look-around"),
        ("regex", r"[^\s\S]", "cannot be met"),
        ("regex", "\ud800", "half a character"),
        ("regex", "((a{1000}){1000}){1000}", "1,000,000,000 places"),
        ("regex", "a{99999999999999999999999999}", "places"),
        ("regex", "x" * 200_000, "200,000 characters"),
        ("regex", "(" * 5000 + ")" * 5000, "nested"),
        ("json_schema", "{", "not JSON"),
        ("json_schema", "[" * 100_000, "not JSON|characters"),
        ("json_schema", [], "object or a boolean"),
        ("json_schema", False, "[Uu]nsatisfiable"),
        ("json_schema", {"type": "integer", "minimum": 5, "maximum": 3}, "greater than maximum"),
        ("json_schema", {"enum": []}, "[Uu]nsatisfiable"),
        ("json_schema", {"not": {"type": "string"}}, '"not"'),
        ("json_schema", {"oneOf": [{"type": "integer"}, {"minimum": 3}]}, "oneOf"),
        ("json_schema", {"$ref": "#/$defs/x"}, "does not exist"),
        ("json_schema", {"$ref": "http://example.com/x"}, "not fetch|retriev"),
        ("json_schema", {**LOOP, "$ref": "#/$defs/n"}, "itself"),
        ("json_schema", {"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "itself"),
        ("json_schema", {"anyOf": [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}]}, "itself"),
        ("json_schema", {"type": "integer", "multipleOf": 999_983}, "too large"),
        ("json_schema", {"const": float("nan")}, "not JSON"),
        ("json_schema", {"const": object()}, "not JSON"),
        ("json_schema", {"enum": [f"v{i}" for i in range(20_000)]}, "characters"),
        ("json_schema", {"type": "string", "pattern": "(a{900}){900}"}, "places"),
        ("lark", 'foo: "a"', "no start rule"),
        ("lark", 'start: "a" b', "unknown name"),
        ("lark", 'start: "a" start', "'start' always needs itself"),
        ("lark", 'start: "a" x | "b"\nx: "(" x ")"', "'x' always needs itself"),
        ("lark", 'start: x | y\nx: y "a" | x+\ny: (x x){2}', "always needs itself"),
        ("lark", "start: <|im_start|>", "unknown|cannot be"),
        ("lark", "start: <chat>", "cannot be met"),
        ("lark", "start: /(a{1000}){1000}/", "places"),
        ("lark", "start: " + "(" * 3000 + '"a"' + ")" * 3000, "deep"),
        ("lark", "\n".join(f'r{i}: "a"' for i in range(1500)), "1,500 rules"),
        ("lark", 'start: %json {"type": "integer", "multipleOf": 999983}', "too large"),
        ("lark", 'start: "a" b\nb: %json {"type": "array", "items": {"$ref": "#"}, "minItems": 1}\nc: "c"', "itself"),
        ("lark", 'start: %json {"a"', "not JSON"),
        ("lark", 7, "not text"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(small: Vocabulary, kind: str, text: Any, word: str) -> None:
    with pytest.raises(UserError, match=word) as caught:
        getattr(grammar, kind)(small, text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_schema_nested_too_deep(small: Vocabulary) -> None:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(500):
        schema = {"type": "array", "items": schema}
    with pytest.raises(UserError, match="too large"):
        grammar.json_schema(small, schema)
    schema["items"] = schema
    with pytest.raises(UserError, match="too large"):
        grammar.json_schema(small, schema)


def test_a_dead_end_found_late_ends_that_row_only(codec: Tokenizer, words: Vocabulary) -> None:
    """Two terminals whose overlap is empty: llguidance sees it when it gets there."""
    dead = grammar.lark(words, 'start: "c" X\nX: "a" & "b"')
    torch.manual_seed(0)
    config = TransformerConfig(vocab=codec.size, dim=32, layers=1, heads=2, kv_heads=1, head_dim=16, context=32)
    core = Core(Transformer(config).eval(), Pieces(codec), streams=4)
    rules = [dead, grammar.regex(words, "[a-z]{9}")]
    rows = [core.submit(Request((5, 6), Sampling(max_tokens=20, stop_ids=words.ends), processors=(r,))) for r in rules]
    errors = {}
    while core.busy:
        for token in core.step():
            if token.error is not None:
                errors[token.row.number] = str(token.error)
    assert errors == {0: "the grammar cannot be met: nothing may be written (after 1 tokens)"}
    assert re.fullmatch("[a-z]{9}", codec.decode(rows[1].text[2:]))


@pytest.mark.parametrize(
    "pattern, places",
    [
        ("abc", 3), ("a{3}", 3), ("(ab){2,5}c", 11), ("((a|b){10}){10}", 200), (r"\{2}\p{L}{3}", 6), ("[a{9}]{4}", 4),
        (r"[\]{9}]{4}", 4), ("[[a-z]&&[^b]]{4}", 4), ("[]a]{4}", 4), ("a{2}{3}", 6), ("(a", 1), ("a{,3}", 5), ("", 0),
    ],
)  # fmt: skip
def test_expressions_written_out(pattern: str, places: int) -> None:
    assert checks.written_out(pattern) == places


ENDING = (
    'start: "a" start | "b"',
    'start: x?\nx: "a" x | "b"',
    "start: x*\nx: /a/",
    'start: x{0,3}\nx: "b"',
    'start: x ~ 2\nx: "b"',
    'start: %json {"type": "object"} x\nx: "}"',
    'start: (x | "a")\nx: "b" x | "c" // x: x',
    'start: X\nX: /x:/ "y:"',
    '?start: "a" -> alias\n!other.2: "b" start | "c"',
    'start[lazy]: "a"',
    'start: a_b\na_b: TEXT (c TEXT)*\nc: "<t>" ("x" | "y") "</t>"\nTEXT: /(.|\\n)*/ & ~/(.|\\n)*<t>(.|\\n)*/',
)


@pytest.mark.parametrize("text", ENDING)
def test_grammars_that_end_are_not_refused(text: str) -> None:
    checks.check_lark(text)


MET: tuple[dict[str, Any], ...] = (
    TREE,
    {"$defs": {"n": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}, "$ref": "#/$defs/n"},
    {"type": "array", "items": {"$ref": "#"}},
    {"type": "array", "prefixItems": [True], "items": {"$ref": "#"}, "minItems": 1},
    {"type": ["object", "null"], "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    {"$ref": "#/$defs/~1a~0%20b", "$defs": {"/a~ b": {"type": "integer"}}},
    {"type": "object", "required": ["a"]},
    {"properties": {"a": {"$ref": "#"}}},
)


@pytest.mark.parametrize("schema", MET)
def test_schemas_that_end_are_not_refused(schema: Any) -> None:
    checks.check_schema(schema)


def tried(make: Any, *given: Any) -> Any:
    """What was made, or None after one clear error."""
    try:
        return make(*given)
    except UserError as error:
        message = str(error)
    assert "\n" not in message
    return None


MARKS = st.sampled_from("ab(){}[]|*+?^$\\.,-0123/\"'\n<>%:~&玉 xstart_")


@given(st.text(MARKS) | st.text(), st.sampled_from(["regex", "lark"]))
def test_any_text_is_a_grammar_or_one_clear_error(small: Vocabulary, text: str, kind: str) -> None:
    for written in (text, f"start: {text}"):
        rule = tried(getattr(grammar, kind), small, written)
        if rule is None:
            continue
        state = rule.start(())
        for turn in range(5):
            allowed = np.flatnonzero(rule.allowed(state))
            if rule.done(state) or not len(allowed):
                break
            state = rule.advance(state, int(allowed[turn * 7 % len(allowed)]))


PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.sampled_from(["a", "string", "object", "array", "#", "integer"])
)
KEYS = st.sampled_from(
    "type items properties required enum const $ref anyOf allOf minItems maxItems pattern a minLength multipleOf "
    "additionalProperties minimum x-guidance format prefixItems $defs".split()
)


@given(
    st.recursive(
        PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
    )
)
def test_any_json_is_a_schema_or_one_clear_error(small: Vocabulary, schema: Any) -> None:
    rule = tried(grammar.json_schema, small, schema)
    if rule is None:
        return
    state = rule.start(())
    for turn in range(8):
        allowed = np.flatnonzero(rule.allowed(state))
        if rule.done(state) or not len(allowed):
            break
        state = rule.advance(state, int(allowed[turn * 5 % len(allowed)]))
