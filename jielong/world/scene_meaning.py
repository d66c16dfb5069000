"""What a caption of a scene says, apart from its words: how it is drawn, its probability, and whether a picture fits.

A caption names every thing by colour and shape. Whether it tells sizes, and whether it tells the ground, is a coin
each. It has one of three forms, each as likely where it is possible:

    placed    each thing with its place                  a red circle at the top left and a blue square at the centre
    related   one true relation of two unlike things     a red circle left of a blue square, and a green cross
    counted   what is alike is counted, no places        two green crosses and a red circle

A single thing is placed or counted. A `Meaning` does not depend on the order in which a caption names things, and
what it does not say is free: `fits` asks only for what is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

from jielong.base import noise
from jielong.world.scenes import Scene, Thing, related

OPPOSITE = {"right": "left", "below": "above", "left": "right", "above": "below"}
ATTRIBUTES = ("count", "shape", "colour", "size", "place", "relation", "background")


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of `count` alike things; None is what is not said. `cell` only with a count of 1."""

    shape: str | None = None
    colour: str | None = None
    size: str | None = None
    cell: int | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a caption says of a scene: all its things, and no others; how the first is related to the second (one of
    scenes.RELATIONS, or None); the ground. `meaning_of` and `understand` give it in the order of `canonical`."""

    things: tuple[Said, ...]
    relation: str | None = None
    background: str | None = None


def canonical(meaning: Meaning) -> Meaning:
    """The same, in one order: "left" and "above" only, unrelated things sorted."""
    things, relation = list(meaning.things), meaning.relation
    if relation in ("right", "below"):
        things[:2], relation = things[1::-1], OPPOSITE[relation]
    fixed = 2 if relation else 0
    rest = sorted(things[fixed:], key=_order)
    return Meaning((*things[:fixed], *rest), relation, meaning.background)


def _order(said: Said) -> tuple[int, str, str, str, int]:
    cell = -1 if said.cell is None else said.cell
    return cell, said.colour or "", said.shape or "", said.size or "", said.count


@dataclass(frozen=True, slots=True)
class Style:
    """How a scene is told: with sizes, with the ground; placed, counted, or a relation of two of its things."""

    sizes: bool
    ground: bool
    form: str
    relation: tuple[int, str, int] | None = None


def styles(scene: Scene) -> tuple[tuple[float, Style], ...]:
    """(probability, style) of every way to tell a scene."""
    looks: dict[tuple[str, str], int] = {}
    for thing in scene.things:
        looks.setdefault(thing.pair, len(looks))
    return _styles(tuple((thing.cell, looks[thing.pair], thing.size) for thing in scene.things))


@lru_cache(maxsize=1 << 14)
def _styles(things: tuple[tuple[int, int, str], ...]) -> tuple[tuple[float, Style], ...]:
    """The same for things given as (cell, which pair of shape and colour, size)."""
    found: list[tuple[float, Style]] = []
    for sizes in (False, True):
        unlike = [
            (i, name, j)
            for (i, (a, *like)), (j, (b, *other)) in permutations(enumerate(things), 2)
            for name, less in (("left", a % 3 < b % 3), ("above", a // 3 < b // 3))
            if less and (like[:1] != other[:1] or (sizes and like != other))
        ]
        share = 1 / 4 / (3 if unlike else 2)
        for ground in (False, True):
            found += [(share, Style(sizes, ground, form)) for form in ("placed", "counted")]
            found += [(share / len(unlike), Style(sizes, ground, "related", each)) for each in unlike]
    return tuple(found)


def told(scene: Scene, style: Style) -> Meaning:
    """What a scene told in a style says."""
    each = [Said(t.shape, t.colour, t.size if style.sizes else None) for t in scene.things]
    ground = scene.background if style.ground else None
    if style.form == "placed":
        each = [Said(s.shape, s.colour, s.size, t.cell) for s, t in zip(each, scene.things)]
        return canonical(Meaning(tuple(each), None, ground))
    if style.relation is not None:
        i, name, j = style.relation
        rest = (said for k, said in enumerate(each) if k not in (i, j))
        return canonical(Meaning((each[i], each[j], *rest), name, ground))
    counted = (Said(s.shape, s.colour, s.size, None, count) for s, count in Counter(each).items())
    return canonical(Meaning(tuple(counted), None, ground))


def meaning_of(scene: Scene, draw: int = 0) -> Meaning:
    """What the caption of that draw says, in either language. Draws of one scene are independent."""
    pick, ways = noise.uniform(noise.seed_of("scene meaning", scene_name(scene)), draw), styles(scene)
    return told(scene, next((style for p, style in ways if (pick := pick - p) < 0), ways[-1][1]))


def law(scene: Scene) -> dict[Meaning, float]:
    """{meaning: probability} of everything that a caption of the scene may say."""
    found: dict[Meaning, float] = {}
    for p, style in styles(scene):
        said = told(scene, style)
        found[said] = found.get(said, 0.0) + p
    return found


def scene_name(scene: Scene) -> str:
    """A stable name of the scene."""
    return ",".join([scene.background, *(f"{t.shape}{t.colour}{t.size}{t.cell}" for t in scene.things)])


def fits(meaning: Meaning, scene: Scene | None) -> dict[str, bool]:
    """Whether a scene is as a meaning says, for each attribute that is said (of ATTRIBUTES; "count" always is).

    The things of the scene are dealt out to what is said of them in the way that makes most attributes right. A
    thing that is said and not there is wrong in all that is said of it; one that is there and not said is wrong in
    "count". No scene (a picture that shows none): all is wrong.
    """
    said = [each for each in meaning.things for _ in range(each.count)]
    things = scene.things if scene else ()
    asked = {name: [(i, s, value) for i, s in enumerate(said) if (value := _value(s, name)) is not None]
             for name in ("shape", "colour", "size", "place")}  # fmt: skip
    best: tuple[tuple[int, int], dict[str, bool]] = ((-1, -1), {})
    for dealt in _deals(len(said), things):
        hits = {name: [_value(dealt[i], name) == value for i, _, value in of] for name, of in asked.items() if of}
        verdict = {name: all(each) for name, each in hits.items()}
        if meaning.relation:
            verdict["relation"] = _holds(meaning, dealt)
        score = sum(verdict.values()), sum(map(sum, hits.values()))
        best = max(best, (score, verdict), key=lambda each: each[0])
    found = {"count": len(said) == len(things) > 0, **best[1]}
    if meaning.background:
        found["background"] = scene is not None and scene.background == meaning.background
    return found


def _value(of: Said | Thing | None, name: str) -> str | int | None:
    return None if of is None else getattr(of, "cell" if name == "place" else name)


def _deals(number: int, things: tuple[Thing, ...]) -> Iterator[tuple[Thing | None, ...]]:
    """Every way to deal the things out to `number` places: each to one, or none left for a place."""
    if number <= len(things):
        yield from permutations(things, number)
        return
    for places in permutations(range(number), len(things)):
        dealt: list[Thing | None] = [None] * number
        for place, thing in zip(places, things):
            dealt[place] = thing
        yield tuple(dealt)


def _holds(meaning: Meaning, dealt: tuple[Thing | None, ...]) -> bool:
    """Whether all things of the first are related to all of the second."""
    first, second = meaning.things[0].count, meaning.things[1].count
    pairs = ((a, b) for a in dealt[:first] for b in dealt[first : first + second])
    return all(a is not None and b is not None and related(a, meaning.relation or "", b) for a, b in pairs)
