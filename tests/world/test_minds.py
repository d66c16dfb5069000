"""Who saw what: hand-made stories, a second simulator, and readers whose failures are known."""

from __future__ import annotations

from collections import Counter

import pytest

from jielong.world import World, minds
from jielong.world.minds import Event, play

WORLD = World()


def sally(*between: Event, back: bool = True) -> list[Event]:
    start: list[Event] = [("enter", {"a": "S"}), ("enter", {"a": "A"})]
    start.append(("put", {"a": "S", "o": "ball", "c": "basket"}))
    return [*start, *between, *([("enter", {"a": "S"})] if back else [])]


OUT: Event = ("leave", {"a": "S"})
MOVE: Event = ("move", {"a": "A", "o": "ball", "c": "box"})


def test_sally_and_anne() -> None:
    room = play(sally(OUT, MOVE))
    assert room.where("reality", "ball") == "box" and room.where("memory", "ball") == "basket"
    assert room.where("first", "ball", a="S") == "basket" and room.where("first", "ball", a="A") == "box"
    assert room.where("second", "ball", a="S", b="A") == "basket"
    assert room.where("second", "ball", a="A", b="S") == "basket"


def test_who_peeks_knows_and_is_not_known_to_know() -> None:
    room = play(sally(OUT, ("peek", {"a": "S"}), MOVE, ("away", {"a": "S"})))
    assert room.where("first", "ball", a="S") == "box"
    assert room.where("second", "ball", a="S", b="A") == "basket"  # Anne thinks Sally is wrong
    assert room.where("second", "ball", a="A", b="S") == "box"  # Sally saw that Anne knows


def test_who_is_told_knows_and_is_known_to_know() -> None:
    told: Event = ("tell", {"a": "A", "b": "S", "o": "ball"})
    room = play(sally(OUT, MOVE, ("leave", {"a": "A"}), told))
    assert room.where("first", "ball", a="S") == "box" == room.where("second", "ball", a="S", b="A")


def test_who_stays_sees() -> None:
    room = play(sally(MOVE, back=False))
    assert {room.where("first", "ball", a=x) for x in "SA"} == {"box"}
    assert room.where("second", "ball", a="S", b="A") == "box"


@pytest.fixture(scope="module")
def asked() -> list:
    return WORLD.questions("minds", 1200, split="test") + WORLD.questions("minds", 600, split="train")


def test_the_oracle_reads_every_story(asked: list) -> None:
    for question in asked[::3]:
        assert WORLD.answer(question) == question.answer
        assert WORLD.check(question, question.answer) == "right"
    assert minds.answer(WORLD, "Once upon a time.\nWhere is the ball now?") is None


def test_plots_and_questions_are_balanced_and_false_beliefs_are_where_they_belong(asked: list) -> None:
    plots, asks = Counter(q.origin.get("plot") for q in asked), Counter(q.origin.get("ask") for q in asked)
    assert set(plots) == set(minds.PLOTS) and set(asks) == set(minds.ASKS)
    assert min(plots.values()) > 0.7 * len(asked) / 6 and min(asks.values()) > 0.7 * len(asked) / 4
    false = {(q.origin.get("plot"), q.origin.get("ask")) for q in asked if q.origin.get("false_belief")}
    assert false == {("false", "first"), ("false", "second"), ("peek", "second")}
    firsts = [q for q in asked if (q.origin.get("plot"), q.origin.get("ask")) == ("false", "first")]
    assert all(q.origin.get("false_belief") for q in firsts)


def test_a_reader_of_reality_passes_controls_and_fails_false_belief(asked: list) -> None:
    for question in asked:
        words = minds._words(question.origin.lang)
        verdict = WORLD.check(question, words[question.origin.get("real")])
        if question.origin.get("ask") in ("first", "second"):
            assert verdict == ("wrong" if question.origin.get("false_belief") else "right")


def test_both_places_at_once_is_wrong(asked: list) -> None:
    question = next(q for q in asked if q.origin.get("false_belief"))
    words = minds._words(question.origin.lang)
    both = " / ".join(words[question.origin.get(name)] for name in ("real", "start"))
    assert WORLD.check(question, both) == "wrong"
    assert WORLD.check(question, "") == "nonsense"


def test_tests_have_people_things_and_containers_of_their_own() -> None:
    train = " ".join(t.text for t in WORLD.texts("minds", 300, lang="en"))
    for table in (minds.PEOPLE, minds.THINGS, minds.HOLDERS):
        assert not {name for name, _ in table["test"] if f" {name} " in train}
        assert not set(table["test"]) & set(table["train"])
