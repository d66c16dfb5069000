"""What is taught, and that nothing of the test slips in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jielong.base.errors import UserError
from jielong.train import curriculum as plans
from jielong.train.curriculum import CHATS, HELD_OUT_DRAW, TEXTS, Curriculum

SMALL = Curriculum(people=20, vocab=600, texts=800, chats=400)


def test_shares_are_shares_and_the_dial_teaches_more() -> None:
    assert sum(TEXTS.values()) == pytest.approx(1) and sum(CHATS.values()) == pytest.approx(1)
    people = [plans.curriculum(minutes).people for minutes in (1, 6, 15, 30, 60)]
    assert people == sorted(people) and people[1] * 8 >= 600 and people[-1] == 300
    with pytest.raises(UserError, match="minutes"):
        plans.curriculum(0)


def test_documents_are_the_worlds_and_held_out_ones_are_other_draws() -> None:
    train, held = plans.documents(SMALL, 800), plans.documents(SMALL, 800, HELD_OUT_DRAW)
    assert train == plans.documents(SMALL, 800) and train != held
    assert len(train) == pytest.approx(800, abs=len(TEXTS))


def test_no_tested_person_operand_or_wording_is_asked_in_training() -> None:
    world = SMALL.world
    asked = {m.content for chat in plans.chats(SMALL, 4000) for m in chat.messages if m.role == "user"}
    for kind in ("facts", "sums", "unknown", "forbidden", "twins"):
        tested = {q.prompt for q in world.questions(kind, 500, split="test")}
        assert tested and not tested & asked, kind
    silent = [p.name(lang) for p in world.folk if not p.asked for lang in ("en", "zh")]
    assert silent and not any(name in prompt for name in silent for prompt in asked)


def test_tokens_are_marked_and_documents_come_again() -> None:
    codec = plans.codec(SMALL)
    train, held = plans.pretraining(SMALL, codec)
    assert train.train.all() and len(held) < 2 * len(train)
    assert all(train.document(i)[0][0] == codec.end == train.document(i)[0][-1] for i in range(20))
    alone, fresh = plans.fine_tuning(replace(SMALL, again=0.0), codec)
    both, _ = plans.fine_tuning(replace(SMALL, again=0.5), codec)
    assert 0.2 < alone.train.mean() < 0.8 and len(fresh) > 0
    assert len(both) == pytest.approx(2 * len(alone), rel=0.02)
    few, _ = plans.fine_tuning(replace(SMALL, again=0.0), codec, 50)
    assert few.documents < alone.documents
