"""The teaching engine and llguidance give the same masks, on expressions that nobody chose."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jielong.base.errors import UserError
from jielong.infer import grammar
from jielong.infer.grammar.subset import expression
from jielong.infer.grammar.teach import NOTHING, Languages, Teach, utf8
from jielong.infer.grammar.vocabulary import Vocabulary

LETTERS = "abc 12-玉山é\n😀.(*"
MARKS = set("\\.^$*+?{}[]|()&~-#/\"'")


def escaped(letter: str) -> str:
    return "\\n" if letter == "\n" else "\\" + letter if letter in MARKS else letter


def classes() -> st.SearchStrategy[str]:
    ranges = st.sampled_from(["a-c", "0-9", "b", " ", "玉", "ぁ-ん", "\\n", "\\-", "ß-ÿ", "一-鿿", "😀-😎"])
    return st.tuples(st.sampled_from(["", "^"]), st.lists(ranges, min_size=1, max_size=3)).map(
        lambda parts: f"[{parts[0]}{''.join(parts[1])}]"
    )


def expressions() -> st.SearchStrategy[str]:
    letters = st.text(LETTERS, min_size=1, max_size=5).map(lambda text: "".join(map(escaped, text)))
    atoms = letters | classes() | st.just(".")

    def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        counts = st.sampled_from(["*", "+", "?", "{2}", "{0}", "{1,3}", "{0,2}", "{2,}", "{7,9}"])
        return (
            st.lists(inner, min_size=2, max_size=3).map("".join)
            | st.lists(inner | st.just(""), min_size=2, max_size=3).map(lambda ways: f"({'|'.join(ways)})")
            | st.tuples(inner, counts).map(lambda parts: f"(?:{parts[0]}){parts[1]}")
        )

    return st.recursive(atoms, larger, max_leaves=8)


def walk(mine: Teach, theirs: grammar.mask.Mask, turns: list[int], end: bool = True) -> bytes:
    """Both engines go the same way; every mask on it is the same. The bytes written."""
    here, there, text = mine.start(()), theirs.start(()), b""
    for turn in turns:
        wanted, found = theirs.allowed(there), mine.allowed(here)
        assert np.array_equal(wanted, found), (text, np.flatnonzero(wanted != found)[:9])
        assert mine.done(here) == theirs.done(there), text
        if mine.done(here):
            break
        choices = np.flatnonzero(found)
        token = int(choices[turn % len(choices)])
        text += b"" if token in mine.vocabulary.ends else mine.vocabulary.tokens[token]
        here, there = mine.advance(here, token), theirs.advance(there, token)
    return text


@given(expressions(), st.lists(st.integers(0, 10**6), min_size=12, max_size=12))
@settings(max_examples=150)
def test_masks_are_those_of_llguidance(small: Vocabulary, text: str, turns: list[int]) -> None:
    walk(Teach(text, small), grammar.regex(small, text), turns)


@given(expressions(), st.lists(st.integers(0, 10**6), min_size=12, max_size=12))
@settings(max_examples=60)
def test_masks_are_those_of_llguidance_on_the_worlds_tokenizer(words: Vocabulary, text: str, turns: list[int]) -> None:
    walk(Teach(text, words), grammar.regex(words, text), turns)


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    values = st.sampled_from(["a", "玉山", 'say "hi"', "a\\b", 12, -3, True, None, "x.y*"])
    simple = (
        st.sampled_from(["integer", "number", "boolean", "null", "string"]).map(lambda kind: {"type": kind})
        | st.tuples(st.integers(0, 2), st.integers(2, 4)).map(
            lambda ends: {"type": "string", "minLength": ends[0], "maxLength": ends[1]}
        )
        | st.lists(values, min_size=1, max_size=3).map(lambda several: {"enum": several})
        | values.map(lambda value: {"const": value})
    )
    names = st.lists(st.sampled_from(["a", "b", "名", "ab", 'q"']), min_size=1, max_size=3, unique=True)

    def larger(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
        arrays = st.tuples(inner, st.integers(0, 2), st.sampled_from([None, 2, 3])).map(
            lambda parts: (
                {"type": "array", "items": parts[0], "minItems": parts[1]}
                | ({} if parts[2] is None else {"maxItems": parts[2]})
            )
        )
        objects = st.tuples(names, st.lists(inner, min_size=3, max_size=3), st.integers(0, 7)).map(
            lambda parts: {
                "type": "object",
                "properties": dict(zip(parts[0], parts[1])),
                "required": [name for bit, name in enumerate(parts[0]) if parts[2] >> bit & 1],
                "additionalProperties": False,
            }
        )
        return arrays | objects

    return st.recursive(simple, larger, max_leaves=4)


@given(schemas(), st.lists(st.integers(0, 10**6), min_size=16, max_size=16))
@settings(max_examples=80)
def test_masks_of_schemas_are_those_of_llguidance(words: Vocabulary, schema: Any, turns: list[int]) -> None:
    walk(Teach(expression(schema), words), grammar.json_schema(words, schema), turns)


@pytest.mark.parametrize(
    "text", ["a|bc|(ab)*", "(?:a|b){2,3}c?", "a{0}b", "(a?b?){2}", "[^a]b*", "(a|ab)(c|bc)", "(?:a*b){2,}|c"]
)
def test_what_is_allowed_is_what_can_be_completed(text: str) -> None:
    """Against Python's own expressions, by trying every text of up to six letters."""
    vocabulary = Vocabulary((b"a", b"b", b"c", b"ab", b"bc", b"<end>"), (5,))
    rule = Teach(text, vocabulary)
    texts = [""]
    for length in range(6):
        texts += [t + letter for t in texts if len(t) == length for letter in "abc"]
    accepted = {t for t in texts if re.fullmatch(text, t)}
    for t in (t for t in texts if len(t) <= 2):
        state = rule.start(())
        viable = any(other.startswith(t) for other in accepted)
        for letter in t:
            token = "abc".index(letter)
            if not rule.allowed(state)[token]:
                assert not viable, t
                break
            state = rule.advance(state, token)
        else:
            assert viable, t
            assert rule.allowed(state)[5] == (t in accepted)
            for id in (3, 4):
                longer = t + vocabulary.tokens[id].decode()
                assert rule.allowed(state)[id] == any(other.startswith(longer) for other in accepted)


def test_every_character_and_nothing_else_is_utf8() -> None:
    """Ranges at and around every boundary, against Python's encoder."""
    edges = [0, 9, 0x7F, 0x80, 0x7FF, 0x800, 0xFFF, 0x1000, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF]
    codes = [
        c for edge in edges for c in (edge - 1, edge, edge + 1) if 0 <= c <= 0x10FFFF and not 0xD800 <= c <= 0xDFFF
    ]
    for first, last in [(a, b) for a in edges for b in edges if a <= b]:
        languages = Languages()
        node = languages.letters([(first, last)])
        for code in codes:
            after = node
            for byte in chr(code).encode():
                after = languages.after(after, byte)
            assert (after != NOTHING) == (first <= code <= last), (first, last, code)
    assert not list(utf8(0xD800, 0xDFFF))


@pytest.mark.parametrize(
    "text, word",
    [
        ("(a", "closes"),
        ("a)", "opened"),
        ("*a", "repeated"),
        ("a**", "side by side"),
        ("[]", "empty"),
        ("[b-a]", "ends"),
        ("a{3,1}", "backwards"),
        ("a{99999}", "at most"),
        (r"\d", "backslash"),
        ("[a", "an end"),
        ("a\\", "character"),
        ("a{", "give"),
        ("{2}", "repeated"),
        ("(?=a)", "repeated"),
        ("(" * 5000 + ")" * 5000, "brackets"),
        ("[a-c--b]", "character"),
    ],
)
def test_what_cannot_be_read_is_said(small: Vocabulary, text: str, word: str) -> None:
    with pytest.raises(UserError, match=word):
        Teach(text, small)


def test_what_is_beyond_the_subset_is_named(small: Vocabulary) -> None:
    for schema, word in [
        ({"type": "object", "properties": {}}, "additionalProperties"), ({"type": "string", "pattern": "a"}, "pattern"),
        ({"$ref": "#"}, "type"), ({"type": "array"}, "items"), ({"enum": [[1]]}, "simple"),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=word):
            expression(schema)
    rule = Teach(expression({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
                             "additionalProperties": False}), small)  # fmt: skip
    state = rule.start(())
    for byte in json.dumps({"a": 12}).encode():
        state = rule.advance(state, byte)
    assert rule.done(state)
    with pytest.raises(ValueError, match="not allowed"):
        rule.advance(state, ord("}"))
