"""Byte-level byte pairs: nothing is lost, sizes are kept, GPT-2's ids are GPT-2's."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jielong.base.errors import UserError
from jielong.units import alphabet, bpe, codec
from jielong.units.stream import Stream

TEXTS = [
    "the cat sat on the mat, the cat's hat 2024",
    "玉山是臺灣最高的山。玉山很高。",
    "👩‍👩‍👧 ok 👍🏽\n\n\tyes",
]
ODD = st.text() | st.text(alphabet="<|im_end|>start\n 玉山👍🏽1é\u0301\x00")


@pytest.fixture(scope="module")
def small():
    return bpe.train(TEXTS * 3, 320)


@pytest.fixture(scope="module")
def gpt2(data):
    return bpe.from_gpt2(data / "gpt2_bpe" / "encoder.json", data / "gpt2_bpe" / "vocab.bpe")


def by_the_book(text, vocabulary, ranks, pattern):
    """Encoding as defined: in each word glue the pair of lowest rank until there is none."""
    ids = []
    for word, _ in alphabet.splitter(pattern).pre_tokenize_str(text):
        parts = list(alphabet.show(word.encode()))
        while len(parts) > 1:
            rank, place = min((ranks.get(pair, 10**9), i) for i, pair in enumerate(pairwise(parts)))
            if rank == 10**9:
                break
            pair = parts[place], parts[place + 1]
            glued = []
            for part in parts:
                if glued and (glued[-1], part) == pair:
                    glued[-1] += part
                else:
                    glued.append(part)
            parts = glued
        ids += [vocabulary[part] for part in parts]
    return ids


@given(ODD)
def test_round_trip_and_streaming(small, text):
    text = text.encode("utf-8", "ignore").decode()
    ids = small.encode(text)
    assert small.decode(ids) == text
    assert b"".join(map(small.bytes_of, ids)) == text.encode()
    stream = Stream(small)
    assert "".join(map(stream.add, ids)) + stream.finish() == text
    assert small.control.isdisjoint(ids)


@given(st.lists(st.integers(-5, 400), max_size=40))
def test_any_ids_decode(small, ids):
    stream = Stream(small)
    text = "".join(map(stream.add, ids)) + stream.finish()
    assert small.decode(ids) == text == b"".join(map(small.bytes_of, ids)).decode("utf-8", "replace")


def test_layout_of_the_vocabulary(small):
    assert small.special == {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
    assert (small.end, small.turn_end, small.size) == (0, 2, 320)
    assert {small.bytes_of(id) for id in range(3, 259)} == {bytes([b]) for b in range(256)}
    merges = bpe.merges_of(small)
    joined = [alphabet.read(a) + alphabet.read(b) for a, b in merges]
    assert [small.bytes_of(id) for id in range(259, 320)] == list(dict.fromkeys(joined))


def test_digits_stand_alone_and_lines_end_a_mark(small):
    pieces = [small.bytes_of(id) for id in small.encode("20 2024")]
    assert pieces == [b"2", b"0", b" ", b"2", b"0", b"2", b"4"]
    words = [word for word, _ in alphabet.splitter().pre_tokenize_str("I'LL go!\n\nnow  x")]
    assert words == ["I", "'LL", " go", "!\n\n", "now", " ", " x"]


def test_larger_than_the_text_can_give():
    with pytest.raises(UserError, match=r"at most 261 tokens, not 5000; ask for 261 or less"):
        bpe.train(["abab abab"], 5000)
    assert bpe.train(["abab abab"], 5000, at_most=True).size == 261
    assert bpe.train(["abab abab"], 261).size == 261
    with pytest.raises(UserError, match="259"):
        bpe.train([], 260)
    assert bpe.train([], 259).decode([3 + 40]) == bpe.train(["x"], 259).decode([3 + 40])


def test_wrong_requests():
    with pytest.raises(UserError, match="259"):
        bpe.train(TEXTS, 258)
    with pytest.raises(UserError, match="differ"):
        bpe.train(TEXTS, 300, special=["<a>", "<a>"])
    with pytest.raises(UserError, match="text 2 is not Unicode"):
        bpe.train(["x", "a\ud800"], 300)


def test_least_frequency():
    texts = ["ab ab ab cd cd xy"]
    assert bpe.merges_of(bpe.train(texts, 999, min_frequency=3, at_most=True)) == [("a", "b")]


def test_same_texts_same_tokenizer_in_any_order_and_process(small):
    again = bpe.train(list(reversed(TEXTS * 3)), 320)
    assert again.backend.to_str() == small.backend.to_str()
    code = f"from jielong.units import bpe; print(bpe.train({TEXTS * 3!r}, 320).fingerprint)"
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={
            "PYTHONHASHSEED": "7",
            "RAYON_NUM_THREADS": "2",
            "PATH": "/usr/bin",
            "PYTHONPATH": ":".join(sys.path),
        },
    )
    assert out.stdout.strip() == small.fingerprint


def test_gpt2_known_ids(gpt2):
    assert gpt2.size == 50257 and gpt2.end == 50256
    assert gpt2.encode("Hello, world!") == [15496, 11, 995, 0]
    assert gpt2.encode("The quick brown fox") == [464, 2068, 7586, 21831]
    assert gpt2.encode("你好") == [19526, 254, 25001, 121]
    assert gpt2.encode("<|endoftext|>") == [27, 91, 437, 1659, 5239, 91, 29]
    assert gpt2.trusted.encode("a<|endoftext|>").ids == [64, 50256]


def test_gpt2_by_the_book(gpt2, data):
    folder = data / "cs336_fixtures" / "fixtures"
    vocabulary = json.loads((data / "gpt2_bpe" / "encoder.json").read_text(encoding="utf-8"))
    lines = (data / "gpt2_bpe" / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:]
    ranks = {tuple(line.split(" ")): rank for rank, line in enumerate(lines) if line}
    texts = [(folder / name).read_text(encoding="utf-8") for name in ("address.txt", "german.txt")]
    texts += ["臺灣最高的山是玉山 👩‍👩‍👧🏽  \n\t naïve Ünïcödé 1234 'll", "\u0000\x7f\u00ad"]
    for text in texts:
        ids = gpt2.encode(text)
        assert ids == by_the_book(text, vocabulary, ranks, alphabet.GPT2)
        assert gpt2.decode(ids) == text


@given(ODD)
def test_gpt2_round_trip(gpt2, text):
    text = text.encode("utf-8", "ignore").decode()
    assert gpt2.decode(gpt2.encode(text)) == text


def test_trained_encoding_by_the_book(small):
    ranks = {pair: rank for rank, pair in enumerate(bpe.merges_of(small))}
    vocabulary = small.backend.get_vocab()
    for text in (*TEXTS, "the hat the\n\n 山高 cats'"):
        assert small.encode(text) == by_the_book(text, vocabulary, ranks, alphabet.QWEN2)


def test_gpt2_files_that_do_not_fit(tmp_path):
    (tmp_path / "v.json").write_text('{"a": 0, "b": 1}')
    (tmp_path / "m.bpe").write_text("#version: 0.2\na b\n")
    with pytest.raises(UserError, match="belong together"):
        bpe.from_gpt2(tmp_path / "v.json", tmp_path / "m.bpe")
    with pytest.raises(UserError, match="cannot read"):
        bpe.from_gpt2(tmp_path / "v.json", tmp_path / "none.bpe")
    (tmp_path / "v.json").write_text('{"a": 0, "b": 1, "ab": 2}')
    for wrong in ("[1]", '{"a": -1}', '{"a": "b"}'):
        (tmp_path / "w.json").write_text(wrong)
        with pytest.raises(UserError, match="not a vocabulary"):
            bpe.from_gpt2(tmp_path / "w.json", tmp_path / "m.bpe")
    tiny = bpe.from_gpt2(tmp_path / "v.json", tmp_path / "m.bpe")
    assert tiny.encode("ab") == [2] and not tiny.special
    tiny.save(tmp_path / "t")
    with pytest.raises(UserError, match="no end token"):
        _ = codec.load(tmp_path / "t").end
