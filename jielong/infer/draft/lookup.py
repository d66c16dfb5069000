"""Guesses copied from the text itself: what followed the last time it stood where it stands now.

    drafter = Lookup()
    drafter.propose(rows, [8] * len(rows), source)

A suffix automaton grows with each row's text (Blumer et al. 1985), so the longest suffix that occurred before is always
at hand, at a few dictionary look-ups a token and with no n-gram size to choose.
Source: prompt lookup, Saxena 2023; with an automaton: Hu et al. 2024, SAM Decoding (arXiv 2411.10666).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from jielong.infer.draft.types import Draft, Draws
from jielong.infer.schedule import Row

Follow = Literal["recent", "frequent"]
ANCESTORS = 32  # shorter suffixes whose counts are kept up at each token: what bounds the work on aaaa...


class Automaton:
    """All substrings of a growing text. A state stands for the substrings that end at the same places.

    `longest` length of its longest one, `link` the state of the next shorter suffix, `next` where each token leads,
    `count` how often they occur, `recent` where they last ended. Counts of states more than ANCESTORS links down from
    the whole text fall behind; which substrings there are never does.
    """

    def __init__(self) -> None:
        self.text: list[int] = []
        self.longest, self.link, self.count, self.recent = [0], [-1], [0], [-1]
        self.next: list[dict[int, int]] = [{}]
        self.last = 0  # the state of the whole text

    def add(self, token: int) -> None:
        """One token more; amortised O(1)."""
        place = len(self.text)
        self.text.append(token)
        whole = self._state(place + 1, {}, 0, -1)
        at = self.last
        while at >= 0 and token not in self.next[at]:
            self.next[at][token] = whole
            at = self.link[at]
        self.link[whole] = 0 if at < 0 else self._suffix(at, token)
        self.last = whole
        for _ in range(ANCESTORS):
            self.count[whole] += 1
            self.recent[whole] = place
            whole = self.link[whole]
            if whole <= 0:
                break

    def match(self) -> tuple[int, int]:
        """The state and the length of the longest suffix that occurs earlier as well."""
        state = max(self.link[self.last], 0)
        return state, self.longest[state]

    def go_on(self, state: int, most: int, least: int, follow: Follow) -> list[int]:
        """At most so many tokens, each the one that came after the state most often or most recently. Where the text
        ends, a shorter suffix goes on, of `least` tokens or more: a text that repeats itself is repeated."""
        counts, recents = self.count, self.recent
        first, second = (recents, counts) if follow == "recent" else (counts, recents)
        out: list[int] = []
        while len(out) < most:
            ways = self.next[state]
            if not ways:
                state = self.link[state]
                if state <= 0 or self.longest[state] < least:
                    break
                continue
            token, state = max(ways.items(), key=lambda way: (first[way[1]], second[way[1]]))
            out.append(token)
        return out

    def _suffix(self, at: int, token: int) -> int:
        """The state of the longest suffix seen before, made if its state holds longer substrings too."""
        found, length = self.next[at][token], self.longest[at] + 1
        if self.longest[found] == length:
            return found
        made = self._state(length, dict(self.next[found]), self.count[found], self.recent[found])
        self.link[made], self.link[found] = self.link[found], made
        while at >= 0 and self.next[at].get(token) == found:
            self.next[at][token] = made
            at = self.link[at]
        return made

    def _state(self, longest: int, next: dict[int, int], count: int, recent: int) -> int:
        self.longest.append(longest)
        self.next.append(next)
        self.count.append(count)
        self.recent.append(recent)
        self.link.append(0)
        return len(self.longest) - 1


class Lookup:
    """Guesses where the last `least` tokens or more stood in the row's text before; certain ones.

    `follow`: what came after most often, or most recently, the other deciding among equals.
    """

    def __init__(self, least: int = 2, follow: Follow = "frequent", name: str = "lookup") -> None:
        self.name, self.least, self.follow = name, max(least, 1), follow
        self.known: dict[Row, Automaton] = {}

    def forget(self, row: Row) -> None:
        self.known.pop(row, None)

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Draft]:
        """One draft a row; nothing is drawn."""
        return [self._draft(row, k) if k > 0 else Draft() for row, k in zip(rows, most, strict=True)]

    def _draft(self, row: Row, most: int) -> Draft:
        automaton = self.known.get(row)
        if automaton is None or row.text[: len(automaton.text)] != automaton.text:  # what was added cannot be undone
            automaton = self.known[row] = Automaton()
        for token in row.text[len(automaton.text) :]:
            automaton.add(token)
        state, length = automaton.match()
        if length < self.least:
            return Draft()
        return Draft(tuple(automaton.go_on(state, most, self.least, self.follow)))
