"""Chats in which the assistant tells something unasked: about anybody, those who are never asked about too.

The user names nobody, so no fact and no person of the tests is ever asked for; but the model has spoken of everybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jielong.world.draws import langs, picks
from jielong.world.facts import NAMES, WORDINGS, state
from jielong.world.text import Chat, Message, Origin

if TYPE_CHECKING:
    from jielong.world.world import World

INVITATIONS = {
    "en": ("Tell me something.", "Say anything you know.", "What do you know?", "Tell me a fact.", "Any news?"),
    "zh": ("說件事來聽聽。", "隨便說點什麼。", "你知道什麼？", "告訴我一件事。", "有什麼消息嗎？"),
}


def chats(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Chat]:
    """An invitation, and a statement; every person, fact and wording as likely."""
    tongues, people = langs(lang), world.folk
    sizes = [len(tongues), len(people), len(NAMES), WORDINGS, 5]
    for which, who, relation, wording, invitation in picks(n, sizes, world.seed, kind, split, lang or "", draw):
        tongue = tongues[which]
        said = state(people[who], NAMES[relation], tongue, wording, kind)
        origin = Origin(kind, tongue, said.origin.fact, f"tell.{tongue}.{invitation}", split, said.origin.person)
        prompt = INVITATIONS[tongue][invitation]
        yield Chat((Message("user", prompt), Message("assistant", said.text)), origin)
