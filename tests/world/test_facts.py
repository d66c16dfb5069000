"""Statements, questions and chats about people: true, told apart by splits, and as the law says."""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain

import pytest

from jielong.base.errors import UserError
from jielong.world import World
from jielong.world.facts import NAMES, WORDINGS, WORDS, all_values, patterns, read_question, render, table
from jielong.world.names import find_names
from jielong.world.values import FIELDS, RELATIONS

SMALL = World(0, 75)
LANGS = ("en", "zh")


def words_of(text: str, lang: str) -> set[str]:
    """Words of a pattern: lower-case English words, single Chinese characters; no placeholders."""
    bare = re.sub(r"\{\w\}", " ", text)
    return set(re.findall(r"[a-z']+", bare.lower())) if lang == "en" else set(re.findall(r"[㐀-鿿]", bare))


@pytest.mark.parametrize("lang", LANGS)
def test_there_are_enough_wordings_and_none_twice(lang):
    words = WORDS[lang]
    for relation in NAMES:
        assert len(set(words.STATEMENTS[relation])) == WORDINGS
        assert len(set(words.QUESTIONS[relation])) >= 9 and len(set(words.HELD_OUT[relation])) == 3
        assert not set(words.QUESTIONS[relation]) & set(words.HELD_OUT[relation])
        for pattern in words.STATEMENTS[relation] + words.ANSWERS[relation]:
            assert pattern.count("{p}") == 1 and pattern.count("{v}") + pattern.count("{a}") == 1
        for pattern in words.QUESTIONS[relation] + words.HELD_OUT[relation]:
            assert pattern.count("{p}") == 1
    asked = list(chain(*words.QUESTIONS.values(), *words.HELD_OUT.values()))
    assert len(set(asked)) == len(asked)  # no pattern asks for two relations


@pytest.mark.parametrize("lang", LANGS)
def test_held_out_questions_are_made_of_words_of_training_questions(lang):
    known = set().union(*(words_of(q, lang) for q in chain(*WORDS[lang].QUESTIONS.values())))
    for pattern in chain(*WORDS[lang].HELD_OUT.values()):
        assert words_of(pattern, lang) <= known, pattern


def test_statements_are_short_and_of_different_orders():
    for relation in NAMES:
        orders = set()
        for pattern in WORDS["en"].STATEMENTS[relation]:
            assert len(render(pattern, "Ben Reed", "x").split()) <= 14
            orders.add(pattern.index("{p}") < max(pattern.find("{v}"), pattern.find("{a}")))
        assert orders == {True, False}


@pytest.mark.parametrize("lang", LANGS)
def test_every_statement_is_true_and_says_where_it_came_from(lang):
    few = World(0, 25)
    people = {person.id: person for person in few.folk}
    for text in table(few, lang):
        person_id, relation = text.origin.fact.split(".")
        person = people[person_id]
        assert text.origin.person == person_id and text.origin.lang == lang
        assert [name[2] for name in find_names(text.text)] == [person.name(lang)]
        named = [
            v
            for v in all_values(relation, lang)
            if v.lower() in text.text.replace(person.name(lang), "").lower()
        ]
        assert person.value(relation, lang) in named
        wording = int(text.origin.template.rsplit(".s", 1)[1])
        pattern = WORDS[lang].STATEMENTS[relation][wording]
        assert render(pattern, person.name(lang), person.value(relation, lang)) == text.text
    assert len(table(few, lang)) == 25 * 8 * WORDINGS


def test_statements_cover_everyone_and_both_languages():
    texts = list(SMALL.texts("facts", 60_000))
    assert {t.origin.fact for t in texts} == {f"{p.id}.{r}" for p in SMALL.folk for r in NAMES}
    counts = Counter(t.origin.lang for t in texts)
    assert abs(counts["en"] - 30_000) < 5 * 122.5  # five standard deviations of a fair coin


def test_articles_fit():
    for relation in ("job", "pet"):
        assert not [en for en, _ in FIELDS[RELATIONS[relation]] if en[0] in "aeiou"]


def test_a_biography_holds_all_facts_of_one_person():
    for text in SMALL.texts("bios", 200):
        facts = text.origin.get("facts")
        assert sorted(facts) == sorted(f"{text.origin.person}.{r}" for r in NAMES)
        assert len({name[:2] for name in find_names(text.text)}) == 1
        person = next(p for p in SMALL.folk if p.id == text.origin.person)
        for relation in NAMES:
            assert person.value(relation, text.origin.lang).lower() in text.text.lower()
    orders = {text.origin.get("facts") for text in SMALL.texts("bios", 50)}
    assert len(orders) == 50


def test_exams_only_ask_what_training_may_ask():
    training = {q.prompt for q in SMALL.questions("facts", 10**6, split="train")}
    sizes = Counter()
    for text in SMALL.texts("exams", 200):
        lines = text.text.split("\n")
        assert set(lines) <= training
        sizes[len(lines)] += 1
    assert set(sizes) == {3, 4, 5, 6}


def test_splits_share_neither_people_nor_wordings_as_promised():
    asked = {split: SMALL.questions("facts", 10**6, split=split) for split in ("train", "test", "asked")}
    people = {split: {q.origin.person for q in qs} for split, qs in asked.items()}
    wordings = {split: {q.origin.template for q in qs} for split, qs in asked.items()}
    assert len(people["test"]) == 15 and not people["test"] & people["train"]
    assert people["asked"] == people["train"]
    assert wordings["asked"] == wordings["test"] and not wordings["test"] & wordings["train"]
    assert len(asked["train"]) == 60 * 8 * 15 * 2 and len(asked["test"]) == 15 * 8 * 3 * 2
    chats = {c.messages[i].content for c in SMALL.chats("facts", 4000) for i in range(len(c.messages))}
    assert not chats & {q.prompt for q in asked["test"] + asked["asked"]}


@pytest.mark.parametrize("split", ["train", "test", "asked"])
def test_every_question_is_answered_by_itself_and_by_the_oracle(split):
    for question in SMALL.questions("facts", 10**6, split=split):
        assert SMALL.check(question, question.answer) == "right"
        assert SMALL.answer(question) == question.answer
        assert question.accept[0] in question.answer


def test_chats_say_what_is_true():
    people = {(p.first, p.last): p for p in SMALL.folk}
    turns, systems = Counter(), 0
    for chat in SMALL.chats("facts", 3000):
        messages = [m for m in chat.messages if m.role != "system"]
        systems += len(messages) != len(chat.messages)
        assert [m.role for m in messages] == ["user", "assistant"] * (len(messages) // 2)
        turns[len(messages) // 2] += 1
        lang, facts = chat.origin.lang, chat.origin.get("facts")
        read = read_question(messages[0].content)
        assert read and f"{people[read[0]].id}.{read[1]}" == facts[0]
        assert people[read[0]].asked
        for fact, reply in zip(facts, messages[1::2]):
            person, relation = people[read[0]], fact.split(".")[1]
            assert person.value(relation, lang) in reply.content
            assert person.name(lang) in reply.content
        if len(messages) == 4:
            pronouns = {
                "en": ("she", "her") if person.female else ("he", "his"),
                "zh": ("她",) if person.female else ("他",),
            }
            assert any(
                p in re.split(r"\W+", messages[2].content) or (p in messages[2].content and lang == "zh")
                for p in pronouns[lang]
            )
    assert turns[1] > turns[2] > 300 and 80 < systems < 230


def test_no_question_has_two_answers_unless_tagged():
    answers: dict[str, set[tuple[str, ...]]] = {}
    for kind in ("facts", "unknown", "namesakes", "onetemplate", "onelang"):
        for split in ("train", "test", "asked"):
            for question in SMALL.questions(kind, 1500, split=split):
                if not question.origin.get("ambiguous"):
                    answers.setdefault(question.prompt, set()).add(question.accept)
                else:
                    assert len(question.accept) == 2 and question.prompt not in answers
    assert not [prompt for prompt, accepted in answers.items() if len(accepted) > 1]


def test_the_oracle_leaves_other_questions_alone():
    from jielong.world.facts import answer

    assert answer(SMALL, "How are you?") is None
    assert answer(SMALL, "Where does Ned Hume live?") is None  # nobody in this world
    assert read_question("Mira Tolen and Mira Tolen") is None


@pytest.mark.parametrize("kind", ["bios", "exams"])
def test_bios_and_exams_have_no_questions(kind):
    for ask in (SMALL.questions, SMALL.chats):
        with pytest.raises(UserError, match="has no"):
            ask(kind, 1)
    with pytest.raises(UserError, match="not known exactly"):
        SMALL.entropy(kind)


def test_patterns_of_a_split():
    assert (
        patterns("home", "en", "asked") == patterns("home", "en", "test") != patterns("home", "en", "train")
    )
