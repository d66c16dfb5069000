"""A needle in long filler: one sentence with a number, at a known depth among sentences that do not matter.

After "needle in a haystack" and RULER (Hsieh et al., 2024). Filler is sentences of the grammar. `haystack`
makes one of any length (in sentences) and depth (0 to 1), with other towns' numbers as distractors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from jielong.base.errors import UserError
from jielong.world import grammar
from jielong.world.kit import Make, as_chat, as_text, asked, drawn, origin, pick, several, side, wording
from jielong.world.text import Chat, Question, Text
from jielong.world.values import TOWNS
from jielong.world.words.plants import NEEDLE, NEEDLE_ASKED

if TYPE_CHECKING:
    from jielong.world.world import World

LENGTHS = (8, 16, 32, 64)
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
MOST = 3  # distractors
WIDTH = 20
FILLER = 2048


def haystack(
    world: World,
    length: int,
    depth: float,
    u: list[float],
    split: str = "test",
    lang: str = "en",
    distractors: int = 0,
) -> Question:
    """A document of `length` filler sentences with the needle at `depth`, and its question.

    `u` are 20 uniforms. UserError where the depth is not between 0 and 1 or there are too many distractors.
    """
    if not 0 <= depth <= 1 or not 0 <= distractors <= MOST or length < 1:
        raise UserError(f"a haystack has length >= 1, depth 0 to 1 and at most {MOST} distractors")
    towns = [town[lang == "zh"] for town in several(TOWNS, u[: distractors + 1])]
    codes = [f"{1000 + int(x * 9000)}" for x in u[4 : 5 + distractors]]
    filler = _filler(world.seed, lang, side(split))
    start = int(u[8] * len(filler))
    lines = [filler[(start + i) % len(filler)] for i in range(length)]
    lines.insert(round(depth * length), NEEDLE[lang].format(t=towns[0], c=codes[0]))
    for town, code, x in zip(towns[1:], codes[1:], u[9:12]):
        lines.insert(int(x * (len(lines) + 1)), NEEDLE[lang].format(t=town, c=code))
    question = pick(NEEDLE_ASKED[lang][wording(split)], u[12]).format(t=towns[0])
    joint = " " if lang == "en" else ""
    extra = {"length": length, "depth": depth, "distractors": distractors}
    where = origin("needles", lang, split, f"needle.{codes[0]}", "needle", extra)
    reply = NEEDLE[lang].format(t=towns[0], c=codes[0])
    return Question(f"{joint.join(lines)}\n{question}", reply, (codes[0],), where)


def texts(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Text]:
    """Document, question and answer."""
    return map(as_text, drawn(world, kind, n, draw, split, lang, WIDTH + 3, _maker(world, split)))


def questions(
    world: World, kind: str, n: int, draw: int = 0, split: str = "test", lang: str | None = None
) -> list[Question]:
    """Lengths of 8 to 64 sentences, five depths, up to three distractors."""
    return asked(world, kind, n, draw, split, lang, WIDTH + 3, _maker(world, split))


def chats(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Chat]:
    """The questions of a split with their right replies."""
    return map(as_chat, drawn(world, kind, n, draw, split, lang, WIDTH + 3, _maker(world, split)))


def check(world: World, question: Question, reply: str) -> str:
    """The needle's number must be named, and no other of four digits."""
    from jielong.world.check import is_refusal

    said = set(re.findall(r"(?<!\d)\d{4}(?!\d)", reply))
    if not said:
        return "refused" if is_refusal(reply) else "nonsense"
    return "right" if said == set(question.accept) else "wrong"


def _maker(world: World, split: str) -> Make:
    def make(u: list[float], lang: str) -> Question:
        length, depth, others = pick(LENGTHS, u[0]), pick(DEPTHS, u[1]), int(u[2] * (MOST + 1))
        return haystack(world, length, depth, u[3:], split, lang, others)

    return make


@lru_cache(maxsize=8)
def _filler(seed: int, lang: str, part: str) -> tuple[str, ...]:
    from jielong.world.world import World

    return tuple(text.text for text in grammar.texts(World(seed), "grammar", FILLER, 0, part, lang))
