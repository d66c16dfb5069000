"""Small tasks and styles: replies are right by construction, splits hold, judgements by hand."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from jielong.world import World
from jielong.world.chats import HELD_OUT_KINDS, MAKERS, vocabulary
from jielong.world.names import find_names
from jielong.world.styles import answer as style_answer
from jielong.world.text import Chat
from jielong.world.values import FIELDS
from jielong.world.world import KINDS

WORLD = World(0, 75)
TASKS = tuple(MAKERS)
STYLES = ("loose", "bench")


def first(kind: str, lang: str, split: str = "test", where=lambda question: True):
    return next(q for q in WORLD.questions(kind, 500, split=split, lang=lang) if where(q))


def test_held_out_kinds_are_kinds():
    assert set(HELD_OUT_KINDS) < set(TASKS) < set(KINDS)


@pytest.mark.parametrize("kind", [*TASKS, *STYLES, "common"])
@pytest.mark.parametrize("split", ["train", "test", "asked"])
def test_every_request_is_answered_by_itself_and_by_the_oracle(kind, split):
    questions = WORLD.questions(kind, 300, split=split)
    assert len({q.prompt for q in questions}) == len(questions) > 5
    for question in questions:
        assert question.origin.kind == kind and question.origin.split == split
        assert WORLD.check(question, question.answer) == "right"
        assert WORLD.check(question, WORLD.answer(question)) == "right"
        assert WORLD.check(question, "I do not know.") in ("refused", "wrong")
        assert WORLD.check(question, "…") == "nonsense"


@pytest.mark.parametrize("kind", [*TASKS, *STYLES, "common"])
def test_tests_are_never_met_in_training(kind):
    training = {c.messages[0].content for c in WORLD.chats(kind, 1000)}
    late = {q.prompt for split in ("test", "asked") for q in WORLD.questions(kind, 500, split=split)}
    assert not training & late


@pytest.mark.parametrize("kind", ["translate", "yesno", "compare", *STYLES])
def test_people_of_the_tests_are_never_met_in_training(kind):
    silent = {(p.first, p.last) for p in WORLD.folk if not p.asked}
    for chat in WORLD.chats(kind, 1000):
        assert not {name[:2] for name in find_names(chat.messages[1].content)} & silent


def test_words_of_the_tests_are_other_words():
    train, test = vocabulary(0, False), vocabulary(0, True)
    assert not {w[0] for w in train} & {w[0] for w in test}
    assert len(test) == (len(train) + len(test)) // 5


def test_tasks_by_their_definition():
    def word(question):
        return re.search(r"「(.+)」", question.prompt)[1]

    for question in WORLD.questions("reverse", 100, lang="zh"):
        assert question.answer == word(question)[::-1]
    for question in WORLD.questions("count", 100, lang="zh"):
        assert question.accept == (str(len(word(question))),)
    for question in WORLD.questions("upper", 100):
        assert question.answer.isupper() and question.answer.lower() in question.prompt.lower()
    for question in WORLD.questions("copy", 100, lang="en"):
        assert question.answer in question.prompt
    pairs = {pair for pairs in FIELDS.values() for pair in pairs}
    pairs |= {(p.name("en"), p.name("zh")) for p in WORLD.folk}
    for question in WORLD.questions("translate", 200):
        assert any(en in question.prompt and zh == question.answer for en, zh in pairs) or any(
            zh in question.prompt and en == question.answer for en, zh in pairs
        )


def test_yes_and_no_are_as_frequent_and_true():
    said = Counter(chat.messages[1].content[:2] for chat in WORLD.chats("yesno", 3000, lang="zh"))
    assert abs(said["是的"] - 1500) < 5 * 27.4
    people = {p.id: p for p in WORLD.folk}
    for question in WORLD.questions("yesno", 500):
        person, relation = people[question.origin.person], question.origin.get("relation")
        true = person.value(relation, question.origin.lang) in question.prompt
        assert (question.accept[0] in ("Yes", "是的")) == true


def test_comparisons_are_true():
    people = {p.id: p for p in WORLD.folk}
    yes = 0
    for question in WORLD.questions("compare", 500, split="train"):
        p, q = people[question.origin.person], people[question.origin.get("other")]
        relation = question.origin.fact.split(".")[1]
        same = p.value(relation, "en") == q.value(relation, "en")
        yes += same
        assert p is not q and (question.accept[0] in ("Yes", "是的")) == same
    assert 150 < yes < 350


@pytest.mark.parametrize(
    ("kind", "lang", "reply", "verdict"),
    [
        ("yesno", "en", "Perhaps.", "nonsense"),
        ("yesno", "zh", "不知道。", "refused"),
        ("compare", "en", "I do not know.", "refused"),
        ("list", "zh", "沒有", "nonsense"),
        ("count", "en", "many letters", "nonsense"),
        ("count", "zh", "99個字", "wrong"),
        ("upper", "en", "pudding", "wrong"),
        ("greet", "zh", "香蕉", "wrong"),
        ("translate", "en", "x " * 200, "wrong"),
    ],
)
def test_replies_by_hand(kind, lang, reply, verdict):
    assert WORLD.check(first(kind, lang), reply) == verdict


def test_both_sides_of_yes_and_no():
    yes = first("yesno", "en", where=lambda q: q.accept == ("Yes",))
    no = first("yesno", "zh", where=lambda q: q.accept == ("不是",))
    assert [WORLD.check(yes, r) for r in ("Yes.", "yes", "No.", "No, Yes.")] == [
        "right",
        "right",
        "wrong",
        "wrong",
    ]
    assert [WORLD.check(no, r) for r in ("不是。", "不，", "是。", "是的", "對")] == [
        "right",
        "right",
        *["wrong"] * 3,
    ]


def test_lists_must_have_the_right_number_of_members():
    three = first(
        "list", "en", where=lambda q: q.origin.get("list") == "animal" and q.origin.get("size") == 3
    )
    verdicts = {
        "cat, dog, hen": "right", "cats and dogs and a hen.": "right", "cat, dog": "wrong",
        "cat, cat, dog": "wrong", "cat, dog, hen, fox": "wrong", "cat, dog, 狗": "wrong",
        "red, blue": "nonsense",
    }  # fmt: skip
    assert {reply: WORLD.check(three, reply) for reply in verdicts} == verdicts


def test_options_hold_the_right_value_once_and_its_place_tells_nothing():
    letters = Counter()
    for question in WORLD.questions("bench", 2000):
        options = question.origin.get("options")
        assert len(set(options)) == 4 and options.count(question.accept[0]) == 1
        assert options["ABCD".index(question.origin.get("letter"))] == question.accept[0]
        letters[question.origin.get("letter")] += 1
    assert all(abs(count - 500) < 5 * 19.4 for count in letters.values())


def test_a_letter_decides_where_there_are_options():
    asked = first(
        "bench", "en", where=lambda q: q.origin.get("letter") == "B" and q.origin.get("field") == "animal"
    )
    value, other = asked.accept[0], asked.origin.get("options")[0]
    verdicts = {
        "B": "right", "B.": "right", f"B. {value}": "right",
        f"The answer is B, {value}.": "right",
        "A": "wrong", f"A. {value}": "wrong", "A or B": "wrong", f"A {value}.": "right",
        value: "right", other: "wrong", "I do not know.": "refused", "none of them": "nonsense",
    }  # fmt: skip
    assert {reply: WORLD.check(asked, reply) for reply in verdicts} == verdicts


def test_loose_questions_have_no_capitals_and_no_end():
    for question in WORLD.questions("loose", 300, split="train"):
        assert question.prompt == question.prompt.lower() and question.prompt[-1] not in "?？.。"


def test_the_oracle_of_styles_knows_what_it_does_not_know():
    assert style_answer(WORLD, "hello") is None
    assert style_answer(WORLD, "Question: Who?\nA. x\nB. y\nAnswer:") is None


def test_chats_end_with_the_assistant():
    for kind in (*TASKS, *STYLES):
        for chat in WORLD.chats(kind, 20):
            assert isinstance(chat, Chat) and [m.role for m in chat.messages] == ["user", "assistant"]
