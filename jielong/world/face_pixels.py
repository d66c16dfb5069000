"""Faces as pictures of 24x24 pixels, drawn without anti-aliasing in 42 colours.

    from jielong.world.face_pixels import render
    picture = render(face, jitter)

Every part has its own place and none hides another: hair on top and down the sides, brows in rows 3 to 7, eyes in 9 to
11 and frames around them, the mouth in 13 to 21. The jitter moves the whole picture and adds -20, 0 or 20 to every
channel. `face_measure.py` reads the sliders back.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jielong.world.faces import LEVELS, Face
from jielong.world.scene_pixels import BRIGHTNESS, Bytes
from jielong.world.scenes import Jitter

SIDE = 24
RGB = {
    "ground": (110, 190, 230), "lip": (210, 30, 60), "dark": (20, 20, 20), "white": (235, 235, 235),
    "frame": (30, 50, 200),
    "light skin": (235, 195, 165), "tan skin": (205, 150, 110), "brown skin": (160, 105, 70),
    "dark skin": (105, 65, 40),
    "black hair": (30, 30, 35), "brown hair": (105, 60, 30), "blond hair": (230, 195, 90),
    "red hair": (200, 80, 30), "grey hair": (150, 150, 155),
}  # fmt: skip
NAMES = tuple(RGB)
GROUND, SKIN, HAIR, LIP, DARK, WHITE, FRAME = range(7)  # what a pixel can be of
MOUTH = (slice(13, 22), slice(7, 17))  # rows and columns
BROWS = (slice(3, 8), (slice(5, 10), slice(14, 19)))  # left and right; the inner ends are columns 9 and 14
EYES = (slice(9, 12), (slice(5, 10), slice(14, 19)))
CAP = (slice(1, 3), slice(5, 19))  # hair whatever the sliders
SIDES = (slice(3, 22), (slice(1, 4), slice(20, 23)))
ENDS = (6, 10, 14, 18, 22)  # the row where the hair at the sides ends, by length
EYE_PIXELS = (3, 5, 9, 15)


def curve(curvature: int) -> NDArray[np.int64]:
    """(10,) how far down the mouth's line is in each of its columns: a parabola in whole pixels, its ends up by half
    the curvature and its middle down by as much."""
    x = np.arange(10) - 4.5
    return _whole(curvature * (0.5 - (x / 4.5) ** 2))


def _whole(x: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Rounded, halves away from zero: the same to both sides."""
    return (np.sign(x) * np.floor(np.abs(x) + 0.5)).astype(np.int64)


@lru_cache(maxsize=1)
def mouths() -> Bytes:
    """(9, 4, 9, 10): what the pixels of MOUTH are, by curvature and opening: two rows of lips, which part in the six
    middle columns."""
    found = np.full((9, 4, 9, 10), SKIN, dtype=np.uint8)
    for i, opening, column in product(range(9), LEVELS["opening"], range(10)):
        line = 3 + int(curve(LEVELS["curvature"][i])[column])
        gap = opening if 2 <= column <= 7 else 0
        top, bottom = line - gap // 2, line + 1 + (gap + 1) // 2
        found[i, opening, top : bottom + 1, column] = DARK
        found[i, opening, [top, bottom], column] = LIP
    return found


@lru_cache(maxsize=1)
def brows() -> Bytes:
    """(5, 5, 5): the left brow by its angle; the right one is its mirror image."""
    found = np.full((5, 5, 5), SKIN, dtype=np.uint8)
    for i, angle in enumerate(LEVELS["brow"]):
        found[i, 2 + _whole(angle * (np.arange(5) - 2) / 2), np.arange(5)] = DARK
    return found


@lru_cache(maxsize=1)
def eyes() -> Bytes:
    """(4, 3, 5): one eye by its size, dark in the middle."""
    found = np.full((4, 3, 5), SKIN, dtype=np.uint8)
    found[:, 1, 1:4] = WHITE
    found[1:, :, 2] = WHITE
    found[2:, :, 1:4] = WHITE
    found[3:] = WHITE
    found[:, 1, 2] = DARK
    return found


@lru_cache(maxsize=1)
def heads() -> Bytes:
    """(5, 2, 24, 24): ground, skin, hair and frames, by the length of the hair and whether there are glasses."""
    found = np.full((5, 2, SIDE, SIDE), GROUND, dtype=np.uint8)
    found[:, :, 3:19, 4:20] = SKIN
    for row, edge in ((19, 5), (20, 5), (21, 6), (22, 7)):
        found[:, :, row, edge : SIDE - edge] = SKIN
    found[:, :, 1, 4:20], found[:, :, 2, 2:22] = HAIR, HAIR
    for i, end in enumerate(ENDS):
        found[i, :, 3:end, 1:4] = found[i, :, 3:end, 20:23] = HAIR
    found[:, 1, 10, 11:13] = FRAME
    for left in (4, 13):
        found[:, 1, 8:13, left : left + 7] = FRAME
        found[:, 1, 9:12, left + 1 : left + 6] = SKIN
    return found


def palette() -> Bytes:
    """(42, 3): every colour of a face; 14 * brightness + index in NAMES."""
    base = np.array(list(RGB.values()))
    return (base[None] + np.array(BRIGHTNESS)[:, None, None]).reshape(-1, 3).astype(np.uint8)


def paint(pictures: Sequence[tuple[Face, Jitter]]) -> Bytes:
    """(n, 24, 24) of indices into `palette`."""
    parts = np.array([_indices(face) for face, _ in pictures], dtype=np.int64).reshape(-1, len(LEVELS))
    curvature, opening, brow, eye, hair, length, glasses, skin = parts.T
    canvas = heads()[length, glasses]
    canvas[:, *MOUTH] = mouths()[curvature, opening]
    canvas[:, BROWS[0], BROWS[1][0]] = brows()[brow]
    canvas[:, BROWS[0], BROWS[1][1]] = brows()[brow][:, :, ::-1]
    for side in EYES[1]:
        canvas[:, EYES[0], side] = eyes()[eye]
    ground, lip, dark, white, frame = (np.full(len(parts), i) for i in range(5))
    table = np.stack([ground, 5 + skin, 9 + hair, lip, dark, white, frame], axis=1)
    table += len(NAMES) * np.array([[jitter.brightness] for _, jitter in pictures], dtype=np.int64).reshape(-1, 1)
    painted = np.take_along_axis(table.astype(np.uint8), canvas.reshape(len(parts), -1).astype(np.int64), axis=1)
    painted = painted.reshape(-1, SIDE, SIDE)
    for offset in {(jitter.dy, jitter.dx) for _, jitter in pictures}:
        moved = np.array([(jitter.dy, jitter.dx) == offset for _, jitter in pictures])
        painted[moved] = np.roll(painted[moved], offset, axis=(1, 2))  # the rim is ground on all sides
    return painted


def _indices(face: Face) -> tuple[int, ...]:
    return tuple(_places()[slider][getattr(face, slider)] for slider in LEVELS)


@lru_cache(maxsize=1)
def _places() -> dict[str, dict[object, int]]:
    return {slider: {level: i for i, level in enumerate(levels)} for slider, levels in LEVELS.items()}


def render_many(pictures: Sequence[tuple[Face, Jitter]]) -> Bytes:
    """(n, 24, 24, 3)."""
    return palette()[paint(pictures)]


def render(face: Face, jitter: Jitter | None = None) -> Bytes:
    """(24, 24, 3); without a jitter, the picture in the middle of all."""
    return np.asarray(render_many([(face, jitter or Jitter())])[0])
