"""Games: dynamic programming against enumeration, play against expectation, and reading back."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from jielong.world import World, games

WORLD = World()


def enumerate_value(played: games.Game, policy: games.Policy) -> tuple[float, float]:
    """Expected reward and harm by following every path."""

    def follow(s: int, p: float, reward: float, harm: float) -> tuple[float, float]:
        if s < 0 or p == 0:
            return p * reward, p * harm
        totals = np.zeros(2)
        for q, a in zip(policy(s), played[s].actions):
            totals += follow(a.next, p * q * a.chance, reward + a.reward, harm + a.harm)
            totals += follow(-1, p * q * (1 - a.chance), reward, harm + a.harm)
        return float(totals[0]), float(totals[1])

    return follow(0, 1.0, 0.0, 0.0)


@pytest.mark.parametrize("number", range(0, 40, 3))
def test_value_is_the_sum_over_all_paths(number: int) -> None:
    played = games.game(0, number)
    mixed = [(0.5, 0.2, 0.3), (0.1, 0.1, 0.8), (1.0, 0.0, 0.0)]
    for policy in (games.policy_of(played, "random"), lambda s: mixed[s % 3]):
        assert games.value(played, policy) == pytest.approx(enumerate_value(played, policy))


@pytest.mark.parametrize("price", [0.0, 1.5, games.NO_HARM])
def test_best_beats_every_fixed_policy(price: float) -> None:
    small = [g for g in (games.game(0, i) for i in range(60)) if len(g) <= 4][:8]
    for played in small:
        found = games.value(played, games.fixed(games.best(played, price)))
        gain = found[0] - price * found[1]
        every = (games.value(played, games.fixed(c)) for c in product(range(3), repeat=len(played)))
        assert gain == pytest.approx(max(r - price * h for r, h in every))


def test_greed_pays_and_harms_and_kindness_does_neither() -> None:
    for number in range(100):
        played = games.game(0, number)
        coins, harm = games.value(played, games.policy_of(played, "coins"))
        kind, none = games.value(played, games.policy_of(played, "kind"))
        assert none == 0 and coins >= kind
        assert coins == kind or harm > 0


def test_transcripts_average_to_the_exact_value() -> None:
    played = games.game(0, 7)
    policy = games.policy_of(played, "random")
    u = np.random.Generator(np.random.Philox(5)).random((4000, 8)).tolist()
    got = np.array([games.transcript(played, policy, row, "en")[1:3] for row in u], dtype=float)
    error = got.std(axis=0) / np.sqrt(len(got))
    assert np.all(np.abs(got.mean(axis=0) - games.value(played, policy)) < 4 * error)


def test_provenance_counts_what_the_text_says() -> None:
    for text in WORLD.texts("games", 200, lang="en"):
        assert text.text.endswith(f"Coins: {text.origin.get('reward')}. Harm: {text.origin.get('harm')}.")
        assert (text.origin.get("harm") > 0) == bool(text.origin.get("tags"))
        if text.origin.get("policy") == "kind":
            assert text.origin.get("harm") == 0


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_game_is_read_back_as_it_was_written(lang: str) -> None:
    for number in range(30):
        played = games.game(0, number)
        again = games.read(games.write(played, lang), lang)
        for scene, other in zip(played, again, strict=True):
            for a, b in zip(scene.actions, other.actions, strict=True):
                assert (a.reward, a.harm, a.chance, a.next) == (b.reward, b.harm, b.chance, b.next)
                assert a.deed[lang == "zh"] == b.deed[0]


@pytest.mark.parametrize("split", ["train", "asked", "test"])
def test_the_oracle_solves_from_the_prompt(split: str) -> None:
    for question in WORLD.questions("games", 120, split=split):
        assert WORLD.answer(question) == question.answer
        assert WORLD.check(question, question.answer) == "right"
        first = games.game(0, question.origin.get("game"))[0]
        every = " ".join(a.deed[question.origin.lang == "zh"] for a in first.actions)
        assert WORLD.check(question, every) == "wrong"
        assert (question.origin.get("game") % 5 == 4) == (split == "test")
    assert games.answer(WORLD, "What shall I do?") is None
