"""Passages are pieces of their text, none too long, and together all of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jielong.data.documents import Section
from jielong.store.chunks import LETTERS, cut, words

PIECES = ["word ", "玉山", "。", ". ", "\n", "\n\n", " ", "臺灣最高的山", "!?", "x" * 100, "é"]
TEXTS = st.lists(st.sampled_from(PIECES)).map("".join)


def sections(text: str, cuts: list[int]) -> list[Section]:
    borders = sorted({0, len(text), *(c % (len(text) + 1) for c in cuts)})
    return [Section(a, b, f"part {a}", i) for i, (a, b) in enumerate(zip(borders, borders[1:]), 1)]


@given(TEXTS, st.lists(st.integers(0, 999), max_size=3), st.integers(1, 12), st.integers(0, 11))
def test_pieces_of_the_text(text: str, cuts: list[int], size: int, overlap: int) -> None:
    parts = sections(text, cuts)
    chunks = list(cut(text, parts, size, min(overlap, size - 1)))
    seen = set()
    for chunk in chunks:
        assert text[chunk.begin : chunk.begin + len(chunk.text)] == chunk.text and 0 < words(chunk.text) <= size
        (inside,) = (p for p in parts if p.begin <= chunk.begin and chunk.begin + len(chunk.text) <= p.end)
        assert (chunk.heading, chunk.page) == (inside.heading, inside.page)
        assert len(chunk.text) <= 1 or len(chunk.text.split()) <= size * LETTERS
        seen |= set(range(chunk.begin, chunk.begin + len(chunk.text)))
    assert all(place in seen for place, sign in enumerate(text) if sign.isalnum())
    begins = [chunk.begin for chunk in chunks]
    assert begins == sorted(set(begins))


def test_borders_are_kept_where_they_can_be() -> None:
    text = "One two three. Four five six.\n\nSeven eight nine. Ten eleven twelve. 玉山很高。臺灣很美。"
    chunks = [each.text for each in cut(text, [Section(0, len(text))], 8, 0)]
    assert chunks == ["One two three. Four five six.", "Seven eight nine. Ten eleven twelve.", "玉山很高。臺灣很美。"]
    shared = [each.text for each in cut(text, [Section(0, len(text))], 8, 4)]
    assert shared[1].startswith("Four five six.") and shared[2] == "Seven eight nine. Ten eleven twelve."
    assert [c.text for c in cut("one two three four five", [Section(0, 23)], 2, 0)] == ["one two", "three four", "five"]
