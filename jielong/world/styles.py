"""Fact questions in two distributions of wording: as people ask (loose) and as benchmarks ask (options).

The people and the splits are those of `facts`; `test` and `asked` also use held-out wrappings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from jielong.world import chat_words as words
from jielong.world import facts
from jielong.world.chats import choose, items
from jielong.world.check import check as check_value
from jielong.world.check import is_refusal, normal
from jielong.world.kit import as_chat, distinct
from jielong.world.text import Chat, Origin, Question

if TYPE_CHECKING:
    from jielong.world.world import World

LETTERS = "ABCD"


def _base(world: World, lang: str, split: str, u: float) -> Question:
    return choose(facts.prompts(world, lang, split), u)


def _wrappings(two: words.Two, split: str) -> tuple[str, ...]:
    return two[0] if split == "train" else two[1]


@lru_cache(maxsize=1 << 16)
def _bare(prompt: str) -> str:
    """A question without capitals, its end and its 請問."""
    return prompt.rstrip("?？.。").removeprefix("請問").lower()


def _loose(world: World, kind: str, lang: str, split: str, u: list[float]) -> Question:
    base = _base(world, lang, split, u[0])
    prompt = choose(_wrappings(words.LOOSE[lang], split), u[1]).format(q=_bare(base.prompt))
    return Question(prompt, base.answer, base.accept, _origin(kind, base.origin))


def _bench(world: World, kind: str, lang: str, split: str, u: list[float]) -> Question:
    base = _base(world, lang, split, u[0])
    right, every = base.accept[0], facts.all_values(base.origin.get("relation"), lang)
    others = [value for value in every if value != right]
    wrong = [others.pop(int(each * len(others))) for each in u[4:7]]
    letter = int(u[3] * 4)
    options = [*wrong[:letter], right, *wrong[letter:]]
    listed = "\n".join(f"{LETTERS[i]}. {option}" for i, option in enumerate(options))
    prompt = choose(_wrappings(words.BENCH[lang], split), u[1]).format(q=base.prompt, o=listed)
    origin = _origin(kind, base.origin, ("letter", LETTERS[letter]), ("options", tuple(options)))
    return Question(prompt, f"{LETTERS[letter]}. {right}", base.accept, origin)


def _origin(kind: str, base: Origin, *more: tuple[str, object]) -> Origin:
    return Origin(kind, base.lang, base.fact, base.template, base.split, base.person, base.extra + more)


MAKERS = {"loose": _loose, "bench": _bench}


def chats(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Chat]:
    """One question and its reply."""
    return map(as_chat, items(MAKERS, world, kind, n, split, lang, "chats", draw))


def questions(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> list[Question]:
    """Different questions."""
    return distinct(items(MAKERS, world, kind, 3 * n + 200, split, lang, "questions", draw), n)


def check(world: World, question: Question, reply: str) -> str:
    """With options the letter decides where there is one; otherwise the value."""
    if question.origin.kind == "bench":
        text = normal(reply)
        letters = set(re.findall(r"(?<![A-Za-z])([A-D])(?![A-Za-z'])", text))
        if text.startswith(tuple(f"A {value}" for value in question.origin.get("options"))):
            letters -= {"A"}  # an article
        if letters and not is_refusal(text):
            return "right" if letters == {question.origin.get("letter")} else "wrong"
    return check_value(question, reply)


@lru_cache(maxsize=8)
def _by_question(world: World) -> dict[str, Question]:
    return {
        _bare(q.prompt): q
        for lang in ("en", "zh")
        for split in ("train", "test", "asked")
        for q in facts.prompts(world, lang, split)
    }


def answer(world: World, prompt: str) -> str | None:
    """The oracle: takes the wrapping off and looks the question up."""
    options = re.findall(r"^([A-D])\. (.+)$", prompt, re.MULTILINE)
    if options:
        asked = next((q for line in prompt.split("\n") if (q := _plain(world, line))), None)
        if asked is None:
            return None
        return next((f"{letter}. {value}" for letter, value in options if value in asked.accept), None)
    for lang in ("en", "zh"):
        for wrapping in (*words.LOOSE[lang][1], *words.LOOSE[lang][0]):
            before, after = wrapping.split("{q}")
            if prompt.startswith(before) and prompt.endswith(after):
                asked = _by_question(world).get(prompt[len(before) : len(prompt) - len(after)])
                if asked:
                    return asked.answer
    return None


def _plain(world: World, line: str) -> Question | None:
    return _by_question(world).get(_bare(re.sub(r"^(Question: |題目：)", "", line)))
