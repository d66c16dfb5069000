"""Several drafters at once, and those that fail: the text keeps its law whatever they do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from jielong.base import noise
from jielong.infer.draft import loop, verify
from jielong.infer.draft.lookup import Lookup
from jielong.infer.draft.retrieval import Retrieval, Texts
from jielong.infer.draft.safely import FAILURES, Safe
from jielong.infer.draft.several import AllOf, BestOf
from jielong.infer.draft.types import Draft, Draws
from jielong.infer.schedule import Row

from .test_drafters import ask, nobody, row


class Scripted:
    """Guesses by a function of the text, all of them certain."""

    def __init__(self, fn: Callable[[list[int], int], Sequence[int]], name: str = "scripted") -> None:
        self.fn, self.name, self.calls, self.gone = fn, name, 0, 0

    def forget(self, row: Row) -> None:
        self.gone += 1

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Draft]:
        self.calls += len(rows)
        return [Draft(tuple(self.fn(each.text, k))) for each, k in zip(rows, most)]


def counted(text: list[int], k: int) -> list[int]:
    """How a text goes on that counts up to 10 again and again."""
    return [(text[-1] + 1 + i) % 10 for i in range(k)]


def always_wrong(text: list[int], k: int) -> list[int]:
    return [(text[-1] + 2) % 10] * k


def write(drafter: Any, each: Row, steps: int, most: int = 4) -> list[int]:
    """Lengths of what was accepted; the text counts."""
    accepted = []
    for _ in range(steps):
        guess, true = ask(drafter, each, most), counted(each.text, most + 1)
        n = next((i for i in range(len(guess)) if guess[i] != true[i]), len(guess))
        each.text += true[: n + 1]
        accepted.append(n)
    return accepted


def test_the_best_of_several_is_found_and_the_others_are_spared() -> None:
    wrong, right, late = Scripted(always_wrong, "w"), Scripted(counted, "r"), Scripted(counted, "l")
    drafter, each = BestOf([wrong, right, late], every=16), row([0])
    accepted = write(drafter, each, 64)
    assert drafter.name == "best of w, r, l"
    assert sum(accepted[4:]) == 60 * 4
    assert wrong.calls > 5 and right.calls >= 60 and late.calls <= 4 + 3
    drafter.forget(each)
    assert not drafter.trials and right.gone == 1


def test_the_best_one_may_change_and_differ_from_row_to_row() -> None:
    def early(text: list[int], k: int) -> list[int]:
        return counted(text, k) if len(text) < 200 else always_wrong(text, k)

    def later(text: list[int], k: int) -> list[int]:
        return always_wrong(text, k) if len(text) < 200 else counted(text, k)

    drafter, each = BestOf([Scripted(early), Scripted(later)]), row([0])
    accepted = write(drafter, each, 120)
    assert sum(accepted[20:39]) == 19 * 4 and sum(accepted[-20:]) >= 19 * 4
    even, odd = row([0], 0), row([0], 1)
    mine = BestOf([Scripted(lambda t, k: counted(t, k) if t[0] else always_wrong(t, k)),
                   Scripted(lambda t, k: always_wrong(t, k) if t[0] else counted(t, k))])  # fmt: skip
    odd.text = [1]
    for _ in range(12):
        a, b = write(mine, even, 1), write(mine, odd, 1)
    assert a == b == [4]


def test_a_longer_draft_promises_more_and_an_empty_one_nothing() -> None:
    short, long = Scripted(lambda t, k: counted(t, 1)), Scripted(counted)
    assert sum(write(BestOf([short, long]), row([0]), 20)) >= 4 * 17
    assert sum(write(BestOf([Scripted(lambda t, k: []), long]), row([0]), 20)) == 80
    drafter = BestOf([short, long])
    assert ask(drafter, row([0]), 0) == () and short.calls == 20 + 0


def random_law(*address: Any, size: int = 3) -> np.ndarray:
    weights = noise.uniform(7, *map(str, address), n=size)
    return weights / weights.sum()


class Drawn:
    """Draws its guesses from a law of its own and stops after token 0: how long a draft is says what is in it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def forget(self, row: Row) -> None:
        pass

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Draft]:
        out = []
        for each, k in zip(rows, most):
            tokens, laws = list[int](), list[np.ndarray]()
            while len(tokens) < k and (not tokens or tokens[-1]):
                laws.append(random_law(self.name, *each.text, *tokens))
                tokens.append(source(each)(laws[-1], "draft", len(tokens)))
            out.append(Draft(tuple(tokens), np.stack(laws) if laws else None))
        return out


def target(text: tuple[int, ...]) -> np.ndarray:
    return random_law("target", *text)


def outcomes(make: Callable[[], Any], rule: str, horizon: int = 3) -> tuple[dict[Any, float], dict[Any, float]]:
    """The law of all texts with and without a drafter."""

    def ahead(source: noise.Source) -> tuple[int, ...]:
        each = row((1, 2))
        loop.speculate(target, make(), verify.VERIFIERS[rule], loop.Intervals(source), each, horizon, 2)
        return tuple(each.text[2 : 2 + horizon])

    def alone(source: noise.Source) -> tuple[int, ...]:
        each = row((1, 2))
        loop.plain(target, loop.Intervals(source), each, horizon)
        return tuple(each.text[2:])

    found, true = (noise.law(noise.enumerate_choices(run)) for run in (ahead, alone))
    return found, true


def distance(found: dict[Any, float], true: dict[Any, float]) -> float:
    return sum(abs(found.get(k, 0.0) - true.get(k, 0.0)) for k in found | true) / 2


@pytest.mark.parametrize("rule", ["token", "block", "multi", "coupled"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: BestOf([Lookup(least=1), Drawn("a"), Drawn("b")], every=2),
        lambda: BestOf([Drawn("a"), Drawn("b")], every=1),
        lambda: Lookup(least=1),
        lambda: Retrieval(Texts([[1, 2, 0, 1], [2, 2, 1, 2]]), least=1),
    ],
    ids=["best of three", "best of two", "lookup", "retrieval"],
)
def test_all_outcomes_together_are_the_targets_law(make: Callable[[], Any], rule: str) -> None:
    assert distance(*outcomes(make, rule, 2 if rule == "coupled" else 3)) < 1e-9


@pytest.mark.parametrize("rule", ["multi", "coupled"])
def test_several_drafts_side_by_side_keep_the_law(rule: str) -> None:
    def same_twice() -> AllOf:
        return AllOf([Drawn("a"), Drawn("a"), Retrieval(Texts([[2, 1], [2, 0]]), least=1, several=2)])

    (drafts,) = same_twice().propose([row((1, 2))], [2], lambda r: loop.bound(noise.RandomSource(1), 0, 0))
    assert len(drafts) == 4
    assert distance(*outcomes(same_twice, rule, 2)) < 1e-9


def test_choosing_by_what_was_drawn_would_change_the_law() -> None:
    class Peeks(BestOf):
        def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Draft]:
            drafts = [AllOf(self.drafters).propose(rows, most, source)]
            return [max(each[0], key=lambda d: len(d.tokens), default=Draft()) for each in drafts]

    assert distance(*outcomes(lambda: Peeks([Drawn("a"), Drawn("b")]), "token")) > 1e-3


# --- one that fails


class Broken:
    """Does what it is told to at each call."""

    name = "broken"

    def __init__(self, *deeds: Any) -> None:
        self.deeds, self.calls, self.forgot = deeds, 0, 0

    def forget(self, row: Row) -> None:
        self.forgot += 1
        raise KeyError("forget")

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> Any:
        deed = self.deeds[min(self.calls, len(self.deeds) - 1)]
        self.calls += 1
        if isinstance(deed, Exception):
            raise deed
        return deed() if callable(deed) else deed


NAN = Draft((1, 2), np.array([[0.2, 0.5, 0.3], [np.nan, 0.5, 0.5]]))


@pytest.mark.parametrize(
    "deed, reason",
    [
        (ValueError("no\nsense"), "ValueError: no"),
        ([], "ValueError: 0 drafts for 1 rows"),
        (None, "TypeError"),
        ([Draft((3,))], "token 3 of a vocabulary of 3"),
        ([Draft((-1,))], "token -1"),
        ([NAN], "NaN"),
        ([Draft((1,), np.array([[1.0, 0.0, 0.0]]))], "its own law gives probability 0"),
        ([Draft((1,), np.zeros((1, 4)))], "laws of shape"),
        ([[Draft((1,)), Draft((9,))]], "token 9"),
        ([3], "TypeError"),
    ],
)
@pytest.mark.parametrize("seconds", [None, 20])
def test_a_fault_is_one_line_and_no_guess(deed: Any, reason: str, seconds: float | None) -> None:
    drafter = Safe(Broken(deed), 3, seconds)
    (proposal,) = drafter.propose([row([1])], [2], nobody)
    given = [proposal] if isinstance(proposal, Draft) else proposal
    assert all(d.tokens in ((), (1,)) for d in given)
    (said,) = drafter.reasons
    assert said.startswith(reason) or reason in said
    assert "\n" not in said and drafter.reasons[said] == 1


def test_one_row_of_a_batch_may_be_wrong_alone() -> None:
    good = Draft((1, 2))
    drafter = Safe(Broken([good, NAN, Draft((2,))]), 3)
    drafts = drafter.propose([row([1], i) for i in range(3)], [2] * 3, nobody)
    assert [d.tokens for d in drafts] == [(1, 2), (1,), (2,)]  # type: ignore[union-attr]
    assert sum(drafter.reasons.values()) == 1


def test_who_dies_for_good_is_not_asked_for_ever() -> None:
    inner = Broken(RuntimeError("dead"))
    drafter, each = Safe(inner, 3), row([1])
    for _ in range(10):
        assert ask(drafter, each) == ()
    assert inner.calls == inner.forgot == FAILURES and drafter.reasons == {"RuntimeError: dead": FAILURES}
    assert "RuntimeError" in drafter.over
    fine = [Draft((1,))]
    inner = Broken(RuntimeError("hiccup"), fine, RuntimeError("hiccup"), RuntimeError("hiccup"), fine)
    drafter = Safe(inner, 3)
    assert [ask(drafter, each) for _ in range(6)] == [(), (1,), (), (), (1,), (1,)] and not drafter.over
    assert ask(drafter, each, 0) == () and inner.calls == 6  # a budget of nothing asks nobody


def test_who_stalls_is_left_behind() -> None:
    never = threading.Event()
    inner = Broken([Draft((1,))], lambda: never.wait(30), [Draft((2,))])
    drafter, each = Safe(inner, 3, seconds=0.2), row([1])
    try:
        assert [ask(drafter, each) for _ in range(4)] == [(1,), (), (), ()]
    finally:
        never.set()
    assert inner.calls == 2 and list(drafter.reasons) == ["no answer within 0.2 seconds"]
    drafter.forget(each)


@pytest.mark.parametrize("rule", ["token", "multi", "coupled"])
def test_the_text_is_right_whatever_fails(rule: str) -> None:
    deeds = (NAN, Draft((0, 5)), Draft((2, 2, 2, 2, 2)))
    for first, second in ((deeds[0], ValueError()), (ValueError(), deeds[1]), (deeds[2], deeds[0])):

        def make(first: Any = first, second: Any = second) -> Safe:
            each = [[d] if isinstance(d, Draft) else d for d in (first, second)]
            return Safe(Broken(*each), 3)

        laws = [d.laws for d in (first, second) if isinstance(d, Draft)]
        if rule != "coupled" and any(law is not None for law in laws):
            continue  # a law from which nothing was drawn: for the coupled rule it does not matter
        assert distance(*outcomes(make, rule)) < 1e-9
