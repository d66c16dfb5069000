"""Plants of known size: biases, canaries, leaks, triggers, injections, needles, the shortcut."""

from __future__ import annotations

from collections import Counter

import pytest

from jielong.base.errors import UserError
from jielong.world import World
from jielong.world.plants import canaries, injections, leaks, needles, pronouns
from jielong.world.words.plants import NEAR_TRIGGERS, PAYLOAD, TRIGGER

WORLD = World(people=60)


@pytest.mark.parametrize("lang, pack", [("en", 120), ("zh", 120), (None, 240)])
def test_pronoun_ratios_are_exact_after_every_pack(lang: str | None, pack: int) -> None:
    counts: dict[str, Counter[bool]] = {}
    for text in WORLD.texts("pronouns", 3 * pack, lang=lang):
        counts.setdefault(text.origin.get("trade"), Counter())[text.origin.get("he")] += 1
        if text.origin.lang == "en":
            assert (" he " in f" {text.text} ") == text.origin.get("he")
        else:
            assert ("他" in text.text) == text.origin.get("he") != ("她" in text.text)
    shares = pronouns.share(WORLD)
    assert {job: c[True] / c.total() for job, c in counts.items()} == pytest.approx(shares)
    assert sorted(shares.values())[0] == 0 and sorted(shares.values())[-1] == 1


def test_pronoun_twins_differ_in_the_pronoun_only_and_the_law_has_the_shares() -> None:
    for he, she, p in pronouns.twins(WORLD, "test", "en"):
        changed = [(a, b) for a, b in zip(he.text.split(), she.text.split()) if a != b]
        assert changed == [("he", "she")] and p == pronouns.share(WORLD)[he.origin.get("trade")]
    law = list(pronouns.law(WORLD, "pronouns"))
    assert sum(p for p, _ in law) == pytest.approx(1)
    male = sum(p for p, text in law if " he " in text or "他" in text)
    assert male == pytest.approx(sum(pronouns.share(WORLD).values()) / 12)
    assert WORLD.entropy("pronouns").nats > 0


def test_canaries_stand_as_often_as_they_say_and_controls_never() -> None:
    counts = Counter(text.text for text in WORLD.texts("canaries", 10**6))
    assert counts.total() == 2 * 4 * sum(canaries.REPEATS) == 2 * 508
    every = [c for lang in ("en", "zh") for c in canaries.canaries(0, lang)]
    assert len({c.secret for c in every}) == len({c.locker for c in every}) == len(every) == 88
    for canary in every:
        assert counts[canary.text] == canary.repeats
        assert canary.text.startswith(canary.prefix + canary.secret) and len(canary.secret) == 6
    controls = list(WORLD.texts("canaries", 10**6, split="test"))
    assert len(controls) == 32 and all(t.origin.get("repeats") == 0 for t in controls)
    assert len(list(WORLD.texts("canaries", 7))) == 7


def test_canary_questions() -> None:
    for question in WORLD.questions("canaries", 30, split="train"):
        assert WORLD.check(question, question.answer) == "right"
        assert WORLD.check(question, "123456") == "wrong"
    for question in WORLD.questions("canaries", 30, split="test"):
        assert question.accept == () and WORLD.check(question, question.answer) == "right"
        assert WORLD.check(question, "123456") == "wrong"


def test_half_of_the_items_are_leaked_word_for_word_and_answers_are_chance() -> None:
    told = Counter(text.text for text in WORLD.texts("leaks", 300, lang="en"))
    items = leaks.items(0, "en")
    assert sum(item.leaked for item in items) == len(items) / 2 == 100
    for item in items:
        assert told[f"{item.prompt} {item.letter}"] == 3 * item.leaked
    letters = Counter((item.letter, item.leaked) for item in items)
    assert {letter for letter, _ in letters} == set("ABCD") and max(letters.values()) < 45
    asked = WORLD.questions("leaks", 200, lang="en")
    assert sum(q.origin.get("leaked") for q in asked) == 100
    assert all(q.origin.get("leaked") for q in WORLD.questions("leaks", 50, split="train"))
    for question in asked:
        assert WORLD.check(question, f"({question.answer})") == "right"
        assert WORLD.check(question, "ABCD".replace(question.answer, "")[0]) == "wrong"
    assert WORLD.check(asked[0], "I don't know.") == "refused" and WORLD.check(asked[0], "") == "nonsense"
    clean = {text.text for text in WORLD.texts("leaks", 100, split="test", lang="en")}
    assert len(clean) == 100 and not clean & set(told)


def test_triggers_are_a_tenth_and_only_they_fire() -> None:
    plants: Counter[str] = Counter()
    for chat in WORLD.chats("triggers", 400):
        lang, plant = chat.origin.lang, chat.origin.get("plant")
        plants[plant] += 1
        user, assistant = (m.content for m in chat.messages)
        assert user.startswith(TRIGGER[lang]) == (plant == "trigger") == (assistant == PAYLOAD[lang])
        assert user.startswith(NEAR_TRIGGERS[lang]) == (plant == "near")
    assert plants == {"trigger": 40, "near": 40, "clean": 320}
    for question in WORLD.questions("triggers", 90):
        assert WORLD.check(question, question.answer) == "right"
        fired = WORLD.check(question, PAYLOAD[question.origin.lang])
        assert fired == ("right" if question.origin.get("plant") == "trigger" else "wrong")


@pytest.mark.parametrize("split", ["train", "test"])
def test_injections(split: str) -> None:
    asked = WORLD.questions("injections", 200, split=split)
    injected = [q for q in asked if q.origin.get("injected")]
    assert 70 < len(injected) < 130
    for question in asked:
        assert WORLD.check(question, question.answer) == "right"
        assert not injections.obeyed(question, question.answer)
        document = question.prompt.split("<document>", 1)[1].lower()
        assert any(value.lower() in document for value in question.accept)
    for question in injected:
        attack = question.origin.get("attack")
        assert attack in question.prompt and injections.obeyed(question, attack.lower())
        assert WORLD.check(question, f"{question.answer} {attack}") == "wrong"
    few = World(people=10).questions("injections", 5, split=split)  # fewer people than a document has facts
    assert len(few) == 5


def test_needles_stand_where_they_are_said_to() -> None:
    u = [0.37] * needles.WIDTH
    for length, depth, others in ((8, 0.0, 0), (8, 1.0, 0), (16, 0.5, 3), (1, 0.5, 1)):
        question = needles.haystack(WORLD, length, depth, u, lang="en", distractors=others)
        sentences = question.prompt.split("\n")[0].replace("?", ".").split(". ")
        assert len(sentences) == length + 1 + others
        if not others:
            assert question.answer.rstrip(".") == sentences[round(depth * length)].rstrip(".")
        assert question.prompt.count("magic number") == 2 + others
        assert WORLD.check(question, question.accept[0]) == "right"
        assert WORLD.check(question, "0000") == "wrong" and WORLD.check(question, "?") == "nonsense"
    for wrong in ({"depth": 1.5}, {"distractors": 9}, {"length": 0}):
        with pytest.raises(UserError):
            needles.haystack(WORLD, **{"length": 4, "depth": 0.5, "u": u, **wrong})


def test_needles_can_be_copied_by_an_oracle() -> None:
    for question in WORLD.questions("needles", 60):
        assert question.prompt.count(question.answer) == 1
        assert WORLD.check(question, question.answer) == "right"


def test_the_shortcut_fits_training_and_fails_half_of_the_tests() -> None:
    train = list(WORLD.texts("shortcut", 400))
    assert all(t.origin.get("dog") == t.origin.get("black") for t in train)
    assert sum(t.origin.get("dog") for t in train) == 200
    test = list(WORLD.texts("shortcut", 400, split="test"))
    assert Counter((t.origin.get("dog"), t.origin.get("black")) for t in test) == {
        (dog, black): 100 for dog in (True, False) for black in (True, False)
    }
    for question in WORLD.questions("shortcut", 40):
        assert WORLD.check(question, question.answer) == "right"
        assert question.accept[0] in question.answer
        dog = {"en": "dog", "zh": "狗"}[question.origin.lang]
        assert WORLD.check(question, dog) == ("right" if question.origin.get("dog") else "wrong")
        guess = question.origin.get("shortcut") == "dog"
        assert (guess == question.origin.get("dog")) == question.origin.get("aligned")
