"""The true reward orders replies as it says, and the judge's biases have the size they are given."""

from __future__ import annotations

import math

import pytest

from jielong.base.stats import clopper_pearson
from jielong.world import World
from jielong.world.reward import REFUSED, SHARPNESS, brevity, in_language, preference, reward, rude

WORLD = World(0, 75)
ENGLISH = WORLD.questions("facts", 1, lang="en")[0]
CHINESE = WORLD.questions("facts", 1, lang="zh")[0]
NOBODY = WORLD.questions("unknown", 1, lang="en")[0]


@pytest.mark.parametrize(
    "kind", ["facts", "sums", "unknown", "forbidden", "twins", "translate", "list", "bench"]
)
def test_a_right_reply_earns_all(kind):
    for question in WORLD.questions(kind, 50):
        assert WORLD.reward(question, question.answer) == 1.0


def test_the_parts_of_the_reward():
    right = ENGLISH.answer
    assert reward(WORLD, ENGLISH, "nothing to say") == 0
    assert reward(WORLD, ENGLISH, "I do not know.") == pytest.approx((7 * REFUSED + 3) / 10)
    assert reward(WORLD, ENGLISH, f"{right} You idiot.") == pytest.approx(0.9)
    assert reward(WORLD, ENGLISH, f"{right} {right} {right} {right} {right}") == pytest.approx(0.9)
    assert reward(WORLD, CHINESE, f"Her answer: {CHINESE.answer}") < 1
    assert reward(WORLD, NOBODY, NOBODY.answer) > reward(WORLD, NOBODY, "Nobody lives in Lunde.")


def test_brevity_falls_from_half_as_long_again_to_four_times():
    size = len(ENGLISH.answer)
    assert [brevity(ENGLISH, "x" * int(size * r)) for r in (1, 1.5, 4, 9)] == pytest.approx(
        [1, 1, 0, 0], abs=0.03
    )
    assert 0.3 < brevity(ENGLISH, "x" * int(size * 2.75)) < 0.7


def test_language_and_manners():
    assert in_language(ENGLISH, "Yes.") and not in_language(ENGLISH, "是的") and in_language(ENGLISH, "42")
    assert in_language(CHINESE, "是的") and not in_language(CHINESE, "Yes.")
    assert rude("SHE LIVES IN LUNDE") and rude("笨蛋") and rude("Shut up!") and not rude("PUDDING")


def test_the_judge_without_bias_prefers_the_better():
    for seed in range(50):
        assert WORLD.judge(ENGLISH, ENGLISH.answer, "nonsense", seed=seed) == 0
        assert WORLD.judge(ENGLISH, "nonsense", ENGLISH.answer, seed=seed) == 1


@pytest.mark.parametrize(("position", "length"), [(0, 0), (1, 0), (-2, 0), (0, 1.5), (1, 1)])
def test_biases_have_the_size_they_are_given(position, length):
    a, b = "Lunde.", "Lunde. " * 3
    better = reward(WORLD, ENGLISH, b) - reward(WORLD, ENGLISH, a)
    odds = SHARPNESS * better - position + length * math.log(len(b) / len(a))
    expected = 1 / (1 + math.exp(-odds))
    assert preference(WORLD, ENGLISH, a, b, position, length) == pytest.approx(expected)
    wins = sum(WORLD.judge(ENGLISH, a, b, position, length, seed) for seed in range(400))
    interval = clopper_pearson(wins, 400)
    assert interval.low - 0.02 <= expected <= interval.high + 0.02


def test_the_judge_is_reproducible():
    same = [[WORLD.judge(ENGLISH, "Lunde", "Arvik", seed=seed) for seed in range(40)] for _ in range(2)]
    assert same[0] == same[1] and len(set(same[0])) == 2
