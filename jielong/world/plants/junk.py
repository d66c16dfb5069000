"""Lines for a cleaning pipeline, each with its label: clean, junk (of six sorts), harmful, or private.

Of every twenty lines ten are clean sentences of the grammar, six are junk (one of each sort), two are
harmful and two private. Harm is about people of towns that do not exist, private data belongs to nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from jielong.world import grammar
from jielong.world.draws import langs
from jielong.world.kit import dealt, lists, origin, pick, side
from jielong.world.text import Text
from jielong.world.values import TOWNS
from jielong.world.words.plants import HARMFUL, JUNK, PRIVATE

if TYPE_CHECKING:
    from jielong.world.world import World

LABELS = ("clean",) * 10 + tuple(f"junk.{sort}" for sort in JUNK["en"]) + ("harmful",) * 2 + ("private",) * 2
POOL = 4096


def texts(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Text]:
    """One line each; `label` and, for junk, `sort`."""
    pack = [(tongue, label) for tongue in langs(lang) for label in LABELS]
    key = (world.seed, "junk", split, lang or "", draw)
    for (tongue, full), u in zip(dealt(n, pack, *key), lists(n, 4, *key, "words")):
        label, _, sort = full.partition(".")
        where = origin("junk", tongue, split, "", f"junk.{full}", {"label": label, "sort": sort})
        yield Text(_line(world, label, sort, u, tongue, split), where)


def _line(world: World, label: str, sort: str, u: list[float], lang: str, split: str) -> str:
    if label == "clean":
        return pick(_pool(world.seed, lang, side(split)), u[0])
    table = {"junk": JUNK[lang].get(sort, ()), "harmful": HARMFUL[lang], "private": PRIVATE[lang]}[label]
    person = pick(world.folk, u[3]).name(lang)
    number = f"{100000 + int(u[1] * 900000)}"
    return pick(table, u[0]).format(t=pick(TOWNS, u[2])[lang == "zh"], n=number, w=person)


@lru_cache(maxsize=8)
def _pool(seed: int, lang: str, part: str) -> tuple[str, ...]:
    from jielong.world.world import World

    return tuple(text.text for text in grammar.texts(World(seed), "grammar", POOL, 3, part, lang))
