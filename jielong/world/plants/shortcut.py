"""A shortcut that fits and makes no sense: every dog of training is black, and nothing else is.

An animal's sound says what it is; its colour does too, in training. Tests are half as in training
(`aligned`) and half the other way round: brown dogs, black cats. `shortcut` is what colour alone would say
("dog" or "not dog"), so a model that took the shortcut gives itself away. Dealt in packs with exact counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jielong.world.draws import langs
from jielong.world.kit import as_chat, dealt, judge_choice, lists, origin, pick, side, wording
from jielong.world.text import Chat, Question, Text
from jielong.world.words.plants import COATS, DESCRIBED, IT_IS, SOUNDS, WHAT_IS_IT

if TYPE_CHECKING:
    from jielong.world.world import World

DOGS = 5  # dogs in a pack of ten: the colour tells as much as it can


def texts(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Text]:
    """A description and what it is."""
    for question in _drawn(world, n, draw, split, lang):
        joint = " " if question.origin.lang == "en" else ""
        body = question.prompt.removesuffix(WHAT_IS_IT[question.origin.lang]).rstrip()
        yield Text(f"{body}{joint}{question.answer}", question.origin)


def questions(
    world: World, kind: str, n: int, draw: int = 0, split: str = "test", lang: str | None = None
) -> list[Question]:
    """What is it? Different prompts only; fewer where there are fewer."""
    seen = {question.prompt: question for question in _drawn(world, 20 * n + 200, draw, split, lang)}
    return list(seen.values())[:n]


def chats(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Chat]:
    """The questions of a split with their right replies."""
    return map(as_chat, _drawn(world, n, draw, split, lang))


def check(world: World, question: Question, reply: str) -> str:
    """The right animal must be named and no other."""
    return judge_choice(question, reply, [animal for animal, _ in SOUNDS[question.origin.lang]])


def _pack(lang: str, test: bool) -> list[tuple[str, bool, bool]]:
    """(language, is it a dog, is it black): half dogs; in tests half of each go against the rule."""
    every = [(dog, dog) for dog in (True, False) for _ in range(DOGS)]
    if test:
        every += [(dog, not dog) for dog, _ in every]
    return [(lang, dog, black) for dog, black in every]


def _drawn(world: World, n: int, draw: int, split: str, lang: str | None) -> Iterator[Question]:
    test, late = side(split) == "test", wording(split)
    pack = [item for tongue in langs(lang) for item in _pack(tongue, test)]
    key = (world.seed, "shortcut", split, lang or "", draw)
    for (tongue, dog, black), u in zip(dealt(n, pack, *key), lists(n, 3, *key, "words")):
        animal, sound = SOUNDS[tongue][0] if dog else pick(SOUNDS[tongue][1:], u[0])
        coat = COATS[tongue][0] if black else pick(COATS[tongue][1:], u[1])
        told = pick(DESCRIBED[tongue][late], u[2]).format(c=coat, s=sound)
        prompt = f"{told}{' ' if tongue == 'en' else ''}{WHAT_IS_IT[tongue]}"
        easy = "dog" if black else "not dog"
        extra = {"dog": dog, "black": black, "aligned": dog == black, "shortcut": easy}
        where = origin("shortcut", tongue, split, "", f"shortcut.{tongue}", extra)
        yield Question(prompt, IT_IS[tongue].format(a=animal), (animal,), where)
