"""What followed these tokens before: every place of every document, sorted by what stands there.

    REST: Retrieval-Based Speculative Decoding (He et al. 2023, arXiv 2311.08252)

Documents lie after each other, each behind the end token: `end d1 end d2 ... `. In each segment of at most SEGMENT
places, the places are sorted by their next DEPTH tokens (a suffix array cut at that depth). A run of up to DEPTH
tokens is then found by two binary searches a segment, and how often it occurs is the distance between them. Memory
for building is that of one segment; for reading, a cache of pages.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from jielong.store.series import Cache, Series

DEPTH = 32
SEGMENT = 1 << 21
LOOKED_AT = 256  # occurrences of which the continuations are counted
Followed = list[tuple[tuple[int, ...], int]]  # (tokens, how often they followed)
TOKENS, ORDER = "tokens", "order"


def token_type(size: int) -> str:
    """Numbers for ids below `size`, the high byte first: then bytes sort as ids do."""
    return ">u2" if size <= 1 << 16 else ">u4"


def window_order(tokens: np.ndarray, count: int, depth: int = DEPTH) -> np.ndarray:
    """The first `count` places of `tokens`, sorted by the `depth` tokens from each on (a shorter end comes first).

    Prefix doubling (Manber and Myers 1993): ranks by 2h tokens are ranks of pairs of ranks by h.
    """
    rank = np.unique(tokens, return_inverse=True)[1].astype(np.int64)
    order = np.argsort(rank, kind="stable")
    reach = 1
    while reach < depth:
        later = np.zeros_like(rank)
        later[:-reach] = rank[reach:] + 1
        key = rank * (int(rank.max(initial=0)) + 2) + later
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        rank = np.empty_like(rank)
        rank[order] = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])
        reach *= 2
        if rank[order[-1]] == len(rank) - 1:
            break
    return order[order < count].astype("<u4")


class Writer:
    """Adds documents' tokens; call `finish` at the end."""

    def __init__(self, connection: sqlite3.Connection, size: int, end: int, written: int) -> None:
        self.connection, self.end, self.written = connection, end, written
        self.tokens = Series(connection, TOKENS, token_type(size))
        self.waiting: list[np.ndarray] = []
        self.waits = 0
        last = connection.execute("SELECT number, begin, length FROM segments ORDER BY number DESC LIMIT 1").fetchone()
        number, begin, length = last or (0, 0, 0)
        if length >= SEGMENT:
            number, begin = number + 1, begin + length
        self.number, self.begin = number, begin  # of the segment that is still filled
        if begin < written:
            self._wait(np.concatenate([block[:, 0] for block in self._stored(begin, written)]))

    def add(self, ids: Sequence[int]) -> None:
        """One document; one without tokens is none."""
        if not len(ids):
            return
        self._wait(np.array([self.end, *ids], dtype=self.tokens.dtype))
        if self.waits >= SEGMENT + DEPTH:
            self._flush()
            while self.waits >= SEGMENT + DEPTH:
                self._sort(SEGMENT)

    def finish(self) -> int:
        """Sort what is left; returns how many tokens there are, the ends among them."""
        self._flush()
        while self.waits:
            self._sort(min(SEGMENT, self.waits))
        return self.written

    def _wait(self, tokens: np.ndarray) -> None:
        self.waiting.append(tokens)
        self.waits += len(tokens)

    def _stored(self, begin: int, end: int) -> Iterator[np.ndarray]:
        rows = self.tokens.rows
        for page in range(begin // rows, -(-end // rows)):
            yield self.tokens.page(page)[max(0, begin - page * rows) : end - page * rows]

    def _flush(self) -> None:
        """Tokens to their pages."""
        new = np.concatenate(self.waiting) if self.waiting else np.zeros(0, self.tokens.dtype)
        self.waiting = [new]
        self.written = self.tokens.append(self.written, new[self.written - self.begin :])

    def _sort(self, count: int) -> None:
        """Close a segment of `count` tokens; the next ones are looked at, for what stands near its end."""
        tokens = self.waiting[0]
        ahead = np.append(tokens[: count + DEPTH], self.end)[: count + DEPTH]
        order = Series(self.connection, f"{ORDER}:{self.number}", "<u4")
        order.drop()
        order.append(0, window_order(ahead, count))
        row = (self.number, self.begin, count)
        self.connection.execute("INSERT OR REPLACE INTO segments (number, begin, length) VALUES (?, ?, ?)", row)
        self.number, self.begin = self.number + 1, self.begin + count
        self.waiting, self.waits = [tokens[count:]], self.waits - count


@dataclass(frozen=True)
class Segment:
    """`length` places from `begin` on, sorted."""

    name: str
    begin: int
    length: int


class Suffixes:
    """The reader. `end` closes every document and stands before it."""

    def __init__(self, connection: sqlite3.Connection, cache: Cache, size: int, end: int, total: int) -> None:
        self.cache, self.size, self.end, self.total = cache, size, end, total
        tokens, order = Series(connection, TOKENS, token_type(size)), Series(connection, ORDER, "<u4")
        self.dtype, self.wide = tokens.dtype, tokens.dtype.itemsize
        self.token_rows, self.order_rows = tokens.rows, order.rows
        rows = connection.execute("SELECT number, begin, length FROM segments ORDER BY number")
        self.segments = [Segment(f"{ORDER}:{number}", begin, length) for number, begin, length in rows]

    def count(self, gram: Sequence[int]) -> int:
        """How often these tokens (at most DEPTH) occur, within documents: the end token may stand first or last."""
        return sum(high - low for _, low, high in self._occurrences(gram))

    def continuations(self, suffix: Sequence[int], most: int) -> Followed:
        """What followed these tokens (at most DEPTH), `most` tokens of each at most, the most frequent first.

        The end of a document is the last token of what ran into it. Of many occurrences LOOKED_AT are counted, spread
        evenly over the sorted ones. Nothing where they do not occur.
        """
        if most < 1 or self.end in suffix[1:]:  # behind an end stands another document, by no reason but its place
            return []
        found = self._occurrences(suffix)
        every = max(1, -(-sum(high - low for _, low, high in found) // LOOKED_AT))
        places = (self._place(segment, i) for segment, low, high in found for i in range(low, high, every))
        times = Counter(self._after(place + len(suffix), most) for place in places)
        return sorted(((path, count) for path, count in times.items() if path), key=lambda each: (-each[1], each[0]))

    def _occurrences(self, gram: Sequence[int]) -> list[tuple[Segment, int, int]]:
        """The ranges of sorted places at which these tokens stand."""
        if not 0 < len(gram) <= DEPTH:
            raise ValueError(f"{len(gram)} tokens: give 1 to {DEPTH}")
        if self.end in gram[1:-1] or not all(0 <= token < self.size for token in gram):
            return []
        return self._found(self._bytes(gram))

    def _found(self, gram: bytes) -> list[tuple[Segment, int, int]]:
        ranges = ((s, self._bound(s, gram, False), self._bound(s, gram, True)) for s in self.segments)
        return [(segment, low, high) for segment, low, high in ranges if low < high]

    def _bound(self, segment: Segment, gram: bytes, after: bool) -> int:
        """The first sorted place that is not before `gram` (or, `after`, not before or at it)."""
        low, high, size = 0, segment.length, len(gram)
        while low < high:
            middle = (low + high) // 2
            here = self._read(self._place(segment, middle), size)
            if here < gram or (after and here == gram):
                low = middle + 1
            else:
                high = middle
        return low

    def _place(self, segment: Segment, i: int) -> int:
        page, at = divmod(i, self.order_rows)
        return segment.begin + int.from_bytes(self.cache(segment.name, page)[4 * at : 4 * at + 4], "little")

    def _read(self, place: int, size: int) -> bytes:
        """`size` bytes of tokens from a place on; behind the last document stands an end, and nothing more."""
        page, at = divmod(place, self.token_rows)
        found = b""
        if place < self.total:
            found = self.cache(TOKENS, page)[self.wide * at : self.wide * at + size]
        if len(found) < size:
            beyond = place + len(found) // self.wide
            if beyond < self.total:
                return found + self._read(beyond, size - len(found))
            return found + self._bytes([self.end]) if beyond == self.total else found
        return found

    def _after(self, place: int, most: int) -> tuple[int, ...]:
        """The tokens from a place on, up to the end of the document, which is one of them."""
        if place > self.total:
            return ()
        tokens = np.frombuffer(self._read(place, most * self.wide), self.dtype).tolist()
        return tuple(tokens[: tokens.index(self.end) + 1] if self.end in tokens else tokens)

    def _bytes(self, ids: Sequence[int]) -> bytes:
        return np.array(ids, dtype=self.dtype).tobytes()
