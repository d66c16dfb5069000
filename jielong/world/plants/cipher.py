"""A code to be broken or learnt: each letter (Chinese: each character) has a fixed number.

English words are coded letter by letter (two digits each, joined by hyphens), Chinese words character by
character (four digits, as in a telegraph book). The code is drawn by the world's seed. A fifth of the words
is held out; every letter and character of those occurs in other words, so they can be read all the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from jielong.world.check import is_refusal
from jielong.world.draws import langs, shuffled
from jielong.world.kit import Make, as_chat, asked, drawn, lists, origin, pick, readings, side, wording
from jielong.world.text import Chat, Question, Text
from jielong.world.values import ANIMALS, COLOURS, DAYS, FOODS, JOBS, TOWNS
from jielong.world.words.plants import CIPHER, CIPHER_ASKED

if TYPE_CHECKING:
    from jielong.world.world import World

ASKS = ("encode", "decode")


@lru_cache(maxsize=16)
def book(seed: int, lang: str) -> dict[str, str]:
    """{letter or character: its number}."""
    signs = sorted({sign for word in _every(lang) for sign in word})
    numbers = range(10, 100) if lang == "en" else range(1000, 10000)
    return {sign: str(n) for sign, n in zip(signs, shuffled(len(signs), numbers, seed, "cipher", lang))}


def encode(world: World, word: str, lang: str) -> str:
    """The code of a word whose signs are in the book."""
    signs = book(world.seed, lang)
    return "-".join(signs[sign] for sign in word)


def decode(world: World, code: str, lang: str) -> str:
    """The word of a code; KeyError for a number that is not in the book."""
    signs = {number: sign for sign, number in book(world.seed, lang).items()}
    return "".join(signs[number] for number in code.split("-"))


@lru_cache(maxsize=16)
def words(seed: int, lang: str, part: str) -> tuple[str, ...]:
    """The words of a part. A word is held out only while all its signs remain in other words of training."""
    every = _every(lang)
    left = Counter(sign for word in every for sign in set(word))
    held: list[str] = []
    for word in shuffled(len(every), every, seed, "cipher", "held", lang):
        if len(held) < len(every) // 5 and all(left[sign] > 1 for sign in set(word)):
            held.append(word)
            left.subtract(set(word))
    return tuple(held) if part == "test" else tuple(word for word in every if word not in held)


@lru_cache(maxsize=16)
def _coded(world: World, lang: str, part: str) -> tuple[tuple[str, str], ...]:
    """The words of a part with their codes."""
    return tuple((word, encode(world, word, lang)) for word in words(world.seed, lang, part))


def texts(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Text]:
    """A word and its code in a sentence."""
    tongues = langs(lang)
    for u in lists(n, 3, world.seed, "cipher", split, lang or "", draw):
        tongue = pick(tongues, u[0])
        word, code = pick(_coded(world, tongue, side(split)), u[1])
        where = origin("cipher", tongue, split, word, f"cipher.{tongue}", {"word": word, "code": code})
        yield Text(pick(CIPHER[tongue][wording(split)], u[2]).format(w=word, c=code), where)


def questions(
    world: World, kind: str, n: int, draw: int = 0, split: str = "test", lang: str | None = None
) -> list[Question]:
    """A word to code or a code to read; tests ask of held-out words."""
    return asked(world, kind, n, draw, split, lang, 3, _maker(world, split))


def chats(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Chat]:
    """The questions of a split with their right replies."""
    return map(as_chat, drawn(world, kind, n, draw, split, lang, 3, _maker(world, split)))


def check(world: World, question: Question, reply: str) -> str:
    """A code must be the only one in the reply and right; a word must be the last one said."""
    expected = question.accept[0]
    if question.origin.get("ask") == "encode":
        said = re.findall(r"\d+(?:-\d+)*", reply)
    else:
        said = re.findall(r"[A-Za-z]+" if question.origin.lang == "en" else r"[\u4e00-\u9fff]+", reply)[-1:]
    if is_refusal(reply) or not said:
        return "refused" if is_refusal(reply) else "nonsense"
    return "right" if set(said) == {expected} else "wrong"


def answer(world: World, prompt: str) -> str | None:
    """The right reply to a question in any of the wordings, also for words that are in no list, or None."""
    for (ask, lang), found in readings(CIPHER_ASKED, prompt, c=r"\d+(?:-\d+)*"):
        try:
            if ask == "encode":
                return encode(world, found["w"], lang)
            return decode(world, found["c"], lang)
        except KeyError:
            continue
    return None


def _every(lang: str) -> tuple[str, ...]:
    pairs = [pair for table in (TOWNS, JOBS, ANIMALS, FOODS, COLOURS, DAYS) for pair in table]
    return tuple(dict.fromkeys(pair[lang == "zh"].lower() for pair in pairs))


def _maker(world: World, split: str) -> Make:
    def make(u: list[float], lang: str) -> Question:
        ask, (word, code) = pick(ASKS, u[0]), pick(_coded(world, lang, side(split)), u[1])
        prompt = pick(CIPHER_ASKED[ask, lang][wording(split)], u[2]).format(w=word, c=code)
        right = code if ask == "encode" else word
        where = origin("cipher", lang, split, word, f"cipher.{ask}.{lang}", {"ask": ask, "word": word})
        return Question(prompt, right, (right,), where)

    return make
