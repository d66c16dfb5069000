"""Full-text search in both languages: terms by hand, BM25 by its formula."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from jielong.store import store
from jielong.store.words import terms
from tests.store.conftest import TEXTS, documents


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> store.Store:
    path = tmp_path_factory.mktemp("store") / "s.db"
    with store.build(path) as writer:
        writer.add(documents())
    return store.load(path)


@pytest.mark.parametrize("text, told", [
    ("The Apples, of TARN!", ["the", "apples", "of", "tarn"]),
    ("吃蘋果", ["吃", "蘋", "果", "吃蘋", "蘋果"]),
    ("iPhone手機x", ["iphone", "手", "機", "手機", "x"]),
    ("Ｔａｒｎ２", ["tarn2"]), ("ㄅㄆ", ["ㄅ", "ㄆ", "ㄅㄆ"]), ("山", ["山"]), ("Straße", ["strasse"]),
    ("𠮷野", ["𠮷", "野", "𠮷野"]), ("a_b \" OR * (", ["a", "b", "or"]), ("。！ ", []),
])  # fmt: skip
def test_terms_by_hand(text: str, told: list[str]) -> None:
    assert terms(text) == told


def bm25(query: list[str], texts: list[list[str]]) -> list[float]:
    """Robertson and Zaragoza 2009 with SQLite's constants; a weight that would be negative is 1e-6 there."""
    mean = sum(map(len, texts)) / len(texts)
    scores = []
    for text in texts:
        score = 0.0
        for term in query:
            have = sum(term in other for other in texts)
            idf = max(math.log((len(texts) - have + 0.5) / (have + 0.5)), 1e-6)
            times = text.count(term)
            score += idf * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * len(text) / mean))
        scores.append(score)
    return scores


@pytest.mark.parametrize("query", ["apples of Tarn", "玉山", "蘋果", "山", "Where is the 玉山?", "陳美玲住在哪裡"])
def test_scores_are_bm25(found: store.Store, query: str) -> None:
    wanted = bm25(terms(query), [terms(text) for text in TEXTS])
    got = found.search(query)
    assert {hit.number for hit in got} == {i for i, score in enumerate(wanted, 1) if score}
    assert [hit.score for hit in got] == pytest.approx([wanted[hit.number - 1] for hit in got], rel=1e-6)
    assert [hit.score for hit in got] == sorted((hit.score for hit in got), reverse=True)


def test_both_languages(found: store.Store) -> None:
    assert {hit.number for hit in found.search("玉山")} == {1, 2}  # a word of two characters, in either language
    assert found.search("住在台南")[0].number == 3 and found.search("TARN apples")[0].number == 4
    assert [hit.number for hit in found.search("蘋果公司", every=True)] == [5]
    assert found.search("xylophone") == [] and found.search("。") == [] and found.search("玉山", 0) == []
    assert len(found.search("the", 1)) == 1


def test_quotes_and_operators_are_text(found: store.Store) -> None:
    for query in ('"', 'apples" OR "', "NEAR(a b)", "tarn*", "terms:tarn", "-tarn", "\0", "AND"):
        found.search(query)
    assert {hit.number for hit in found.search('"tarn" AND NOT')} == {hit.number for hit in found.search("tarn")}


def test_a_document_comes_back_whole(found: store.Store, tmp_path: Path) -> None:
    hit = found.search("陳美玲", 1)[0]
    assert (hit.id, hit.text, hit.meta) == ("t:3", TEXTS[2], {"place": 3})
    assert found.document(3) == store.Found(3, "t:3", TEXTS[2], {"place": 3})
    assert len(found) == len(TEXTS)
