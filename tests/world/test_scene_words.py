"""Captions: their law, read back, held against scenes; and questions about scenes."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from jielong.base.errors import UserError
from jielong.base.stats import g_test
from jielong.world.scene_meaning import ATTRIBUTES, Meaning, Said, canonical, fits, law, meaning_of, styles
from jielong.world.scene_questions import ASKED, check, options, question, questions
from jielong.world.scene_words import caption, captions, understand, wordings, words
from jielong.world.scenes import BACKGROUNDS, CELLS, COLOURS, SHAPES, SIZES, Scene, Scenes, Thing

RED, BLUE = Thing("circle", "red", "large", 0), Thing("square", "blue", "small", 4)
GREEN = [Thing("cross", "green", "small", cell) for cell in (1, 5, 8)]
PAIR, TRIPLE = Scene((RED, BLUE), "grey"), Scene(tuple(GREEN), "white")


def test_captions_in_words():
    """What each form looks like, in both languages."""
    placed = Meaning((Said("circle", "red", "large", 0),), None, "grey")
    assert list(wordings(placed, "en")) == [
        "a large red circle at the top left on grey", "a large red circle at the top left on a grey background",
    ]  # fmt: skip
    assert list(wordings(placed, "zh")) == [
        "灰色背景上，左上角有一個大的紅色圓形", "左上角有一個大的紅色圓形，背景是灰色",
    ]  # fmt: skip
    beside = Meaning((Said("circle", "orange"), Said("square", "blue")), "left")
    assert set(wordings(beside, "en")) == {
        "an orange circle left of a blue square", "a picture of an orange circle left of a blue square",
        "a blue square right of an orange circle", "a picture of a blue square right of an orange circle",
    }  # fmt: skip
    assert "一個藍色方形在一個橘色圓形的右邊" in wordings(beside, "zh")
    counted = Meaning((Said("cross", "green", count=2), Said("circle", "red", "small")))
    assert "two green crosses and a small red circle" in wordings(counted, "en")
    assert "一個小的紅色圓形和兩個綠色叉形" in wordings(counted, "zh")
    assert set(captions(TRIPLE, "en")) >= {"three green crosses", "three small green crosses on white"}


def test_captions_are_a_law_and_draws_follow_it():
    for scene in (PAIR, TRIPLE, Scene((RED,), "grey")):
        assert sum(p for p, _ in styles(scene)) == pytest.approx(1) == pytest.approx(sum(law(scene).values()))
        for lang in ("en", "zh"):
            assert sum(captions(scene, lang).values()) == pytest.approx(1)
    drawn = Counter(caption(PAIR, "en", i) for i in range(3000))
    assert g_test(drawn, captions(PAIR, "en")) > 1e-3
    assert all(understand(caption(PAIR, lang, i)) == meaning_of(PAIR, i) for i in range(50) for lang in ("en", "zh"))


def test_every_wording_is_read_back_and_fits():
    for scene, _ in Scenes().draw(40) + Scenes().draw(20, "unseen"):
        for meaning in law(scene):
            assert canonical(meaning) == meaning
            verdict = fits(meaning, scene)
            assert all(verdict.values()) and "count" in verdict and set(verdict) <= set(ATTRIBUTES)
            for lang in ("en", "zh"):
                assert {understand(text) for text in wordings(meaning, lang)} == {meaning}


def test_a_scene_fits_exactly_the_captions_it_can_have():
    """`fits` searches assignments; `law` writes captions. They have to agree on scenes that are a little different."""
    chance = random.Random(0)
    agreed = Counter()
    for scene, _ in Scenes().draw(250):
        changed = list(scene.things)
        i = chance.randrange(len(changed))
        old = changed[i]
        new = [chance.choice(SHAPES), chance.choice(COLOURS), chance.choice(SIZES), chance.choice(CELLS)]
        which = chance.randrange(4)
        fields = [new[j] if j == which else each for j, each in enumerate((*old.pair, old.size, old.cell))]
        changed[i] = Thing(*fields)
        if len({thing.cell for thing in changed}) < len(changed):
            continue
        other = Scene(tuple(sorted(changed, key=lambda thing: thing.cell)), scene.background)
        possible = law(other)
        for meaning in law(scene):
            assert all(fits(meaning, other).values()) == (meaning in possible), (meaning, other)
            agreed[meaning in possible] += 1
    assert min(agreed.values()) > 300


def test_every_wrong_attribute_of_one_thing_is_caught_by_name():
    thing = Thing("circle", "red", "large", 0)
    meaning = Meaning((Said("circle", "red", "large", 0),), None, "grey")
    everything = {"count", "shape", "colour", "size", "place", "background"}
    for scene, wrong in (
        (Scene((thing,), "grey"), set()),
        (Scene((thing,), "cyan"), {"background"}),
        *((Scene((Thing(shape, "red", "large", 0),), "grey"), {"shape"}) for shape in SHAPES[1:]),
        *((Scene((Thing("circle", colour, "large", 0),), "grey"), {"colour"}) for colour in COLOURS[1:]),
        (Scene((Thing("circle", "red", "small", 0),), "grey"), {"size"}),
        *((Scene((Thing("circle", "red", "large", cell),), "grey"), {"place"}) for cell in CELLS[1:]),
        (Scene((thing, BLUE), "grey"), {"count"}),
        (Scene((Thing("square", "blue", "small", 3),), "white"), everything - {"count"}),
        (None, everything),
    ):
        verdict = fits(meaning, scene)
        assert set(verdict) == everything
        assert {name for name, right in verdict.items() if not right} == wrong


def test_verdicts_of_several_things():
    beside = understand("a red circle left of a blue square")
    assert beside is not None
    swapped = Scene((Thing("square", "blue", "small", 0), Thing("circle", "red", "large", 4)), "grey")
    bound = Scene((Thing("circle", "blue", "large", 0), Thing("square", "red", "small", 4)), "grey")
    under = Scene((Thing("circle", "red", "large", 1), Thing("square", "blue", "small", 4)), "grey")
    assert fits(beside, PAIR) == {"count": True, "shape": True, "colour": True, "relation": True}
    assert fits(beside, swapped) == {"count": True, "shape": True, "colour": True, "relation": False}
    assert fits(beside, under)["relation"] is False
    assert sum(fits(beside, bound).values()) == 3 and not all(fits(beside, bound).values())  # the colours are swapped
    assert fits(beside, Scene((RED,), "grey")) == {"count": False, "shape": False, "colour": False, "relation": False}
    three = understand("three green crosses")
    assert three is not None and all(fits(three, TRIPLE).values())
    assert fits(three, Scene(tuple(GREEN[:2]), "white")) == {"count": False, "shape": False, "colour": False}
    odd = Scene((*GREEN[:2], Thing("circle", "green", "small", 8)), "white")
    assert fits(three, odd) == {"count": True, "shape": False, "colour": True}
    five = understand("five green crosses")
    assert five is not None and not any(fits(five, TRIPLE).values())


def test_liberties_are_understood_and_nonsense_is_not():
    same = Meaning((Said("circle", "red", "large"), Said("square", "blue", "small")), "left", "grey")
    for text in ("A big red circle to the left of a little blue square on gray.",
                 "灰色背景上，一個大的紅色圓形在一個小的藍色方形的左邊。",
                 "a small blue square right of a large red circle on grey"):  # fmt: skip
        assert understand(text) == same
    assert understand("2 triangles") == Meaning((Said("triangle", count=2),))
    assert understand("a green thing in the center") == Meaning((Said(None, "green", None, 4),))
    for text in (
        "", "hello", "a cat on white", "zero red circles", "two red circles at the top", "a red circle left of",
        "紅色", "一隻貓在一個紅色圓形的左邊", "a red circle left of a blue square above a green cross",
    ):  # fmt: skip
        assert understand(text) is None
    with pytest.raises(UserError, match="en or zh"):
        words(same, "de")
    with pytest.raises(UserError, match="one thing at least"):
        words(Meaning(()), "en")


def test_questions_in_words():
    asked = {q.prompt: q.answer for q in questions(PAIR, "en")}
    assert asked["How many things are there?"] == "Two." and asked["How many crosses are there?"] == "Zero."
    assert asked["How many red things are there?"] == "One."
    assert asked["What shape is at the top left?"] == "Circle." and asked["What shape is at the top?"] == "Nothing."
    assert asked["What colour is the square?"] == "Blue." and asked["Where is the blue square?"] == "At the centre."
    assert asked["Is the red circle small or large?"] == "Large." and asked["What colour is the background?"] == "Grey."
    assert asked["Is the red circle left of the blue square?"] == "Yes."
    assert asked["Is the red circle below the blue square?"] == "No."
    drawn = {q.prompt: q.answer for q in questions(TRIPLE, "zh")}
    assert drawn["圖上有幾個叉形？"] == "三個。" and drawn["正上方是什麼形狀？"] == "叉形。"
    assert not any("在哪裡" in prompt or "小的還是" in prompt for prompt in drawn)  # three alike: which one?


def test_answers_are_judged():
    for scene, _ in Scenes().draw(25, draw=4):
        for lang in ("en", "zh"):
            every = questions(scene, lang)
            assert len({q.prompt for q in every}) == len(every)
            for q in every:
                assert check(q, q.answer) == "right"
                others = set(options(q.origin.get("ask"), lang)) - set(q.accept)
                assert all(check(q, other) == "wrong" for other in others)
            assert question(scene, lang, 3) in every and question(scene, lang, 3) == question(scene, lang, 3)
    q = next(q for q in questions(PAIR, "en") if q.prompt == "What colour is the square?")
    assert check(q, "The square is blue, I think.") == "right" and check(q, "blue or red") == "wrong"
    assert check(q, "I do not know.") == "refused" and check(q, "seven") == "nonsense"


def test_questions_are_asked_evenly():
    asked = Counter(question(PAIR, "en", i).origin.get("ask") for i in range(1200))
    assert g_test(asked, dict.fromkeys(ASKED, 1 / len(ASKED))) > 1e-3
    assert options("background", "en") == BACKGROUNDS and "2" in options("count", "zh")
