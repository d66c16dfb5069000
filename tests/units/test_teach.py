"""The readable trainer finds the merges of the fast one, of CS336's reference, and of plain counting."""

from __future__ import annotations

import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jielong.units import alphabet, bpe, teach

SMALL = st.lists(st.text(alphabet="ab ä山1\n", max_size=30), min_size=1, max_size=5)


def shown(merges):
    return [(alphabet.show(m.left), alphabet.show(m.right)) for m in merges]


def counted_anew(words, limit, ties):
    """The definition: count every pair of every word again for each merge."""
    order = {bytes([b]): i for i, b in enumerate(sorted(range(256), key=alphabet.CHARACTER_OF.__getitem__))}
    pieces = [[bytes([b]) for b in word] for word in words]
    times = list(words.values())
    found = []
    while len(found) < limit:
        counts = Counter()
        for piece, n in zip(pieces, times):
            for pair in pairwise(piece):
                counts[pair] += n
        if not counts:
            break
        most = max(counts.values())
        best = [pair for pair in counts if counts[pair] == most]
        age = {pair: (order[pair[0]], order[pair[1]]) for pair in best}
        left, right = max(best) if ties == "gpt2" else min(best, key=age.__getitem__)
        found.append((left, right, most))
        order.setdefault(left + right, len(order))
        for piece in pieces:
            i = 0
            while i < len(piece) - 1:
                if (piece[i], piece[i + 1]) == (left, right):
                    piece[i : i + 2] = [left + right]
                i += 1
    return found


@given(SMALL, st.sampled_from(["library", "gpt2"]))
def test_merges_are_those_of_plain_counting(texts, ties):
    words = teach.count_words(texts)
    merges = list(teach.merges(words, 40, ties))
    assert [(m.left, m.right, m.count) for m in merges] == counted_anew(words, 40, ties)
    assert [m.rank for m in merges] == list(range(len(merges)))


@given(SMALL, st.integers(1, 3))
def test_merges_are_those_of_the_fast_trainer(texts, least):
    codec = bpe.train(texts, 340, min_frequency=least, at_most=True)
    fast = bpe.merges_of(codec)
    assert shown(teach.merges(teach.count_words(texts), len(fast), least=least)) == fast
    if codec.size < 340:  # then neither finds another
        assert len(list(teach.merges(teach.count_words(texts), 1000, least=least))) == len(fast)


def test_a_worked_example():
    # low x2, lower x1: (l,o) 3, (o,w) 3; then lo+w 3; then (low,e) and (e,r) once each.
    words = Counter({b"low": 2, b"lower": 1})
    assert [(m.left, m.right, m.count) for m in teach.merges(words, 9)] == [
        (b"l", b"o", 3),
        (b"lo", b"w", 3),
        (b"e", b"r", 1),
        (b"low", b"er", 1),
    ]
    greatest = [(m.left, m.right) for m in teach.merges(words, 9, ties="gpt2")]
    assert greatest[0] == (b"o", b"w")  # among equals the greatest pair of byte strings
    assert [m.count for m in teach.merges(words, 9, least=2)] == [3, 3]


def test_runs_of_one_byte_are_glued_from_the_left():
    found = [(m.left, m.right, m.count) for m in teach.merges({b"aaaaa": 1}, 9)]
    assert found == [(b"a", b"a", 4), (b"aa", b"a", 1), (b"aa", b"aaa", 1)]


def test_cs336_reference_merges_and_vocabulary(data):
    folder = data / "cs336_fixtures" / "fixtures"
    text = (folder / "corpus.en").read_text(encoding="utf-8")
    start = time.process_time()
    merges = list(teach.merges(teach.count_words([text], alphabet.GPT2), 500 - 256 - 1, ties="gpt2"))
    taken = time.process_time() - start
    lines = (folder / "train-bpe-reference-merges.txt").read_text(encoding="utf-8").split("\n")
    assert shown(merges) == [tuple(line.split(" ")) for line in lines if line]
    vocabulary = bpe.read_json(folder / "train-bpe-reference-vocab.json")
    tokens = {b"<|endoftext|>", *(bytes([b]) for b in range(256)), *(m.left + m.right for m in merges)}
    assert {alphabet.read(token) for token in vocabulary} == tokens
    assert taken < 1.5


def test_fast_trainer_on_the_reference_corpus(data):
    text = (data / "cs336_fixtures" / "fixtures" / "corpus.en").read_text(encoding="utf-8")
    codec = bpe.train([text], 2000, min_frequency=1)
    merges = bpe.merges_of(codec)
    assert shown(teach.merges(teach.count_words([text]), len(merges))) == merges
    assert codec.size == 2000


def test_the_trainer_stays_readable():
    assert len(Path(teach.__file__).read_text(encoding="utf-8").splitlines()) < 120


def test_visible_characters_are_gpt2s_table():
    assert alphabet.show(b" \n\x00!") == "\u0120\u010a\u0100!"
    assert len(set(alphabet.CHARACTER_OF)) == 256
    assert all(alphabet.read(alphabet.show(bytes([b]))) == bytes([b]) for b in range(256))
    with pytest.raises(KeyError):
        alphabet.read("山")
