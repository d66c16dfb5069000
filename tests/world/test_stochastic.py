"""Stochastic facts: p(y|x) is what is sampled, and every question has its answer."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from jielong.base import stats
from jielong.base.errors import UserError
from jielong.world import World, stochastic

WORLD = World()


def test_probabilities_sum_to_one_and_span_certain_to_even() -> None:
    sharpest = []
    for x in stochastic.conditions():
        law = stochastic.probability(WORLD, x)
        assert sum(law.values()) == pytest.approx(1) and all(p > 0 for p in law.values())
        assert list(law.values()) == list(stochastic.probability(WORLD, x, "zh").values())
        sharpest.append(max(law.values()))
    assert max(sharpest) == 1.0 and min(sharpest) == 0.2
    with pytest.raises(UserError, match="no condition"):
        stochastic.probability(WORLD, "weather/Atlantis/Monday")


def test_sampled_frequencies_are_the_stated_chances() -> None:
    counts: dict[str, Counter[str]] = {}
    for text in WORLD.texts("stochastic", 60000):
        counts.setdefault(text.origin.get("x"), Counter())[text.origin.get("y")] += 1
    values = []
    for x in stochastic.conditions():
        law = stochastic.probability(WORLD, x)
        assert set(counts[x]) <= set(law)
        if len(law) > 1:
            values.append(stats.g_test([counts[x][y] for y in law], list(law.values())))
    assert min(stats.holm(values)) > 1e-3


def test_law_sums_to_one_and_gives_the_entropy_by_the_chain_rule() -> None:
    law = list(stochastic.law(WORLD, "stochastic", "en"))
    assert math.fsum(p for p, _ in law) == pytest.approx(1, abs=1e-12)
    every = stochastic.conditions()
    inner = [-sum(p * math.log(p) for p in stochastic.probability(WORLD, x).values()) for x in every]
    expected = math.log(len(every)) + math.log(3) + sum(inner) / len(every)  # condition, wording, outcome
    assert WORLD.entropy("stochastic", "en").nats == pytest.approx(expected, abs=1e-9)
    both = WORLD.entropy("stochastic").nats
    assert both == pytest.approx(expected + math.log(2), abs=1e-9)


@pytest.mark.parametrize("split", ["train", "asked", "test"])
def test_the_oracle_answers_from_the_prompt(split: str) -> None:
    for question in WORLD.questions("stochastic", 200, split=split):
        assert WORLD.answer(question) == question.answer
        assert WORLD.check(question, question.answer) == "right"
        law = stochastic.probability(WORLD, question.origin.get("x"))
        if question.origin.get("ask") == "likeliest":
            best = max(law.values())
            assert [y for y, p in law.items() if p == best] == [question.origin.get("y")]
        else:
            percent = round(100 * law.get(question.origin.get("y"), 0))
            assert question.accept == (str(percent),)
            assert WORLD.check(question, f"about {percent}%") == "right"
            assert WORLD.check(question, f"{(percent + 5) % 100} %") == "wrong"
        assert WORLD.check(question, "hm") == "nonsense"
    assert stochastic.answer(WORLD, "What is the weather in Atlantis on Monday most often?") is None


def test_held_out_wordings_are_not_those_of_training() -> None:
    told = {t.text for t in WORLD.texts("stochastic", 3000)}
    assert not told & {t.text for t in WORLD.texts("stochastic", 1000, split="test")}


def test_prompts_end_where_the_outcome_begins() -> None:
    told = {t.text for t in WORLD.texts("stochastic", 20000)}
    for x, start, law in list(stochastic.prompts(WORLD))[::50]:
        assert x in stochastic.conditions()
        assert any(text.startswith(start + y) for text in told for y in law)
