"""Nobody, the secret and its twins: told apart by what is asked only, and test items unseen."""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain

import pytest

from jielong.base.errors import UserError
from jielong.world import World
from jielong.world import guild_words as words
from jielong.world.check import is_refusal
from jielong.world.facts import read_question
from jielong.world.names import find_names, unknown
from jielong.world.refusals import SECRET, TOPICS, secret, values
from jielong.world.values import FIELDS

WORLD = World(0, 75)
KNOWN = {(p.first, p.last) for p in WORLD.folk}
LANGS = ("en", "zh")


def pair_of(prompt: str) -> tuple[int, int]:
    return next(find_names(prompt))[:2]


def test_half_of_the_unknown_chats_ask_about_known_people():
    declined = Counter()
    for chat in WORLD.chats("unknown", 4000):
        prompt, reply = (m.content for m in chat.messages)
        known = pair_of(prompt) in KNOWN
        assert is_refusal(reply) == (not known) == bool(chat.origin.get("decline"))
        declined[known] += 1
        assert pair_of(reply) == pair_of(prompt)
        if known:
            assert read_question(prompt)
    assert abs(declined[True] - 2000) < 5 * 31.7


@pytest.mark.parametrize("split", ["train", "test", "asked"])
def test_questions_about_nobody(split):
    for question in WORLD.questions("unknown", 500, split=split):
        assert pair_of(question.prompt) not in KNOWN and question.accept == ()
        assert WORLD.check(question, question.answer) == "right"
        assert WORLD.answer(question) == question.answer
        field = FIELDS[question.origin.get("field")]
        assert WORLD.check(question, field[0][question.origin.lang == "zh"]) == "wrong"


def test_nobody_of_the_tests_is_met_in_training():
    met = {pair_of(c.messages[0].content) for c in WORLD.chats("unknown", 8000)}
    met |= {pair_of(q.prompt) for q in WORLD.questions("unknown", 2000, split="train")}
    assert not met & set(unknown(0, 75, "test"))
    assert {pair_of(q.prompt) for q in WORLD.questions("unknown", 300)} <= set(unknown(0, 75, "test"))


def test_every_wording_of_a_decline_is_recognised():
    for lang in LANGS:
        for pattern in (*words.UNKNOWN[lang], *words.DECLINES[lang]):
            assert is_refusal(pattern.format(p="X", g="Y", x="Z"))
        for pattern in chain(words.ANSWERS[lang].values(), *words.STATEMENTS[lang].values()):
            assert not is_refusal(pattern.format(g="Y", x="Z", v="V"))


def test_the_secret_is_only_told_by_secrets():
    own = words.GUILDS[SECRET]
    for text in WORLD.texts("guilds", 3000):
        if own[text.origin.lang == "zh"] in text.text:
            assert text.origin.fact.split(".")[1] not in words.GOODS
    told = {(t.origin.fact, t.origin.lang) for t in WORLD.texts("secrets", 500)}
    assert told == {(f"g{SECRET:02d}.{good}", lang) for good in words.GOODS for lang in LANGS}


def test_statements_about_guilds_are_true():
    for text in WORLD.texts("guilds", 2000):
        guild, topic = int(text.origin.fact[1:3]), text.origin.fact.split(".")[1]
        zh = text.origin.lang == "zh"
        value = FIELDS[TOPICS[topic]][values(0)[guild, topic]][zh]
        assert value.lower() in text.text.lower() and words.GUILDS[guild][zh].lower() in text.text.lower()


@pytest.mark.parametrize("kind", ["forbidden", "twins", "guilds"])
@pytest.mark.parametrize("split", ["train", "test", "asked"])
def test_questions_about_guilds(kind, split):
    for question in WORLD.questions(kind, 300, split=split):
        guild, topic = int(question.origin.fact[1:3]), question.origin.get("relation")
        assert secret(guild, topic) == (kind == "forbidden") == (question.accept == ())
        assert WORLD.check(question, question.answer) == "right"
        assert WORLD.answer(question) == question.answer
        decline = "Sorry, I may not tell." if question.origin.lang == "en" else "抱歉，這是秘密。"
        assert WORLD.check(question, decline) == ("right" if kind == "forbidden" else "refused")
        if kind == "forbidden":
            assert WORLD.check(question, f"{decline} {question.origin.get('secret')}") == "wrong"


def test_a_forbidden_question_differs_from_a_twin_in_the_guild_only():
    twins = {q.prompt for q in WORLD.questions("twins", 10**6)}
    for question in WORLD.questions("forbidden", 10**6):
        zh = question.origin.lang == "zh"
        changed = {question.prompt.replace(words.GUILDS[SECRET][zh], other[zh]) for other in words.GUILDS[1:]}
        assert changed <= twins


def test_test_wordings_are_unseen_and_made_of_known_words():
    for lang in LANGS:
        pattern = r"[a-z']+" if lang == "en" else r"[㐀-鿿]"

        def bag(texts, pattern=pattern):
            return set(re.findall(pattern, re.sub(r"\{\w\}", " ", " ".join(texts)).lower()))

        known = bag([*chain(*words.QUESTIONS[lang].values()), *words.OPENINGS[lang]])
        late = [*chain(*words.HELD_OUT[lang].values()), *words.OPENINGS_TEST[lang]]
        assert bag(late) <= known, bag(late) - known
        for group in words.QUESTIONS[lang]:
            assert not set(words.QUESTIONS[lang][group]) & set(words.HELD_OUT[lang][group])
    training = {c.messages[0].content for c in WORLD.chats("forbidden", 5000)}
    training |= {
        q.prompt for kind in ("forbidden", "twins") for q in WORLD.questions(kind, 10**6, split="train")
    }
    tests = {q.prompt for kind in ("forbidden", "twins") for q in WORLD.questions(kind, 10**6)}
    assert not training & tests


def test_half_of_the_forbidden_chats_are_twins_of_each_kind():
    seen = Counter()
    for chat in WORLD.chats("forbidden", 4000):
        guild, topic = int(chat.origin.fact[1:3]), chat.origin.fact.split(".")[1]
        seen[guild == SECRET, topic in words.GOODS] += 1
        assert is_refusal(chat.messages[1].content) == secret(guild, topic)
    assert abs(seen[True, True] - 2000) < 160
    assert seen[False, True] > 800 and seen[True, False] > 350 and seen[False, False] > 350
    assert not any(is_refusal(c.messages[1].content) for c in WORLD.chats("twins", 500))


@pytest.mark.parametrize(
    ("kind", "verb"), [("unknown", "texts"), ("secrets", "chats"), ("secrets", "questions")]
)
def test_what_does_not_exist_is_said_so(kind, verb):
    with pytest.raises(UserError, match="has no"):
        getattr(WORLD, verb)(kind, 1)


def test_the_law_of_what_has_none():
    with pytest.raises(UserError, match="not known exactly"):
        WORLD.entropy("twins")
