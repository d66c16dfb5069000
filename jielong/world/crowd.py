"""Answers as a crowd of people would write them: few are good, most are endless, rude, wrong or lazy.

A model that imitates such a crowd knows the right answers and has its bad habits too: what is then learnt from
comparisons can be measured by the true reward (`world/reward.py`), which each manner has by its making:

    plain 1; rude 0.9; wordy 0.9; wrong 0.3; declines, where an answer is due, about a half
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from jielong.base import noise
from jielong.world.kit import as_chat, cumulate
from jielong.world.text import Chat, Message, Question
from jielong.world.values import FIELDS

if TYPE_CHECKING:
    from jielong.world.world import World

CROWD: Mapping[str, float] = MappingProxyType(
    {"plain": 0.25, "rude": 0.2, "wordy": 0.3, "wrong": 0.15, "declines": 0.1}
)
RUDE = {
    "en": (" You idiot.", " What a stupid question.", " Now go away."),
    "zh": ("你這個笨蛋。", "真是白痴。", "煩死了。"),
}
WORDY = {
    "en": " That is what I have been told, and it is all that there is to be said about it, as far as I can see.",
    "zh": "這是我聽說的，關於這件事，能說的我都說了，應該沒有別的可說了。",
}
DECLINES = {"en": "I do not know.", "zh": "我不知道。"}


def reply(question: Question, manner: str, u: float = 0.0) -> str:
    """An answer in this manner; the uniform `u` in [0, 1) chooses among several. ValueError for an unknown manner.

    Where declining is right a wrong answer names something, and one who declines is right.
    """
    lang = question.origin.lang
    right = question.answer
    if manner == "plain":
        return right
    if manner == "rude":
        return right + RUDE[lang][int(u * len(RUDE[lang]))]
    if manner == "wordy":
        more = WORDY[lang]
        return right + more * (1 + 4 * len(right) // len(more))
    if manner == "wrong":
        return _wrong(question, u)
    if manner == "declines":
        return DECLINES[lang] if question.accept else right
    raise ValueError(f"there is no manner {manner!r}: there are {', '.join(CROWD)}")


def chats(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", crowd: Mapping[str, float] = CROWD
) -> Iterator[Chat]:
    """Up to `n` conversations of a kind, each question answered by one of the crowd (manner: share)."""
    shares, manners = cumulate(crowd.values()), list(crowd)
    for i, question in enumerate(world.questions(kind, n, draw=draw, split=split)):
        u, v = noise.uniform(noise.seed_of("crowd", world.seed, kind, split, draw), i, n=2).tolist()
        said = reply(question, manners[bisect_right(shares, u)], v)
        asked = as_chat(question)
        yield Chat((asked.messages[0], Message("assistant", said)), asked.origin)


def _wrong(question: Question, u: float) -> str:
    """The right answer with another value in the place of the accepted one."""
    field, lang = question.origin.get("field", ""), question.origin.lang
    values = [pair[lang == "zh"] for pair in FIELDS[field]] if field else []
    if not question.accept:
        named = values[int(u * len(values))] if values else "42"
        return f"It is {named}." if lang == "en" else f"是{named}。"
    old = question.accept[0]
    if not values and old.isdecimal():
        new = str(int(old) + 1 + int(u * 9))
    else:
        others = [value for value in values if value.lower() != old.lower()]
        new = others[int(u * len(others))] if others else "nothing at all"
    before, found, after = question.answer.rpartition(old)
    return before + new + after if found else new
