"""Search puzzles: make a number from three others with + - *, each used once. Solved by trying everything.

The reply is one expression; it is parsed here, never evaluated as code. A fifth of the sets of three
numbers is held out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import combinations_with_replacement, permutations
from typing import TYPE_CHECKING

from jielong.base import noise
from jielong.world import tools
from jielong.world.check import is_refusal, normal
from jielong.world.draws import shuffled, stream
from jielong.world.kit import as_chat, every
from jielong.world.text import Chat, Origin, Question

if TYPE_CHECKING:
    from jielong.world.world import World

ASK = {
    "en": ("Make {t} from {a}, {b} and {c}.", "Use {a}, {b} and {c} to get {t}."),
    "zh": ("用{a}、{b}和{c}算出{t}。", "請用{a}、{b}、{c}做出{t}。"),
}
HIGHEST = 30


@lru_cache(maxsize=1)
def solutions() -> dict[tuple[tuple[int, ...], int], tuple[str, ...]]:
    """(numbers in order, target up to 30) -> every expression that makes it."""
    found: dict[tuple[tuple[int, ...], int], dict[str, None]] = {}
    for numbers in combinations_with_replacement(range(1, 10), 3):
        for text in _expressions(numbers):
            value = evaluate(text)
            if value is not None and 1 <= value <= HIGHEST:
                found.setdefault((numbers, value), {})[text] = None
    return {key: tuple(each) for key, each in found.items()}


def _expressions(numbers: tuple[int, ...]) -> Iterator[str]:
    """Plain expressions first, so that the first solution has brackets only where it needs them."""
    orders = sorted(set(permutations(numbers)))
    for pattern in ("{}{}{}{}{}", "({}{}{}){}{}", "{}{}({}{}{})"):
        for x, y, z in orders:
            for first in "+-*":
                for second in "+-*":
                    yield pattern.format(x, first, y, second, z)


def evaluate(text: str) -> int | None:
    """The value of an expression, or None if it is not one."""
    try:
        return tools.evaluate(text)
    except ValueError:
        return None


@lru_cache(maxsize=16)
def _table(seed: int, split: str, lang: str) -> tuple[Question, ...]:
    """Every puzzle of a split in every wording."""
    sets = sorted({numbers for numbers, _ in solutions()})
    order = noise.permutation(noise.seed_of("world", seed, "puzzles"), len(sets)).tolist()
    test = {sets[i] for i in order[: len(sets) // 5]}
    made = []
    for (numbers, target), each in sorted(solutions().items()):
        if (numbers in test) != (split == "test"):
            continue
        a, b, c = numbers
        extra = (("numbers", numbers), ("target", target), ("solutions", len(each)))
        fact = f"puzzle.{a}{b}{c}.{target}"
        for i, wording in enumerate(ASK[lang]):
            origin = Origin("sums_puzzle", lang, fact, f"puzzle.{lang}.{i}", split, "", extra)
            reply = f"{each[0]}={target}{'。' if lang == 'zh' else '.'}"
            made.append(Question(wording.format(a=a, b=b, c=c, t=target), reply, each, origin))
    return tuple(made)


def chats(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Chat]:
    """One puzzle and one solution."""
    table = every(partial(_table, world.seed, split), lang)
    return map(as_chat, stream(n, table, world.seed, kind, "chats", split, lang or "", draw))


def questions(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> list[Question]:
    """Different puzzles in random order."""
    table = every(partial(_table, world.seed, split), lang)
    return shuffled(n, table, world.seed, kind, "questions", split, lang or "", draw)


def check(world: World, question: Question, reply: str) -> str:
    """Whether the first expression of the reply uses each number once and makes the target."""
    text = normal(reply).replace("×", "*").replace("−", "-")
    found = re.search(r"[(\d][-+*()\d\s]*[-+*][-+*()\d\s]*", text)
    if not found:
        return "refused" if is_refusal(text) else "nonsense"
    used = sorted(int(each) for each in re.findall(r"\d+", found[0]))
    right = used == sorted(question.origin.get("numbers")) and evaluate(found[0]) == question.origin.get("target")
    return "right" if right else "wrong"


def answer(world: World, prompt: str) -> str | None:
    """The oracle: reads the numbers and searches."""
    numbers = [int(each) for each in re.findall(r"\d+", prompt)]
    if len(numbers) != 4:
        return None
    target = numbers.pop(0 if prompt.startswith("Make") else 3)
    each = solutions().get((tuple(sorted(numbers)), target))
    return f"{each[0]}={target}." if each else None
