"""Calls in a text, however the text is cut into pieces."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jielong.serve.toolcalls import CLOSE, OPEN, Finder

NAMES = frozenset({"find", "stop"})


def read(pieces: list[str], one: bool = False) -> tuple[str, list[tuple[str, str]]]:
    """(content, [(name, arguments)]) as a client would add it up from the news."""
    finder = Finder(NAMES, one)
    content, calls = "", []
    for news in [n for p in pieces for n in finder.push(p)] + finder.close():
        if news.call is not None:
            assert news.index == len(calls)
            calls.append([news.call.name, ""])
        if news.index >= 0:
            calls[news.index][1] += news.arguments
        content += news.content
    assert [(c.name, c.arguments) for c in finder.calls] == [tuple(c) for c in calls]
    return content, [tuple(c) for c in calls]


def call(name: str, arguments: object) -> str:
    return f'{OPEN}{{"name": {json.dumps(name)}, "arguments": {json.dumps(arguments)}}}{CLOSE}'


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["}", "{", '"', "\\", CLOSE]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
calls = st.tuples(st.sampled_from(sorted(NAMES)), st.dictionaries(st.text(max_size=3), values, max_size=3))


@given(st.lists(calls, max_size=3), st.text(alphabet="ab <\n{}", max_size=12), st.data())
def test_calls_are_found_in_any_cutting(made, said, data):
    text = said.strip() + "".join("\n" + call(*c) for c in made)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)])]
    content, found = read(pieces)
    assert content == said.strip()
    assert [(n, json.loads(a)) for n, a in found] == made


@given(st.text(alphabet='<tol_ca>/ {}"n', max_size=30))
def test_text_without_a_call_is_itself(text):
    if OPEN not in text:
        assert read(list(text)) == (text, [])


@pytest.mark.parametrize(
    "text",
    [
        call("unknown", {}),
        f"{OPEN}not json{CLOSE}",
        f'{OPEN}{{"name": "find", "arguments": 3}}{CLOSE}',
        f"{OPEN}[1]{CLOSE} and more",
        f'{OPEN}{{"name": "fi',
        OPEN,
        OPEN[:-1],
    ],
)
def test_what_is_no_call_is_content(text):
    assert read([text]) == (text, []) == read(list(text))


def test_arguments_before_the_name_are_read_at_the_end():
    text = f'{OPEN}{{"arguments": {{"n": 2}}, "name": "find"}}{CLOSE}'
    assert read(list(text)) == ("", [("find", '{"n": 2}')])
    assert read([f'{OPEN}{{"name": "stop"}}{CLOSE}']) == ("", [("stop", "{}")])


def test_one_call_ends_the_reading():
    assert read([call("find", {}) + call("stop", {}) + "more"], one=True) == ("", [("find", "{}")])


def test_a_call_that_is_cut_off_keeps_what_came():
    assert read([call("find", {"what": "cat"})[:50]]) == ("", [("find", '{"what": ')])


def test_arguments_come_while_they_are_written():
    finder = Finder(NAMES)
    news = [len(finder.push(c)) for c in call("find", {"what": "a cat"})]
    assert sum(n > 0 for n in news) > 10
