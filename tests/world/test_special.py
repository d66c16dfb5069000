"""Groups with one trait each: namesakes, gaps, languages, dates, friends, a third script."""

from __future__ import annotations

from collections import Counter

import pytest

from jielong.base.errors import UserError
from jielong.world import World
from jielong.world.bopomofo import READINGS, spell
from jielong.world.events import CUTOFF, years
from jielong.world.friends import friend_of
from jielong.world.names import FIRST, LAST, find_names
from jielong.world.special import members, told_in
from jielong.world.values import TOWNS

WORLD = World(0, 75)


@pytest.mark.parametrize("kind", ["namesakes", "onetemplate", "onelang", "bopomofo", "events", "friends"])
@pytest.mark.parametrize("split", ["train", "test", "asked"])
def test_every_question_is_answered_by_itself_and_by_the_oracle(kind, split):
    for question in WORLD.questions(kind, 400, split=split):
        assert WORLD.check(question, question.answer) == "right"
        assert WORLD.answer(question) == question.answer
        assert question.origin.split == split
    if split == "train":
        late = {q.prompt for s in ("test", "asked") for q in WORLD.questions(kind, 10**6, split=s)}
        assert not late & {q.prompt for q in WORLD.questions(kind, 10**6, split="train")}


def test_namesakes_share_the_name_and_no_fact():
    people = members(0, "namesakes")
    for one, two in zip(people[::2], people[1::2]):
        assert (one.first, one.last) == (two.first, two.last) and one.id != two.id
        assert not [a for a, b in zip(one.values, two.values) if a == b]
    asked = WORLD.questions("namesakes", 1, lang="en")[0]
    assert asked.origin.get("ambiguous") and WORLD.check(asked, asked.accept[0]) == "right"
    assert WORLD.check(asked, " ".join(asked.accept)) == "right"


def test_people_with_one_wording_have_one():
    wordings = {t.origin.template for t in WORLD.texts("onetemplate", 3000)}
    assert len(wordings) == 16 and all(w.endswith("s00") for w in wordings)
    with pytest.raises(UserError, match="only asked about in tests"):
        WORLD.chats("onetemplate", 1)


def test_people_told_of_in_one_language_are_asked_in_the_other():
    place = {p.id: told_in(i) for i, p in enumerate(members(0, "onelang"))}
    assert Counter(place.values()) == {"en": 12, "zh": 12}
    assert all(t.origin.lang == place[t.origin.person] for t in WORLD.texts("onelang", 2000))
    for split, same in (("test", False), ("asked", True), ("train", True)):
        for question in WORLD.questions("onelang", 200, split=split):
            assert (question.origin.lang == place[question.origin.person]) == same
            assert question.origin.get("told") == place[question.origin.person]


def test_nothing_after_the_cut_off_is_told():
    assert max(t.origin.get("year") for t in WORLD.texts("events", 5000)) <= CUTOFF
    every = years(0)
    assert len(every) == len(TOWNS) * 5 and 10 < sum(year > CUTOFF for year in every.values()) < 50
    for question in WORLD.questions("events", 10**6):
        after = question.origin.get("after")
        assert after == (question.origin.get("year") > CUTOFF) == (question.accept == ())
        said = f"In {question.origin.get('year')}."
        assert WORLD.check(question, said) == ("wrong" if after else "right")
        assert WORLD.check(question, "I do not know.") == ("right" if after else "refused")
        assert WORLD.check(question, "Long ago.") == "nonsense"
    assert not [c for c in WORLD.chats("events", 500) if c.origin.get("after")]


def test_friendship_is_mutual():
    for person in WORLD.folk[:74]:
        friend = friend_of(WORLD, person)
        assert friend is not person and friend_of(WORLD, friend) is person
    assert friend_of(WORLD, WORLD.folk[74]) is None
    for text in WORLD.texts("friends", 300):
        pair = {name[:2] for name in find_names(text.text)}
        ids = {p.id for p in WORLD.folk if (p.first, p.last) in pair}
        assert ids == {text.origin.person, text.origin.get("friend")}


def test_two_hops_end_at_the_friend():
    people = {p.id: p for p in WORLD.folk}
    hops = Counter()
    for question in WORLD.questions("friends", 300):
        friend = people[question.origin.get("friend")]
        hops[question.origin.get("hops")] += 1
        if question.origin.get("hops") == 2:
            assert question.accept == (friend.value(question.origin.get("relation"), question.origin.lang),)
        else:
            assert question.accept == (friend.name(question.origin.lang),)
            own = next(find_names(question.prompt))[2]
            assert WORLD.check(question, own) == "nonsense"
            assert WORLD.check(question, "I do not know.") == "refused"
            wrong = next(p for p in WORLD.folk if p.name("en") != own and p is not friend)
            assert WORLD.check(question, wrong.name(question.origin.lang)) in ("wrong", "nonsense")
    assert set(hops) == {1, 2}


def test_every_name_and_town_can_be_spelt():
    written = "".join(zh for _, zh in (*FIRST, *LAST, *TOWNS))
    assert not [c for c in written if c not in READINGS]
    letters = set("ㄅㄆㄇㄈㄉㄊㄋㄌㄍㄎㄏㄐㄑㄒㄓㄔㄕㄖㄗㄘㄙㄧㄨㄩㄚㄛㄜㄝㄞㄟㄠㄡㄢㄣㄤㄥㄦˊˇˋ˙")
    assert set("".join(READINGS.values())) <= letters
    assert spell("林雅婷。") == "ㄌㄧㄣˊ ㄧㄚˇ ㄊㄧㄥˊ 。"


def test_the_third_script_is_chinese_only():
    with pytest.raises(UserError, match="says nothing in 'en'"):
        WORLD.texts("bopomofo", 1, lang="en")
    text = next(WORLD.texts("bopomofo", 1))
    assert spell(text.origin.get("plain")) == text.text
