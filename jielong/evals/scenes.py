"""Whether pictures show what was asked for: captions of the world's scenes, and the parser as the judge.

    some = asked(1024, "test")              what is asked for, and what it means
    rows = judged(some, pixels)             shares right, whole and by attribute; what cannot be read is wrong in all
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jielong.base.result import Row
from jielong.base.stats import wilson
from jielong.world import scene_pixels, scene_words
from jielong.world.scene_meaning import ATTRIBUTES, Meaning, fits, meaning_of
from jielong.world.scenes import MOST, Scene, Scenes


@dataclass(frozen=True)
class Asked:
    """A caption, what it says, and a scene it was said of."""

    text: str
    meaning: Meaning
    scene: Scene


def asked(n: int, split: str = "test", most: int = MOST, seed: int = 0, draw: int = 1_000_000) -> list[Asked]:
    """Captions of `n` scenes of a split, in both languages by turns. Training draws from 0 on; these are others."""
    found = []
    for i, (scene, _) in enumerate(Scenes(seed, most).draw(n, split, draw)):
        lang = scene_words.LANGS[i % len(scene_words.LANGS)]
        found.append(Asked(scene_words.caption(scene, lang, draw), meaning_of(scene, draw), scene))
    return found


def judged(some: Sequence[Asked], pixels: NDArray[np.uint8], group: str = "") -> list[Row]:
    """Of pictures (N, 32, 32, 3): all right, each attribute among those that were said, and not to be read at all."""
    read = scene_pixels.parse_many(pixels)
    found = [fits(each.meaning, scene) for each, scene in zip(some, read, strict=True)]
    rows = [_share("right in all", [all(each.values()) for each in found], group)]
    for name in ATTRIBUTES:
        if said := [each[name] for each in found if name in each]:
            rows.append(_share(name, said, group))
    return [*rows, _share("cannot be read", [scene is None for scene in read], group)]


def _share(name: str, right: Sequence[bool], group: str) -> Row:
    return Row(name, sum(right) / len(right), wilson(sum(right), len(right)), len(right), unit="share", group=group)
