"""The bench of writing: who runs, what is told, that the floors are those of the shape."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch

from jielong.base.talk import Talk
from jielong.bench import infer
from jielong.nets.config import shape


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infer, "SIZES", {"tiny": shape(32, 64, 64, 1)})
    monkeypatch.setattr(
        infer, "GPT2", replace(infer.GPT2, vocab=64, dim=32, layers=1, heads=2, kv_heads=2, head_dim=16, hidden=64)
    )


def test_every_row_is_told(small: None) -> None:
    before = torch.get_num_threads()
    try:
        result = infer.run(Talk(stream=io.StringIO(), out=io.StringIO()), 2, 4, ("tiny",))
    finally:
        torch.set_num_threads(before)
    names = {(row.group, row.name) for row in result.rows}
    assert {("tiny, 1 stream", "fast"), ("tiny, 32 streams", "exact"), ("tiny, 32 streams", "share of the matrix rate"),
            ("GPT-2 124M shape, 1 stream", "int8, share of one read pass")} <= names  # fmt: skip
    assert all(row.estimate > 0 for row in result.rows)
    card = result.row("share of the floor", "tiny, 1 stream")
    assert card.note.startswith("bound: dispatch")
    exact = result.row("exact, times as long as fast", "tiny, 1 stream")
    assert exact.note == "the same text"
    assert len(list(infer.summary(result))) == len(result.rows)


def test_the_bound_is_the_largest_floor_unless_more_is_left() -> None:
    one = infer.Contestant("x", list, 1, [10e-3])
    assert infer._card(one, "g", 8e-3, 1e-3, 1 << 30).note.startswith("bound: compute")
    assert infer._card(one, "g", 1e-3, 8e-3, 1 << 30).note.startswith("bound: bandwidth")
    assert infer._card(one, "g", 1e-3, 8e-3, 1 << 20).note.startswith("bound: cache")
    assert infer._card(one, "g", 1e-3, 2e-3, 1 << 30).note.startswith("bound: dispatch")
