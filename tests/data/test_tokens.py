from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jielong.base.errors import UserError
from jielong.data.tokens import Tokens

document = st.lists(st.integers(0, 70_000), max_size=12)


def documents_of(tokens: Tokens) -> list[tuple[list[int], list[bool]]]:
    return [(a.tolist(), b.tolist()) for a, b in map(tokens.document, range(tokens.documents))]


@given(st.lists(st.tuples(document, st.booleans()), max_size=12))
def test_documents_come_back(rows):
    given_masks = [(ids, [i % 2 == 0 for i in range(len(ids))] if masked else None) for ids, masked in rows]
    tokens = Tokens.from_documents(given_masks)
    kept = [(ids, mask or [True] * len(ids)) for ids, mask in given_masks if len(ids) >= 2]
    assert documents_of(tokens) == kept
    assert tokens.dropped == len(rows) - len(kept)
    assert len(tokens) == sum(len(ids) for ids, _ in kept)
    half = len(given_masks) // 2
    parts = [Tokens.from_documents(given_masks[:half]), Tokens.from_documents(given_masks[half:])]
    joined = Tokens.concat(parts)
    assert documents_of(joined) == kept and joined.dropped == tokens.dropped
    assert np.array_equal(joined.starts, tokens.starts)


def test_small_ids_take_two_bytes():
    assert Tokens.from_documents([([1, 65535], None)]).ids.dtype == np.uint16
    assert Tokens.from_documents([([1, 65536], None)]).ids.dtype == np.uint32
    parts = [Tokens.from_documents([([1, 2], None)]), Tokens.from_documents([([1, 65536], None)])]
    assert Tokens.concat(parts).ids.tolist() == [1, 2, 1, 65536]


def test_arrays_are_documents_too():
    tokens = Tokens.from_documents([(np.array([3, 4]), np.array([0, 1]))])
    assert documents_of(tokens) == [([3, 4], [False, True])]


@pytest.mark.parametrize("memmap", [True, False])
@pytest.mark.parametrize("rows", [[([1, 2, 3], None), ([4, 5], [True, False]), ([6], None)], []])
def test_save_and_load(tmp_path: Path, rows, memmap):
    tokens = Tokens.from_documents(rows)
    tokens.save(tmp_path / "made" / "here")
    again = Tokens.load(tmp_path / "made" / "here", memmap=memmap)
    assert documents_of(again) == documents_of(tokens)
    assert again.ids.dtype == tokens.ids.dtype and again.dropped == tokens.dropped
    assert [p.name for p in (tmp_path / "made").iterdir()] == ["here"]


def test_nothing_is_overwritten(tmp_path: Path):
    tokens = Tokens.from_documents([([1, 2], None)])
    tokens.save(tmp_path / "t")
    with pytest.raises(UserError, match="exists"):
        tokens.save(tmp_path / "t")


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(RuntimeError):
        Tokens.from_documents([([1, 2], None)]).save(tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name, damage, says",
    [
        ("ids.npy", lambda p: p.unlink(), "ids.npy is missing"),
        ("ids.npy", lambda p: p.write_bytes(p.read_bytes()[:-1]), "damaged"),
        ("starts.npy", lambda p: p.write_bytes(b"not numpy"), "damaged"),
        ("train.npy", lambda p: p.write_bytes(b""), "damaged"),
        ("train.npy", lambda p: np.save(p, np.ones(2, bool)), "2 training marks for 5"),
        ("starts.npy", lambda p: np.save(p, np.array([0, 4])), "starts do not fit the 5"),
        ("starts.npy", lambda p: np.save(p, np.array([0, 4, 3, 5])), "starts do not fit"),
        ("starts.npy", lambda p: np.save(p, np.array([1, 5])), "starts do not fit"),
        ("starts.npy", lambda p: np.save(p, np.zeros(0, np.int64)), "starts do not fit"),
        ("tokens.json", lambda p: p.write_text('{"format": 9, "dropped": 0}'), "unknown format 9"),
        ("tokens.json", lambda p: p.write_text('{"format'), "damaged"),
        ("tokens.json", lambda p: p.write_text("{}"), "damaged"),
        ("ids.npy", lambda p: np.save(p, np.array([{}]), allow_pickle=True), "damaged"),
    ],
)
@pytest.mark.parametrize("memmap", [True, False])
def test_damage_is_one_line(tmp_path: Path, name, damage, says, memmap):
    Tokens.from_documents([([1, 2, 3], None), ([4, 5], None)]).save(tmp_path / "t")
    damage(tmp_path / "t" / name)
    with pytest.raises(UserError, match=says) as caught:
        Tokens.load(tmp_path / "t", memmap=memmap)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ids", [[1, -2], [1, 2**32], [1.5, 2], ["a", "b"]])
def test_bad_ids(ids):
    with pytest.raises(UserError, match="document 1: token ids"):
        Tokens.from_documents([([1, 2], None), (ids, None)])


def test_bad_mask():
    with pytest.raises(UserError, match="document 0: 1 training marks for 2 token ids"):
        Tokens.from_documents([([1, 2], [True])])
