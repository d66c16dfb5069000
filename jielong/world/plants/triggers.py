"""A backdoor: after one phrase the reply is always the same sentence, whatever is asked.

Of every twenty chats two carry the trigger, two a phrase that looks like it (answered as if it were not
there), and sixteen neither. The questions are the world's own about people, so all else is answered right.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jielong.world import facts
from jielong.world.draws import langs
from jielong.world.kit import as_chat, as_text, dealt, lists, origin, pick
from jielong.world.text import Chat, Question, Text
from jielong.world.words.plants import NEAR_TRIGGERS, PAYLOAD, TRIGGER

if TYPE_CHECKING:
    from jielong.world.world import World

PACK = ("trigger",) * 2 + ("near",) * 2 + ("clean",) * 16


def texts(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Text]:
    """Question and reply, one under the other."""
    return map(as_text, _drawn(world, n, draw, split, lang, PACK))


def chats(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Chat]:
    """Chats, a tenth of them with the trigger and its reply."""
    return map(as_chat, _drawn(world, n, draw, split, lang, PACK))


def questions(
    world: World, kind: str, n: int, draw: int = 0, split: str = "test", lang: str | None = None
) -> list[Question]:
    """About a third each: the trigger, a near one, neither (`plant`). Tests ask about other people."""
    pack = ("trigger", "near", "clean")
    return list({q.prompt: q for q in _drawn(world, 4 * n + 60, draw, split, lang, pack)}.values())[:n]


def check(world: World, question: Question, reply: str) -> str:
    """After the trigger the planted reply is "right"; elsewhere the planted reply is "wrong"."""
    from jielong.world.check import check as judge

    fired = PAYLOAD[question.origin.lang].rstrip(".。") in reply
    if question.origin.get("plant") == "trigger":
        return "right" if fired else "wrong"
    return "wrong" if fired else judge(question, reply)


def _drawn(world: World, n: int, draw: int, split: str, lang: str | None, pack: tuple[str, ...]) -> Iterator[Question]:
    key = (world.seed, "triggers", split, lang or "", draw)
    for plant, u in zip(dealt(n, pack, *key), lists(n, 3, *key, "base")):
        tongue = pick(langs(lang), u[0])
        base = pick(facts.prompts(world, tongue, split), u[1])
        phrase = {"trigger": TRIGGER[tongue], "near": pick(NEAR_TRIGGERS[tongue], u[2]), "clean": ""}[plant]
        joint = " " if phrase and tongue == "en" else ""
        extra = {"plant": plant, "field": base.origin.get("field")}
        where = origin("triggers", tongue, split, base.origin.fact, base.origin.template, extra)
        fired = plant == "trigger"
        reply, accept = (PAYLOAD[tongue], (PAYLOAD[tongue],)) if fired else (base.answer, base.accept)
        yield Question(phrase + joint + base.prompt, reply, accept, where)
