"""The town map: consistent coordinates, told pairs that connect, held-out pairs that are never told."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from jielong.base import stats
from jielong.world import World
from jielong.world import map as town_map
from jielong.world.words.map import DIRECTIONS, NUMBERS, PLACES

WORLD = World()


def steps(text: str, lang: str) -> tuple[int, int]:
    """(east, north) of the first place from the second, read by a parser of its own."""
    east = north = 0
    numbers = {word: i for i, word in enumerate(NUMBERS[lang])} | {"兩": 2}
    if lang == "en":
        found = [(n, way) for n, way in re.findall(r"(\w+) streets? (north|south|east|west)", text)]
    else:
        pairs = re.findall(r"([北南東西])邊(\w+?)條街|往([北南東西])走(\w+?)條街", text)
        english = dict(zip(DIRECTIONS["zh"], DIRECTIONS["en"]))
        found = [(n or m, english[way or walk]) for way, n, walk, m in pairs]
    for word, way in found:
        east += numbers[word] * {"east": 1, "west": -1}.get(way, 0)
        north += numbers[word] * {"north": 1, "south": -1}.get(way, 0)
    return east, north


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_sentence_agrees_with_the_coordinates(lang: str) -> None:
    at = town_map.coordinates(WORLD)
    for text in WORLD.texts("map", 1000, lang=lang):
        a, b = at[text.origin.get("a")], at[text.origin.get("b")]
        assert steps(text.text, lang) == (a[0] - b[0], a[1] - b[1])


def test_no_two_places_share_a_spot_and_no_name_holds_a_direction() -> None:
    at = town_map.coordinates(WORLD)
    assert len(set(at.values())) == len(at) == len(PLACES) == len(town_map.coordinates(WORLD, "zh"))
    for english, chinese in PLACES:
        assert not set(re.findall(r"\w+", english)) & set(DIRECTIONS["en"])
        assert not set(chinese) & set(DIRECTIONS["zh"])


@pytest.mark.parametrize("seed", range(5))
def test_told_pairs_give_every_place_by_adding_up_steps(seed: int) -> None:
    plan = town_map.town(seed)
    known = {0: (0, 0)}
    for _ in range(len(PLACES)):
        for a, b in plan.told:
            step = tuple(x - y for x, y in zip(plan.at[a], plan.at[b]))
            if b in known and a not in known:
                known[a] = (known[b][0] + step[0], known[b][1] + step[1])
            if a in known and b not in known:
                known[b] = (known[a][0] - step[0], known[a][1] - step[1])
    origin = plan.at[0]
    assert known == {i: (x - origin[0], y - origin[1]) for i, (x, y) in enumerate(plan.at)}


def test_held_out_and_far_pairs_are_never_told() -> None:
    plan = town_map.town(0)
    pairs = [set(plan.told), set(plan.held), set(plan.far)]
    assert not pairs[0] & pairs[1] and not pairs[0] & pairs[2] and not pairs[1] & pairs[2]
    assert sum(map(len, pairs)) == len(PLACES) * (len(PLACES) - 1) // 2
    assert len(plan.held) / (len(plan.held) + len(plan.told)) == pytest.approx(0.2, abs=0.01)
    index = {place[0]: i for i, place in enumerate(PLACES)}
    told = {frozenset((t.origin.get("a"), t.origin.get("b"))) for t in WORLD.texts("map", 5000)}
    asked = WORLD.questions("map", 200, split="train")
    told |= {frozenset((q.origin.get("a"), q.origin.get("b"))) for q in asked}
    assert told <= {frozenset((PLACES[a][0], PLACES[b][0])) for a, b in plan.told}
    for question in WORLD.questions("map", 200, split="test"):
        a, b = index[question.origin.get("a")], index[question.origin.get("b")]
        assert (max(a, b), min(a, b)) in (plan.held if question.origin.get("pair") == "held" else plan.far)


@pytest.mark.parametrize("split", ["train", "asked", "test"])
def test_the_oracle_answers_every_question_from_its_prompt(split: str) -> None:
    asked = WORLD.questions("map", 150, split=split)
    assert len(asked) == 150
    for question in asked:
        assert WORLD.answer(question) == question.answer
        assert WORLD.check(question, question.answer) == "right"
        assert all(WORLD.check(question, short) == "right" for short in question.accept)
    for ask, wordings in town_map.ASKED.items():
        assert not set(wordings[0]) & set(wordings[1]), ask


def test_check_reads_what_people_write() -> None:
    wanted = {(q.origin.get("ask"), q.origin.lang): q for q in WORLD.questions("map", 400)}
    place = {lang: wanted["direction", lang].origin.get("way") for lang in ("en", "zh")}
    question = wanted["direction", "en"]
    assert WORLD.check(question, "to the " + "".join(place["en"])) == "right"  # northeast, as one word
    assert WORLD.check(question, "to the " + " ".join(place["en"]).upper()) == "right"
    other = {"north": "south", "south": "north", "east": "west", "west": "east"}
    assert WORLD.check(question, " ".join(other[way] for way in place["en"])) == "wrong"
    assert WORLD.check(question, "at least it is near") == "nonsense"
    assert WORLD.check(question, "I don't know.") == "refused"
    count = wanted["distance", "en"]
    assert WORLD.check(count, f"{count.origin.get('streets')} streets") == "right"
    assert WORLD.check(count, f"{count.origin.get('streets') + 1}") == "wrong"
    chinese = wanted["distance", "zh"]
    assert WORLD.check(chinese, f"{chinese.origin.get('streets')}條街") == "right"
    assert town_map.answer(WORLD, "What is the time?") is None
    assert town_map.answer(WORLD, "Which way is the moon, seen from the well?") is None


def test_the_law_sums_to_one_and_is_what_is_sampled() -> None:
    law: dict[str, float] = {}
    for p, text in town_map.law(WORLD, "map", "en"):
        law[text] = law.get(text, 0.0) + p
    assert sum(law.values()) == pytest.approx(1, abs=1e-9)
    counts = Counter(text.text for text in WORLD.texts("map", 20000, lang="en"))
    assert set(counts) <= set(law)
    names = sorted(law)
    merged = [names[i::50] for i in range(50)]  # fifty cells: a test of the law, not of one sentence
    cells = [sum(counts[n] for n in cell) for cell in merged]
    assert stats.g_test(cells, [sum(law[n] for n in cell) for cell in merged]) > 1e-4
    entropy = WORLD.entropy("map")
    assert entropy.strings == 2 * len(law) and 0 < entropy.bits_per_byte < 2


def test_seeds_make_other_towns() -> None:
    assert town_map.coordinates(World(1)) != town_map.coordinates(WORLD)
