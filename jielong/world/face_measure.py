"""The sliders of faces, measured from pixels: graded for any picture of a face, exact for those of the world.

    from jielong.world.face_measure import measure_many, parse
    measure_many(pictures)["curvature"]           in levels, with fractions; NaN where there is no face
    assert parse(render(face, jitter)) == face    or None, where the picture as a whole is no face of the world

The sliders are rows of dark, pixels of eye, rows of hair, and how the middle of mouth or brow changes from column to
column (`face_align.py` says of what). What each level gives in clean and in blurred pictures is the scale.

`parse` takes what is nearest for each part, sharp or a little blurred, and wants the whole picture explained, also
within each 4x4 pixels. docs/world.md says how far both can be trusted.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jielong.world import face_align
from jielong.world.face_align import AROUND, LIMITS, Aligned, align, blurred, chunks, colour
from jielong.world.face_pixels import DARK, FRAME, LIP, SIDE, WHITE, brows, eyes, heads, mouths, render_many
from jielong.world.faces import GRADED, LEVELS, Face
from jielong.world.scene_pixels import OFFSETS, Bools, Bytes, Floats, Ints
from jielong.world.scenes import Jitter


def measure_many(pictures: Bytes) -> dict[str, NDArray[Any]]:
    """{slider: (n,)} for (n, 24, 24, 3): floats in levels for those of GRADED, NaN where the picture is no face; names
    of colours for hair and skin, "" there. ValueError for another shape or dtype."""
    parts = [_measure(align(chunk)) for chunk in chunks(pictures)]
    none = {slider: np.zeros(0) if slider in GRADED else np.zeros(0, dtype=str) for slider in LEVELS}
    return {slider: np.concatenate([none[slider], *(part[slider] for part in parts)]) for slider in LEVELS}


def parse(picture: Bytes) -> Face | None:
    """The face that a (24, 24, 3) picture shows, or None if it shows none of the world."""
    return parse_many(np.asarray(picture)[None])[0]


def parse_many(pictures: Bytes) -> list[Face | None]:
    """The same for (n, 24, 24, 3)."""
    return [None if reading is None else reading[0] for reading in read_many(pictures)]


def read_many(pictures: Bytes) -> list[tuple[Face, Jitter] | None]:
    """The face and the jitter of each picture."""
    return [reading for chunk in chunks(pictures) for reading in _read(align(chunk))]


def _middles(amount: Floats) -> Floats:
    """(n, w): in each column of (n, h, w) the middle row of what is there, by amount."""
    total = amount.sum(1).clip(0.5)
    return np.asarray(np.einsum("nhw,h->nw", amount, np.arange(amount.shape[1], dtype=np.float32)) / total)


def _bend(amount: Floats) -> Floats:
    """(n,) how much the middle of (n, h, 10) falls from the ends to the middle columns, as a parabola's share."""
    x = (np.arange(10) - 4.5) ** 2
    way = x.mean() - x
    return np.asarray(_middles(amount) @ (way / np.square(way).sum()).astype(np.float32))


def _slope(amount: Floats) -> Floats:
    """(n,) how much the middle of (n, h, 5) falls from column to column."""
    return np.asarray(_middles(amount) @ ((np.arange(5) - 2) / 10).astype(np.float32))


def _raw(face: Aligned) -> dict[str, Floats]:
    """What is measured, in rows, pixels and shares: (n,) each."""
    mouth, around = face_align.lips_and_dark(face), face_align.around_eyes(face)
    return {
        "curvature": _bend(mouth.sum(3)),
        "opening": mouth[:, :, 2:8, 1].sum((1, 2)) / 6,
        "brow": _slope(face_align.dark_of_brow(face)[..., 0]),
        "eyes": face_align.white_and_dark(around).sum((1, 2, 3)),
        "glasses": around[:, heads()[0, 1, *AROUND] == FRAME, 2].mean(1),
        "length": face_align.hair_rows(face),
    }


@lru_cache(maxsize=1)
def _scales() -> dict[str, Floats]:
    """What `_raw` gives for the levels of a slider in clean pictures: (blurs, openings, levels), where the opening
    matters to the curvature only and is 0 for the others."""
    found: dict[str, Floats] = {}
    for slider in GRADED:
        openings = LEVELS["opening"] if slider == "curvature" else (0,)
        every = [Face(**{"opening": opening, slider: level}) for opening in openings for level in LEVELS[slider]]
        pixels = render_many([(face, Jitter()) for face in every]).astype(np.float32)
        zero = np.zeros(len(every), dtype=np.int64)
        skin, hair = zero + LEVELS["skin"].index(every[0].skin), zero + LEVELS["hair"].index(every[0].hair)
        each = [_raw(Aligned(_soft(pixels, sd), zero, zero, skin, hair, zero == 0))[slider] for sd in LIMITS.blurs]
        found[slider] = np.stack(each).reshape(len(LIMITS.blurs), len(openings), -1)
    return found


def _soft(pixels: Floats, sd: float) -> Floats:
    """(n, 24, 24, 3) blurred; the ground goes on all around."""
    return np.asarray(np.moveaxis(blurred(np.moveaxis(pixels - colour("ground"), 3, 1), sd), 1, 3) + colour("ground"))


def _measure(face: Aligned) -> dict[str, NDArray[Any]]:
    raw, scales = _raw(face), _scales()
    blur, _, _ = _best(face_align.lips_and_dark(face), "mouth")
    found: dict[str, NDArray[Any]] = {}
    for slider in ("opening", "brow", "eyes", "glasses", "length", "curvature"):
        scale = scales[slider][blur]
        if slider == "curvature":
            low = np.floor(found["opening"]).astype(int).clip(0, 2)
            part, row = (found["opening"] - low)[:, None], np.arange(len(low))
            scale = (1 - part) * scale[row, low] + part * scale[row, low + 1]
        else:
            scale = scale[:, 0]
        found[slider] = _along(raw[slider], scale) + min(map(int, LEVELS[slider]))
    found = {slider: np.where(face.found, value, np.nan) for slider, value in found.items()}
    for slider, index in (("hair", face.hair), ("skin", face.skin)):
        found[slider] = np.where(face.found, np.array(LEVELS[slider])[index], "")
    return found


def _along(values: Floats, scale: Floats) -> Floats:
    """(n,) where values lie on rising scales (n, m): 0 at the first mark or below it, m - 1 at the last or above it."""
    step = (scale[:, 1:-1] <= values[:, None]).sum(1)
    before, after = (np.take_along_axis(scale, (step + i)[:, None], 1)[:, 0] for i in (0, 1))
    return np.asarray((step + (values - before) / (after - before)).clip(0, scale.shape[1] - 1))


def _read(face: Aligned) -> list[tuple[Face, Jitter] | None]:
    """What is nearest for each part; None where the whole is not near enough to it."""
    graded = _measure(face)
    blur, mouth, gone = _best(face_align.lips_and_dark(face), "mouth")
    _, brow, bent = _best(face_align.dark_of_brow(face), "brow")
    _, eye, grown = _best(face_align.white_and_dark(face_align.around_eyes(face)), "eye")
    length, glasses = (np.rint(np.nan_to_num(graded[slider])).astype(int) for slider in ("length", "glasses"))
    every = [mouth // 4, mouth % 4, brow, eye, face.hair, length, glasses, face.skin]
    levels = list(LEVELS.values())
    faces = [Face(*(of[i] for of, i in zip(levels, each))) for each in np.stack(every, axis=1).tolist()]
    good = face.found & (np.array(LIMITS.blurs)[blur] <= LIMITS.blur) & _explained(face.pixels, faces)
    good &= np.maximum(np.maximum(gone, bent), grown) <= LIMITS.aside
    moved = np.array(OFFSETS)[face.offset]
    jitters = (Jitter(dx, dy, light) for (dy, dx), light in zip(moved.tolist(), face.brightness.tolist()))
    return [reading if fine else None for fine, reading in zip(good.tolist(), zip(faces, jitters))]


@lru_cache(maxsize=3)
def _bank(part: str) -> Floats:
    """(blurs, m, h * w * k): how much of each thing there is in every mouth, brow or eye, sharp and blurred."""
    templates, things = {
        "mouth": (mouths().reshape(36, 9, 10), (LIP, DARK)), "brow": (brows(), (DARK,)), "eye": (eyes(), (WHITE, DARK)),
    }[part]  # fmt: skip
    sharp = np.stack([templates == thing for thing in things], axis=1).astype(np.float32)
    bank = np.stack([blurred(sharp, sd) for sd in LIMITS.blurs]).transpose(0, 1, 3, 4, 2)
    return bank.reshape(len(LIMITS.blurs), len(templates), -1)


def _best(amounts: Floats, part: str) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """(n,) which blur and which template of a bank is nearest to (n, h, w, k) amounts; how much of the way from it to
    another template they have gone."""
    bank = _bank(part)
    flat, every = amounts.clip(-0.25, 1.25).reshape(len(amounts), -1), bank.reshape(-1, bank.shape[2])
    blur, template = np.divmod((np.square(every).sum(1) - 2 * flat @ every.T).argmin(1), bank.shape[1])
    aside = np.zeros(len(flat))
    for i, j in np.unique(np.stack([blur, template], axis=1), axis=0).tolist():
        chosen, way = (blur == i) & (template == j), bank[i] - bank[i, j]
        gone = (flat[chosen] - bank[i, j]) @ (way / np.square(way).sum(1, keepdims=True).clip(1e-6)).T
        aside[chosen] = gone.max(1)
    return blur, template, aside


def _explained(pixels: Floats, faces: list[Face]) -> Bools:
    """(n,) whether (n, 24, 24, 3) aligned pixels are those of the faces, sharp or a little blurred."""
    clean = render_many([(face, Jitter()) for face in faces]).astype(np.float32)
    best, worst = np.full(len(faces), np.inf), np.full(len(faces), np.inf)
    for sd in LIMITS.blurs:
        error = np.square(pixels - _soft(clean, sd)).mean(3)
        whole = error.mean((1, 2))
        blocks = error.reshape(-1, SIDE // 4, 4, SIDE // 4, 4).mean((2, 4)).max((1, 2))
        best, worst = np.minimum(best, whole), np.where(whole < best, blocks, worst)
    return np.asarray((best <= LIMITS.error**2) & (worst <= LIMITS.block**2))
