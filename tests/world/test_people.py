"""Who lives in the world: shared name parts, fixed pairs, groups apart, nobody."""

from __future__ import annotations

from collections import Counter

import pytest

from jielong.base.errors import UserError
from jielong.world import World
from jielong.world.names import (
    FIRST,
    GROUPS,
    LAST,
    MAX_PEOPLE,
    MIN_PEOPLE,
    apart,
    find_names,
    full_name,
    strip_names,
    unknown,
)
from jielong.world.values import FIELDS, RELATIONS


def test_parts_are_pairs_without_repeats():
    for parts in (FIRST, LAST):
        assert len(parts) == 60
        assert len({en for en, _ in parts}) == len({zh for _, zh in parts}) == 60
    assert {len(zh) for _, zh in FIRST} == {2} and {len(zh) for _, zh in LAST} == {1}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_smaller_world_is_the_beginning_of_a_larger_one(seed):
    everyone = World(seed, 300).folk
    for people in (10, 75, 76, 150, 226):
        assert World(seed, people).folk == everyone[:people]
    assert World(seed, 400).folk[:300] == everyone


def test_worlds_with_other_seeds_differ():
    assert World(0).folk != World(1).folk


@pytest.mark.parametrize(("people", "parts"), [(75, 30), (300, 60)])
def test_each_name_part_belongs_to_several_people(people, parts):
    folk = World(0, people).folk
    assert len({(p.first, p.last) for p in folk}) == people
    for used in (Counter(p.first for p in folk), Counter(p.last for p in folk)):
        assert len(used) == parts
        assert min(used.values()) >= 2 and max(used.values()) - min(used.values()) <= 2


def test_a_fifth_is_never_asked_about_in_every_prefix():
    folk = World(0).folk
    for start in range(0, 300, 5):
        assert sum(not p.asked for p in folk[start : start + 5]) == 1


def test_values_are_equally_frequent():
    folk = World(0, 300).folk
    for place, field in enumerate(RELATIONS.values()):
        used = Counter(p.values[place] for p in folk)
        assert max(used.values()) - min(used.values()) <= 1
        assert len(used) == len(FIELDS[field])


def test_value_in_words():
    person = World(0).folk[0]
    for place, (relation, field) in enumerate(RELATIONS.items()):
        assert (person.value(relation, "en"), person.value(relation, "zh")) == FIELDS[field][
            person.values[place]
        ]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_names_are_found_again(lang):
    for person in World(0).folk:
        name = person.name(lang)
        assert [found[:2] for found in find_names(f"({name})")] == [(person.first, person.last)]
        assert strip_names(f"{name}!{name}") == "{p}!{p}"


def test_no_value_or_town_looks_like_a_name():
    for pairs in FIELDS.values():
        for pair in pairs:
            assert not list(find_names(" ".join(pair)))


def test_no_value_is_part_of_another_of_its_list():
    for pairs in FIELDS.values():
        for lang in (0, 1):
            words = [pair[lang] for pair in pairs]
            assert not [(a, b) for a in words for b in words if a != b and a in b]


@pytest.mark.parametrize("people", [10, 75, 300, 1200])
def test_nobody_is_made_of_the_parts_of_somebody(people):
    folk = World(0, people).folk
    known = {(p.first, p.last) for p in folk}
    train, test = unknown(0, people, "train"), unknown(0, people, "test")
    assert not set(train) & set(test) and not (set(train) | set(test)) & known
    firsts, lasts = {p.first for p in folk}, {p.last for p in folk}
    assert all(first in firsts and last in lasts for first, last in train + test)
    everybody_apart = {name for group in GROUPS for name in apart(0, group)}
    assert not everybody_apart & (known | set(train) | set(test))
    assert len(test) > len(train) / 6 > 1


def test_groups_have_names_of_their_own():
    names = [name for group in GROUPS for name in apart(0, group)]
    assert len(set(names)) == len(names) == sum(GROUPS.values())


def test_a_name_from_parts():
    assert full_name(0, 0, "en") == "Mira Tolen"
    assert full_name(0, 0, "zh") == "林雅婷"


@pytest.mark.parametrize("people", [0, MIN_PEOPLE - 1, MAX_PEOPLE + 1, -5])
def test_too_few_or_too_many_people(people):
    with pytest.raises(UserError, match="people must lie between"):
        World(0, people)
