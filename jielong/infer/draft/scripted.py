"""Drafters whose guesses are known beforehand: what a proof and a test put the verifiers before.

Each is a rule `(row, most, choose) -> Proposal` and looks at nothing but the row's text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jielong.base import noise
from jielong.infer.draft.types import PLACE, Choose, Draft, Draws, Floats, Proposal
from jielong.infer.schedule import Row

LONGEST = 4096  # tokens of a text of which it is known how lucky guesses are
Rule = Callable[[Row, int, Choose], Proposal]
Law = Callable[[tuple[int, ...]], Floats]  # of the next token after a text


@dataclass(frozen=True)
class Scripted:
    """A drafter that follows a rule."""

    name: str
    rule: Rule

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Proposal]:
        return [self.rule(row, k, source(row)) for row, k in zip(rows, most, strict=True)]

    def forget(self, row: Row) -> None:
        """Nothing is kept."""


def nothing(row: Row, most: int, choose: Choose) -> Draft:
    """No guesses."""
    return Draft()


def certain(guess: Callable[[tuple[int, ...]], int]) -> Rule:
    """Each guess is a function of the text."""

    def rule(row: Row, most: int, choose: Choose) -> Draft:
        text = tuple(row.text)
        for _ in range(most):
            text += (guess(text),)
        return Draft(text[len(row.text) :])

    return rule


def drawn(law: Law, by: str = "draft") -> Rule:
    """Each guess is drawn from a law; `by=PLACE`: by the number that plain sampling uses at its place."""

    def rule(row: Row, most: int, choose: Choose) -> Draft:
        return _drawn(law, row, most, lambda q, i: choose(q, by, i))

    return rule


def broken(law: Law, at: int) -> Rule:
    """Draws from a law, and has NaN for it at the `at`-th guess."""

    def rule(row: Row, most: int, choose: Choose) -> Draft:
        draft = _drawn(law, row, most, lambda q, i: choose(q, "draft", i))
        if draft.laws is not None and len(draft.laws) > at:
            draft.laws[at] = np.nan
        return draft

    return rule


def uneven(law: Law) -> Rule:
    """The number of guesses changes with the text."""

    def rule(row: Row, most: int, choose: Choose) -> Draft:
        return _drawn(law, row, min(most, sum(row.text) % 3), lambda q, i: choose(q, "draft", i))

    return rule


def independent(law: Law) -> Rule:
    """Two drafts that know nothing of each other, the second of one guess."""

    def rule(row: Row, most: int, choose: Choose) -> list[Draft]:
        first = _drawn(law, row, most, lambda q, i: choose(q, "draft", 0, i))
        return [first, _drawn(law, row, min(most, 1), lambda q, i: choose(q, "draft", 1, i))]

    return rule


def tree(law: Law) -> Rule:
    """Two drafts with one beginning, drawn once; their last guesses are drawn without replacement."""

    def rule(row: Row, most: int, choose: Choose) -> list[Draft]:
        first = _drawn(law, row, most, lambda q, i: choose(q, "draft", 0, i))
        if first.laws is None:
            return [first]
        left = first.laws[-1].copy()
        left[first.tokens[-1]] = 0.0
        left /= left.sum()
        other = choose(left, "draft", 1, most - 1)
        return [first, Draft((*first.tokens[:-1], other), np.concatenate([first.laws[:-1], left[None]]))]

    return rule


def partly(truth: Callable[[Row], Sequence[int]], share: float) -> Rule:
    """Each guess is, with probability `share`, what `truth` says comes next, else another token. Which it is depends on
    the request's seed and the place in the text only: guesses stay independently of each other."""

    def rule(row: Row, most: int, choose: Choose) -> Draft:
        luck = _luck(row.request.sampling.seed)[row.written : row.written + most]
        coming = truth(row)[:most]
        return Draft(tuple(id if u < share else id - 1 if id else 1 for id, u in zip(coming, luck)))

    return rule


@lru_cache(maxsize=64)
def _luck(seed: int) -> list[float]:
    return noise.uniform(noise.seed_of("partly", seed), n=LONGEST).tolist()


def slow(rule: Rule, seconds: float) -> Rule:
    """The same guesses, each of which takes so many seconds more of a core's time."""

    def slowly(row: Row, most: int, choose: Choose) -> Proposal:
        end = time.perf_counter()
        proposal = rule(row, most, choose)
        for draft in [proposal] if isinstance(proposal, Draft) else proposal:
            end += seconds * len(draft.tokens)
        while time.perf_counter() < end:
            pass
        return proposal

    return slowly


def repeat(text: tuple[int, ...]) -> int:
    """What came after the last token the last time; the token itself where it is new."""
    last = text[-1]
    before = [i for i in range(len(text) - 1) if text[i] == last]
    return text[before[-1] + 1] if before else last


def _drawn(law: Law, row: Row, most: int, draw: Callable[[Floats, int], int]) -> Draft:
    text, laws = tuple(row.text), list[Floats]()
    for i in range(most):
        laws.append(law(text))
        text += (draw(laws[-1], i),)
    return Draft(text[len(row.text) :], np.stack(laws)) if laws else Draft()


def same_number(law: Law) -> Rule:
    """For `verify.coupled`: accepted as often as shared numbers give both laws the same token."""
    return drawn(law, PLACE)
