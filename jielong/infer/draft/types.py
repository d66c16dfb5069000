"""What drafting and verifying say to each other. No torch here.

A drafter guesses some next tokens; a verifier keeps the guesses that the target's law allows and adds one token, so
that the text is distributed as if nobody had guessed. Chance goes through one function, `Choose`, whose positions are
counted from the row's present place; who gives it (seeds, or an enumeration) decides what it draws from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from jielong.infer.schedule import Row

Floats = NDArray[np.float64]
Laws = Callable[[tuple[int, ...]], Floats]  # the target's law (V,) after the row's text and these guesses
PLACE = "place"  # choose(law, PLACE, i): what plain sampling would take i places on, by the same number
OFF = 1e-6  # a law may sum to this much more or less than 1


class Choose(Protocol):
    """An index, i with probability probs[i] / sum(probs); one position serves one choice: ("draft", i) for the i-th
    guess, ("accept", i), ("residual", i). At (PLACE, i) it is by the numbers that plain sampling uses there: asked of
    two laws that are alike it mostly gives one token (`law.race`)."""

    def __call__(self, probs: Sequence[float] | Floats, *position: Any) -> int: ...


Draws = Callable[["Row"], Choose]  # the choices of a row, at its present place


@dataclass(frozen=True, eq=False)
class Draft:
    """Guesses for the next tokens, and the law that each was drawn from.

    `laws` (k, V) float64; None: the guesses were certain (a lookup, an argmax), which is right for guesses from
    anywhere. The law of a guess is given the guesses before it, and where a row has several drafts, given the drafts
    before this one.
    """

    tokens: tuple[int, ...] = ()
    laws: Floats | None = None

    def law(self, i: int, size: int) -> Floats:
        """What the i-th guess was drawn from, (size,)."""
        if self.laws is not None:
            return self.laws[i]
        certain = np.zeros(size)
        certain[self.tokens[i]] = 1.0
        return certain


@dataclass(frozen=True)
class Accepted:
    """`tokens`: the first `drafted` of them were guesses, and one more follows. Never empty."""

    tokens: tuple[int, ...]
    drafted: int


Verify = Callable[[Laws, Sequence[Draft], Choose], Accepted]
Proposal = Draft | Sequence[Draft]  # several drafts of one row: for `verify.multi` and `verify.coupled`


class Drafter(Protocol):
    """Who guesses. What it keeps about a row it brings up to `row.text`, which may have gone on or back."""

    @property
    def name(self) -> str: ...

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> Sequence[Proposal]:
        """For each row at most `most[i]` guesses (0: none); the i-th is drawn by `source(row)(law, "draft", i)`."""
        ...

    def forget(self, row: Row) -> None:
        """The row is over."""
        ...


class Watcher(Drafter, Protocol):
    """A drafter that guesses from the model's own stream."""

    @property
    def watches(self) -> bool:
        """Whether it is to be shown: True. (Those that stand before others say whether any of these watches.)"""
        ...

    def saw(self, rows: Sequence[Row], hidden: Sequence[Tensor]) -> None:
        """The model has just read W tokens of each row from `row.text[row.read]` on; hidden (W, D) float32 is its
        stream there after the last norm. Guesses among these tokens may be taken back; what stood in the cache already
        (a shared beginning) is not shown."""
        ...


def sound(draft: Draft, size: int, most: int) -> tuple[Draft, str]:
    """The guesses before the first that cannot be used, and why that one cannot ("" where all can).

    A law without a sense, and a guess that its own law excludes, would change the text; what comes before them does
    not depend on them.
    """
    tokens, laws = draft.tokens[:most], draft.laws
    why, usable = "", 0
    if laws is not None and (laws.ndim != 2 or laws.shape[1] != size or len(laws) < len(tokens)):
        return Draft(), f"laws of shape {laws.shape} for {len(tokens)} guesses among {size} tokens"
    for i, token in enumerate(tokens):
        why = _flaw(int(token), None if laws is None else laws[i], size)
        if why:
            break
        usable = i + 1
    if usable == len(draft.tokens):
        return draft, ""
    return Draft(tuple(tokens[:usable]), None if laws is None else laws[:usable]), why


def _flaw(token: int, law: Floats | None, size: int) -> str:
    if not 0 <= token < size:
        return f"token {token} of a vocabulary of {size}"
    if law is None:
        return ""
    if not np.isfinite(law).all() or (law < 0).any() or abs(float(law.sum()) - 1.0) > OFF:
        return "probabilities that are not a law: NaN, below 0, or of another sum than 1"
    return "" if law[token] > 0 else f"token {token}, to which its own law gives probability 0"
