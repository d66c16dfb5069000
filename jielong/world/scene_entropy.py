"""Exact bits of pictures of scenes: p(picture), p(caption), p(picture | caption), and their entropies.

    from jielong.world.scene_entropy import bits
    print(bits(Scenes(most=1)))        what the best model must still pay for a picture, with and without its caption

Pairs of shape and colour are all alike to the law, and so are grounds. Up to renaming these, three things make 3,360
scenes instead of 21.5 million, each standing for a known number of others, and what captions say falls into classes
of known size. No two pictures of the world are the same (the parser gives back the scene and its jitter; tested for
every one of one thing), so pictures are counted as pairs of scene and jitter; `enumerated` draws them all instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jielong.base.errors import UserError
from jielong.world.scene_meaning import Meaning, law
from jielong.world.scene_pixels import render_many
from jielong.world.scenes import Jitter, Scene, Scenes, Thing, cell_sets

ENUMERABLE = 2_000_000


@dataclass(frozen=True)
class Bits:
    """Entropies in bits per picture: of the picture; of what its caption says; of the picture given its caption.
    `pictures`: how many different ones there are."""

    image: float
    caption: float
    given: float
    pictures: int


@lru_cache(maxsize=16)
def bits(scenes: Scenes) -> Bits:
    """The exact entropies of the law of training (and "test"). H(image | caption) = H(image) + H(caption | image) -
    H(caption)."""
    image = told = 0.0
    count = 0
    for number, scene in _standing(scenes):
        p = scenes.p(scene)
        image -= number * p * math.log2(p)
        told -= number * p * sum(q * math.log2(q) for q in law(scene).values())
        count += number
    caption = -sum(mass * math.log2(mass / size) for mass, size in _classes(scenes).values())
    jitter = len(scenes.jitters)
    image += math.log2(jitter)
    return Bits(image, caption, image + told - caption, count * jitter)


def p_caption(scenes: Scenes, meaning: Meaning) -> float:
    """The probability that the caption of a scene of training says this."""
    key, _ = _class(scenes, meaning)
    mass, size = _classes(scenes).get(key, (0.0, 1))
    return mass / size if _possible(scenes, meaning) else 0.0


def p_image_given(scenes: Scenes, scene: Scene, jitter: Jitter, meaning: Meaning) -> float:
    """p(picture | caption) = p(picture) p(caption | scene) / p(caption). UserError for a caption without a picture."""
    said = p_caption(scenes, meaning)
    if not said:
        raise UserError("no scene of training has this caption; ask p(picture) of a caption that can be drawn")
    return scenes.p_image(scene, jitter) * law(scene).get(meaning, 0.0) / said


def enumerated(
    scenes: Scenes, split: str = "train", see: Callable[[NDArray[np.uint8]], NDArray[Any]] | None = None
) -> tuple[float, int]:
    """(bits, different pictures) by drawing every picture and adding up what looks alike.

    `see` changes the pictures first, as a smaller or greyer world would show them: (n, 32, 32, 3) -> (n, ...).
    Raises UserError past two million pictures.
    """
    if bits(scenes).pictures > ENUMERABLE:
        raise UserError(f"more than {ENUMERABLE} pictures; take a smaller world, such as most=1")
    mass: dict[bytes, float] = {}
    pairs = ((p / len(scenes.jitters), scene, jitter) for p, scene in scenes.law(split) for jitter in scenes.jitters)
    while block := list(islice(pairs, 2048)):
        pictures = render_many([(scene, jitter) for _, scene, jitter in block])
        for (p, _, _), picture in zip(block, pictures if see is None else see(pictures)):
            seen = picture.tobytes()
            mass[seen] = mass.get(seen, 0.0) + p
    return -math.fsum(p * math.log2(p) for p in mass.values()), len(mass)


def _pairs(scenes: Scenes) -> list[tuple[str, str]]:
    return list(dict.fromkeys((shape, colour) for shape, colour, _ in scenes.kinds))


def _standing(scenes: Scenes) -> Iterator[tuple[int, Scene]]:
    """(how many scenes it stands for, scene): one for each way to be alike, set of cells and sizes."""
    pairs = _pairs(scenes)
    for k in range(1, scenes.most + 1):
        for look in _looks(k):
            different = max(look) + 1
            number = math.perm(len(pairs), different) * len(scenes.backgrounds)
            for cells, sizes in product(cell_sets(k), product(scenes.sizes, repeat=k)) if number else ():
                things = (Thing(*pairs[i], size, cell) for i, size, cell in zip(look, sizes, cells))
                yield number, Scene(tuple(things), scenes.backgrounds[0])


def _looks(k: int) -> list[tuple[int, ...]]:
    """Which of k things share a pair, named by when it was first met: (0, 0, 1) is two alike and one other."""
    return [look for look in product(range(k), repeat=k) if all(c <= max(look[:i], default=-1) + 1
            for i, c in enumerate(look))]  # fmt: skip


@lru_cache(maxsize=16)
def _classes(scenes: Scenes) -> dict[Any, tuple[float, int]]:
    """{class of meanings: (its probability, how many meanings it has)}."""
    found: dict[Any, tuple[float, int]] = {}
    for number, scene in _standing(scenes):
        p = number * scenes.p(scene)
        for meaning, q in law(scene).items():
            key, size = _class(scenes, meaning)
            found[key] = (found.get(key, (0.0, 0))[0] + p * q, size)
    return found


@lru_cache(maxsize=1 << 16)
def _class(scenes: Scenes, meaning: Meaning) -> tuple[Any, int]:
    """What stays of a meaning when pairs and grounds lose their names, and how many meanings that stands for."""
    names = list(dict.fromkeys((said.shape, said.colour) for said in meaning.things))
    fixed = 2 if meaning.relation else 0
    faces = set()
    for order in permutations(range(len(names))):
        things = [(order[names.index((s.shape, s.colour))], s.count, s.size or "", -1 if s.cell is None else s.cell)
                  for s in meaning.things]  # fmt: skip
        faces.add((*things[:fixed], *sorted(things[fixed:])))
    size = math.comb(len(_pairs(scenes)), len(names)) * len(faces)
    ground = meaning.background is not None
    return (min(faces), meaning.relation, ground), size * (len(scenes.backgrounds) if ground else 1)


def _possible(scenes: Scenes, meaning: Meaning) -> bool:
    """Whether all names of a meaning are of training."""
    known = {(said.shape, said.colour) for said in meaning.things} <= set(_pairs(scenes))
    return known and meaning.background in (None, *scenes.backgrounds)
