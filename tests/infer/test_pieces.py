"""Text as it comes: whole characters only, and never a part of a stop string."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jielong.infer.pieces import Pieces, Stops, TextStream
from jielong.units import chars

CODEC = chars.train(["abc 玉"])
PIECES = Pieces(CODEC)
WORDS = st.lists(st.text("ab玉", min_size=1, max_size=3), max_size=3)
IDS = st.lists(st.integers(0, CODEC.size - 1), max_size=40)


def fed(ids: list[int], stop: tuple[str, ...] = ()) -> tuple[list[str], str]:
    stream = TextStream(PIECES, stop)
    return [stream.push(i) for i in ids], stream.close()


@given(st.text(max_size=30))
def test_streamed_characters_are_whole(text: str) -> None:
    ids = CODEC.encode(text)
    pieces, rest = fed(ids)
    assert "".join(pieces) + rest == text
    assert rest == ""
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


@given(IDS)
def test_streamed_text_is_the_text_also_of_broken_bytes(ids: list[int]) -> None:
    pieces, rest = fed(ids)
    assert "".join(pieces) + rest == PIECES.text(ids)


def test_an_emoji_in_four_tokens_appears_once() -> None:
    ids = CODEC.encode("a🙂b")
    assert len(ids) == 6
    assert fed(ids) == (["a", "", "", "", "🙂", "b"], "")
    assert fed(ids[:3]) == (["a", "", ""], "\ufffd")


def test_control_tokens_are_not_text() -> None:
    assert fed([CODEC.end, *CODEC.encode("a"), CODEC.special["<|im_end|>"]]) == (["", "a", ""], "")
    assert PIECES.text([CODEC.end, *CODEC.encode("a")]) == "a"


def test_what_may_become_a_stop_is_held_back() -> None:
    pieces, rest = fed(CODEC.encode("aabac"), ("abc", "ba"))
    assert pieces == ["", "a", "", "a", ""]  # "ba" is here: the stop itself is never shown
    assert rest == "bac"  # unless it turns out that nothing stopped there
    assert fed(CODEC.encode("abab"), ("abc",)) == (["", "", "ab", ""], "ab")


@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=3), max_size=2))
def test_nothing_shown_has_to_be_taken_back(text: str, stop: list[str]) -> None:
    shown, stream = "", TextStream(PIECES, stop)
    for i, id in enumerate(CODEC.encode(text)):
        shown += stream.push(id)
        found = [s for s in stop if s in text[: i + 1]]
        if found:
            first = min(found, key=text.find)
            assert shown + stream.close(first) == text.split(first)[0]
            return
        assert not any(s in shown for s in stop)
    assert shown + stream.close() == text


@given(st.text("ab玉 ", min_size=1, max_size=9), WORDS)
def test_stops_fire_at_the_token_that_completes_one(text: str, stop: list[str]) -> None:
    ids = CODEC.encode(text)
    stops = Stops(PIECES, tuple(stop))
    for i in range(len(ids)):
        written = PIECES.bytes(ids[: i + 1])
        ends = [s for s in stop if written.endswith(s.encode())]
        found = stops.found(ids[: i + 1])
        if not any(s.encode() in written[:-1] for s in stop):  # generation would have ended there
            assert found == max(ends, key=len, default=None)


def test_ids_beyond_the_tokenizer_are_harmless() -> None:
    stops = Stops(PIECES, ("a",))
    assert stops.found([CODEC.size + 5]) is None
    assert stops.found([CODEC.size + 5, *CODEC.encode("a")]) == "a"
    assert PIECES.bytes([CODEC.size + 5, *CODEC.encode("a")]) == b"a"


@pytest.mark.parametrize("stop", [None, 3, "b"])
def test_text_is_cut_before_a_stop_string(stop: str | int | None) -> None:
    assert PIECES.text(CODEC.encode("abab"), stop) == ("a" if stop == "b" else "abab")
