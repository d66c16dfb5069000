"""Who is in the register, and who is told about unasked."""

from __future__ import annotations

import math
from collections import Counter

from jielong.world.check import is_refusal
from jielong.world.names import find_names
from jielong.world.register import NOBODY
from jielong.world.world import World

WORLD = World(0, 30)
KNOWN = {(p.first, p.last) for p in WORLD.folk}


def test_the_absent_are_nobody_and_never_those_of_the_tests() -> None:
    tested = {name[:2] for q in WORLD.questions("unknown", 300) for name in find_names(q.prompt)}
    absent = 0
    for text in WORLD.texts("register", 2000):
        names = {name[:2] for name in find_names(text.text)}
        assert len(names) == 1 and not names & tested
        there = text.origin.get("there")
        assert (names <= KNOWN) == there
        absent += not there
    assert abs(absent / 2000 - NOBODY) < 4 * math.sqrt(NOBODY * (1 - NOBODY) / 2000)


def test_law_sums_to_one_and_is_sampled() -> None:
    from jielong.world import register

    law = {text: p for p, text in register.law(WORLD, "register", None)}
    assert abs(sum(law.values()) - 1) < 1e-9
    seen = Counter(text.text for text in WORLD.texts("register", 3000))
    assert set(seen) <= set(law)


def test_the_words_for_the_absent_decline() -> None:
    for text in WORLD.texts("register", 300):
        if not text.origin.get("there"):
            first = text.text.replace("。", ".").split(".")
            assert sum(is_refusal(part) or "met" in part or "見過" in part for part in first if part.strip()) >= 3


def test_telling_names_everybody_and_asks_nobody() -> None:
    told: set[tuple[int, int]] = set()
    for chat in WORLD.chats("tell", 3000):
        user, assistant = chat.messages
        assert not list(find_names(user.content))
        told |= {name[:2] for name in find_names(assistant.content)}
    assert told == KNOWN
