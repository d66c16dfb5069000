"""Which terms stand in which passages, and passages ranked by it: BM25 over the blocks that a reader may see.

    score(passage) = sum over the terms t of a question, as often as they stand in it:
        idf(t) * f / (f + k1 * (1 - b + b * length / mean length)),   idf(t) = ln(1 + (N - n + 1/2) / (n + 1/2))

(Robertson and Zaragoza 2009, with Lucene's idf, which is never negative.) f: how often t stands in the passage; n of
the N passages have t. A block holds up to SLOTS passages that the same people may read, so N, n and the mean length
are sums over the blocks that a reader may see: what the other blocks hold has no part in them, in the scores or in
what is left out. A term's list in a block is its passages' slots, two bytes each and sorted, then its counts, one byte
each.

Ranking goes through the lists from the rarest term to the commonest. Once the terms that are left cannot lift any
further passage among the best (MaxScore, Turtle and Flood 1995), only the passages that can still be among them are
looked up in the long lists. The result is the one of the full sum.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from jielong.base.plain import dumps

K1, B = 1.2, 0.75
SLOTS = 1 << 16  # passages in a block
WAITING = 1 << 22  # postings that are in memory while passages are added
MOST = 255  # a term counts up to so many times in a passage
LONG = 4096  # a list from which on looking passages up is tried
FEW = 16  # look passages up once this share of a block, one of so many, can still be among the best
SLACK = 1 + 1e-9  # sums of rounded numbers may be a little off


@dataclass(frozen=True)
class Block:
    """Passages that the same people may read: how many terms each slot's passage has (0: the slot is free)."""

    number: int
    rights: int
    lengths: np.ndarray

    @property
    def passages(self) -> int:
        return int(np.count_nonzero(self.lengths))

    @property
    def terms(self) -> int:
        return int(self.lengths.sum())


class Writer:
    """Adds and takes away passages' terms; call `flush` at the end. A passage is known by block * SLOTS + slot."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.numbers = defaultdict[str, int](count().__next__)  # of terms, in the order of their first appearance
        self.waiting: list[tuple[int, np.ndarray, np.ndarray]] = []  # passage, terms, counts
        self.waits = 0
        self.fresh: set[int] = set()  # blocks without a list so far: nothing is to be read before it is written

    def add(self, passage: int, counts: Mapping[str, int]) -> None:
        """A passage's terms and how often each stands in it."""
        self._wait(passage, counts, np.minimum(np.fromiter(counts.values(), np.int64, len(counts)), MOST))

    def remove(self, passage: int, terms: Sequence[str]) -> None:
        """Take a passage out of the lists of these terms."""
        self._wait(passage, dict.fromkeys(terms, 0), np.zeros(len(set(terms)), np.int64))

    def _wait(self, passage: int, counts: Mapping[str, int], times: np.ndarray) -> None:
        ids = np.fromiter(map(self.numbers.__getitem__, counts), np.int32, len(counts))
        self.waiting.append((passage, ids, times.astype(np.uint8)))
        self.waits += len(ids)
        if self.waits >= WAITING:
            self.flush()

    def flush(self) -> None:
        """Write what waits into the lists."""
        if not self.waiting:
            return
        passages = np.repeat([p for p, _, _ in self.waiting], [len(ids) for _, ids, _ in self.waiting])
        ids = np.concatenate([ids for _, ids, _ in self.waiting])
        times = np.concatenate([times for _, _, times in self.waiting])
        names = sorted(self.numbers)
        rank = np.empty(len(names), np.int64)
        rank[[self.numbers[name] for name in names]] = np.arange(len(names))
        ordered = np.lexsort((passages, rank[ids]))  # stable: of a passage taken away and put again, the last stays
        terms, passages, times = rank[ids][ordered], passages[ordered], times[ordered]
        last = np.append((terms[1:] != terms[:-1]) | (passages[1:] != passages[:-1]), True)
        self._write(names, terms[last], passages[last], times[last])
        self.fresh -= set(np.unique(passages // SLOTS).tolist())
        self.numbers, self.waiting, self.waits = defaultdict(count().__next__), [], 0

    def _write(self, names: Sequence[str], terms: np.ndarray, passages: np.ndarray, times: np.ndarray) -> None:
        blocks, slots = passages // SLOTS, (passages % SLOTS).astype("<u2")
        begins = np.flatnonzero(np.append(True, (terms[1:] != terms[:-1]) | (blocks[1:] != blocks[:-1])))
        ends = np.append(begins[1:], len(terms)).tolist()
        gone = times == 0
        rows, empty = [], []
        for begin, end in zip(begins.tolist(), ends):
            key = (names[terms[begin]], int(blocks[begin]))
            new_slots, new_times = slots[begin:end], times[begin:end]
            if key[1] not in self.fresh or gone[begin:end].any():
                new_slots, new_times = self._merged(key, new_slots, new_times)
            if len(new_slots):
                rows.append((*key, new_slots.tobytes() + new_times.tobytes()))
            else:
                empty.append(key)
        self.connection.executemany("INSERT OR REPLACE INTO postings (term, block, data) VALUES (?, ?, ?)", rows)
        self.connection.executemany("DELETE FROM postings WHERE term = ? AND block = ?", empty)

    def _merged(self, key: tuple[str, int], slots: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The list that is there with these slots put in place of what they held; those of no times left out."""
        found = self.connection.execute("SELECT data FROM postings WHERE term = ? AND block = ?", key).fetchone()
        if found:
            old_slots, old_times = unpacked(found[0])
            behind = old_slots[-1] < slots[0]  # as mostly, while an index grows
            if not behind:
                keep = ~np.isin(old_slots, slots)
                old_slots, old_times = old_slots[keep], old_times[keep]
            slots, times = np.concatenate([old_slots, slots]), np.concatenate([old_times, times])
            if not behind:
                ordered = np.argsort(slots, kind="stable")
                slots, times = slots[ordered], times[ordered]
        stays = times > 0
        return slots[stays].astype("<u2"), times[stays]


def unpacked(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Slots and counts of a list."""
    size = len(data) // 3
    return np.frombuffer(data, "<u2", size), np.frombuffer(data, np.uint8, size, 2 * size)


@dataclass(frozen=True)
class Listed:
    """A term that stands `times` times in a question, its idf, and its lists: (which block, slots, counts)."""

    term: str
    times: int
    idf: float
    parts: list[tuple[int, np.ndarray, np.ndarray]]

    @property
    def bound(self) -> float:
        """The most it can add to a score."""
        return self.times * self.idf


class Ranker:
    """Ranks the passages of some blocks."""

    def __init__(self, connection: sqlite3.Connection, blocks: Sequence[Block]) -> None:
        self.connection, self.blocks = connection, list(blocks)
        self.begins = np.cumsum([0, *(len(block.lengths) for block in blocks)])
        self.place = {block.number: i for i, block in enumerate(blocks)}
        self.asked = dumps([block.number for block in blocks])
        lengths = np.concatenate([np.zeros(0, np.int64), *(block.lengths for block in blocks)])
        self.passages = int(np.count_nonzero(lengths))
        mean = lengths.sum() / max(1, self.passages)
        self.norms = K1 * (1 - B + B * lengths / max(mean, 1e-9))

    def idf(self, having: int) -> float:
        """Of a term that so many of the passages have."""
        return float(np.log1p((self.passages - having + 0.5) / (having + 0.5)))

    def lists(self, terms: Sequence[str]) -> list[Listed]:
        """The terms of a question with their lists in these blocks."""
        asked = "SELECT block, data FROM postings WHERE term = ? AND block IN (SELECT value FROM json_each(?))"
        found = []
        for term, times in Counter(terms).items():
            rows = self.connection.execute(asked, (term, self.asked)).fetchall()
            parts = [(self.place[block], *unpacked(data)) for block, data in rows]
            found.append(Listed(term, times, self.idf(sum(len(slots) for _, slots, _ in parts)), parts))
        return found

    def rank(self, lists: Sequence[Listed], most: int) -> tuple[np.ndarray, np.ndarray]:
        """Passages (N,) and their scores (N,), the best `most` and all that score as the last of these; unordered
        among equals. Only passages that have a term."""
        lists = sorted((each for each in lists if each.parts), key=lambda each: (-each.bound, each.term))
        scores = np.zeros(self.begins[-1])
        alive: np.ndarray | None = None  # the places that can still be among the best; None: all
        left = sum(each.bound for each in lists)
        for each in lists:
            if alive is None and sum(len(slots) for _, slots, _ in each.parts) >= LONG:
                alive = self._alive(scores, left, most)
            for at, slots, times in each.parts:
                if alive is None:
                    places = slots.astype(np.intp) + self.begins[at]
                else:
                    places, times = self._looked_up(alive, at, slots, times)
                scores[places] += each.bound * (times / (times + self.norms[places]))
            left = max(0.0, left - each.bound)
            if alive is not None and len(alive) > most:
                alive = alive[scores[alive] + left * SLACK >= _last_of(scores[alive], most)]
        if alive is None:
            alive = np.flatnonzero(scores)
        kept = scores[alive] > 0
        alive = alive[kept]
        if len(alive) > most:
            alive = alive[scores[alive] >= _last_of(scores[alive], most)]
        order = np.argsort(-scores[alive], kind="stable")
        return self._numbers(alive[order]), scores[alive[order]]

    def matched(self, lists: Sequence[Listed], passages: Sequence[int]) -> np.ndarray:
        """Of each passage (N,), which share of the question it has: the idf of its terms over that of all terms. A term
        that no passage has counts as the rarest would."""
        asked = np.asarray(passages, np.int64)
        found = np.zeros(len(asked))
        for each in lists:
            for at, slots, _ in each.parts:
                here = np.flatnonzero(asked // SLOTS == self.blocks[at].number)
                wanted = asked[here] % SLOTS
                where = np.minimum(np.searchsorted(slots, wanted.astype("<u2")), len(slots) - 1)
                found[here[slots[where] == wanted]] += each.idf
        return found / max(sum(each.idf for each in lists), 1e-12)

    def _alive(self, scores: np.ndarray, left: float, most: int) -> np.ndarray | None:
        """The places that the remaining terms can still lift among the best; None while these are many."""
        high = scores[scores > left * SLACK]
        if len(high) < most:
            return None
        last = _last_of(high, most)
        alive = np.flatnonzero(scores + left * SLACK >= last)
        return alive if len(alive) * FEW <= len(scores) else None

    def _looked_up(
        self, alive: np.ndarray, at: int, slots: np.ndarray, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Those of the places that are in a block's list, and their counts."""
        begin, end = np.searchsorted(alive, self.begins[at : at + 2])
        wanted = alive[begin:end] - self.begins[at]
        where = np.searchsorted(slots, wanted.astype("<u2"))
        inside = where < len(slots)
        hit = np.flatnonzero(inside)[slots[where[inside]] == wanted[inside]]
        return alive[begin:end][hit], times[where[hit]]

    def _numbers(self, places: np.ndarray) -> np.ndarray:
        """Passages' numbers from places in all the blocks together."""
        at = np.searchsorted(self.begins, places, side="right") - 1
        blocks = np.array([block.number for block in self.blocks] or [0])
        return np.asarray(blocks[at] * SLOTS + (places - self.begins[at]))


def _last_of(scores: np.ndarray, most: int) -> float:
    """The `most`-th highest; the lowest where there are fewer."""
    if len(scores) <= most:
        return float(scores.min(initial=0.0))
    return float(np.partition(scores, len(scores) - most)[len(scores) - most])

