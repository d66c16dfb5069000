"""By similarity: only on request, and its false hits measured."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jielong.base.errors import UserError
from jielong.lm.cache import Cached
from jielong.lm.scripted import Scripted
from jielong.lm.similar import Pair, Similar, hashing, of_model, rates, world_pairs
from jielong.world.world import World

ASKED = "where does Vera Webb live"


def counting(name: str = "scripted") -> Scripted:
    return Scripted(lambda prompt, index: f"{prompt}/{index}", name=name)


def similar(threshold: float) -> Similar:
    return Similar(hashing(), threshold, "hashing")


def test_only_on_request_and_only_for_the_same_settings_and_model(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    Cached(counting(), path, similar=similar(0.5)).sample(ASKED, 2)
    exact = Cached(counting(), path)
    assert exact.sample(ASKED + " now")[0].text == f"{ASKED} now/0" and exact.near == 0
    by = Cached(counting(), path, similar=similar(0.5))
    assert [d.text for d in by.sample(ASKED + "?", 2)] == [f"{ASKED}/0", f"{ASKED}/1"]
    assert by.near == by.hits == 2 and by.sample(ASKED + "?", temperature=0.3) and by.misses == 1
    strict = Cached(counting(), path, similar=similar(0.9999))
    assert strict.sample(ASKED + " today")[0].text == f"{ASKED} today/0" and strict.near == 0
    other = Cached(counting("another"), path, similar=similar(0.5))
    assert other.sample(ASKED + "?") and other.near == 0
    with pytest.raises(UserError, match=r"threshold of 0\.0"):
        similar(0.0)


def test_hits_are_those_pairs_that_reach_the_threshold(tmp_path: Path) -> None:
    """The cache and the measurement agree, pair by pair."""
    pairs = world_pairs(World(), 4)
    cosines = []
    for place, pair in enumerate(pairs):
        a, b = asyncio.run(hashing()([pair.first, pair.second]))
        cosines.append(float(a @ b))
        cached = Cached(counting(), tmp_path / f"{place}.db", similar=similar(0.6))
        cached.sample(pair.first)
        cached.sample(pair.second)
        assert cached.near == (cosines[-1] >= 0.6)
    found = asyncio.run(rates(hashing(), pairs, [0.6]))[0]
    assert found.right == np.mean([c >= 0.6 for c, p in zip(cosines, pairs) if p.same])
    assert found.false == np.mean([c >= 0.6 for c, p in zip(cosines, pairs) if not p.same])


def test_false_hits_on_the_world_are_many_and_are_told() -> None:
    """What docs/money.md says: where wordings are few and things are many, nearness is mostly wrong."""
    pairs = world_pairs(World(), 60)
    assert len({p.kind for p in pairs}) == 3 and {p.same for p in pairs} == {True, False}
    assert all(p.first != p.second for p in pairs)
    found = asyncio.run(rates(hashing(), pairs, [0.3, 0.6, 1.0]))
    assert [r.right for r in found] == sorted((r.right for r in found), reverse=True)
    assert found[1].false_interval.low > found[1].right_interval.high
    with pytest.raises(UserError, match="pairs that mean the same and pairs that do not"):
        asyncio.run(rates(hashing(), [Pair("a", "b", True, "x")], [0.5]))


def test_vectors_are_of_length_one_and_the_models_own_will_do() -> None:
    vectors = asyncio.run(hashing(64)(["a cat", "玉山很高", ""]))
    assert vectors.shape == (3, 64) and np.allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0])

    class Embeds(Scripted):
        async def aembed(self, texts: Any) -> np.ndarray:
            return np.array([[3.0, 4.0]] * len(texts))

    assert asyncio.run(of_model(Embeds(""))(["a"]))[0].tolist() == pytest.approx([0.6, 0.8])


def test_hashed_products_are_unbiased() -> None:
    """Over many words the mean of the signed collisions is nought (Weinberger et al. 2009)."""
    vectors = asyncio.run(hashing(256)([f"{i:03}" * 2 for i in range(400)]))
    off = (vectors @ vectors.T)[~np.eye(400, dtype=bool)]
    assert abs(off.mean()) < 0.05
