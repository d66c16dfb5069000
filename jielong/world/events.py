"""Dated events of towns. Nothing after CUTOFF is ever told: about that a model must say it does not know.

`train` asks about events before the cut-off in four fifths of the towns; `test` and `asked` use held-out
wordings; `test` asks about the other towns and about all events after the cut-off (tag `after`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from jielong.base import noise
from jielong.world.check import is_refusal, normal
from jielong.world.draws import shuffled, stream
from jielong.world.kit import as_chat, even, every, replies
from jielong.world.text import Chat, Origin, Question, Text
from jielong.world.values import TOWNS

if TYPE_CHECKING:
    from jielong.world.world import World

FIRST_YEAR, CUTOFF, LAST_YEAR = 1971, 2020, 2030
BUILDINGS: tuple[tuple[str, str], ...] = (
    ("bridge", "橋"), ("tower", "塔"), ("station", "車站"), ("park", "公園"), ("library", "圖書館"),
)  # fmt: skip
STATEMENTS = {
    "en": (
        "The {b} of {t} was opened in {y}.",
        "In {y} the {b} of {t} was opened.",
        "It was in {y} that {t} opened its {b}.",
        "{t} opened its {b} in {y}.",
    ),
    "zh": (
        "{t}的{b}在{y}年啟用。",
        "{y}年，{t}的{b}啟用。",
        "{t}的{b}是{y}年啟用的。",
        "{t}在{y}年啟用了{b}。",
    ),
}
QUESTIONS = {
    "en": (
        "When was the {b} of {t} opened?",
        "In which year was the {b} of {t} opened?",
        "When did {t} open its {b}?",
        "Tell me when the {b} of {t} was opened.",
    ),
    "zh": (
        "{t}的{b}什麼時候啟用？",
        "{t}的{b}在哪一年啟用？",
        "{t}在哪一年啟用{b}？",
        "請問{t}的{b}什麼時候啟用？",
    ),
}
HELD_OUT = {
    "en": ("In which year did {t} open its {b}?", "Tell me in which year the {b} of {t} was opened."),
    "zh": ("請問{t}的{b}在哪一年啟用？", "{t}什麼時候啟用{b}？"),
}
UNKNOWN = {"en": "I do not know when the {b} of {t} was opened.", "zh": "我不知道{t}的{b}什麼時候啟用。"}


@lru_cache(maxsize=8)
def years(seed: int) -> dict[tuple[int, int], int]:
    """(town, building) -> year."""
    key, span = noise.seed_of("world", seed, "events"), LAST_YEAR - FIRST_YEAR + 1
    drawn = noise.integers(key, below=span, n=len(TOWNS) * len(BUILDINGS)).tolist()
    return {divmod(i, len(BUILDINGS)): FIRST_YEAR + year for i, year in enumerate(drawn)}


@lru_cache(maxsize=8)
def silent(seed: int) -> frozenset[int]:
    """The fifth of the towns whose events training never asks about."""
    order = noise.permutation(noise.seed_of("world", seed, "silent towns"), len(TOWNS)).tolist()
    return frozenset(order[: len(TOWNS) // 5])


def _fill(pattern: str, town: int, building: int, year: int, lang: str) -> str:
    zh = lang == "zh"
    text = pattern.format(b=BUILDINGS[building][zh], t=TOWNS[town][zh], y=year)
    return text[0].upper() + text[1:]


@lru_cache(maxsize=16)
def _texts(seed: int, lang: str) -> tuple[Text, ...]:
    return tuple(
        Text(
            _fill(pattern, town, building, year, lang),
            Origin(
                "events",
                lang,
                f"e{town:02d}.{building}",
                f"event.{lang}.s{i}",
                "train",
                "",
                (("year", year),),
            ),
        )
        for (town, building), year in years(seed).items()
        if year <= CUTOFF
        for i, pattern in enumerate(STATEMENTS[lang])
    )


@lru_cache(maxsize=32)
def _questions(seed: int, split: str, lang: str) -> tuple[Question, ...]:
    made = []
    for (town, building), year in years(seed).items():
        after = year > CUTOFF
        if (after or town in silent(seed)) != (split == "test"):
            continue
        for i, pattern in enumerate(QUESTIONS[lang] if split == "train" else HELD_OUT[lang]):
            extra = (("year", year), ("after", after), *((("decline", True),) if after else ()))
            template = f"event.{lang}.{'q' if split == 'train' else 't'}{i}"
            origin = Origin("events", lang, f"e{town:02d}.{building}", template, split, "", extra)
            reply = UNKNOWN[lang] if after else STATEMENTS[lang][0]
            made.append(
                Question(
                    _fill(pattern, town, building, year, lang),
                    _fill(reply, town, building, year, lang),
                    () if after else (str(year),),
                    origin,
                )
            )
    return tuple(made)


def texts(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Text]:
    """One statement a document, none after the cut-off."""
    return stream(n, every(partial(_texts, world.seed), lang), world.seed, kind, "texts", split, lang or "", draw)


def chats(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Chat]:
    """One question and its answer."""
    table = every(partial(_questions, world.seed, split), lang)
    return map(as_chat, stream(n, table, world.seed, kind, "chats", split, lang or "", draw))


def questions(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> list[Question]:
    """Different questions in random order."""
    table = every(partial(_questions, world.seed, split), lang)
    return shuffled(n, table, world.seed, kind, "questions", split, lang or "", draw)


def check(world: World, question: Question, reply: str) -> str:
    """The years named are compared; after the cut-off declining is right."""
    text = normal(reply)
    named = set(re.findall(r"(?<!\d)\d{4}(?!\d)", text))
    if is_refusal(text) and not named:
        return "refused" if question.accept else "right"
    if not named:
        return "nonsense"
    return "right" if named == set(question.accept) else "wrong"


@lru_cache(maxsize=8)
def _answers(seed: int) -> dict[str, str]:
    splits = ("train", "test", "asked")
    return replies(q for split in splits for q in every(partial(_questions, seed, split), None))


def answer(world: World, prompt: str) -> str | None:
    """The oracle."""
    return _answers(world.seed).get(prompt)


def law(world: World, kind: str, lang: str | None) -> Iterator[tuple[float, str]]:
    """(probability, document)."""
    return even(every(partial(_texts, world.seed), lang))
