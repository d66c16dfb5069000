"""Vocabularies: every byte and some words, and the tokenizer of a tiny world."""

from __future__ import annotations

import pytest

from jielong.infer.grammar.vocabulary import Vocabulary, vocabulary
from jielong.units import bpe
from jielong.units.codec import Tokenizer
from jielong.world import World

WORDS = (
    "ab",
    "abc",
    "bca",
    "aa",
    "aaa",
    "b c",
    " a",
    "a\n",
    "12",
    "120",
    "-1",
    '":',
    '{"',
    '", "',
    "true",
    "玉",
    "玉山",
    "é",
)


@pytest.fixture(scope="session")
def small() -> Vocabulary:
    """All bytes, some words, a hole, two tokens that end a text and one that is for chats."""
    tokens = [*(bytes([b]) for b in range(256)), *(w.encode() for w in WORDS), b"", b"<end>", b"<turn>", b"<chat>"]
    end = len(tokens) - 3
    return Vocabulary(tuple(tokens), (end, end + 1), frozenset({end, end + 1, end + 2}))


@pytest.fixture(scope="session")
def codec() -> Tokenizer:
    """A tokenizer as the demo's, of a small world."""
    texts = [t.text for kind in ("facts", "bios", "sums") for t in World(seed=0, people=20).texts(kind, 600)]
    return bpe.train(texts, 700, at_most=True)


@pytest.fixture(scope="session")
def words(codec: Tokenizer) -> Vocabulary:
    return vocabulary(codec)
