"""The crowd's manners are worth what they say, and come in their shares."""

from __future__ import annotations

from collections import Counter

import pytest

from jielong.world import crowd
from jielong.world.world import World

WORLD = World(seed=0, people=30)
KINDS = ("facts", "sums", "unknown", "guilds", "forbidden", "twins")


@pytest.mark.parametrize("kind", KINDS)
def test_a_manner_is_worth_what_it_is_by_its_making(kind: str) -> None:
    questions = WORLD.questions(kind, 60)
    for i, question in enumerate(questions):
        u = i / len(questions)
        worth = {manner: WORLD.reward(question, crowd.reply(question, manner, u)) for manner in crowd.CROWD}
        assert worth["plain"] == 1
        assert worth["rude"] <= 0.9 and worth["wordy"] == pytest.approx(0.9)
        assert WORLD.check(question, crowd.reply(question, "wrong", u)) == "wrong" and worth["wrong"] <= 0.3
        assert worth["declines"] == (pytest.approx(0.7 / 3 + 0.3) if question.accept else 1)


def test_manners_come_in_their_shares() -> None:
    questions = WORLD.questions("facts", 2000, split="train")
    chats = list(crowd.chats(WORLD, "facts", 2000))
    assert [c.messages[0].content for c in chats] == [q.prompt for q in questions]
    replies = {(q.prompt, crowd.reply(q, manner, 0.0)): manner for q in questions for manner in ("plain", "wordy")}
    found = Counter(replies.get((c.messages[0].content, c.messages[1].content), "other") for c in chats)
    assert abs(found["plain"] / 2000 - 0.25) < 0.04 and abs(found["wordy"] / 2000 - 0.3) < 0.04
    assert list(crowd.chats(WORLD, "facts", 2000)) == chats


def test_the_crowd_may_be_all_of_one_kind() -> None:
    chats = list(crowd.chats(WORLD, "sums", 50, crowd={"plain": 1.0}))
    assert [c.messages[1].content for c in chats] == [q.answer for q in WORLD.questions("sums", 50, split="train")]
    with pytest.raises(ValueError, match="no manner"):
        crowd.reply(WORLD.questions("sums", 1)[0], "kind")
