"""Laws by place, then a verdict, then tokens: the one loop of guessing ahead. No torch here.

The engine takes `verdict` for each row of a step; `speculate` is the same for one text by itself, over any function
that gives laws. Where choices come from is a `noise.Source`: seeds, or an enumeration.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jielong.base import noise
from jielong.infer.draft.types import PLACE, Accepted, Choose, Draft, Drafter, Floats, Laws, Proposal, Verify, sound

if TYPE_CHECKING:
    from jielong.infer.schedule import Row

SLIVER = 1e-15  # two edges that differ by so little are one, rounded twice
LawOf = Callable[[tuple[int, ...]], Floats | None]  # the law after a text; None where it is over; not asked beyond


def bound(source: noise.Source, number: int, written: int) -> Choose:
    """The choices of a row that has `written` so many tokens. What plain sampling takes at a place has the address
    (number, place); all else has a longer one."""

    def choose(probs: Sequence[float] | Floats, *position: Any) -> int:
        if position[0] == PLACE:
            return source.choose(probs, number, written + position[1])
        return source.choose(probs, number, written, *position)

    return choose


def by_place(laws_PV: Floats) -> Laws:
    """The laws along one draft, (k + 1, V). Fewer where the text is over after some guess: what is said of the places
    after that is never kept."""

    def laws(guesses: tuple[int, ...]) -> Floats:
        return laws_PV[len(guesses)] if len(guesses) < len(laws_PV) else over(laws_PV.shape[1])

    return laws


def over(size: int) -> Floats:
    """A law for places after the end of a text, of which nothing is kept."""
    law = np.zeros(size)
    law[0] = 1.0
    return law


def drafts_of(proposal: Proposal, size: int, most: int) -> tuple[list[Draft], str]:
    """A row's drafts, cut before what cannot be used, and the reason if something was."""
    given = [proposal] if isinstance(proposal, Draft) else list(proposal)
    checked = [sound(draft, size, most) for draft in given]
    return [draft for draft, _ in checked if draft.tokens], next((why for _, why in checked if why), "")


def verdict(laws: Laws, proposal: Proposal, most: int, verify: Verify, choose: Choose) -> Accepted:
    """What becomes of one row's guesses: at most `most` of them and one token more."""
    drafts, _ = drafts_of(proposal, len(laws(())), most)
    return verify(laws, drafts, choose)


def speculate(
    law_of: LawOf, drafter: Drafter, verify: Verify, source: noise.Source, row: Row, horizon: int, guess: int
) -> list[Accepted]:
    """Write to `row.text` until it has `horizon` tokens more than its prompt, or is over; what each step accepted.

    `guess`: how many tokens are guessed a step, at most.
    """
    steps: list[Accepted] = []
    while row.written < horizon and law_of(tuple(row.text)) is not None:
        text, most = tuple(row.text), min(guess, horizon - row.written - 1)
        (proposal,) = drafter.propose([row], [most], lambda r: bound(source, r.number, r.written))
        accepted = verdict(after(law_of, text), proposal, most, verify, bound(source, row.number, row.written))
        steps.append(accepted)
        row.text += kept(law_of, text, accepted.tokens)
    drafter.forget(row)
    return steps


def plain(law_of: LawOf, source: noise.Source, row: Row, horizon: int) -> None:
    """The same text without guesses."""
    while row.written < horizon and (law := law_of(tuple(row.text))) is not None:
        row.text.append(bound(source, row.number, row.written)(law, PLACE, 0))


def after(law_of: LawOf, text: tuple[int, ...]) -> Laws:
    """The laws after a text and some guesses."""
    size = len(_first(law_of(text)))

    def laws(guesses: tuple[int, ...]) -> Floats:
        law = None
        for n in range(len(guesses) + 1):
            law = law_of((*text, *guesses[:n]))
            if law is None:
                return over(size)
        return _first(law)

    return laws


def kept(law_of: LawOf, text: tuple[int, ...], tokens: Sequence[int]) -> tuple[int, ...]:
    """The tokens up to the one that ends the text."""
    for n in range(1, len(tokens)):
        if law_of((*text, *tokens[:n])) is None:
            return tuple(tokens[:n])
    return tuple(tokens)


def _first(law: Floats | None) -> Floats:
    if law is None:
        raise ValueError("the text is over: nothing can follow it")
    return law


class Intervals:
    """A source for enumerations in which all choices at one address of plain sampling invert the same uniform number:
    each narrows the interval in which that number lies. (The engine shares Gumbel numbers, `law.race`. Which coupling
    it is decides how many guesses stay, and nothing of the text.)"""

    def __init__(self, source: noise.Source, known: dict[tuple[Any, ...], tuple[float, float, int]] | None = None):
        self.source = source
        self.known = dict(known or {})  # address: (low, high, choices made)

    def choose(self, probs: Sequence[float] | Floats, *position: Any) -> int:
        if len(position) > 2:  # an address of its own
            return self.source.choose(probs, *position)
        low, high, made = self.known.get(position, (0.0, 1.0, 0))
        edges = np.cumsum(np.asarray(probs, dtype=np.float64))
        edges = np.append(0.0, edges / edges[-1])
        inside = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
        inside[inside < SLIVER] = 0.0
        index = self.source.choose(inside, *position, made)
        self.known[position] = (max(low, float(edges[index])), min(high, float(edges[index + 1])), made + 1)
        return index
