"""Processors against their definitions written out for one row, and the law of what is picked."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jielong.base import noise, stats
from jielong.base.errors import UserError, WorkFailed
from jielong.infer import law, sample
from jielong.infer.sampling import Sampling

WHOLE = st.integers(-8, 8).map(lambda n: n / 2)  # halves: ties are common, sums are exact
LOGITS = st.integers(1, 4).flatmap(
    lambda b: st.integers(2, 9).flatmap(
        lambda v: st.lists(st.lists(WHOLE, min_size=v, max_size=v), min_size=b, max_size=b)
    )
)


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    parts = [math.exp(x - top) for x in row]
    return [p / sum(parts) for p in parts]


def kept(logits: torch.Tensor) -> list[set[int]]:
    return [{i for i, x in enumerate(row) if x > -math.inf} for row in logits.tolist()]


@given(LOGITS, st.integers(0, 12))
def test_top_k_keeps_those_not_below_the_kth(rows: list[list[float]], k: int) -> None:
    expected = [{i for i, x in enumerate(row) if k == 0 or sum(y > x for y in row) < k} for row in rows]
    assert kept(sample.top_k(torch.tensor(rows), k)) == expected


@given(LOGITS, st.floats(0.05, 1.0), st.sampled_from([2, 128]))
def test_top_p_keeps_the_smallest_set_that_reaches_p(rows: list[list[float]], p: float, head: int) -> None:
    expected, near = [], []
    for row in rows:
        probs = softmax(row)
        before = {i: math.fsum(q for q in probs if q > probs[i] + 1e-12) for i in range(len(row))}
        # equals enter one by one until p is reached; the last one's equals stay with it
        edge = 0.0
        for i in sorted(before, key=lambda i: -probs[i]):
            if edge < p or p == 1:
                last = i
                edge += probs[i]
        expected.append({i for i in before if probs[i] >= probs[last] - 1e-12})
        near.append(any(abs(x - p) < 1e-5 for x in np.cumsum(sorted(probs)[::-1])))
    original, sample.HEAD = sample.HEAD, head
    try:
        found = kept(sample.top_p(torch.tensor(rows), p))
    finally:
        sample.HEAD = original
    for row, (a, b) in enumerate(zip(found, expected)):
        assert a == b or near[row]


@given(LOGITS, st.floats(0.0, 1.0))
def test_min_p_is_a_share_of_the_largest(rows: list[list[float]], p: float) -> None:
    found = kept(sample.min_p(torch.tensor(rows), p))
    for row, have in zip(rows, found):
        probs = softmax(row)
        sure = {i for i, q in enumerate(probs) if q >= p * max(probs) * (1 + 1e-5) or q == max(probs)}
        maybe = {i for i, q in enumerate(probs) if q >= p * max(probs) * (1 - 1e-5)}
        assert sure <= have <= maybe


@given(LOGITS, st.sampled_from([0.0, 0.5, 1.0, 2.0]))
def test_temperature_divides_and_zero_is_its_limit(rows: list[list[float]], t: float) -> None:
    out = sample.temperature(torch.tensor(rows), t)
    if t == 0:
        assert kept(out) == [{row.index(max(row))} for row in rows]  # the lowest id among equals
    else:
        assert torch.equal(out, torch.tensor(rows) / t)


@given(LOGITS, st.floats(0.5, 3.0), st.data())
def test_repetition_penalty_is_the_papers(rows: list, penalty: float, data: st.DataObject) -> None:
    seen = [[data.draw(st.booleans()) for _ in row] for row in rows]
    out = sample.repetition_penalty(torch.tensor(rows), torch.tensor(seen), penalty)
    r = np.float32(penalty)
    expected = [
        [(np.float32(x) / r if x > 0 else np.float32(x) * r) if s else x for x, s in zip(row, marks)]
        for row, marks in zip(rows, seen)
    ]
    np.testing.assert_allclose(out.numpy(), np.array(expected, dtype=np.float32), rtol=1e-6)


@given(LOGITS, st.floats(0.05, 1.0))
def test_typical_keeps_the_nearest_to_the_entropy_that_reach_the_mass(rows: list[list[float]], mass: float) -> None:
    found = kept(sample.typical(torch.tensor(rows), mass))
    for row, have in zip(rows, found):
        probs = softmax(row)
        entropy = -sum(p * math.log(p) for p in probs)
        away = [abs(-math.log(p) - entropy) for p in probs]
        order = sorted(range(len(row)), key=lambda i: away[i])
        reached, needed = 0.0, []
        for i in order:
            if reached >= mass + 1e-5:
                break
            needed.append(i)
            reached += probs[i]
        assert have <= {i for i in range(len(row)) if away[i] <= max(away[j] for j in needed) + 1e-4} or mass == 1
        assert sum(probs[i] for i in have) >= mass - 1e-5
        nearest = away[order[0]]
        assert any(away[i] <= nearest + 1e-4 for i in have)


@given(LOGITS, st.floats(-2, 2), st.floats(-2, 2), st.data())
def test_count_penalties_are_openais(rows: list, presence: float, frequency: float, data: st.DataObject) -> None:
    counts = [[data.draw(st.integers(0, 3)) for _ in row] for row in rows]
    out = sample.count_penalties(torch.tensor(rows), torch.tensor(counts), presence, frequency)
    expected = [[x - presence * (n > 0) - frequency * n for x, n in zip(*both)] for both in zip(rows, counts)]
    np.testing.assert_allclose(out.numpy(), np.array(expected), atol=1e-5)


SETTINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.7, 1.0]),
    top_k=st.integers(0, 4),
    top_p=st.sampled_from([0.3, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.2]),
    repetition_penalty=st.sampled_from([1.0, 1.7]),
    logit_bias=st.sampled_from([(), ((1, 2.0),), ((0, -math.inf),)]),
)


@given(st.lists(SETTINGS, min_size=1, max_size=4), st.data())
def test_a_row_does_not_see_its_neighbours(settings: list[Sampling], data: st.DataObject) -> None:
    rows = torch.tensor([[data.draw(WHOLE) for _ in range(6)] for _ in settings])
    seen = torch.tensor([[data.draw(st.booleans()) for _ in range(6)] for _ in settings])
    bans = [()] * len(settings)
    device = torch.device("cpu")
    counts = seen.int() * 2
    together = sample.process(rows, sample.Rows.of(settings, bans, 6, device), seen, None, counts)
    for i, one in enumerate(settings):
        alone = sample.process(rows[i : i + 1], sample.Rows.of([one], [()], 6, device), seen[i : i + 1], None,
                               counts[i : i + 1])  # fmt: skip
        assert torch.equal(alone[0], together[i])


def test_the_default_settings_change_nothing() -> None:
    rows = sample.Rows.of([Sampling()] * 2, [()] * 2, 5, torch.device("cpu"))
    logits = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    assert sample.process(logits, rows) is logits


def test_bad_words_forbid_their_last_token_in_place_only() -> None:
    settings, bans = [Sampling()] * 3, [((3,), (1, 2)), (), ((1, 2), (4, 4, 0))]
    rows = sample.Rows.of(settings, bans, 5, torch.device("cpu"))
    out = sample.process(torch.zeros(3, 5), rows, None, [(0, 1), (0, 1), (4, 4)])
    assert kept(out) == [{0, 1, 4}, {0, 1, 2, 3, 4}, {1, 2, 3, 4}]
    quiet = sample.process(torch.zeros(3, 5), rows, None, [(1, 0), (0, 1), (4, 3)])
    assert kept(quiet) == [{0, 1, 2, 4}, {0, 1, 2, 3, 4}, {0, 1, 2, 3, 4}]


@pytest.mark.parametrize("settings, bans", [(Sampling(logit_bias={5: 1.0}), ()), (Sampling(), ((1, 9),))])
def test_a_token_the_model_lacks_is_named(settings: Sampling, bans: tuple) -> None:
    with pytest.raises(UserError, match=r"token [59]:"):
        sample.Rows.of([settings], [bans], 5, torch.device("cpu"))


def test_nothing_left_to_draw_from_is_said() -> None:
    for bad in (torch.full((1, 4), -math.inf), torch.tensor([[0.0, math.nan, 1.0, 2.0]])):
        with pytest.raises(WorkFailed, match="no token can be drawn"):
            sample.pick(bad, places(1, 1))


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=200), st.integers(0, 2**64 - 1), st.integers(0, 99))
def test_pick_takes_the_largest_logit_and_gumbel_number(row: list[float], seed: int, place: int) -> None:
    chosen = int(sample.pick(torch.tensor([row]), noise.gumbel_place(seed, 3, place)[None])[0])
    heights = np.array(row, dtype=np.float32) + noise.gumbel(seed, 3, place, n=len(row))
    assert heights[chosen] >= heights.max() - 1e-4


def test_without_a_compiler_the_same_is_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = 3 * torch.randn(300, 1000, generator=torch.Generator().manual_seed(3))
    there = places(300, 1)
    fast = sample.pick(logits, there)
    monkeypatch.setattr(law, "_library", lambda _: None)
    assert (sample.pick(logits, there) == fast).mean() > 0.99
    assert (sample.pick(logits, places(300, 2)) == fast).mean() < 0.5


def places(n: int, seed: int) -> np.ndarray:
    return np.stack([noise.gumbel_place(seed, i, 0) for i in range(n)])


def test_pick_never_takes_what_is_impossible() -> None:
    logits = torch.tensor([[-math.inf, 0.0, -math.inf, 0.0, -math.inf]]).repeat(400, 1)
    assert set(sample.pick(logits, places(400, 1)).tolist()) == {1, 3}
    alone = torch.full((3, 40), -math.inf)
    alone[[0, 1, 2], [0, 17, 39]] = torch.tensor([-80.0, 0.0, 80.0])
    assert sample.pick(alone, places(3, 1)).tolist() == [0, 17, 39]


def test_two_laws_at_one_place_agree_as_often_as_they_can() -> None:
    """P(both i) = 1 / sum_j max(p_j / p_i, q_j / q_i) (Daliri et al. 2024, arXiv 2408.07978)."""
    p, q = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.3, 0.3, 0.1, 0.3])
    due = sum(1 / np.maximum(p / p[i], q / q[i]).sum() for i in range(4))
    n = 40_000
    one, two = (sample.pick(torch.from_numpy(np.log(law)).float().repeat(n, 1), places(n, 5)) for law in (p, q))
    found = float((one == two).mean())
    assert abs(found - due) < 4 * math.sqrt(due * (1 - due) / n)
    assert found > (1 - 0.25) / (1 + 0.25)  # total variation 1/4


def test_the_law_of_pick_is_softmax() -> None:
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(3))
    n = 40_000
    counts = np.bincount(sample.pick(logits.repeat(n, 1), places(n, 7)), minlength=12)
    assert stats.g_test(counts, logits.softmax(-1)[0].double().numpy()) > 0.001
    tilted = (logits * 1.1).softmax(-1)[0].double().numpy()
    assert stats.g_test(counts, tilted) < 0.001  # the test can see a law that is 10 % sharper
