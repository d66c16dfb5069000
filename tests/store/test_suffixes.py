"""N-grams and continuations against brute force."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jielong.base.errors import UserError
from jielong.data.read import Document
from jielong.store import series, store, suffixes
from tests.store.conftest import documents


class Ids:
    """A tokenizer of numbers between blanks; `size` ids, the last of them the end."""

    def __init__(self, size: int) -> None:
        self.size, self.end = size, size - 1
        self.fingerprint = f"ids of {size}"

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [[int(word) for word in text.split()] for text in texts]


def random_texts(size: int, count: int, seed: int, longest: int = 40) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, size - 1, rng.integers(1, longest)).tolist() for _ in range(count)]


def as_documents(texts: list[list[int]]) -> list[Document]:
    return documents([" ".join(map(str, ids)) for ids in texts])


def grams(texts: list[list[int]], end: int, length: int) -> Counter[tuple[int, ...]]:
    """All n-grams of documents between two ends, of which the second begins the next document."""
    found: Counter[tuple[int, ...]] = Counter()
    for ids in texts:
        framed = [end, *ids, end]
        last = len(framed) - length + (0 if length == 1 else 1)
        found.update(tuple(framed[i : i + length]) for i in range(last))
    return found


@pytest.fixture(params=[(4, 1 << 21, 1 << 18), (4, 300, 64), (70_000, 300, 64), (4, 37, 48)], ids=str)
def made(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[store.Store, list[list[int]], Ids]:
    """Stores in one segment and in many, on one page and on many, with 16 and 32 bits an id; some added later."""
    size, segment, page = request.param
    monkeypatch.setattr(suffixes, "SEGMENT", segment)
    monkeypatch.setattr(series, "PAGE", page)
    texts = random_texts(min(size, 6), 90, 1)
    texts = [[t % (size - 1) if size == 4 else t + 69_990 for t in ids] for ids in texts]
    codec = Ids(size)
    with store.build(tmp_path / "s.db", codec) as writer:
        writer.add(as_documents(texts[:60]))
    for part in (texts[60:65], texts[65:]):
        with store.extend(tmp_path / "s.db", codec) as writer:
            writer.add(as_documents(part))
    return store.load(tmp_path / "s.db", codec, cache=5 * page), texts, codec


def test_counts_are_those_of_brute_force(made: tuple[store.Store, list[list[int]], Ids]) -> None:
    here, texts, codec = made
    rng = np.random.default_rng(0)
    for length in (1, 2, 3, 5, 16):
        truth = grams(texts, codec.end, length)
        for gram in list(truth)[:60]:
            assert here.count(gram) == truth[gram]
        low = 0 if codec.size == 4 else 69_990
        for _ in range(30):
            gram = tuple(rng.integers(low, codec.size, length).tolist())
            assert here.count(gram) == (truth[gram] if codec.end not in gram[1:-1] else 0)
    assert here.count((codec.end,)) == len(texts)
    assert here.count((0, codec.end, 0)) == 0  # never across two documents
    with pytest.raises(ValueError):
        here.count([0] * 33)


def brute(texts: list[list[int]], end: int, suffix: list[int], most: int) -> Counter[tuple[int, ...]]:
    found: Counter[tuple[int, ...]] = Counter()
    for ids in texts:
        framed = [end, *ids, end]
        for i in range(len(framed) - len(suffix)):
            if framed[i : i + len(suffix)] == suffix:
                found[tuple(framed[i + len(suffix) : i + len(suffix) + most])] += 1
    return found


def test_continuations_are_those_of_brute_force(
    made: tuple[store.Store, list[list[int]], Ids], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, texts, codec = made
    monkeypatch.setattr(suffixes, "LOOKED_AT", 1 << 20)
    rng = np.random.default_rng(2)
    known = 0
    for trial in range(100):
        framed = [codec.end, *texts[trial % len(texts)]]
        at = int(rng.integers(1, len(framed) + 1))
        suffix = framed[max(0, at - int(rng.integers(1, 12))) : at]
        if trial % 5 == 0:
            suffix = [0, *suffix]
        most = int(rng.integers(1, 6))
        truth = brute(texts, codec.end, suffix, most)
        got = here.continuations(suffix, most)
        assert dict(got) == truth and len(got) == len(truth)
        assert [times for _, times in got] == sorted(truth.values(), reverse=True)
        known += bool(got)
    assert known > 50


def test_a_suffix_that_occurs_has_all_its_own_do_so(made: tuple[store.Store, list[list[int]], Ids]) -> None:
    """What the drafter's bisection over lengths stands on."""
    here, texts, codec = made
    rng = np.random.default_rng(4)
    for _ in range(20):
        text = [*texts[int(rng.integers(90))], codec.end, *texts[int(rng.integers(90))]]
        known = [bool(here.continuations(text[-size:], 2)) for size in range(1, min(len(text), 20) + 1)]
        assert known == sorted(known, reverse=True) and known[0]


def test_the_drafter_guesses_from_the_store(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from jielong.infer.draft.retrieval import Retrieval

    codec = Ids(9)
    with store.build(tmp_path / "s.db", codec) as writer:
        writer.add(as_documents([[0, 1, 2, 3], [0, 1, 2, 4, 5], [7, 1, 2, 4, 6], [0, 1, 2, 4, 5]]))
    row: Any = SimpleNamespace(text=[8, 5, 0, 1, 2])
    with store.load(tmp_path / "s.db", codec) as here:
        (draft,) = Retrieval(here).propose([row], [4], None)  # type: ignore[arg-type]
        assert draft.tokens == (4, 5, 8)  # and the end


def test_many_occurrences_are_looked_at_evenly(tmp_path: Path) -> None:
    codec = Ids(5)
    with store.build(tmp_path / "s.db", codec) as writer:
        writer.add(as_documents([[0, 1]] * 3000 + [[0, 2]] * 1000))
    with store.load(tmp_path / "s.db", codec) as here:
        (first, most), (second, fewer) = here.continuations([0], 1)
        assert first == (1,) and second == (2,) and most + fewer <= suffixes.LOOKED_AT
        assert abs(most / (most + fewer) - 0.75) < 0.01
        assert here.count([0, 2]) == 1000


def test_nothing_known_is_nothing_guessed(tmp_path: Path) -> None:
    codec = Ids(9)
    with store.build(tmp_path / "s.db", codec) as writer:
        writer.add(as_documents([[0, 1, 2], [3]]))
    with store.load(tmp_path / "s.db", codec) as here:
        assert here.continuations([7], 4) == [] and here.continuations([0, -1], 4) == []
        assert here.continuations([0], 0) == [] and here.continuations([99, 3], 4) == []
        assert here.continuations([0], 4) == [((1, 2, 8), 1)] and here.continuations([3], 4) == [((8,), 1)]
        assert here.continuations([1, 2, 8], 4) == []  # what follows an end is another text
        assert here.continuations([8], 1) == [((0,), 1), ((3,), 1)]
        assert here.count([1, 2, 8]) == 1
        for wrong in ([], [1] * (suffixes.DEPTH + 1)):
            with pytest.raises(ValueError):
                here.continuations(wrong, 1)


def test_windows_are_sorted() -> None:
    rng = np.random.default_rng(3)
    for size, depth in ((2, 16), (50, 4), (1, 8)):
        tokens = rng.integers(0, size, 400).astype(">u2")
        order = suffixes.window_order(tokens, 390, depth)
        windows = [tokens[i : i + depth].tobytes() for i in order.tolist()]
        assert windows == sorted(windows) and sorted(order.tolist()) == list(range(390))


def test_a_store_of_texts_alone_drafts_nothing(tmp_path: Path) -> None:
    with store.build(tmp_path / "s.db") as writer:
        writer.add(documents())
    with store.load(tmp_path / "s.db") as here, pytest.raises(UserError, match="no tokens"):
        here.continuations([1], 2)
