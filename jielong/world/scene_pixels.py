"""Scenes as pictures of 32x32 pixels: drawn without anti-aliasing in 30 colours, and read back.

    from jielong.world.scene_pixels import parse, render
    assert parse(render(scene, jitter)) == scene

A cell is 10 pixels wide and the grid begins at pixel 1. A large thing is 9 pixels wide and fills the first 9 of its
cell, a small one 7 in the middle of those, so that things are a pixel apart at least. The jitter moves the whole
picture and adds -20, 0 or 20 to every channel.

The parser knows the grid and the palette. The median pixel gives the ground and the brightness. A cell with enough of
another colour holds a thing, whose pixels must lie on the line between the ground and one of six colours (what blur
mixes stays on that line); how far along it gives a soft mask. The mask is held against all shapes and sizes, within a
pixel of their place, sharp and slightly blurred. A thing counts only if its mask is near to one of these, is not on the
way to another shape, size or nothing, and if nothing is left over in the picture. Every bound stands in `LIMITS`;
docs/world.md says what they let through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from jielong.world.scenes import BACKGROUNDS, CELLS, COLOURS, MOST, SHAPES, SIZES, Jitter, Scene, Thing

SIDE = 32
PITCH, WIDE = 10, {"small": 7, "large": 9}
BLOCK = 9  # the box of a large thing; WINDOW is where it may be, moved by a pixel
WINDOW = BLOCK + 2
RGB = {
    "white": (235, 235, 235), "grey": (128, 128, 128), "black": (20, 20, 20), "cyan": (60, 215, 225),
    "red": (220, 20, 60), "green": (20, 160, 50), "blue": (30, 70, 235), "yellow": (235, 235, 40),
    "purple": (165, 20, 200), "orange": (235, 130, 20),
}  # fmt: skip
NAMES = (*BACKGROUNDS, *COLOURS)
BRIGHTNESS = (-20, 0, 20)
OFFSETS = tuple(product((-1, 0, 1), repeat=2))  # (dy, dx)
CHUNK = 2048  # pictures read at a time, for the memory's sake

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Limits:
    """What the parser lets through. Distances are Euclidean over the three channels of 0 to 255."""

    ground: float = 30.0  # of the median pixel from a ground of the palette
    seen: float = 60.0  # from the ground: a pixel is of something else
    cell: int = 20  # pixels of something else that make a cell worth looking at; what bleeds in from two sides is 18
    blurs: tuple[float, ...] = (0.0, 0.4, 0.6, 0.8)  # standard deviations in pixels that a shape may be blurred by
    unlike: float = 0.1  # squared distance of a mask from its (blurred) shape, in pixels of the shape
    aside: float = 0.22  # of the way from this shape to another one, or to nothing at all
    off: float = 60.0  # from the line between ground and colour: a pixel is strange
    strange: int = 3  # such pixels in a thing
    colour: float = 35.0  # mean distance of a thing's pixels from that line
    ring: float = 110.0  # from the ground, for the pixels around a thing, where blur may leave something
    left: int = 4  # pixels of something else that belong to no thing


LIMITS = Limits()


@dataclass(frozen=True)
class Reading:
    """What a picture says: the scene, where each thing lies in its cell (dx, dy), the brightness step."""

    scene: Scene
    offsets: tuple[tuple[int, int], ...]
    brightness: int

    @property
    def jitter(self) -> Jitter | None:
        """The jitter of the picture; None if its things lie differently, as in no picture of the world."""
        return Jitter(*self.offsets[0], self.brightness) if len(set(self.offsets)) == 1 else None


def palette() -> Bytes:
    """(30, 3): every colour that a picture can have; 10 * brightness + index in NAMES."""
    base = np.array([RGB[name] for name in NAMES])
    return (base[None] + np.array(BRIGHTNESS)[:, None, None]).reshape(-1, 3).astype(np.uint8)


def shape_mask(shape: str, wide: int) -> NDArray[np.bool_]:
    """(wide, wide), wide odd: a disc of 94 % of the width, a full square, a triangle point up, a diagonal cross."""
    half = (wide - 1) / 2
    y, x = np.mgrid[:wide, :wide] - half
    if shape == "circle":
        return np.asarray(x**2 + y**2 <= (0.47 * wide) ** 2)
    if shape == "triangle":
        return np.asarray(np.abs(x) <= (y + half + 1) // 2)
    if shape == "cross":
        return np.asarray(np.abs(np.abs(x) - np.abs(y)) <= 1)
    return np.ones((wide, wide), dtype=bool)


@lru_cache(maxsize=1)
def templates() -> Floats:
    """(8, 81): the small shapes, then the large ones, each in the box of a large one."""
    each = [np.pad(shape_mask(shape, WIDE[size]), (BLOCK - WIDE[size]) // 2) for size in SIZES for shape in SHAPES]
    return np.stack(each).reshape(-1, BLOCK * BLOCK).astype(np.float32)


@lru_cache(maxsize=1)
def _boxes() -> NDArray[np.int64]:
    """(9 cells, 9 offsets, 81): which pixels of the picture a thing's box covers."""
    row, column = np.divmod(np.array(CELLS), 3)
    y = 1 + PITCH * row[:, None, None] + np.array(OFFSETS)[:, :1] + np.arange(BLOCK)
    x = 1 + PITCH * column[:, None, None] + np.array(OFFSETS)[:, 1:] + np.arange(BLOCK)
    return np.asarray((SIDE * y[..., :, None] + x[..., None, :]).reshape(9, 9, -1))


def paint(pictures: Sequence[tuple[Scene, Jitter]]) -> Bytes:
    """(n, 32, 32) of indices into `palette`: the same pictures for models that see numbers, not colours."""
    ids = _identities()
    rows = [(number, *ids[thing], 3 * j.dy + j.dx + 4) for number, (s, j) in enumerate(pictures) for thing in s.things]
    number, template, cell, colour, offset = np.array(rows, dtype=np.int64).reshape(-1, 5).T
    tone = np.array([10 * jitter.brightness for _, jitter in pictures], dtype=np.uint8)
    ground = np.array([NAMES.index(scene.background) for scene, _ in pictures], dtype=np.uint8)
    canvas = np.repeat((tone + ground)[:, None], SIDE * SIDE, axis=1)
    thing, pixel = np.nonzero(templates()[template])
    canvas[number[thing], _boxes()[cell, offset][thing, pixel]] = (tone[number] + colour)[thing]
    return canvas.reshape(-1, SIDE, SIDE)


def render_many(pictures: Sequence[tuple[Scene, Jitter]]) -> Bytes:
    """(n, 32, 32, 3)."""
    return palette()[paint(pictures)]


def render(scene: Scene, jitter: Jitter | None = None) -> Bytes:
    """(32, 32, 3); without a jitter, the picture in the middle of all."""
    return np.asarray(render_many([(scene, jitter or Jitter())])[0])


@lru_cache(maxsize=1)
def _identities() -> dict[Thing, tuple[int, int, int]]:
    """{thing: (template, cell, colour in NAMES)}."""
    every = product(enumerate(product(SIZES, SHAPES)), CELLS, COLOURS)
    return {Thing(s, c, z, cell): (i, cell, NAMES.index(c)) for (i, (z, s)), cell, c in every}


def parse(picture: Bytes) -> Scene | None:
    """The scene that a (32, 32, 3) picture shows, or None if it shows none. ValueError for another shape or dtype."""
    return parse_many(np.asarray(picture)[None])[0]


def parse_many(pictures: Bytes) -> list[Scene | None]:
    """The same for (n, 32, 32, 3)."""
    return [None if reading is None else reading.scene for reading in read_many(pictures)]


def read_many(pictures: Bytes) -> list[Reading | None]:
    """What each of (n, 32, 32, 3) pictures shows, and where exactly its things lie."""
    pictures = np.asarray(pictures)
    if pictures.ndim != 4 or pictures.shape[1:] != (SIDE, SIDE, 3) or pictures.dtype != np.uint8:
        raise ValueError(f"pictures must be uint8 of (n, {SIDE}, {SIDE}, 3), not {pictures.dtype} {pictures.shape}")
    found: list[Reading | None] = []
    for start in range(0, len(pictures), CHUNK):
        found += _read(pictures[start : start + CHUNK].reshape(-1, SIDE * SIDE, 3))
    return found


def _read(pixels: Bytes) -> list[Reading | None]:
    """(n, 1024, 3) -> n readings."""
    tone, good = _ground(pixels)
    table = palette().astype(np.float32)
    v = pixels.astype(np.float32) - table[tone][:, None]
    far = np.einsum("npc,npc->np", v, v)
    inner = far.reshape(-1, SIDE, SIDE)[:, 1:31, 1:31].reshape(-1, 3, PITCH, 3, PITCH)[:, :, :BLOCK, :, :BLOCK]
    held = (inner > LIMITS.seen**2).sum(axis=(2, 4)).reshape(-1, 9) >= LIMITS.cell
    count = held.sum(1)
    good &= (count >= 1) & (count <= MOST)
    number, cell = np.nonzero(held & good[:, None])
    if not len(number):
        return [None] * len(pixels)
    box, template, colour, right = _things(v, tone, number, cell)
    np.logical_and.at(good, number, right)
    good &= _nothing_left(far, number, cell, box)
    found: list[list[tuple[Thing, tuple[int, int]]]] = [[] for _ in pixels]
    for n, c, b, t, k in zip(*(each.tolist() for each in (number, cell, box, template, colour))):
        found[n].append((Thing(SHAPES[t % 4], COLOURS[k], SIZES[t // 4], c), OFFSETS[b][::-1]))
    return [_reading(found[n], int(tone[n])) if good[n] else None for n in range(len(pixels))]


def _reading(found: list[tuple[Thing, tuple[int, int]]], tone: int) -> Reading:
    things, offsets = zip(*found)
    return Reading(Scene(things, BACKGROUNDS[tone % 10]), offsets, tone // 10)


def _ground(pixels: Bytes) -> tuple[Ints, Bools]:
    """(n,) index into the palette of the ground, by the median pixel (things cover a quarter at most), and
    whether it is near enough."""
    middle = np.partition(pixels.transpose(0, 2, 1).copy(), SIDE * SIDE // 2, axis=2)[:, :, SIDE * SIDE // 2]
    tones = np.array([10 * tone + i for tone in range(3) for i in range(len(BACKGROUNDS))])
    far = np.linalg.norm(middle[:, None].astype(np.float64) - palette()[tones], axis=2)
    return tones[far.argmin(1)], far.min(1) <= LIMITS.ground


def _things(v: Floats, tone: Ints, number: Ints, cell: Ints) -> tuple[Ints, Ints, Ints, Bools]:
    """For each of k cells with something in it: which box, template and colour fit best, and whether well enough."""
    share, off, colour = _colours(v, tone, number, cell)
    bank, row = _bank().reshape(-1, WINDOW * WINDOW), np.arange(len(number))
    # |share - shape|^2 wherever a shape may lie, sharp or blurred.
    blank = np.square(share) @ _reach().T
    error = (np.square(bank).sum(1) - 2 * share @ bank.T).reshape(len(row), len(OFFSETS), -1) + blank[..., None]
    best = error.reshape(len(row), -1).argmin(1)
    box, blur, template = np.unravel_index(best, _bank().shape[:3])
    shape, area = bank[best], templates().sum(1)[template]
    aside = np.einsum("kp,ksp->ks", share - shape, _ways()[box, blur, template]).max(1)
    right = error.reshape(len(row), -1)[row, best] <= LIMITS.unlike * area
    right &= (aside <= LIMITS.aside) & ((off * (shape > 0.5) > LIMITS.off).sum(1) <= LIMITS.strange)
    right &= (off * shape).sum(1) <= LIMITS.colour * area
    return box, template, colour, right


def _colours(v: Floats, tone: Ints, number: Ints, cell: Ints) -> tuple[Floats, Floats, Ints]:
    """For the 11x11 window of each of k cells, by the colour that explains it best: each pixel's share of colour, 0 to
    1, and its distance from the line between ground and colour (k, 121); the colour (k,)."""
    table = palette().astype(np.float32).reshape(3, 10, 3)
    line = (table[tone // 10][:, len(BACKGROUNDS) :] - table.reshape(-1, 3)[tone][:, None])[number]
    square = np.square(line).sum(2)[:, None]
    corner, local = _boxes()[:, 0, 0, None], np.arange(WINDOW * WINDOW)
    seen = v[number[:, None], (corner + SIDE * (local // WINDOW) + local % WINDOW)[cell]]
    along = seen @ line.transpose(0, 2, 1) / square
    share = along.clip(0, 1)
    off = np.square(seen).sum(2)[..., None] - (2 * along - share) * share * square
    inner = (np.abs(local // WINDOW - PITCH // 2) < PITCH // 2) & (np.abs(local % WINDOW - PITCH // 2) < PITCH // 2)
    colour = np.minimum(off[:, inner], 100.0**2).sum(1).argmin(1)
    row = np.arange(len(number))
    return share[row, :, colour], np.sqrt(off[row, :, colour].clip(0)), colour


@lru_cache(maxsize=1)
def _reach() -> Floats:
    """(9, 121): which pixels of a cell's window are its own, by offset: the row and column that the picture moves
    away from belong to a neighbour."""
    own = np.ones((len(OFFSETS), WINDOW, WINDOW), dtype=np.float32)
    for i, (dy, dx) in enumerate(OFFSETS):
        own[i, [0, WINDOW - 1][dy < 0] if dy else [], :] = 0
        own[i, :, [0, WINDOW - 1][dx < 0] if dx else []] = 0
    return own.reshape(len(OFFSETS), -1)


@lru_cache(maxsize=1)
def _bank() -> Floats:
    """(9 offsets, 4 blurs, 8 templates, 121): every shape wherever it may lie in the window of its cell, sharp and
    blurred; outside the window the ground is thought to go on."""
    far = np.abs(np.subtract.outer(np.arange(WINDOW + 2 * PITCH), np.arange(WINDOW + 2 * PITCH)))
    bank = np.zeros((len(OFFSETS), len(LIMITS.blurs), len(templates()), WINDOW, WINDOW), dtype=np.float32)
    for i, (dy, dx) in enumerate(OFFSETS):
        sharp = np.zeros((len(templates()), len(far), len(far)))
        sharp[:, 11 + dy : 20 + dy, 11 + dx : 20 + dx] = templates().reshape(-1, BLOCK, BLOCK)
        for j, sd in enumerate(LIMITS.blurs):
            kernel = np.exp(-((far / sd) ** 2) / 2) if sd else (far == 0).astype(float)
            kernel /= kernel.sum(1, keepdims=True)
            bank[i, j] = (kernel @ sharp @ kernel.T)[:, PITCH:-PITCH, PITCH:-PITCH]
    return bank.reshape(*bank.shape[:3], -1) * _reach()[:, None, None]


@lru_cache(maxsize=1)
def _ways() -> Floats:
    """(9 offsets, 4 blurs, 8, 9, 121): from each template to every other and to nothing; the product with a mask
    less the template is the share of the way that the mask has gone."""
    every = np.concatenate([_bank(), np.zeros_like(_bank()[:, :, :1])], axis=2)
    way = every[:, :, None] - _bank()[:, :, :, None]
    return np.asarray(way / np.maximum(np.square(way).sum(-1, keepdims=True), 1e-6))


def _nothing_left(far: Floats, number: Ints, cell: Ints, box: Ints) -> Bools:
    """(n,) whether all that is not of the ground lies in the boxes of things; `far`: squared distance from it. Blur may
    leave a little in the pixels around a box, and more between two."""
    y, x = np.divmod(_boxes()[cell, box], SIDE)
    inside = np.zeros((len(far), SIDE, SIDE), dtype=bool)
    inside[number[:, None], y, x] = True
    around = np.zeros((len(far), SIDE + 2, SIDE + 2), dtype=np.uint8)
    frame = np.arange(WINDOW)
    np.add.at(around, (number[:, None, None], y[:, :1, None] + frame[:, None], x[:, :1, None] + frame), 1)
    around = around[:, 1:-1, 1:-1]
    allowed = np.array([LIMITS.seen, LIMITS.ring, np.inf])[np.where(inside, 2, np.minimum(around, 2))] ** 2
    return np.asarray((far.reshape(-1, SIDE, SIDE) > allowed).sum((1, 2)) <= LIMITS.left)
