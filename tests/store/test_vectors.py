"""Nearest vectors against brute force, streamed and from the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jielong.base.errors import UserError
from jielong.store import series, store, vectors


def made(path: Path, count: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    keys = rng.normal(size=(count, width)).astype(np.float16)
    follows = rng.integers(0, 1 << 20, count)
    with store.build(path, model="m") as writer:
        for at in range(0, count, 37):
            writer.add_vectors(keys[at : at + 37].astype(np.float32), follows[at : at + 37])
    return keys.astype(np.float64), follows


@pytest.mark.parametrize("count, width, k", [(500, 5, 7), (500, 5, 500), (3, 4, 9), (1, 1, 1)])
def test_nearest_is_brute_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, width: int, k: int
) -> None:
    for name, value in (("ROWS", 60), ("TOGETHER", 4), ("NUMBERS", 50)):
        monkeypatch.setattr(vectors, name, value)
    monkeypatch.setattr(series, "PAGE", 128)
    keys, follows = made(tmp_path / "s.db", count, width)
    queries = np.random.default_rng(1).normal(size=(11, width))
    truth = ((queries[:, None] - keys) ** 2).sum(axis=2)
    with store.load(tmp_path / "s.db", cache=1000) as here:
        for first in (None, max(1, count // 2), 10**9):
            limit = min(first or count, count)
            far, tokens = here.nearest(queries, k, first=first)
            order = np.argsort(truth[:, :limit], axis=1)[:, :k]
            assert far.shape == tokens.shape == (11, min(k, limit))
            np.testing.assert_allclose(far, np.take_along_axis(truth, order, 1), rtol=1e-5)
            assert (tokens == follows[order]).all()


def test_distances_far_from_nought_do_not_cancel(tmp_path: Path) -> None:
    """Vectors 1000 long that differ by 1: their squares differ in the seventh place."""
    keys = np.full((50, 4), 500.0)
    keys[:, 0] += np.arange(50) * 0.5
    with store.build(tmp_path / "s.db", model="m") as writer:
        writer.add_vectors(keys, np.arange(50))
    with store.load(tmp_path / "s.db") as here:
        far, _ = here.nearest(keys[:1], 5)
        assert far[0].tolist() == [0.0, 0.25, 1.0, 2.25, 4.0]


def test_vectors_are_added_to(tmp_path: Path) -> None:
    keys, follows = made(tmp_path / "s.db", 100, 3)
    with store.load(tmp_path / "s.db") as before, store.extend(tmp_path / "s.db", model="m") as writer:
        writer.add_vectors(np.full((1, 3), 9.0), np.array([77]))
        assert before.nearest(np.full((1, 3), 9.0), 1)[1][0, 0] != 77
    with store.load(tmp_path / "s.db") as here:
        assert here.about.vectors == 101 and here.nearest(np.full((1, 3), 9.0), 1)[1].tolist() == [[77]]
        assert here.nearest(keys[5:6], 1)[1].tolist() == [[follows[5]]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e6])
def test_what_sixteen_bits_cannot_hold_is_refused(tmp_path: Path, bad: float) -> None:
    with pytest.raises(UserError, match="not finite"), store.build(tmp_path / "s.db", model="m") as writer:
        writer.add_vectors(np.array([[1.0, bad]]), np.array([1]))
    assert not (tmp_path / "s.db").exists()


def test_wrong_questions(tmp_path: Path) -> None:
    made(tmp_path / "s.db", 10, 3)
    with store.load(tmp_path / "s.db") as here:
        with pytest.raises(UserError, match="2 numbers"):
            here.nearest(np.ones((1, 2)), 1)
        with pytest.raises(UserError, match="k is 0"):
            here.nearest(np.ones((1, 3)), 0)
    with store.build(tmp_path / "none"):
        pass
    with store.load(tmp_path / "none") as here, pytest.raises(UserError, match="no vectors"):
        here.nearest(np.ones((1, 3)), 1)


def test_the_graph_finds_nearly_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("usearch")
    monkeypatch.setattr(vectors, "EXACT", 1000)
    keys, _ = made(tmp_path / "s.db", 3000, 16)
    with store.extend(tmp_path / "s.db", model="m") as writer:  # the graph goes on from where it ended
        writer.add_vectors(keys[:500] + 0.01, np.arange(500))
    queries = np.random.default_rng(2).normal(size=(100, 16))
    with store.load(tmp_path / "s.db") as here:
        near, tokens = here.nearest(queries, 10)
        far, exact = here.nearest(queries, 10, exact=True)
        assert here._vectors is not None and here._vectors.graph is not None
        recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(tokens.tolist(), exact.tolist())])
        assert recall > 0.9
        np.testing.assert_allclose(near[:, 0].mean(), far[:, 0].mean(), rtol=0.02)
    monkeypatch.setattr(vectors, "has_usearch", lambda: False)
    with store.load(tmp_path / "s.db") as here:
        assert (here.nearest(queries, 10)[1] == exact).all()
