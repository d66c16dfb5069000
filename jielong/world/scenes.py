"""Scenes: one to three coloured shapes in a 3x3 grid on a plain ground, with a law that is known in closed form.

    from jielong.world.scenes import Scenes
    for scene, jitter in Scenes(seed=0, most=3).draw(4): print(scene, jitter)

The law: 1 to `most` things, each number as likely; their cells, any set as likely; with probability 1/4 (from two
things on) all alike in shape, colour and size, else each its own; the ground; the jitter. Four of the 24 pairs of
shape and colour are held out (one for each shape, four different colours): "train" and "test" are two streams of the
law without them, and every scene of "unseen" has at least one of them.

Pixels are in `scene_pixels.py`, words in `scene_words.py`, exact bits in `scene_entropy.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jielong.base.errors import UserError
from jielong.world.draws import rows, shuffled

SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SIZES = ("small", "large")
BACKGROUNDS = ("white", "grey", "black", "cyan")
CELLS = tuple(range(9))  # row by row: 0 is the top left, 4 the centre
RELATIONS = ("left", "right", "above", "below")
SPLITS = ("train", "test", "unseen")
MOST = 3
ALIKE = 0.25  # of the scenes of two or three things: all alike, so that there is something to count

Kind = tuple[str, str, str]  # shape, colour, size


@dataclass(frozen=True, slots=True)
class Thing:
    """One shape in its cell. Raises ValueError for a shape, colour, size or cell that the world has not."""

    shape: str
    colour: str
    size: str
    cell: int

    def __post_init__(self) -> None:
        known = self.shape in SHAPES and self.colour in COLOURS and self.size in SIZES and self.cell in CELLS
        if not known:
            raise ValueError(f"there is no such thing: {self}")

    @property
    def pair(self) -> tuple[str, str]:
        """(shape, colour): what is held out."""
        return self.shape, self.colour


@dataclass(frozen=True, slots=True)
class Scene:
    """One to three things in reading order of their cells, no two in one cell. Raises ValueError for anything else."""

    things: tuple[Thing, ...]
    background: str

    def __post_init__(self) -> None:
        cells = [thing.cell for thing in self.things]
        if not 1 <= len(cells) <= MOST or any(a >= b for a, b in zip(cells, cells[1:])):
            raise ValueError(f"a scene has one to three things, in reading order of their cells, and not {cells}")
        if self.background not in BACKGROUNDS:
            raise ValueError(f"there is no ground {self.background!r}")


@dataclass(frozen=True, slots=True)
class Jitter:
    """Of the whole picture: right and down by -1, 0 or 1 pixel; brightness 0, 1 or 2 (steps of scene_pixels)."""

    dx: int = 0
    dy: int = 0
    brightness: int = 1


JITTERS = tuple(Jitter(*each) for each in product((-1, 0, 1), (-1, 0, 1), (0, 1, 2)))


def related(a: Thing, name: str, b: Thing) -> bool:
    """Whether `a` is left of, right of, above or below `b`: its column (row) is the smaller (larger) one.

    A thing up and to the left of another one is both above it and left of it.
    """
    if name in ("left", "right"):
        step = b.cell % 3 - a.cell % 3
    else:
        step = b.cell // 3 - a.cell // 3
    return step > 0 if name in ("left", "above") else step < 0


@dataclass(frozen=True)
class Scenes:
    """The law of scenes. Fewer shapes, colours, sizes, grounds or jitters make a smaller world of the same kind.

    `seed` chooses the held-out pairs and the streams; `most` is the largest number of things (1 to 3). A sixth of
    the pairs of shape and colour is held out (none, where there are fewer than six).
    """

    seed: int = 0
    most: int = MOST
    shapes: tuple[str, ...] = SHAPES
    colours: tuple[str, ...] = COLOURS
    sizes: tuple[str, ...] = SIZES
    backgrounds: tuple[str, ...] = BACKGROUNDS
    jitters: tuple[Jitter, ...] = JITTERS

    def __post_init__(self) -> None:
        if not 1 <= self.most <= MOST:
            raise UserError(f"a scene has 1 to {MOST} things at most, not {self.most}")
        for name, every in (
            ("shapes", SHAPES), ("colours", COLOURS), ("sizes", SIZES), ("backgrounds", BACKGROUNDS),
        ):  # fmt: skip
            given = getattr(self, name)
            if not given or len(set(given)) < len(given) or not set(given) <= set(every):
                raise UserError(f"{name} must be some of {', '.join(every)}, each once, not {given}")
        if not self.jitters or len(set(self.jitters)) < len(self.jitters) or not set(self.jitters) <= set(JITTERS):
            raise UserError("jitters must be some of scenes.JITTERS, each once")

    @cached_property
    def held_out(self) -> tuple[tuple[str, str], ...]:
        """The (shape, colour) pairs that training never shows: the shapes in turn, each time another colour."""
        count = len(self.shapes) * len(self.colours) // 6
        shapes = shuffled(len(self.shapes), self.shapes, "scenes", self.seed, "held-out shapes")
        colours = shuffled(len(self.colours), self.colours, "scenes", self.seed, "held-out colours")
        grid = [(shapes[i % len(shapes)], colours[(i + i // len(shapes)) % len(colours)]) for i in range(count)]
        return tuple(grid)

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """Every (shape, colour, size) that training shows."""
        pairs = product(self.shapes, self.colours)
        return tuple((*pair, size) for pair in pairs if pair not in self.held_out for size in self.sizes)

    @cached_property
    def new_kinds(self) -> tuple[Kind, ...]:
        """Every (shape, colour, size) of a held-out pair."""
        return tuple((*pair, size) for pair in self.held_out for size in self.sizes)

    def draw(self, n: int, split: str = "train", draw: int = 0) -> list[tuple[Scene, Jitter]]:
        """`n` independent scenes with their jitter. A longer stream begins with a shorter one.

        "unseen": one thing, each as likely, is of a held-out pair, and all of them where all are alike. Raises
        UserError for an unknown split, a negative n, and "unseen" where nothing is held out.
        """
        self._check(split)
        if n < 0:
            raise UserError(f"n must not be negative, and is {n}")
        world = (self.shapes, self.colours, self.sizes, self.backgrounds)
        jitters = tuple((j.dx, j.dy, j.brightness) for j in self.jitters)
        found: list[tuple[Scene, Jitter]] = []
        for block in rows(n, 10, "scenes", self.seed, self.most, world, jitters, split, draw):
            found += self._scenes(block, split)
        return found

    def _scenes(self, u: NDArray[np.float64], split: str) -> Iterator[tuple[Scene, Jitter]]:
        """One row of ten uniforms each: number, cells, alike, three kinds, which is new, how, ground, jitter."""
        number = 1 + (u[:, 0] * self.most).astype(int)
        kinds = (u[:, 3:6] * len(self.kinds)).astype(int)
        which = (u[:, 6] * number).astype(int)[:, None]
        if split == "unseen":
            new = len(self.kinds) + (u[:, 7] * len(self.new_kinds)).astype(int)
            np.put_along_axis(kinds, which, new[:, None], axis=1)
        alike = (number > 1) & (u[:, 2] < ALIKE)
        kinds[alike] = np.take_along_axis(kinds, which, axis=1)[alike]
        grounds = (u[:, 8] * len(self.backgrounds)).astype(int).tolist()
        jitters = (u[:, 9] * len(self.jitters)).astype(int).tolist()
        for k, place, kind, ground, jitter in zip(number.tolist(), u[:, 1].tolist(), kinds.tolist(), grounds, jitters):
            cells = cell_sets(k)
            things = tuple(self._things[i][cell] for i, cell in zip(kind, cells[int(place * len(cells))]))
            yield Scene(things, self.backgrounds[ground]), self.jitters[jitter]

    def p(self, scene: Scene, split: str = "train") -> float:
        """The probability of a scene in closed form; 0 for one that the split has not."""
        self._check(split)
        k, kinds = len(scene.things), [(t.shape, t.colour, t.size) for t in scene.things]
        if k > self.most or scene.background not in self.backgrounds or not set(kinds) <= self._every:
            return 0.0
        new = sum(thing.pair in self.held_out for thing in scene.things)
        old, fresh = len(self.kinds), len(self.new_kinds)
        alike = ALIKE if k > 1 else 0.0
        same = len(set(kinds)) == 1
        if split == "unseen":
            apart = (1 - alike) / (k * fresh * old ** (k - 1)) if new == 1 else 0.0
            together = alike / fresh if same and new else 0.0
        else:
            apart = 0.0 if new else (1 - alike) / old**k
            together = alike / old if same and not new else 0.0
        return (apart + together) / (self.most * len(cell_sets(k)) * len(self.backgrounds))

    def p_image(self, scene: Scene, jitter: Jitter, split: str = "train") -> float:
        """The probability of a picture. No two (scene, jitter) render alike, so nothing has to be added up."""
        return self.p(scene, split) / len(self.jitters) if jitter in self.jitters else 0.0

    def law(self, split: str = "train") -> Iterator[tuple[float, Scene]]:
        """(probability, scene) of every scene that can be drawn: 1,440 of one thing, 232 thousand up to two, 21.7
        million up to three."""
        self._check(split)
        kinds = self.kinds + (self.new_kinds if split == "unseen" else ())
        for k in range(1, self.most + 1):
            for cells, chosen, ground in product(cell_sets(k), product(kinds, repeat=k), self.backgrounds):
                scene = Scene(tuple(_thing(kind, cell) for kind, cell in zip(chosen, cells)), ground)
                if p := self.p(scene, split):
                    yield p, scene

    @cached_property
    def _things(self) -> tuple[tuple[Thing, ...], ...]:
        """Every thing, by kind (the new ones last) and cell."""
        return tuple(tuple(_thing(kind, cell) for cell in CELLS) for kind in self.kinds + self.new_kinds)

    @cached_property
    def _every(self) -> frozenset[Kind]:
        return frozenset(self.kinds + self.new_kinds)

    def _check(self, split: str) -> None:
        if split not in SPLITS:
            raise UserError(f"split must be one of {', '.join(SPLITS)}, not '{split}'")
        if split == "unseen" and not self.held_out:
            raise UserError("nothing is held out in so small a world; take more shapes or colours")


@lru_cache(maxsize=MOST)
def cell_sets(k: int) -> tuple[tuple[int, ...], ...]:
    """Every set of `k` cells in reading order."""
    return tuple(combinations(CELLS, k))


@lru_cache(maxsize=len(SHAPES) * len(COLOURS) * len(SIZES) * len(CELLS))
def _thing(kind: Kind, cell: int) -> Thing:
    """One object for each thing there is: equal things are then compared in no time."""
    return Thing(*kind, cell)


def as_record(scene: Scene, jitter: Jitter | None = None) -> dict[str, Any]:
    """The scene (and jitter) as plain values, for a line of JSON."""
    things = [{"shape": t.shape, "colour": t.colour, "size": t.size, "cell": t.cell} for t in scene.things]
    shaken = {} if jitter is None else {"dx": jitter.dx, "dy": jitter.dy, "brightness": jitter.brightness}
    return {"things": things, "background": scene.background, **shaken}
