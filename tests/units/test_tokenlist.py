"""Hand-made lists take the longest token at each place; characters are the shortest such list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jielong.base.errors import UserError
from jielong.units import chars, codec, tokenlist

ALPHABET = "ab山<0x41>|\n 👍"
LISTS = st.lists(st.text(alphabet=ALPHABET, min_size=1, max_size=5), max_size=8, unique=True)


def greedy(text, tokens):
    """The definition: the longest token that fits, else the character in bytes."""
    out, place = [], 0
    while place < len(text):
        fits = [t for t in tokens if text.startswith(t, place)]
        best = max(fits, key=len, default="")
        out += [best.encode()] if best else [bytes([b]) for b in text[place].encode()]
        place += len(best) or 1
    return out


@given(LISTS, st.text(alphabet=ALPHABET, max_size=30))
def test_longest_token_at_each_place(tokens, text):
    tokens = [t for t in tokens if t != "<0x41>"]
    made = tokenlist.build(tokens)
    ids = made.encode(text)
    assert [made.bytes_of(id) for id in ids] == greedy(text, tokens)
    assert made.decode(ids) == text


@given(st.text(alphabet=ALPHABET, max_size=20), st.text())
def test_characters_lose_nothing(learnt, text):
    text = text.encode("utf-8", "ignore").decode()
    made = chars.train([learnt])
    ids = made.encode(text + learnt)
    assert made.decode(ids) == text + learnt
    assert len(made.encode(learnt)) == len(learnt)
    assert made.size == 3 + 256 + len({c for c in learnt if ord(c) > 127})


def test_every_byte_has_one_id_and_layout():
    made = chars.train(["ab山"])
    assert [made.bytes_of(id) for id in range(3, 259)] == [bytes([b]) for b in range(256)]
    assert made.bytes_of(259) == "山".encode()
    assert made.encode("a山") == [3 + 97, 259]
    assert chars.train(["aab山山"], min_frequency=2).encode("山b") == [259, 3 + 98]
    assert made.encode("<0x41>") == [3 + ord(c) for c in "<0x41>"]
    assert made.decode([3 + 0xE5, 3 + 0xB1]) == "\ufffd"


def test_saved_and_read_back(tmp_path):
    made = tokenlist.build(["蘋果", "apple", "app"])
    made.save(tmp_path)
    again = codec.load(tmp_path)
    text = "apple app蘋果 <|im_end|> app蘋"
    assert again.encode(text) == made.encode(text)
    assert again.fingerprint == made.fingerprint
    assert made.fingerprint != tokenlist.build(["蘋果", "app", "apple"]).fingerprint


def test_lists_from_a_file(tmp_path):
    file = tmp_path / "tokens.txt"
    file.write_text("the\\s\n\\n\nthe\n\n山\n", encoding="utf-8")
    made = tokenlist.read(file)
    assert [made.bytes_of(id) for id in made.encode("the the\n山")] == [b"the ", b"the", b"\n", "山".encode()]
    file.write_bytes(b"\xff")
    with pytest.raises(UserError, match="cannot read"):
        tokenlist.read(file)


@pytest.mark.parametrize(
    "token, said",
    [
        ("", "0 characters"),
        ("x" * 300, "300"),
        ("<0x41>", "byte"),
        ("<|im_end|>", "special"),
        ("\ud800", "Unicode"),
    ],
)
def test_tokens_that_cannot_be(token, said):
    with pytest.raises(UserError, match=said):
        tokenlist.build(["a", token])


def test_a_long_list_is_quick():
    tokens = [f"{a}{b}" for a in map(chr, range(0x4E00, 0x4E40)) for b in map(chr, range(0x5000, 0x5040))]
    made = tokenlist.build(tokens)
    assert len(made.encode("".join(tokens))) == len(tokens) == 4096
