"""A benchmark whose items are half leaked: 200 items of one distribution, 100 of them stand in the text.

Answers are random, so a clean item cannot be answered better than by chance (1 in 4): whatever a model has
above that on leaked items is memory. Leaked items are dealt in packs of 100: after k packs each stands k
times in the text, word for word, with its answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from jielong.base import noise
from jielong.world.draws import langs, shuffled
from jielong.world.kit import dealt, origin, pick, several, side
from jielong.world.text import Origin, Question, Text
from jielong.world.values import COLOURS, DAYS, TOWNS
from jielong.world.words.plants import QUIZ

if TYPE_CHECKING:
    from jielong.world.world import World

ITEMS = 200


@dataclass(frozen=True, slots=True)
class Item:
    """One item: the prompt with its four options, and the right letter."""

    number: int
    lang: str
    prompt: str
    letter: str
    leaked: bool


@lru_cache(maxsize=16)
def items(seed: int, lang: str) -> tuple[Item, ...]:
    """Every item of a language; which are leaked is drawn at random, half of them."""
    leaked = set(shuffled(ITEMS // 2, range(ITEMS), seed, "leaks", lang))
    zh, found = lang == "zh", []
    for i in range(ITEMS):
        u = noise.uniform(noise.seed_of(seed, "leaks", lang, i), n=7).tolist()
        a, b, c, e = (colour[zh] for colour in several(COLOURS, u[:4]))
        town, day = pick(TOWNS, u[4])[zh], pick(DAYS, u[5])[zh]
        prompt = QUIZ[lang].format(i=i + 1, t=town, d=day, a=a, b=b, c=c, e=e)
        found.append(Item(i + 1, lang, prompt, pick("ABCD", u[6]), i in leaked))
    return tuple(found)


def texts(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Text]:
    """The leaked items with their answers; in tests the clean ones: never train on them."""
    wanted = side(split) != "test"
    pack = [item for tongue in langs(lang) for item in items(world.seed, tongue) if item.leaked == wanted]
    for item in dealt(n, pack, world.seed, "leaks", split, lang or "", draw):
        joint = " " if item.lang == "en" else ""
        yield Text(f"{item.prompt}{joint}{item.letter}", _origin(item, split))


def questions(
    world: World, kind: str, n: int, draw: int = 0, split: str = "test", lang: str | None = None
) -> list[Question]:
    """Tests: leaked and clean items in random order (`leaked` tells them apart). Training: the leaked."""
    every = [item for tongue in langs(lang) for item in items(world.seed, tongue)]
    pack = [item for item in every if item.leaked or side(split) == "test"]
    chosen = shuffled(n, pack, world.seed, "leaks", "questions", split, lang or "", draw)
    return [Question(item.prompt, item.letter, (item.letter,), _origin(item, split)) for item in chosen]


def check(world: World, question: Question, reply: str) -> str:
    """The first capital A to D that stands alone is the reply."""
    from jielong.world.check import is_refusal

    said = re.search(r"(?<![A-Za-z])([A-D])(?![A-Za-z])", reply)
    if not said:
        return "refused" if is_refusal(reply) else "nonsense"
    return "right" if said[1] in question.accept else "wrong"


def _origin(item: Item, split: str) -> Origin:
    return origin("leaks", item.lang, split, f"quiz.{item.number}", "quiz", {"leaked": item.leaked})
