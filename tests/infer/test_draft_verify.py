"""Verifiers against closed forms: every outcome enumerated, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from jielong.base import noise
from jielong.infer.draft.loop import Intervals, bound, by_place, drafts_of
from jielong.infer.draft.types import PLACE, Accepted, Draft, Laws, Verify, sound
from jielong.infer.draft.verify import VERIFIERS, block, coupled, multi, token

SIZE = 4


def table(seed: int, zeros: bool = False) -> dict[tuple[int, ...], np.ndarray]:
    """A law after each text of up to three tokens."""
    rng = noise.rng("table", seed)
    texts = [(), *((a,) for a in range(SIZE)), *((a, b) for a in range(SIZE) for b in range(SIZE))]
    laws = {text: rng.dirichlet(np.full(SIZE, 0.7)) for text in texts}
    if zeros:
        for law in laws.values():
            law[rng.integers(SIZE)] = 0.0
            law /= law.sum()
    return laws


def drawn(q: dict[tuple[int, ...], np.ndarray], k: int, choose, by: str = "draft") -> Draft:
    text: tuple[int, ...] = ()
    laws = []
    for i in range(k):
        laws.append(q[text])
        text += (choose(q[text], by, i),)
    return Draft(text, np.stack(laws)) if laws else Draft()


def outcomes(verify: Verify, laws: Laws, propose) -> list[tuple[float, Accepted]]:
    def run(source: noise.Source) -> Accepted:
        choose = bound(Intervals(source), 0, 0)
        return verify(laws, propose(choose), choose)

    return [(p, accepted) for accepted, p in noise.law(noise.enumerate_choices(run)).items()]


def longer(found: list[tuple[float, Accepted]], p: dict[tuple[int, ...], np.ndarray], length: int) -> dict:
    """The law of texts of that length, when the target itself goes on after each outcome."""
    law: dict[tuple[int, ...], float] = {}
    waiting = [(share, accepted.tokens) for share, accepted in found]
    while waiting:
        share, text = waiting.pop()
        if len(text) >= length:
            law[text] = law.get(text, 0.0) + share
        else:
            waiting += [(share * float(p[text][i]), (*text, i)) for i in np.flatnonzero(p[text]).tolist()]
    return law


def exact(p: dict[tuple[int, ...], np.ndarray], length: int) -> dict:
    return longer([(1.0, Accepted((), 0))], p, length)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("verifier", VERIFIERS)
def test_a_step_leaves_the_law_as_it_is(verifier: str, zeros: bool) -> None:
    for seed in range(4):
        p, q = table(seed, zeros), table(100 + seed, zeros)
        found = outcomes(VERIFIERS[verifier], p.__getitem__, lambda choose, q=q: [drawn(q, 2, choose)])
        law, target = longer(found, p, 3), exact(p, 3)
        assert sum(abs(law.get(t, 0) - target.get(t, 0)) for t in {*law, *target}) < 1e-13


def test_token_keeps_a_guess_as_often_as_the_laws_overlap() -> None:
    for seed in range(5):
        p, q = table(seed), table(50 + seed)
        found = outcomes(token, p.__getitem__, lambda choose, q=q: [drawn(q, 1, choose)])
        assert sum(s for s, a in found if a.drafted) == pytest.approx(np.minimum(p[()], q[()]).sum(), abs=1e-14)


def test_block_keeps_more_on_the_example_of_its_paper() -> None:
    """Two tokens, p = (1/3, 2/3), q = (2/3, 1/3), two guesses: 10/9 token by token, 11/9 as a block (section 2)."""
    p, q = np.array([1 / 3, 2 / 3]), np.array([2 / 3, 1 / 3])
    laws = dict.fromkeys([(), (0,), (1,)], q)
    means = [
        sum(s * a.drafted for s, a in outcomes(each, lambda guesses: p, lambda c: [drawn(laws, 2, c)]))
        for each in (token, block)
    ]
    assert means == pytest.approx([10 / 9, 11 / 9], abs=1e-14)


def test_block_never_keeps_fewer() -> None:
    more = 0
    for seed in range(12):
        p, q = table(seed), table(70 + seed)
        means = [
            sum(s * a.drafted for s, a in outcomes(each, p.__getitem__, lambda c, q=q: [drawn(q, 2, c)]))
            for each in (token, block)
        ]
        assert means[1] >= means[0] - 1e-13
        more += means[1] > means[0] + 1e-3
    assert more > 3


def test_coupled_keeps_a_guess_as_often_as_the_intervals_overlap() -> None:
    for seed in range(5):
        p, q = table(seed)[()], table(30 + seed)[()]
        found = outcomes(coupled, lambda guesses, p=p: p, lambda c, q=q: [drawn({(): q}, 1, c, PLACE)])
        a, b = np.append(0.0, np.cumsum(p)), np.append(0.0, np.cumsum(q))
        overlap = np.maximum(np.minimum(a[1:], b[1:]) - np.maximum(a[:-1], b[:-1]), 0.0).sum()
        assert sum(s for s, each in found if each.drafted) == pytest.approx(overlap, abs=1e-13)


def test_coupled_writes_what_plain_sampling_writes() -> None:
    p, q = table(3), table(4)
    for seed in range(300):
        choose = bound(noise.RandomSource(seed), 5, 17)
        plain: tuple[int, ...] = ()
        for i in range(3):
            plain += (choose(p[plain], PLACE, i),)
        for by in ("draft", PLACE):
            tokens = coupled(p.__getitem__, [drawn(q, 2, choose, by)], choose).tokens
            assert tokens == plain[: len(tokens)]


def two(q: dict[tuple[int, ...], np.ndarray], how: str):
    """Two drafts of two guesses: drawn apart, without replacement, or with one beginning drawn once."""

    def propose(choose) -> list[Draft]:
        first = drawn(q, 2, lambda law, *at: choose(law, "draft", 0, *at[1:]))
        if how == "apart":
            return [first, drawn(q, 2, lambda law, *at: choose(law, "draft", 1, *at[1:]))]
        kept = 0 if how == "replaced" else 1
        left = q[first.tokens[:kept]].copy()
        left[first.tokens[kept]] = 0.0
        left /= left.sum()
        other = (*first.tokens[:kept], choose(left, "draft", 1, kept))
        return [first, Draft(other, np.stack([*first.laws[:kept], left]))]

    return propose


@pytest.mark.parametrize("how", ["apart", "replaced", "shared"])
@pytest.mark.parametrize("verify", [multi, coupled])
def test_several_drafts_leave_the_law_as_it_is(verify: Verify, how: str) -> None:
    p, q = table(11), table(12)
    found = outcomes(verify, p.__getitem__, two(q, how))
    law, target = longer(found, p, 3), exact(p, 3)
    assert sum(abs(law.get(t, 0) - target.get(t, 0)) for t in {*law, *target}) < 1e-13
    if verify is multi:
        alone = outcomes(token, p.__getitem__, lambda choose: [drawn(q, 2, choose)])
        assert sum(s * a.drafted for s, a in found) > sum(s * a.drafted for s, a in alone)


def test_two_certain_guesses_stay_as_often_as_both_are_probable() -> None:
    p = np.array([0.1, 0.2, 0.3, 0.4])
    found = outcomes(multi, lambda guesses: p, lambda choose: [Draft((1,)), Draft((2,)), Draft((1,))])
    assert sum(s for s, a in found if a.drafted) == pytest.approx(0.5)


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_no_guesses_and_equal_laws(verifier: str) -> None:
    p = table(1)
    found = outcomes(VERIFIERS[verifier], p.__getitem__, lambda choose: [])
    assert {a.tokens: s for s, a in found} == pytest.approx({(i,): p[()][i] for i in range(SIZE)})
    by = PLACE if verifier == "coupled" else "draft"
    same = outcomes(VERIFIERS[verifier], p.__getitem__, lambda choose: [drawn(p, 2, choose, by)])
    assert sum(s for s, a in same if a.drafted == 2) == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize(
    "draft, kept, said",
    [
        (Draft((1, 9)), (1,), "token 9"),
        (Draft((1, -1)), (1,), "token -1"),
        (Draft((1, 2), np.array([[0, 1, 0, 0], [np.nan] * 4])), (1,), "not a law"),
        (Draft((1, 2), np.array([[0, 1, 0, 0], [0.5, 0.5, 0.5, 0.5]])), (1,), "not a law"),
        (Draft((1, 2), np.array([[0, 1, 0, 0], [1.5, -0.5, 0, 0]])), (1,), "not a law"),
        (Draft((1, 2), np.array([[0, 1, 0, 0], [0.5, 0.5, 0, 0]])), (1,), "probability 0"),
        (Draft((1, 2), np.eye(5)[:2]), (), "shape"),
        (Draft((1, 2), np.eye(4)[1:2]), (), "shape"),
        (Draft((1, 2, 3, 0, 1)), (1, 2, 3), ""),
    ],
)
def test_what_cannot_be_used_is_cut_with_a_reason(draft: Draft, kept: tuple[int, ...], said: str) -> None:
    found, why = sound(draft, SIZE, 3)
    assert found.tokens == kept and said in why
    assert found.laws is None or len(found.laws) == len(kept)
    assert drafts_of([draft, Draft((0,))], SIZE, 3)[1] == why


def test_places_that_no_text_reaches_can_be_asked_for() -> None:
    laws = by_place(np.full((1, SIZE), 0.25))
    assert laws((1, 2)).sum() == 1.0
