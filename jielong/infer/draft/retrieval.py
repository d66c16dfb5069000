"""Guesses looked up in a store of texts: what followed there where the row's text stands now.

    drafter = Retrieval(Texts([codec.encode(text) for text in texts]))

The store is anything that knows `continuations`; `Texts` keeps one in memory.
Source: REST, He et al. 2024 (arXiv 2311.08252).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jielong.infer.draft.types import Draft, Draws
from jielong.infer.schedule import Row

Followed = Sequence[tuple[tuple[int, ...], int]]  # (tokens, how often they followed)
DEPTH = 32  # tokens by which places are sorted: the longest suffix that can be looked up
SAMPLE = 256  # of more places than this, so many are looked at, evenly spaced in their order
END = -1  # stands after each text


class Store(Protocol):
    """Where texts are kept."""

    def continuations(self, suffix: Sequence[int], most: int) -> Followed:
        """What followed these tokens, up to `most` tokens of each, not past a text's end; nothing where they do not
        occur. A suffix that occurs with something after it has all its own suffixes do so too."""
        ...


class Texts:
    """Texts in memory behind a suffix array (Manber and Myers 1990): 16 bytes a token, built in n log n."""

    def __init__(self, texts: Iterable[Sequence[int]]) -> None:
        parts = [np.append(np.asarray(text, dtype=np.int64), END) for text in texts]
        self.ids = np.concatenate([*parts, np.array([END])])
        self.order = _sorted_places(self.ids)

    def continuations(self, suffix: Sequence[int], most: int) -> Followed:
        """As in `Store`; the most frequent first. ValueError for a suffix longer than DEPTH."""
        size, wanted = len(suffix), [int(i) for i in suffix]
        if not 0 < size <= DEPTH:
            raise ValueError(f"a suffix of {size} tokens: give 1 to {DEPTH}")
        if most < 1:
            return []
        key = self._key(size)
        first = bisect_left(self.order, wanted, key=key)
        last = bisect_right(self.order, wanted, lo=first, key=key)
        places = self.order[first:last]
        if len(places) > SAMPLE:
            places = places[np.linspace(0, len(places) - 1, SAMPLE).astype(np.int64)]
        grid = (places[:, None] + size + np.arange(most)).clip(max=len(self.ids) - 1)
        after = self.ids[grid]
        after[np.logical_or.accumulate(after == END, axis=1)] = END
        kinds, counts = np.unique(after, axis=0, return_counts=True)
        found = [(tuple(i for i in kind if i != END), count) for kind, count in zip(kinds.tolist(), counts.tolist())]
        return sorted((each for each in found if each[0]), key=lambda each: -each[1])

    def _key(self, size: int) -> Callable[[int], list[int]]:
        return lambda place: self.ids[place : place + size].tolist()


class Retrieval:
    """Guesses what most often followed the longest suffix of the text that the store knows, of `least` to `longest`
    tokens: token by token among what agrees so far; certain guesses. `several`: as many drafts a row, the likeliest
    first, for a verifier that takes several."""

    def __init__(self, store: Store, *, longest: int = 16, least: int = 2, several: int = 1,
                 name: str = "retrieval") -> None:  # fmt: skip
        self.store, self.longest, self.least, self.several, self.name = store, longest, max(least, 1), several, name

    def forget(self, row: Row) -> None:
        """Nothing is kept of rows."""

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Draft | list[Draft]]:
        """One draft a row, or several; nothing is drawn."""
        return [self._draft(row.text, k) if k > 0 else Draft() for row, k in zip(rows, most, strict=True)]

    def _draft(self, text: list[int], most: int) -> Draft | list[Draft]:
        found = self._found(text, most)
        best = Draft(likeliest(found, most))
        if self.several == 1:
            return best
        others = [tokens for tokens, _ in found if tokens != best.tokens]
        return [best, *map(Draft, others[: self.several - 1])]

    def _found(self, text: list[int], most: int) -> Followed:
        """What followed the longest known suffix: its length is found by bisection."""
        found: Followed = ()
        low, high = self.least - 1, min(self.longest, len(text))
        while low < high:
            middle = (low + high + 1) // 2
            followed = self.store.continuations(tuple(text[-middle:]), most)
            if followed:
                low, found = middle, followed
            else:
                high = middle - 1
        return found


def likeliest(found: Followed, most: int) -> tuple[int, ...]:
    """The commonest first token, of those that have it the commonest second one, and so on; the lowest of equals."""
    out: tuple[int, ...] = ()
    while len(out) < most:
        votes: dict[int, int] = {}
        found = [(tokens, count) for tokens, count in found if len(tokens) > len(out)]
        for tokens, count in found:
            votes[tokens[len(out)]] = votes.get(tokens[len(out)], 0) + count
        if not votes:
            break
        best = min(votes, key=lambda token: (-votes[token], token))
        found = [each for each in found if each[0][len(out)] == best]
        out = (*out, best)
    return out


def _sorted_places(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """All places of a text in the order of the DEPTH tokens from there on, by doubling the tokens compared."""
    rank = np.unique(ids, return_inverse=True)[1].astype(np.int64) + 1
    ahead = 1
    while ahead < min(DEPTH, len(ids)) and rank.max() < len(ids):
        later = np.zeros_like(rank)
        later[:-ahead] = rank[ahead:]
        rank = np.unique(rank * (rank.max() + 1) + later, return_inverse=True)[1].astype(np.int64) + 1
        ahead *= 2
    return np.argsort(rank, kind="stable").astype(np.int64)
