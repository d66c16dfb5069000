"""Pictures of faces made ready for measuring: moved to the middle, their brightness taken off, their pixels unmixed.

The rim gives the brightness, the outline in the colours of hair and skin the place, fixed pixels those colours. Each
pixel inside the face is then taken for a mixture of skin and what may lie there (lip and dark, white and dark, frame)
and unmixed by least squares. Blur mixes, and so changes neither how much there is of a thing nor where its middle is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jielong.world.face_pixels import BROWS, ENDS, EYES, MOUTH, RGB, SIDE, SIDES, heads
from jielong.world.faces import LEVELS
from jielong.world.scene_pixels import OFFSETS, Bools, Bytes, Floats, Ints

CHUNK = 1024
AROUND = (slice(8, 13), slice(4, 20))  # the eyes with their frames


@dataclass(frozen=True)
class Limits:
    """What is a face, and what a face of the world. Distances are of colours, Euclidean; errors per channel."""

    ground: float = 30.0  # of the rim from the ground's colour
    tone: float = 80.0  # of the mean skin and the mean hair from the nearest colour of theirs
    outline: float = 60.0  # root mean square of what the outline of a head leaves, per channel
    blurs: tuple[float, ...] = (0.0, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5)  # standard deviations in pixels that are known
    blur: float = 1.0  # and the largest that a mouth of a face of the world may seem to have
    aside: float = 0.4  # of the way from a mouth, brow or eye to another one
    error: float = 20.0  # root mean square of what is not explained, in the whole picture
    block: float = 40.0  # and in the worst of the 4x4 blocks


LIMITS = Limits()


@dataclass(frozen=True)
class Aligned:
    """Faces moved to the middle and to brightness 1: pixels (n, 24, 24, 3); where they were (index in OFFSETS), how
    bright; the index of skin and hair; whether all that was found."""

    pixels: Floats
    offset: Ints
    brightness: Ints
    skin: Ints
    hair: Ints
    found: Bools


def chunks(pictures: Bytes) -> Iterator[Bytes]:
    """(n, 24, 24, 3) in pieces, for the memory's sake. ValueError for another shape or dtype."""
    pictures = np.asarray(pictures)
    if pictures.ndim != 4 or pictures.shape[1:] != (SIDE, SIDE, 3) or pictures.dtype != np.uint8:
        raise ValueError(f"pictures must be uint8 of (n, {SIDE}, {SIDE}, 3), not {pictures.dtype} {pictures.shape}")
    return (pictures[start : start + CHUNK] for start in range(0, len(pictures), CHUNK))


def align(pictures: Bytes) -> Aligned:
    """(n, 24, 24, 3) -> the same faces in the middle."""
    pixels = pictures.astype(np.float32)
    rim = np.concatenate([pixels[:, -1, :6], pixels[:, -1, 18:], pixels[:, 0, :3], pixels[:, 0, 21:]], axis=1)
    ground, middle = colour("ground"), np.median(rim, axis=1)
    brightness = np.clip(np.rint((middle - ground).mean(1) / 20), -1, 1)
    pixels = pixels - 20 * brightness[:, None, None, None].astype(np.float32)
    found = np.linalg.norm(middle - ground - 20 * brightness[:, None], axis=1) <= LIMITS.ground
    offset, near = _place(pixels)
    found &= near
    for i, (dy, dx) in enumerate(OFFSETS):
        pixels[offset == i] = np.roll(pixels[offset == i], (-dy, -dx), axis=(1, 2))
    cheeks = np.concatenate([pixels[:, 13:19, 4:7], pixels[:, 13:19, 17:20], pixels[:, 3:9, 10:13]], axis=2)
    skin, fair = _nearest(cheeks, "skin")
    hair, close = _nearest(pixels[:, 3:6, [2, 21]], "hair")
    found &= fair & close
    return Aligned(pixels, offset, brightness.astype(np.int64) + 1, skin, hair, found)


def colour(name: str) -> Floats:
    """(3,) by its name in face_pixels.RGB."""
    return np.array(RGB[name], dtype=np.float32)


def _tones(part: str) -> list[str]:
    return [f"{tone} {part}" for tone in LEVELS[part]]


def _nearest(pixels: Floats, part: str) -> tuple[Ints, Bools]:
    """The colour of skin or hair that the mean of (n, h, w, 3) pixels is nearest to, and whether it is near enough."""
    tones = np.stack([colour(tone) for tone in _tones(part)])
    far = np.linalg.norm(pixels.mean((1, 2))[:, None] - tones, axis=2)
    return far.argmin(1), far.min(1) <= LIMITS.tone


def _place(pixels: Floats) -> tuple[Ints, Bools]:
    """(n,) index in OFFSETS, by the outline in the colours of hair and skin, and whether it is near enough."""
    skin, _ = _nearest(pixels[:, 4:8, 11:13], "skin")  # of skin and hair wherever the face lies
    hair, _ = _nearest(pixels[:, 4:5, [2, 21]], "hair")
    error = np.zeros((len(pixels), len(OFFSETS) * len(ENDS)), dtype=np.float32)
    rim = pixels[:, _rim()].reshape(len(pixels), -1)
    for i, j in np.unique(np.stack([skin, hair], axis=1), axis=0).tolist():
        chosen = (skin == i) & (hair == j)
        colours = np.stack([colour("ground"), colour(_tones("skin")[i]), colour(_tones("hair")[j])])
        heads = colours[_outlines()].reshape(error.shape[1], -1)
        error[chosen] = np.square(heads).sum(1) - 2 * rim[chosen] @ heads.T
    error += np.square(rim).sum(1)[:, None]
    return error.argmin(1) // len(ENDS), error.min(1) <= LIMITS.outline**2 * rim.shape[1]


def _rim() -> Bools:
    """(24, 24): the pixels that no brow, eye or mouth ever reaches."""
    rim = np.ones((SIDE, SIDE), dtype=bool)
    rim[3:23, 4:20] = False
    return rim


@lru_cache(maxsize=1)
def _outlines() -> Bytes:
    """(45, pixels of the rim): ground, skin or hair, in all places, and for each with all lengths of hair."""
    return np.concatenate([np.roll(heads()[:, 0], offset, axis=(1, 2))[:, _rim()] for offset in OFFSETS])


@lru_cache(maxsize=8)
def _inverse(*parts: str) -> Floats:
    """(4, k, 3): takes a colour less the skin's to how much of each of k parts there is in it, by skin."""
    skins = np.stack([colour(tone) for tone in _tones("skin")])
    every = np.stack([[colour(part) - skin for part in parts] for skin in skins])
    return np.linalg.pinv(every.transpose(0, 2, 1)).astype(np.float32)


def _unmixed(face: Aligned, where: tuple[slice, slice], *parts: str) -> Floats:
    """(n, h, w, k): how much of each part there is in each pixel of a region, beside skin."""
    skins = np.stack([colour(tone) for tone in _tones("skin")])
    pixels = face.pixels[:, *where] - skins[face.skin][:, None, None]
    return np.einsum("nkc,nhwc->nhwk", _inverse(*parts)[face.skin], pixels)


def _folded(of: Floats, sides: tuple[slice, slice], start: int) -> Floats:
    """(n, h, 5, k): the mean of the left region and the mirrored right one of (n, h, w, k), whose first column is
    `start`."""
    left, right = (of[:, :, side.start - start : side.stop - start] for side in sides)
    return np.asarray((left + right[:, :, ::-1]) / 2)


def lips_and_dark(face: Aligned) -> Floats:
    """(n, 9, 10, 2): how much lip and how much dark there is, beside what blur brings down from a frame and up from
    below the chin."""
    rows, columns = MOUTH
    parts = [((rows.start, 15), ("frame",)), ((15, 19), ()), ((19, rows.stop), ("ground",))]
    each = [_unmixed(face, (slice(*span), columns), "lip", "dark", *more)[..., :2] for span, more in parts]
    return np.concatenate(each, axis=1)


def dark_of_brow(face: Aligned) -> Floats:
    """(n, 5, 5, 1): how dark the place of the left brow is, and of the right one mirrored, beside the forehead."""
    dark = _unmixed(face, (BROWS[0], slice(0, SIDE)), "dark", "frame")[..., :1]
    return _folded(dark - dark[:, :, 11:13].mean(2, keepdims=True), BROWS[1], 0)


def around_eyes(face: Aligned) -> Floats:
    """(n, 5, 16, 3): how much white, dark and frame there is around the eyes."""
    return _unmixed(face, AROUND, "white", "dark", "frame")


def white_and_dark(around: Floats) -> Floats:
    """(n, 3, 5, 2): how much white and dark there is in the place of an eye."""
    rows = slice(EYES[0].start - AROUND[0].start, EYES[0].stop - AROUND[0].start)
    return _folded(around[:, rows, :, :2], EYES[1], AROUND[1].start)


def hair_rows(face: Aligned) -> Floats:
    """(n,) rows of hair at the sides, from row 3 on: how far the outer columns are from the ground towards the hair,
    beside what their first three rows are, which are of hair in every face."""
    ground = colour("ground")
    way = np.stack([colour(tone) - ground for tone in _tones("hair")])
    way /= np.square(way).sum(1, keepdims=True)
    sides = np.concatenate([face.pixels[:, SIDES[0], 1:3], face.pixels[:, SIDES[0], 21:23]], axis=2) - ground
    share = np.einsum("nc,nhwc->nh", way[face.hair], sides)
    return np.asarray(share.sum(1) / share[:, :3].mean(1).clip(1.0))


def blurred(of: Floats, sd: float) -> Floats:
    """(..., h, w) blurred by a Gaussian, with zeros all around."""
    return np.asarray(_kernel(of.shape[-2], sd) @ of @ _kernel(of.shape[-1], sd).T)


def _kernel(size: int, sd: float) -> Floats:
    """(size, size): the weights of a Gaussian; what falls outside is lost."""
    far = np.abs(np.arange(-3 * SIDE, 3 * SIDE + 1))
    weights = np.exp(-((far / sd) ** 2) / 2) if sd else (far == 0).astype(float)
    weights /= weights.sum()
    return weights[3 * SIDE + np.subtract.outer(np.arange(size), np.arange(size))].astype(np.float32)
