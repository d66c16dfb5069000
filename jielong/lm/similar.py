"""Prompts that are near one another: for a cache that also answers what was asked in other words.

    similar = Similar(hashing(), threshold=0.9, name="hashing")
    lm = Cached(remote, "cache.db", similar=similar)
    rates(similar.embed, world_pairs(World()), [0.8, 0.9, 0.95])       # what that costs in wrong answers

Nearness is not sameness: "What is 47+38?" stands nearer to "What is 47+39?" than to "Add 47 and 38." So the rate of
false hits is measured, on pairs of the world that mean the same and pairs that nearly do, and is told wherever such a
cache is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jielong.base.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from jielong.base.result import Interval
    from jielong.world.world import World


Embed = Callable[[Sequence[str]], Awaitable[Any]]  # texts -> (N, D), rows of length 1 or 0
KINDS = ("sums", "facts", "loose")  # kinds whose questions have several wordings


@dataclass(frozen=True)
class Similar:
    """How a cache tells that prompts are alike: vectors of length 1, and the least cosine that counts.

    `name` stands for the embedding in the file: vectors of another are never compared with it.
    """

    embed: Embed
    threshold: float
    name: str

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise UserError(f"a threshold of {self.threshold}: give a cosine above 0 and at most 1")


def hashing(width: int = 1024) -> Embed:
    """Vectors without a model: words, their pairs and the characters' threes, each hashed to a place and a sign.

    Feature hashing (Weinberger et al., ICML 2009): the inner product of two texts is unbiased for that of their counts.
    A text without any term is the vector of zeros, near to nothing. (N, width), float32, length 1.
    """

    async def embed(texts: Sequence[str]) -> np.ndarray:
        import numpy as np

        found = np.zeros((len(texts), width), dtype=np.float32)
        for row, text in zip(found, texts):
            for feature in features(text):
                digest = hashlib.blake2b(feature.encode("utf-8", "replace"), digest_size=8).digest()
                code = int.from_bytes(digest, "big")
                row[(code >> 1) % width] += 1.0 if code & 1 else -1.0
        return unit(found)

    return embed


def features(text: str) -> list[str]:
    """Words and Chinese characters with their pairs, pairs of neighbouring words, threes of characters of words."""
    from jielong.store.words import terms

    words = terms(text)
    pairs = [f"{a} {b}" for a, b in zip(words, words[1:])]
    return [*words, *pairs, *(f"#{word[i : i + 3]}" for word in words for i in range(len(word) - 2))]


def of_model(lm: object) -> Embed:
    """The vectors of any model that embeds, brought to length 1."""

    async def embed(texts: Sequence[str]) -> np.ndarray:
        import numpy as np

        return unit(np.asarray(await lm.aembed(texts), dtype=np.float32))  # type: ignore[attr-defined]

    return embed


def unit(vectors_ND: np.ndarray) -> np.ndarray:
    """Rows brought to length 1; a row of zeros stays."""
    import numpy as np

    return vectors_ND / np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), 1e-12)


@dataclass(frozen=True)
class Pair:
    """Two prompts, and whether one answer is right for both."""

    first: str
    second: str
    same: bool
    kind: str


def world_pairs(world: World, n: int = 200, kinds: Sequence[str] = KINDS) -> list[Pair]:
    """Of each kind and language at most `n` pairs that mean the same in other words, and `n` that ask for another thing
    in the same words: all that is known of a prompt is its text, and the world knows whether the answers are one."""
    found: list[Pair] = []
    for kind in kinds:
        for lang in ("en", "zh"):
            asked = world.questions(kind, 40 * n, split="train", lang=lang)
            items = [(each.prompt, each.accept, _what(each.origin), each.origin.template) for each in asked]
            same = _met(items, key=lambda item: item[2], n=n, wanted=lambda a, b: a[1] == b[1] and a[0] != b[0])
            near = _met(items, key=_pattern, n=n, wanted=lambda a, b: a[1] != b[1])
            found += [Pair(a, b, True, kind) for a, b in same] + [Pair(a, b, False, kind) for a, b in near]
    return found


Item = tuple[str, tuple[str, ...], str, str]


def _what(origin: object) -> str:
    """What is asked for: the fact, and of sums their operands (47+38 and 45+40 are not one question)."""
    return f"{origin.fact} {origin.extra}"  # type: ignore[attr-defined]


def _pattern(item: Item) -> str:
    """A prompt with its numbers and names taken out, roughly: its first and its last words."""
    words = item[0].split()
    return f"{item[3]} {len(words)} {words[0]}" if len(words) > 1 else f"{item[3]} {item[0][-4:]} {len(item[0])}"


def _met(items: Iterable[Item], key: Callable[[Item], str], n: int,
         wanted: Callable[[Item, Item], bool]) -> list[tuple[str, str]]:  # fmt: skip
    """Up to `n` pairs of neighbours that share a key."""
    last: dict[str, Item] = {}
    found: list[tuple[str, str]] = []
    for item in items:
        place = key(item)
        if place in last and wanted(last[place], item):
            found.append((last[place][0], item[0]))
            if len(found) == n:
                break
        last[place] = item
    return found


@dataclass(frozen=True)
class Rate:
    """At a threshold: of pairs that mean the same the share that is found (`right`), of those that do not the share
    that is taken for the same (`false`), each with its Wilson interval."""

    threshold: float
    right: float
    right_interval: Interval
    false: float
    false_interval: Interval
    n: tuple[int, int]


async def rates(embed: Embed, pairs: Sequence[Pair], thresholds: Sequence[float]) -> list[Rate]:
    """How often a cache by similarity would be right and wrong. UserError without pairs of both sorts."""
    import numpy as np

    from jielong.base.stats import wilson

    if {pair.same for pair in pairs} != {True, False}:
        raise UserError("rates need pairs that mean the same and pairs that do not")
    first, second = await embed([p.first for p in pairs]), await embed([p.second for p in pairs])
    cosines, same = np.sum(first * second, axis=1), np.array([p.same for p in pairs])
    found = []
    for threshold in thresholds:
        hits = [int((cosines[same == wanted] >= threshold).sum()) for wanted in (True, False)]
        n = (int(same.sum()), int((~same).sum()))
        found.append(Rate(threshold, hits[0] / n[0], wilson(hits[0], n[0]), hits[1] / n[1], wilson(hits[1], n[1]), n))
    return found
