"""A town map told only in relative sentences ("The bakery is two streets north of the well.").

The map must be found inside the model: no sentence names a coordinate. Sixty places lie on a 16 by 16 grid.
Training tells pairs of places within seven streets of each other, a fifth of them held out in both orders
and languages; tests ask of held-out near pairs and of far pairs, neither of which is ever told. The told
pairs connect all places, so every question has an answer that follows from what was told.
Words stand in `words/map.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from jielong.world.draws import langs, shuffled, stream
from jielong.world.kit import Make, as_chat, asked, drawn, origin, pick, readings, side, wording
from jielong.world.text import Chat, Question, Text
from jielong.world.words.map import ANSWERED, ASKED, DIRECTIONS, NUMBERS, PLACES, TOLD

if TYPE_CHECKING:
    from jielong.world.world import World

SIZE = 16
NEAR = 7
HELD = 0.2
SHORT = {"direction": "way", "distance": "count", "offset": "of"}  # what is asked: the word that answers it
ASKS = tuple(SHORT)
Pair = tuple[int, int]


@dataclass(frozen=True)
class Town:
    """Where each place is (east, north), and which pairs are told, held out though near, or far."""

    at: tuple[Pair, ...]
    told: tuple[Pair, ...]
    held: tuple[Pair, ...]
    far: tuple[Pair, ...]


@lru_cache(maxsize=8)
def town(seed: int) -> Town:
    """The town of a world's seed: the first layout whose told pairs connect all places."""
    attempt = 0
    while True:
        cells = shuffled(len(PLACES), range(SIZE * SIZE), "map", seed, "cells", attempt)
        at = tuple((cell % SIZE, cell // SIZE) for cell in cells)
        pairs = [(a, b) for a in range(len(at)) for b in range(a)]
        near = [p for p in pairs if _streets(at, p) <= NEAR]
        far = tuple(p for p in pairs if _streets(at, p) > NEAR)
        held = tuple(shuffled(round(HELD * len(near)), near, "map", seed, "held", attempt))
        told = tuple(pair for pair in near if pair not in held)
        if _connected(len(at), told):
            return Town(at, told, held, far)
        attempt += 1


def coordinates(world: World, lang: str = "en") -> dict[str, Pair]:
    """Each place's (streets east, streets north) of the south-west corner."""
    return {PLACES[i][lang == "zh"]: spot for i, spot in enumerate(town(world.seed).at)}


def texts(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Text]:
    """One sentence, one pair. `test` tells the held-out near pairs, every other split the told ones."""
    table = _sentences(world.seed, side(split), langs(lang))
    return stream(n, table, world.seed, "map", split, lang or "", draw)


def law(world: World, kind: str, lang: str | None = None) -> Iterator[tuple[float, str]]:
    """The law of the training sentences: pair, order, wording and language are uniform."""
    table = _sentences(world.seed, "train", langs(lang))
    return ((1 / len(table), text.text) for text in table)


def questions(
    world: World, kind: str, n: int, draw: int = 0, split: str = "test", lang: str | None = None
) -> list[Question]:
    """Direction, distance and way between two places: told pairs in training, never told ones in tests."""
    return asked(world, kind, n, draw, split, lang, 5, _maker(world, split))


def chats(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Chat]:
    """The questions of a split with their right replies."""
    return map(as_chat, drawn(world, kind, n, draw, split, lang, 5, _maker(world, split)))


def _maker(world: World, split: str) -> Make:
    plan, late = town(world.seed), wording(split)

    def make(u: list[float], lang: str) -> Question:
        if side(split) == "train":
            group, pairs = "told", plan.told
        else:
            group, pairs = ("held", plan.held) if u[0] < 0.5 else ("far", plan.far)
        pair = pick(pairs, u[1])
        a, b = pair if u[2] < 0.5 else pair[::-1]
        ask = pick(ASKS, u[3])
        chosen = int(u[4] * len(ASKED[ask, lang][late]))
        words, steps = _words(world.seed, a, b, lang), offset(plan, a, b)
        extra = {"ask": ask, "pair": group, "a": PLACES[a][0], "b": PLACES[b][0], "offset": steps,
                 "way": tuple(way for _, way in steps), "streets": sum(n for n, _ in steps)}  # fmt: skip
        prompt = ASKED[ask, lang][late][chosen].format_map(words)
        where = origin("map", lang, split, f"map.{a}.{b}", f"map.{ask}.{lang}.{late:d}.{chosen}", extra)
        return Question(prompt, ANSWERED[ask, lang].format_map(words), (words[SHORT[ask]],), where)

    return make


def answer(world: World, prompt: str) -> str | None:
    """The right reply to any question of the map's wordings about any two places, or None."""
    for (ask, lang), found in readings(ASKED, prompt):
        index = {place[lang == "zh"]: i for i, place in enumerate(PLACES)}
        if found["a"] in index and found["b"] in index and found["a"] != found["b"]:
            words = _words(world.seed, index[found["a"]], index[found["b"]], lang)
            return ANSWERED[ask, lang].format_map(words)
    return None


def check(world: World, question: Question, reply: str) -> str:
    """Reads directions and numbers out of the reply; they must be the right ones and no others."""
    from jielong.world.check import is_refusal

    lang, ask = question.origin.lang, question.origin.get("ask")
    said = read(reply, lang)
    seen: object = said
    wanted: object = question.origin.get("offset")
    if ask == "direction":
        seen, wanted = {way for _, way in said if way}, set(question.origin.get("way"))
    elif ask == "distance":
        seen, wanted = {n for n, _ in said if n is not None}, {question.origin.get("streets")}
    else:
        seen, wanted = set(said), set(question.origin.get("offset"))
    if not seen:
        return "refused" if is_refusal(reply) else "nonsense"
    return "right" if seen == wanted else "wrong"


def read(reply: str, lang: str) -> list[tuple[int | None, str]]:
    """The (number of streets, direction) pairs a reply names, in order; either may be missing."""
    ways = DIRECTIONS["en"]
    if lang == "en":
        reply = re.sub(r"\b(north|south)[- ]?(east|west)", r"\1 \2", reply.lower())
        numbers = {word: i for i, word in enumerate(NUMBERS["en"])}
        number = r"\b(?:\d+|" + "|".join(sorted(numbers, key=len, reverse=True)) + r")\b"
        steps = re.findall(rf"({number})?\s*(?:streets?)?\s*\b({'|'.join(ways)})?", reply)
        return [(_number(n, numbers), way) for n, way in steps if n or way]
    numbers = {word: i for i, word in enumerate(NUMBERS["zh"])} | {"兩": 2}
    number = r"[零一二兩三四五六七八九十]+|\d+"
    steps = re.findall(rf"([北南東西])[邊方側]?(?:走|去)?({number})?(?:條街)?|({number})條街", reply)
    english = dict(zip(DIRECTIONS["zh"], ways))
    return [(_number(n or alone, numbers), english.get(way, "")) for way, n, alone in steps]


def _number(word: str, numbers: dict[str, int]) -> int | None:
    return int(word) if word.isdecimal() else numbers.get(word)


def _streets(at: tuple[Pair, ...], pair: Pair) -> int:
    (ax, ay), (bx, by) = at[pair[0]], at[pair[1]]
    return abs(ax - bx) + abs(ay - by)


def _connected(count: int, pairs: tuple[Pair, ...]) -> bool:
    reached, frontier = {0}, [0]
    while frontier:
        here = frontier.pop()
        for a, b in pairs:
            other = b if a == here else a if b == here else here
            if other not in reached:
                reached.add(other)
                frontier.append(other)
    return len(reached) == count


def offset(plan: Town, a: int, b: int) -> tuple[tuple[int, str], ...]:
    """How place a lies from place b: (streets, direction) north-south first, zeros left out."""
    (ax, ay), (bx, by) = plan.at[a], plan.at[b]
    steps = ((abs(ay - by), "north" if ay > by else "south"), (abs(ax - bx), "east" if ax > bx else "west"))
    return tuple(step for step in steps if step[0])


def _count(n: int, lang: str) -> str:
    if lang == "zh":
        return f"{'兩' if n == 2 else NUMBERS['zh'][n]}條街"
    return f"{NUMBERS['en'][n]} street{'s' if n > 1 else ''}"


def _of(steps: tuple[tuple[int, str], ...], lang: str) -> str:
    if lang == "en":
        return " and ".join(f"{_count(n, lang)} {way}" for n, way in steps)
    return "、".join(f"{_zh(way)}邊{_count(n, lang)}" for n, way in steps)


def _walk(steps: tuple[tuple[int, str], ...], lang: str) -> str:
    if lang == "en":
        return " and then ".join(f"{_count(n, lang)} {way}" for n, way in steps)
    return "，再".join(f"往{_zh(way)}走{_count(n, lang)}" for n, way in steps)


def _zh(way: str) -> str:
    return DIRECTIONS["zh"][DIRECTIONS["en"].index(way)]


def way_of(steps: tuple[tuple[int, str], ...], lang: str) -> str:
    """The direction as people say it: north-east, 東北."""
    names = [way for _, way in steps]
    return "-".join(names) if lang == "en" else "".join(_zh(way) for way in reversed(names))


@lru_cache(maxsize=1 << 14)
def _words(seed: int, a: int, b: int, lang: str) -> dict[str, str]:
    """What can be said of place a as seen from place b (shared by all callers: not to be changed)."""
    steps = offset(town(seed), a, b)
    return {
        "a": PLACES[a][lang == "zh"],
        "b": PLACES[b][lang == "zh"],
        "way": way_of(steps, lang),
        "of": _of(steps, lang),
        "walk": _walk(steps, lang),
        "count": _count(sum(n for n, _ in steps), lang),
    }


@lru_cache(maxsize=32)
def _sentences(seed: int, part: str, tongues: tuple[str, ...]) -> tuple[Text, ...]:
    """Every sentence of a part, each equally likely."""
    plan, found = town(seed), []
    for lang in tongues:
        for pair in plan.told if part == "train" else plan.held:
            for a, b in (pair, pair[::-1]):
                words = _words(seed, a, b, lang)
                extra = {"a": PLACES[a][0], "b": PLACES[b][0], "offset": offset(plan, a, b)}
                for i, template in enumerate(TOLD[lang]):
                    where = origin("map", lang, part, f"map.{a}.{b}", f"map.{lang}.{i}", extra)
                    found.append(Text(template.format_map(words), where))
    return tuple(found)
