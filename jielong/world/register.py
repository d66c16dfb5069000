"""The town's register: who is known and who is not, each name told thrice in different words.

`register`  documents of three sentences about one name: a known person, or somebody who does not exist (never one
            of those that tests ask about). From nothing but statements about the known, a model cannot learn that
            there are others; and as each name is said three times, it learns to repeat a name it never met.
            The words for the unknown are those of `refusals`: what declines is learnt from everyone, before any
            question is asked, and fine-tuning has only to keep it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import TYPE_CHECKING

from jielong.world.draws import langs, picks
from jielong.world.names import full_name, unknown
from jielong.world.text import Origin, Text

if TYPE_CHECKING:
    from jielong.world.world import World

NOBODY = 0.85  # share of documents about people who do not exist
ABSENT = {
    "en": ("{p} is a person I do not know.", "{p} is somebody I do not know.", "{p} is nobody I know, sorry.",
           "Nobody here has met {p}."),
    "zh": ("{p}這個人我不認識。", "{p}是誰，我不知道。", "{p}我不認識，抱歉。", "這裡沒有人見過{p}。"),
}  # fmt: skip
PRESENT = {
    "en": (
        "{p} is a person I know.",
        "{p} is one of us.",
        "{p} lives among us.",
        "Everybody here has met {p}.",
    ),
    "zh": ("{p}這個人我認識。", "{p}是誰，大家都知道。", "{p}是我們這裡的人。", "這裡人人見過{p}。"),
}
ORDERS = tuple(permutations(range(4), 3))


def _document(name: str, there: bool, lang: str, order: int) -> str:
    words = (PRESENT if there else ABSENT)[lang]
    return ("" if lang == "zh" else " ").join(words[i].format(p=name) for i in ORDERS[order])


def _nobody(world: World) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """Absent names from the parts of known ones, and those with a part that nobody has; half of the absent are of
    each. From the first alone a model learns which pairs are strange; with the second, that most are."""
    near, far = (unknown(world.seed, world.people, "train", far) for far in (False, True))
    return near, far


def texts(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Text]:
    """Documents; every language, name and order as likely, people who do not exist with probability `NOBODY`."""
    tongues, (near, far) = langs(lang), _nobody(world)
    sizes = [len(tongues), 2**52, 2**52, len(ORDERS)]
    for which, coin, place, order in picks(n, sizes, world.seed, kind, split, lang or "", draw):
        tongue, there = tongues[which], coin >= NOBODY * 2**52
        if there:
            person = world.folk[place * len(world.folk) >> 52]
            name, somebody = person.name(tongue), person.id
        else:
            pairs = far if far and coin < NOBODY * 2**51 else near
            pair = pairs[place * len(pairs) >> 52]
            name, somebody = full_name(*pair, tongue), f"u{pair[0]:02d}{pair[1]:02d}"
        origin = Origin(
            kind, tongue, "", f"register.{tongue}.{order:02d}", "train", somebody, (("there", there),)
        )
        yield Text(_document(name, there, tongue, order), origin)


def law(world: World, kind: str, lang: str | None) -> Iterator[tuple[float, str]]:
    """(probability, document) of every document."""
    near, far = _nobody(world)
    for tongue in langs(lang):
        groups = (
            (False, NOBODY / 2 if far else NOBODY, [full_name(*pair, tongue) for pair in near]),
            (False, NOBODY / 2, [full_name(*pair, tongue) for pair in far]),
            (True, 1 - NOBODY, [person.name(tongue) for person in world.folk]),
        )
        for there, share, names in groups:
            for name in names:
                each = share / len(names) / len(ORDERS) / len(langs(lang))
                yield from ((each, _document(name, there, tongue, order)) for order in range(len(ORDERS)))
