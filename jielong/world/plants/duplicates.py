"""Duplicates and near-duplicates whose similarity is known exactly.

Documents come in groups of ten: an original of sixteen sentences, an exact copy, copies with 1, 2, 4 and 8
of their sentences replaced, and four documents of their own. `jaccard` in the provenance is the exact
Jaccard similarity to the original, of the sets of 3-shingles (English: of words, Chinese: of characters;
`shingles` is the definition). What a deduplicator finds at a threshold is held against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from jielong.world import grammar
from jielong.world.draws import langs
from jielong.world.kit import lists, origin, pick, several, side
from jielong.world.text import Text

if TYPE_CHECKING:
    from jielong.world.world import World

LENGTH = 16
REPLACED = (0, 0, 1, 2, 4, 8)  # the original, its copy, and the near copies
ALONE = 4
SIZE = 3
POOL = 4096


def shingles(text: str, lang: str, size: int = SIZE) -> frozenset[tuple[str, ...]]:
    """The set of `size` words (Chinese: characters) in a row."""
    units = text.split() if lang == "en" else list(text)
    return frozenset(zip(*(units[i:] for i in range(size))))


def jaccard(a: str, b: str, lang: str, size: int = SIZE) -> float:
    """|A and B| / |A or B| of the two texts' shingles."""
    return _similarity(shingles(a, lang, size), shingles(b, lang, size))


def _similarity(x: frozenset[tuple[str, ...]], y: frozenset[tuple[str, ...]]) -> float:
    both, either = len(x & y), len(x | y)
    return both / either if either else 1.0


def texts(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Text]:
    """Groups of ten in a random order within the group; `group` and `role` say what belongs together."""
    tongues, each = langs(lang), len(REPLACED) + ALONE
    key = (world.seed, "duplicates", split, lang or "", draw)
    for group, u in enumerate(lists(-(-n // each), 1 + LENGTH * (each + 1) + each, *key)):
        tongue = pick(tongues, u[0])
        made = _group(world.seed, u[1:], tongue, split, group)
        for text, _ in zip(several(made, u[-each:]), range(n - group * each)):
            yield text


def _group(seed: int, u: list[float], lang: str, split: str, group: int) -> list[Text]:
    pool, joint = _pool(seed, lang, side(split)), " " if lang == "en" else ""
    drawn = [[pick(pool, x) for x in u[i * LENGTH : (i + 1) * LENGTH]] for i in range(len(REPLACED) + ALONE)]
    original, made = shingles(joint.join(drawn[0]), lang), []
    places = several(range(LENGTH), u[-LENGTH - 10 : -10])
    for i, fresh in enumerate(drawn):
        if i < len(REPLACED):
            lines = list(drawn[0])
            for place in places[: REPLACED[i]]:
                lines[place] = fresh[place]
            role = "original" if i == 0 else "copy" if i == 1 else f"near{REPLACED[i]}"
        else:
            lines, role = fresh, "alone"
        text = joint.join(lines)
        extra = {"group": group, "role": role, "jaccard": _similarity(original, shingles(text, lang))}
        made.append(Text(text, origin("duplicates", lang, split, f"group.{group}", role, extra)))
    return made


@lru_cache(maxsize=8)
def _pool(seed: int, lang: str, part: str) -> tuple[str, ...]:
    from jielong.world.world import World

    return tuple(text.text for text in grammar.texts(World(seed), "grammar", POOL, 1, part, lang))
