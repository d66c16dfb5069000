"""Tokens as a person can see them, and the probabilities of the next ones."""

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jielong.views.chats import bubbles
from jielong.views.tokens import Token, chips, groups, merge_table, next_bars, readable, sentence

NS = "{http://www.w3.org/2000/svg}"


@dataclass(frozen=True)
class Merge:
    left: bytes
    right: bytes
    count: int


def wholes(*pieces: bytes | str) -> list[tuple[int, str | None]]:
    return [(len(g.tokens), g.whole) for g in groups([(p, i) for i, p in enumerate(pieces)])]


def test_cut_characters_are_put_together() -> None:
    cat, keep = "貓".encode(), "養".encode()
    assert wholes("a", cat[:2], cat[2:], "b") == [(1, "a"), (2, "貓"), (1, "b")]
    assert wholes(cat[:1], cat[1:2], cat[2:] + keep[:1], keep[1:]) == [(4, "貓養")]
    assert wholes("🐉".encode()[:2], "🐉".encode()[2:]) == [(2, "🐉")]


def test_bytes_that_are_no_text_stand_alone() -> None:
    assert wholes(b"\xff", "a") == [(1, None), (1, "a")]
    assert wholes(b"\xe8", "a", "b") == [(1, None), (1, "a"), (1, "b")]
    assert wholes(b"\xe8", "貓".encode()[:2], "貓".encode()[2:]) == [(1, None), (2, "貓")]
    assert wholes("a", b"\xe8\xb2") == [(1, "a"), (1, None)]


@given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=12))
def test_no_token_is_lost_and_text_that_is_text_is_whole(raw: bytes, cuts: list[int]) -> None:
    ends = sorted({*(c for c in cuts if c < len(raw)), 0, len(raw)})
    tokens: list[Token] = [(raw[a:b], i) for i, (a, b) in enumerate(pairwise(ends))]
    found = groups(tokens)
    assert [t for g in found for t in g.tokens] == tokens
    for g in found:
        joined = b"".join(p if isinstance(p, bytes) else p.encode() for p, _ in g.tokens)
        assert g.whole is None or g.whole.encode() == joined
    try:
        raw.decode()
    except UnicodeDecodeError:
        return
    assert "".join(g.whole or "?" for g in found) == raw.decode()


def test_chips_show_every_id_and_the_hexadecimal_of_cut_characters() -> None:
    cat = "貓".encode()
    root = ET.fromstring(chips([("<b>", 7), (cat[:2], 8), (cat[2:], 9), (" x", 10)]))
    said = ["".join(e.itertext()) for e in root.iter("span") if (e.get("class") or "").startswith("chip")]
    assert said == ["<b>7", "E8 B28", "939", "␣x10"]
    assert [b.text for b in root.iter("b")] == ["貓"]
    tints = [re.findall(r"t\d", e.get("class") or "") for e in root.iter("span")]
    assert [t[0] for t in tints if t] == ["t0", "t1", "t2", "t3"]


def test_a_sentence_counts_its_tokens_characters_and_bytes() -> None:
    said = "".join(ET.fromstring(f"<div>{sentence([('貓', 1), ('!', 2)])}</div>").itertext())
    assert "2 tokens for 2 characters (4 bytes): 2 bytes per token" in said


def test_next_tokens_fall_and_the_rest_is_told() -> None:
    picture = next_bars([("b", 0.2), ("a", 0.5), (b"\xe8", 0.1), ("c", 0.05)], title="t", most=3)
    root = ET.fromstring(picture)
    lengths = [float(r.get("width", 0)) for r in root.iter(NS + "rect")]
    assert lengths[1] == pytest.approx(lengths[0] * 0.4) and lengths[1] > lengths[2]
    said = [t.text for t in root.iter(NS + "text")]
    assert said[:6] == ["a", "50.0%", "b", "20.0%", "⟨E8⟩", "10.0%"] and said[-1] == "20.0%"


def test_pieces_as_plain_text() -> None:
    assert [readable(p) for p in (" a\n", b"\xe8\xb2", "")] == ["␣a⏎", "⟨E8 B2⟩", "∅"]


def test_the_example_grows_together_merge_by_merge() -> None:
    merges = [Merge(b"l", b"o", 5), Merge(b"lo", b"w", 4)]
    root = ET.fromstring(merge_table(merges, ["low", " lolo"]))
    rows = list(root.iter("tr"))[1:]
    last = [["".join(c.itertext()) for c in row[-1].iter("span")] for row in rows]
    assert last == [["lo", "w", "␣", "lo", "lo"], ["low", "␣", "lo", "lo"]]
    assert len(next(iter(ET.fromstring(merge_table(merges)).iter("tr")))) == 4


def test_bubbles_keep_what_was_said() -> None:
    said = "<img src=x onerror=alert(1)>\n  two"
    root = ET.fromstring(bubbles([{"role": "user", "content": said}, {"role": "odd"}], lang="zh", note="n"))
    shown = [e for e in root if (e.get("class") or "").startswith("bubble")]
    assert (
        shown[0].text == said and shown[0].get("lang") == "zh-Hant" and shown[0].get("class") == "bubble user"
    )
    assert "nothing" in "".join(shown[1].itertext()) and root[-1].text == "n"
