"""Noise: addressable, the same everywhere, and of the laws it claims; enumeration is exact."""

import itertools
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jielong.base import noise, stats
from jielong.base.errors import UserError

POSITIONS = st.lists(st.integers(-3, 2**70) | st.text(max_size=3) | st.booleans(), max_size=4)

GOLDEN_CODE = """
import json
from jielong.base import noise
print(json.dumps([
    noise.seed_of(1, "a", ("b", 2.5), None), noise.seed_of({"b": 1, "a": b"x"}),
    noise.uniform(7, 1, 2), noise.uniform(7, "x", -1), *noise.uniform(0, n=2),
    *noise.permutation(3, 6).tolist(), *noise.integers(5, 9, below=100, n=3).tolist(),
    noise.RandomSource(1).choose([1, 2, 3], 4),
]))
"""
GOLDEN = [
    *[6461069881368172995, 6513263320390566531],
    *[0.23898172998293488, 0.1861442367429711, 0.011546754286331562, 0.24154919656271812],
    *[3, 5, 4, 2, 1, 0],
    *[40, 25, 61],
    0,
]


def test_golden_numbers_in_another_process_with_another_hash_seed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", GOLDEN_CODE],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "12345"},
    )
    assert json.loads(done.stdout) == GOLDEN


def test_the_bits_are_philox_of_the_paper() -> None:
    """Known answer of Random123 for counter 0 and key 0; numpy steps the counter before it draws."""
    bits = np.random.Philox(key=0, counter=2**256 - 1).random_raw(4)
    assert [int(b) for b in bits] == [
        0x16554D9ECA36314C,
        0xDB20FE9D672D0FDC,
        0xD7E772CEE186176B,
        0x7E68B68AEC7BA23B,
    ]


@given(st.integers(-(2**70), 2**70), POSITIONS, st.integers(0, 9), st.integers(0, 9))
def test_a_value_does_not_depend_on_how_many_are_drawn(seed: int, position: list, m: int, n: int) -> None:
    few, many = (noise.uniform(seed, *position, n=k) for k in sorted((m, n)))
    assert np.array_equal(few, many[: len(few)])
    if len(many):
        assert noise.uniform(seed, *position) == many[0]
    assert ((many >= 0) & (many < 1)).all()


@given(st.lists(st.tuples(st.integers(0, 2), POSITIONS.map(tuple)), unique_by=repr, min_size=2, max_size=5))
def test_different_places_have_different_noise(places: list) -> None:
    values = [tuple(noise.uniform(seed, *position, n=2)) for seed, position in places]
    assert len(set(values)) == len(places)


def test_uses_of_one_place_are_different() -> None:
    u = noise.uniform(1, 2, n=1000)
    g = np.exp(-np.exp(-noise.gumbel(1, 2, n=1000)))
    assert abs(np.corrcoef(u, g)[0, 1]) < 0.15
    assert len({noise.uniform(1, *(0,) * length) for length in range(5)}) == 5


def test_laws() -> None:
    """One family at 1 %: uniforms in one place and across, Gumbel, permutations, integers, choices."""
    across = [noise.uniform(3, i) for i in range(2000)]
    orders = [tuple(noise.permutation(5, 4, i)) for i in range(4800)]
    codes = {order: i for i, order in enumerate(itertools.permutations(range(4)))}
    probs = [0.5, 0.0, 0.3, 0.2]
    picks = [noise.RandomSource(9).choose(probs, i, "token") for i in range(4000)]
    family = [
        stats.ks(noise.uniform(1, n=4000), "uniform"),
        stats.ks(across, "uniform"),
        stats.ks(noise.gumbel(2, n=4000), "gumbel_r"),
        stats.g_test(np.bincount([codes[o] for o in orders], minlength=24).tolist(), [1 / 24] * 24),
        stats.g_test(np.bincount(noise.integers(4, below=7, n=7000), minlength=7).tolist(), [1 / 7] * 7),
        stats.g_test(np.bincount(picks, minlength=4).tolist(), probs),
        stats.ks(noise.rng("a", 1).random(2000), "uniform"),
    ]
    assert min(stats.holm(family)) > 0.01
    logits = np.log([0.5, 0.3, 0.2])
    drawn = [int(np.argmax(logits + noise.gumbel(6, i, n=3))) for i in range(4000)]
    assert stats.g_test(np.bincount(drawn, minlength=3).tolist(), [0.5, 0.3, 0.2]) > 0.001


def test_gumbel_is_finite_at_the_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = np.array([0, 2**64 - 1], dtype=np.uint64)
    monkeypatch.setattr(noise, "_bits", lambda *_: ends)
    assert np.isfinite(noise.gumbel(0, n=2)).all()
    assert noise.uniform(0, n=2).max() < 1


@pytest.mark.parametrize("u", [0, 2**64 - 1])
def test_the_ends_never_choose_what_has_probability_0(u: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "_bits", lambda *_: np.array([u], dtype=np.uint64))
    for probs in ([0, 0.1, 0.2, 0], [0, 1e-300, 0], [0, 3, 1e-20, 0], [5]):
        assert probs[noise.RandomSource(0).choose(probs)] > 0


def test_seeds_tell_types_and_groupings_apart() -> None:
    parts = [(1,), (1.0,), (True,), ("1",), (b"1",), (None,), ((1,),)]
    parts += [("a", "b"), ("ab",), (("a", "b"),), ({"a": 1},)]
    seeds = [noise.seed_of(*p) for p in parts]
    assert len(set(seeds)) == len(parts) and all(0 <= s < 2**63 for s in seeds)
    assert noise.seed_of(np.int64(3), [1]) == noise.seed_of(3, (1,))
    assert noise.seed_of({"a": 1, "b": 2}) == noise.seed_of({"b": 2, "a": 1})
    with pytest.raises(TypeError, match="no stable form"):
        noise.seed_of({1})


def test_enumeration_gives_the_exact_law_of_a_process_with_branches() -> None:
    """Two dice, the second thrown again if it shows a 6 and the first did not: the law by hand."""

    def throw(source: noise.Source) -> int:
        first = source.choose([1] * 6, "first") + 1
        second = source.choose([1] * 6, "second") + 1
        if second == 6 and first != 6:
            second = source.choose([1] * 6, "again") + 1
        return first + second

    outcomes = noise.enumerate_choices(throw)
    assert len(outcomes) == 5 * (5 + 6) + 6
    exact: dict[int, float] = {}
    for a in range(1, 7):
        for b in range(1, 7):
            ways = 6 if a == 6 else (6 + 1) if b < 6 else 1
            exact[a + b] = exact.get(a + b, 0) + ways / 216
    law = noise.law(outcomes)
    assert law.keys() == exact.keys()
    assert all(abs(law[k] - exact[k]) < 1e-15 for k in exact)
    drawn = [throw(noise.RandomSource(i)) for i in range(3000)]
    assert stats.g_test({k: drawn.count(k) for k in set(drawn)}, exact) > 0.001


def test_rejection_sampling_is_proved_by_enumeration() -> None:
    """Accept a draft of q with min(1, p/q), otherwise draw from the residue: exactly p, for any p and q."""
    rng = noise.rng("speculative")
    for _ in range(20):
        p, q = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(4))
        q[3] = 0 if rng.random() < 0.5 else q[3]
        q /= q.sum()

        def sample(source: noise.Source, p: np.ndarray = p, q: np.ndarray = q) -> int:
            draft = source.choose(q, "draft")
            accept = min(1.0, p[draft] / q[draft])
            if source.choose([1 - accept, accept], "accept"):
                return draft
            return source.choose(np.maximum(p - q, 0), "residue")

        law = noise.law(noise.enumerate_choices(sample))
        assert np.allclose([law.get(i, 0.0) for i in range(4)], p, atol=1e-14)


def test_enumeration_without_choices_and_beyond_the_limit() -> None:
    assert noise.enumerate_choices(lambda source: "x") == [(1.0, "x")]
    with pytest.raises(UserError, match="more than 7 outcomes"):
        noise.enumerate_choices(lambda s: [s.choose([1, 1], i) for i in range(3)], limit=7)
    assert len(noise.enumerate_choices(lambda s: [s.choose([1, 1], i) for i in range(3)], limit=8)) == 8


def test_enumeration_refuses_what_it_cannot_prove() -> None:
    def same_noise_twice(source: noise.Source) -> int:
        return source.choose([0.5, 0.5], 1) + source.choose([0.9, 0.1], 1)

    with pytest.raises(ValueError, match="noise would be the same"):
        noise.enumerate_choices(same_noise_twice)
    both = noise.enumerate_choices(lambda s: (s.choose([1, 3], 1), s.choose([1, 3], 1)))
    assert both == [(0.25, (0, 0)), (0.75, (1, 1))]  # the same choice asked for again is the same choice

    calls = itertools.count()
    with pytest.raises(ValueError, match="other probabilities"):
        noise.enumerate_choices(lambda s: s.choose([1, 1 + next(calls)], 0))
    calls = itertools.count()
    with pytest.raises(ValueError, match="fewer choices"):
        noise.enumerate_choices(lambda s: [s.choose([1, 1], i) for i in range(3 if next(calls) == 0 else 1)])


@pytest.mark.parametrize("probs", [[], [0, 0], [1, -1], [math.nan, 1], [math.inf], [[1, 2]]])
def test_what_are_no_probabilities(probs: list) -> None:
    for source in (noise.RandomSource(0).choose, lambda p: noise.enumerate_choices(lambda s: s.choose(p))):
        with pytest.raises(ValueError, match="probabilities"):
            source(probs)
