"""Faces of 24x24 pixels with eight sliders, every combination as likely: 144,000 faces, each in 27 jitters.

    from jielong.world.faces import Faces
    for face, jitter in Faces(seed=0).draw(4): print(face, jitter)

What is moved by degrees (the mouth's curve in nine levels, how far it opens, the brows, the eyes, the hair) is
measured from pixels by geometry, to fractions of a level: see `face_pixels.py`. Captions are in `face_words.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

from jielong.base.errors import UserError
from jielong.world.draws import picks
from jielong.world.scenes import JITTERS, Jitter

# slider: its levels, in the order of a Face's fields
LEVELS: dict[str, tuple[Any, ...]] = {
    "curvature": (-4, -3, -2, -1, 0, 1, 2, 3, 4),  # of the mouth: -4 the deepest frown, 4 the widest smile
    "opening": (0, 1, 2, 3),  # rows of darkness between the lips
    "brow": (-2, -1, 0, 1, 2),  # -2 inner ends high (sad), 2 inner ends low (angry)
    "eyes": (0, 1, 2, 3),  # 3, 5, 9 or 15 pixels each
    "hair": ("black", "brown", "blond", "red", "grey"),
    "length": (0, 1, 2, 3, 4),  # of the hair: down to the brows, eyes, nose, mouth, chin
    "glasses": (False, True),
    "skin": ("light", "tan", "brown", "dark"),
}
GRADED = ("curvature", "opening", "brow", "eyes", "length", "glasses")  # sliders that can be between two levels
SPLITS = ("train", "test")


@dataclass(frozen=True, slots=True)
class Face:
    """One level for each slider of LEVELS. Raises ValueError for a level that does not exist."""

    curvature: int = 0
    opening: int = 0
    brow: int = 0
    eyes: int = 2
    hair: str = "black"
    length: int = 2
    glasses: bool = False
    skin: str = "tan"

    def __post_init__(self) -> None:
        for slider, levels in LEVELS.items():
            if getattr(self, slider) not in levels:
                raise ValueError(f"{slider} must be one of {levels}, not {getattr(self, slider)!r}")


@dataclass(frozen=True)
class Faces:
    """The law of faces: all levels of all sliders and all jitters as likely, and independent."""

    seed: int = 0
    jitters: tuple[Jitter, ...] = JITTERS

    def __post_init__(self) -> None:
        if not self.jitters or len(set(self.jitters)) < len(self.jitters) or not set(self.jitters) <= set(JITTERS):
            raise UserError("jitters must be some of scenes.JITTERS, each once")

    def draw(self, n: int, split: str = "train", draw: int = 0) -> list[tuple[Face, Jitter]]:
        """`n` independent faces. "train" and "test" are two streams of one law; a longer stream begins with a shorter
        one. Raises UserError for an unknown split or a negative n."""
        if split not in SPLITS:
            raise UserError(f"faces are of split {' or '.join(SPLITS)}, not '{split}'")
        if n < 0:
            raise UserError(f"n must not be negative, and is {n}")
        levels, jitters = tuple(LEVELS.values()), tuple((j.dx, j.dy, j.brightness) for j in self.jitters)
        sizes = [*map(len, levels), len(self.jitters)]
        found = picks(n, sizes, "faces", self.seed, jitters, split, draw)
        return [(Face(*(of[i] for of, i in zip(levels, each))), self.jitters[each[-1]]) for each in found]

    def p_image(self) -> float:
        """The probability of a picture: the same for all, as no two faces look alike."""
        return 1 / (count() * len(self.jitters))

    def image_bits(self) -> float:
        """The entropy of a picture in bits."""
        return -math.log2(self.p_image())


def count() -> int:
    """How many faces there are."""
    return math.prod(map(len, LEVELS.values()))


def every() -> Iterator[Face]:
    """All of them."""
    return (Face(*levels) for levels in product(*LEVELS.values()))


def as_record(face: Face, jitter: Jitter | None = None) -> dict[str, Any]:
    """The face (and jitter) as plain values, for a line of JSON."""
    shaken = {} if jitter is None else {"dx": jitter.dx, "dy": jitter.dy, "brightness": jitter.brightness}
    return {**{field.name: getattr(face, field.name) for field in fields(face)}, **shaken}
