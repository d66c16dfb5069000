"""Byte-pair encoding, to be read: find the pair of neighbours that occurs most, glue it, again.

The merges, and their order, are those of the fast trainer in ``bpe.py``; each is handed out as it happens.
Source: Sennrich et al. 2016 (arXiv:1508.07909), on bytes as in GPT-2 (2019).

    for merge in merges(count_words(["low low lower"]), 3):
        print(merge.left, merge.right, merge.count)
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from jielong.units.alphabet import CHARACTER_OF, QWEN2, splitter

Pair = tuple[int, int]
Ties = Literal["library", "gpt2"]


@dataclass(frozen=True, slots=True)
class Merge:
    """Step ``rank`` glued ``left`` and ``right``, which stood side by side ``count`` times."""

    rank: int
    left: bytes
    right: bytes
    count: int


def count_words(texts: Iterable[str], pattern: str = QWEN2) -> Counter[bytes]:
    """How often each word (a piece cut out by ``pattern``) occurs, as UTF-8."""
    split = splitter(pattern)
    words = Counter(word for text in texts for word, _ in split.pre_tokenize_str(text))
    return Counter({word.encode(): count for word, count in words.items()})


def merges(words: Mapping[bytes, int], limit: int, ties: Ties = "library", least: int = 1) -> Iterator[Merge]:
    """Up to ``limit`` merges of ``words`` (word -> count); fewer when no pair occurs ``least`` times.

    ``ties``, between pairs that occur equally often: "library" takes the pair of oldest tokens (bytes first,
    in the order of their visible characters), as the tokenizers library does; "gpt2" takes the greatest pair
    of byte strings, as CS336 does. A token may be reached in two ways (a+bc, ab+c): the second way adds a
    merge but no token. The heap holds upper bounds: a stale entry is put back with its true count.
    """
    tokens = [bytes([byte]) for byte in sorted(range(256), key=CHARACTER_OF.__getitem__)]
    number = {token: index for index, token in enumerate(tokens)}
    corpus = _Corpus([[number[bytes([byte])] for byte in word] for word in words], list(words.values()))

    def entry(pair: Pair) -> tuple[int, Any, Pair]:
        return -corpus.counts[pair], pair if ties == "library" else _greatest(tokens, pair), pair

    heap = [entry(pair) for pair in corpus.counts]
    heapq.heapify(heap)
    rank = 0
    while heap and rank < limit:
        bound, _, pair = heapq.heappop(heap)
        count = corpus.counts[pair]
        if count != -bound:
            if count > 0:
                heapq.heappush(heap, entry(pair))
            continue
        if count < max(least, 1):
            return
        left, right = tokens[pair[0]], tokens[pair[1]]
        yield Merge(rank, left, right, count)
        rank += 1
        new = number.setdefault(left + right, len(tokens))
        if new == len(tokens):
            tokens.append(left + right)
        for born in corpus.glue(pair, new):
            heapq.heappush(heap, entry(born))


class _Corpus:
    """The words as lists of token numbers, with the count of every pair and the words where it may stand."""

    def __init__(self, pieces: list[list[int]], times: list[int]) -> None:
        self.pieces, self.times = pieces, times
        self.counts: Counter[Pair] = Counter()
        self.where: defaultdict[Pair, set[int]] = defaultdict(set)
        for index, piece in enumerate(pieces):
            for pair in pairwise(piece):
                self.counts[pair] += times[index]
                self.where[pair].add(index)

    def glue(self, pair: Pair, new: int) -> set[Pair]:
        """Replace ``pair`` by ``new`` in every word that holds it; the pairs that this made."""
        made: set[Pair] = set()
        for index in self.where.pop(pair):
            old, piece = self.pieces[index], _replaced(self.pieces[index], pair, new)
            for gone in pairwise(old):
                self.counts[gone] -= self.times[index]
            for born in pairwise(piece):
                self.counts[born] += self.times[index]
                if new in born:
                    self.where[born].add(index)
                    made.add(born)
            self.pieces[index] = piece
        return made


def _replaced(piece: list[int], pair: Pair, new: int) -> list[int]:
    out: list[int] = []
    for token in piece:
        if out and (out[-1], token) == pair:
            out[-1] = new
        else:
            out.append(token)
    return out


def _greatest(tokens: list[bytes], pair: Pair) -> Any:
    """Sorts the greatest pair of byte strings first; 256 marks an end, so that "ab" comes before "a"."""
    return tuple((*(255 - byte for byte in tokens[index]), 256) for index in pair)
