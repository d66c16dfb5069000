"""Stochastic facts: things that are not so, but so with a known probability.

"The weather in Lunde on Monday: rain." holds 11 times in 20. A condition x is a town and a weekday, a
trade at the inn, or the colour of a die; its outcomes y have chances in twentieths, from certain to even,
dealt out by the world's seed. A model's confidence is held against `probability`; `law` gives the entropy.
Words stand in `words/stochastic.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

from jielong.base.errors import UserError
from jielong.world.draws import langs, shuffled
from jielong.world.kit import (
    Make,
    as_chat,
    asked,
    cumulate,
    drawn,
    judge_choice,
    origin,
    pick,
    readings,
    sampled,
    wording,
)
from jielong.world.text import Chat, Question, Text
from jielong.world.values import COLOURS, DAYS, JOBS, TOWNS
from jielong.world.words.stochastic import (
    HOW_LIKELY,
    HOW_LIKELY_REPLY,
    LIKELIEST,
    LIKELIEST_REPLY,
    OUTCOMES,
    SAID,
    SHAPES,
)

if TYPE_CHECKING:
    from jielong.world.world import World

WHOLE = 20


def conditions() -> tuple[str, ...]:
    """Every condition x, as "weather/Lunde/Monday", "inn/baker" or "die/red"."""
    found = [f"weather/{town[0]}/{day[0]}" for town, day in product(TOWNS[:12], DAYS)]
    found += [f"inn/{job[0]}" for job in JOBS]
    return tuple(found + [f"die/{colour[0]}" for colour in COLOURS])


def probability(world: World, x: str, lang: str = "en") -> dict[str, float]:
    """p(y|x): each outcome that can happen, in words of `lang`. UserError for an unknown condition."""
    table = _chances(world.seed)
    if x not in table:
        raise UserError(f"there is no condition '{x}'; one is {conditions()[0]}")
    words = OUTCOMES[x.split("/")[0]]
    return {words[i][lang == "zh"]: chance / WHOLE for i, chance in table[x]}


def prompts(world: World, split: str = "train", lang: str | None = None) -> Iterator[tuple[str, str, dict[str, float]]]:
    """(condition, text up to where the outcome begins, p(y|x)) for every condition and wording of a split."""
    for tongue, x in product(langs(lang), conditions()):
        law_of_y = probability(world, x, tongue)
        for template in SAID[x.split("/")[0], tongue][wording(split)]:
            yield x, template[: template.index("{y}")].format(x=_words(x, tongue)), law_of_y


def texts(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Text]:
    """One observation each: x uniform, y from p(y|x), the wording uniform and of the split."""
    table, weights = _observations(world.seed, split, langs(lang))
    return sampled(n, table, cumulate(weights), world.seed, "stochastic", split, lang or "", draw)


def law(world: World, kind: str, lang: str | None = None) -> Iterator[tuple[float, str]]:
    """The exact law of the training observations."""
    table, weights = _observations(world.seed, "train", langs(lang))
    whole = math.fsum(weights)
    return ((weight / whole, text.text) for weight, text in zip(weights, table))


def questions(
    world: World, kind: str, n: int, draw: int = 0, split: str = "test", lang: str | None = None
) -> list[Question]:
    """Which outcome is likeliest (where one is), and how likely an outcome is, in percent."""
    return asked(world, kind, n, draw, split, lang, 4, _maker(world, split))


def chats(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Chat]:
    """The questions of a split with their right replies."""
    return map(as_chat, drawn(world, kind, n, draw, split, lang, 4, _maker(world, split)))


def _maker(world: World, split: str) -> Make:
    table, every, late = _chances(world.seed), conditions(), wording(split)
    clear = [x for x in every if len(table[x]) == 1 or table[x][0][1] > table[x][1][1]]

    def make(u: list[float], lang: str) -> Question:
        likeliest = u[0] < 0.5
        x = pick(clear if likeliest else every, u[1])
        family = x.split("/")[0]
        y = table[x][0][0] if likeliest else int(u[2] * len(OUTCOMES[family]))
        wordings = (LIKELIEST if likeliest else HOW_LIKELY)[family, lang][late]
        chosen = int(u[3] * len(wordings))
        prompt = wordings[chosen].format(x=_words(x, lang), y=OUTCOMES[family][y][lang == "zh"])
        reply, accept = _reply(world, x, y, lang, likeliest)
        ask = "likeliest" if likeliest else "percent"
        extra = {"ask": ask, "x": x, "y": OUTCOMES[family][y][0]}
        template = f"stochastic.{ask}.{lang}.{late:d}.{chosen}"
        return Question(prompt, reply, (accept,), origin("stochastic", lang, split, x, template, extra))

    return make


def check(world: World, question: Question, reply: str) -> str:
    """The likeliest outcome must be named, and no other; a chance must be the right number of percent."""
    if question.origin.get("ask") == "likeliest":
        family = question.origin.get("x").split("/")[0]
        return judge_choice(question, reply, [y[question.origin.lang == "zh"] for y in OUTCOMES[family]])
    return judge_choice(question, reply.replace("%", " "), [str(5 * i) for i in range(WHOLE + 1)])


def answer(world: World, prompt: str) -> str | None:
    """The right reply to a question in any of the wordings, found from the prompt alone, or None."""
    index = _index()
    for table, likeliest in ((LIKELIEST, True), (HOW_LIKELY, False)):
        for (family, lang), wordings in table.items():
            ys = {y[lang == "zh"]: i for i, y in enumerate(OUTCOMES[family])}
            for _, found in readings({family: wordings}, prompt, y="|".join(ys)):
                if x := index.get((family, lang, found["x"])):
                    y = _chances(world.seed)[x][0][0] if likeliest else ys[found["y"]]
                    return _reply(world, x, y, lang, likeliest)[0]
    return None


def _words(x: str, lang: str) -> str:
    """The condition in words."""
    family, *parts = x.split("/")
    zh = lang == "zh"
    if family == "weather":
        town, day = _pair(TOWNS, parts[0])[zh], _pair(DAYS, parts[1])[zh]
        return f"{town}{day}" if zh else f"{town} on {day}"
    return _pair(JOBS if family == "inn" else COLOURS, parts[0])[zh]


def _pair(table: tuple[tuple[str, str], ...], english: str) -> tuple[str, str]:
    return next(pair for pair in table if pair[0] == english)


@lru_cache(maxsize=1)
def _index() -> dict[tuple[str, str, str], str]:
    """{(family, language, condition in words): condition}."""
    return {(x.split("/")[0], lang, _words(x, lang)): x for x in conditions() for lang in ("en", "zh")}


@lru_cache(maxsize=8)
def _chances(seed: int) -> dict[str, tuple[tuple[int, int], ...]]:
    """{condition: ((outcome, twentieths), ...)}, likeliest first; the shapes are dealt out evenly."""
    every, found = conditions(), {}
    for i, x in enumerate(shuffled(len(every), every, "stochastic", seed, "shapes")):
        outcomes = range(len(OUTCOMES[x.split("/")[0]]))
        order = shuffled(len(outcomes), outcomes, "stochastic", seed, "outcomes", x)
        found[x] = tuple(zip(order, SHAPES[i % len(SHAPES)]))
    return {x: found[x] for x in every}


@lru_cache(maxsize=16)
def _observations(seed: int, split: str, tongues: tuple[str, ...]) -> tuple[tuple[Text, ...], tuple[float, ...]]:
    """Every observation that can be told, and its weight."""
    found, weights, late = [], [], wording(split)
    for lang, (x, ys) in product(tongues, _chances(seed).items()):
        family = x.split("/")[0]
        wordings = SAID[family, lang][late]
        for (y, chance), (i, template) in product(ys, enumerate(wordings)):
            extra = {"x": x, "y": OUTCOMES[family][y][0], "p": chance / WHOLE}
            where = origin("stochastic", lang, split, x, f"stochastic.{lang}.{late:d}.{i}", extra)
            found.append(Text(template.format(x=_words(x, lang), y=OUTCOMES[family][y][lang == "zh"]), where))
            weights.append(chance / len(wordings))
    return tuple(found), tuple(weights)


def _reply(world: World, x: str, y: int, lang: str, likeliest: bool) -> tuple[str, str]:
    """(full reply, the string it must contain)."""
    word = OUTCOMES[x.split("/")[0]][y][lang == "zh"]
    if likeliest:
        return LIKELIEST_REPLY[lang].format(y=word), word
    percent = str(dict(_chances(world.seed)[x]).get(y, 0) * 100 // WHOLE)
    return HOW_LIKELY_REPLY[lang].format(y=word, p=percent), percent
