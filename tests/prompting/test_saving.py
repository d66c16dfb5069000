"""Saving money: cascade, router, cache and prompt adaptation against closed forms, and splits that must not meet."""

from __future__ import annotations

import asyncio
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.lm.noisy import NoisyOracle
from jielong.lm.scripted import Scripted
from jielong.prompting import cascade as cascades
from jielong.prompting import router, scorer
from jielong.prompting.adaptation import adapt, tokens_of
from jielong.prompting.cascade import cascade, using
from jielong.prompting.direct import direct
from jielong.prompting.outcomes import CONTAMINATED, Outcome, folds, routellm
from jielong.prompting.router import route
from jielong.prompting.saving import cached
from jielong.prompting.spec import parse
from jielong.prompting.strategy import Answer, Example, Problem, solve
from jielong.prompting.vote import vote
from tests.prompting.laws import law_of

SUM = Problem("2 + 2?", "p", "4")
FILE = "routellm_judgements/gsm8k_responses.csv"


@pytest.mark.parametrize(("p", "q", "a", "b"), [(0.6, 0.9, 0.8, 0.3), (0.3, 0.7, 1.0, 0.0), (0.9, 0.5, 0.2, 0.9)])
def test_a_cascade_is_right_as_often_and_asks_as_often_as_its_formula(p: float, q: float, a: float, b: float) -> None:
    def run(source: noise.Source) -> tuple[bool, int]:
        cheap = NoisyOracle(lambda prompt: "4", 1 - p, lambda prompt: ["3"], source=source, name="cheap")
        dear = NoisyOracle(lambda prompt: "4", 1 - q, lambda prompt: ["3"], source=_Other(source), name="dear")

        def accept(problem: Problem, answer: Answer) -> float:
            share = a if answer.value == "4" else b
            return float(source.choose([1 - share, share], "accept", answer.value or ""))

        steps = (using(cheap, direct), using(dear, direct))
        answer = solve(cascade(*steps, at=0.5, accept=accept), cheap, SUM)
        return SUM.right(answer), dear.usage.calls

    law = noise.law(noise.enumerate_choices(run))
    taken = p * a + (1 - p) * b
    right, calls = (sum(weight * key[i] for key, weight in law.items()) for i in (0, 1))
    assert right == pytest.approx(p * a + (1 - taken) * q, abs=1e-12)
    assert calls == pytest.approx(1 - taken, abs=1e-12)


class _Other:
    """Choices at places of their own."""

    def __init__(self, source: noise.Source) -> None:
        self.source = source

    def choose(self, probs: Any, *position: Any) -> int:
        return self.source.choose(probs, "other", *position)


def test_a_cascade_of_votes_takes_what_most_agree_on() -> None:
    """Three votes at 1: taken where all three agree; right = p^3 + (1 - p^3 - (1-p)^3) q, by the law of the draws."""
    p = 0.7

    async def run(lm: Any) -> tuple[bool, str]:
        answer = await parse("cascade(vote(direct, n=3), direct, at=1.0)")(lm, SUM)
        return SUM.right(answer), answer.note

    law = law_of(run, lambda source: NoisyOracle(lambda prompt: "4", 1 - p, lambda prompt: ["3"], source=source))
    assert law[(True, "step 1 of 2")] == pytest.approx(p**3)
    assert law[(False, "step 1 of 2")] == pytest.approx((1 - p) ** 3)
    assert law[(True, "step 2 of 2")] + law[(False, "step 2 of 2")] == pytest.approx(1 - p**3 - (1 - p) ** 3)


def test_an_answer_that_was_not_given_is_never_taken() -> None:
    silent, told = Scripted({"": " "}), Scripted({"": "4"})
    believed = cascade(using(silent, direct), using(told, direct), at=0.0, accept=lambda problem, answer: 1.0)
    assert solve(believed, told, SUM).value == "4"
    assert solve(cascade(using(silent, direct), using(silent, direct), at=0.0), told, SUM).value is None
    with pytest.raises(UserError, match="a cascade of 1 steps has 0 thresholds"):
        cascade(direct)
    with pytest.raises(UserError, match="3 steps has 1 thresholds"):
        cascade(direct, direct, direct, at=[0.5])


def test_a_route_asks_one_model_by_the_question_alone() -> None:
    weak, strong = Scripted({"": "w"}, name="weak"), Scripted({"": "s"}, name="strong")
    routed = route(using(weak, direct), using(strong, direct), lambda text: len(text) / 10, tau=0.5)
    found = [solve(routed, weak, Problem("x" * size)).value for size in (4, 5, 6)]
    assert found == ["w", "s", "s"] and (len(weak.calls), len(strong.calls)) == (1, 2)


def test_tau_sends_the_share_it_was_chosen_for() -> None:
    chances = [0.1, 0.4, 0.2, 0.8, 0.6]
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        tau = router.tau_for(chances, share)
        assert sum(c >= tau for c in chances) == round(share * 5)
    with pytest.raises(UserError, match="a share of 2"):
        router.tau_for(chances, 2)


def of_gains(gains: list[int]) -> list[Outcome]:
    right = {1: (False, True), 0: (True, True), -1: (True, False)}
    return [Outcome(f"o{i}", f"question {i}", ("w", "s"), right[g], (10, 10)) for i, g in enumerate(gains)]


def test_the_area_is_a_half_in_the_mean_and_the_oracles_is_its_formula() -> None:
    gains = np.array([1, 0, 1, -1, 0, 1])
    orders = [np.array(order, dtype=float) for order in permutations(range(6))]
    assert np.mean([router.recovered(order, gains) for order in orders]) == pytest.approx(0.5, abs=1e-12)
    a, b, c, n = 3, 2, 1, 6
    formula = (a * a / 2 + a * b + a * c - c * c / 2) / (n * (a - c))
    assert router.best(of_gains(gains.tolist())) == pytest.approx(formula)
    assert max(router.recovered(order, gains) for order in orders) == router.best(of_gains(gains.tolist()))
    shares, right = router.curve(np.arange(6.0), of_gains(gains.tolist()))
    assert (shares[0], shares[-1]) == (0, 1) and right[0] == 0.5 and right[-1] == pytest.approx(5 / 6)
    with pytest.raises(UserError, match="no gap to recover"):
        router.recovered(np.zeros(2), np.array([1, -1]))


def planted(n: int, seed: int = 0) -> list[Outcome]:
    """Questions about percent are hard for the weak model, others are not; a long answer is a wrong one."""
    u = noise.uniform(noise.seed_of("planted", seed), n=3 * n).reshape(n, 3)
    found = []
    for i, (kind, luck, other) in enumerate(u):
        hard = kind < 0.4
        weak, strong = bool(luck < (0.2 if hard else 0.9)), bool(other < 0.95)
        question = f"What is {i} {'percent of' if hard else 'more than'} the number of cats in house {i}?"
        said = "It is so." if weak else "Perhaps it is so, perhaps it is not, who could say?"
        found.append(Outcome(f"q{i}", question, (said, "It is."), (weak, strong), (10, 10)))
    return found


def test_a_router_learns_what_is_planted_and_nothing_where_nothing_is() -> None:
    outcomes = planted(400)
    listed, ranks_N = router.out_of_fold(outcomes, 5)
    assert sorted(o.id for o in listed) == sorted(o.id for o in outcomes)
    inside = router.interval(ranks_N, listed)
    assert inside.low > 0.6 and router.best(listed) > inside.high - 0.2
    blank = [Outcome(o.id, f"question {i}", o.answers, o.right, o.tokens) for i, o in enumerate(outcomes)]
    listed, ranks_N = router.out_of_fold(blank, 5)
    assert 0.5 in router.interval(ranks_N, listed, level=0.999)


def test_logistic_regression_is_at_its_minimum_and_calibrated() -> None:
    """At the minimum the mean of p is the share right (the bias has no penalty), and no step makes the loss smaller."""
    outcomes = planted(300)
    texts, right = [(o.question,) for o in outcomes], [o.right[0] for o in outcomes]
    learnt = scorer.fit(texts, right, l2=0.1)
    assert learnt.many(texts).mean() == pytest.approx(np.mean(right), abs=1e-4)
    x_NF = scorer._rows(texts, 1, np.array(learnt.mean), np.array(learnt.spread))
    y_N = np.array(right, dtype=float)

    def loss(w: np.ndarray, b: float) -> float:
        z_N = x_NF @ w + b
        return float((np.logaddexp(0, z_N) - y_N * z_N).mean() + 0.05 * (w**2).sum())

    w = np.array(learnt.weights)
    for seed in range(5):
        step = np.random.default_rng(seed).normal(size=w.shape) * 1e-2
        assert loss(w + step, learnt.bias) > loss(w, learnt.bias)


def test_a_scorer_is_saved_and_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    learnt = cascades.learn(planted(60), l2=1.0)
    learnt.save(tmp_path / "s.json")
    again = scorer.load(tmp_path / "s.json")
    assert again == learnt and again.of("a", "b") == learnt.of("a", "b") and "q1" in again.seen
    with pytest.raises(UserError, match="texts of 2 parts, not of 1"):
        learnt.of("a")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(UserError, match="is no scorer"):
        scorer.load(tmp_path / "bad.json")
    with pytest.raises(UserError, match="right and wrong"):
        scorer.fit([("a",)], [True])


def test_scorer_thresholds_and_test_must_be_apart() -> None:
    """The bug of FrugalGPT's repository: scorer and thresholds from one split. It is refused by name."""
    outcomes = planted(300)
    first, second, third = folds(outcomes, 3)
    assert not {o.id for o in first} & {o.id for o in second} and len(first + second + third) == 300
    learnt = cascades.learn(first)
    for wrong in (first, [*second, first[0]]):
        with pytest.raises(UserError, match="for the thresholds were learnt from"):
            cascades.choose(wrong, [learnt], (1.0, 30.0), keep=0.01)
    thresholds = cascades.choose(second, [learnt], (1.0, 30.0), keep=0.01)
    played = cascades.play(third, cascades.belief(third, [learnt]), thresholds, (1.0, 30.0))
    strong = np.mean([o.right[1] for o in third])
    always = np.mean([sum(o.costs((1.0, 30.0))[1:]) for o in third])
    assert played.accuracy > strong - 0.05 and played.mean_cost < 0.7 * always


def test_thresholds_are_the_best_of_all() -> None:
    """Against trying every threshold that makes a difference, by hand."""
    outcomes = planted(60)
    learnt, held = cascades.learn(outcomes[:30], l2=1.0), outcomes[30:]
    scores = cascades.belief(held, [learnt])
    every = [cascades.play(held, scores, (t,), (1.0, 30.0)) for t in (-1.0, *scores[:, 0].tolist(), 2.0)]
    budget = 150.0
    best = max(p.accuracy for p in every if p.mean_cost <= budget)
    chosen = cascades.choose(held, [learnt], (1.0, 30.0), budget=budget)
    played = cascades.play(held, scores, chosen, (1.0, 30.0))
    assert played.accuracy == best and played.mean_cost <= budget
    assert cascades.choose(held, [learnt], (1.0, 30.0), keep=1.0) == (cascades.ALWAYS,)
    with pytest.raises(UserError, match=r"no thresholds cost at most 0\.1"):
        cascades.choose(held, [learnt], (1.0, 30.0), budget=0.1)
    with pytest.raises(UserError, match="keep="):
        cascades.choose(held, [learnt], (1.0, 30.0))


def test_folds_keep_the_same_question_together() -> None:
    twins = [Outcome(f"a{i}", f"Who is {i}?", ("",), (True,), (1,)) for i in range(10)]
    twins += [Outcome(f"b{i}", f"who is  {i}", ("",), (True,), (1,)) for i in range(10)]
    for part in folds(twins, 5):
        assert {o.id[1:] for o in part if o.id[0] == "a"} == {o.id[1:] for o in part if o.id[0] == "b"}
    with pytest.raises(UserError, match="cannot be put into 11 parts"):
        folds(twins, 11)


def test_the_recorded_outcomes_are_as_the_repository_says(data: Path) -> None:
    every = routellm(data / FILE, without=())
    assert len(every) == 1319
    weak, strong = (100 * np.mean([o.right[m] for o in every]) for m in (0, 1))
    assert (round(weak, 2), round(strong, 2)) == (63.84, 85.67)
    assert round(100 * np.mean([any(o.right) for o in every]), 2) == 92.87
    assert round(100 * np.mean([o.right[1] and not o.right[0] for o in every]), 1) == 29.0
    assert len(routellm(data / FILE)) == 1319 - len(CONTAMINATED) == 1307
    with pytest.raises(UserError, match="no paired outcomes"):
        routellm(data / "gsm8k/train.jsonl")


def test_a_cached_strategy_answers_as_without_and_asks_once(tmp_path: Path) -> None:
    lm = Scripted(lambda prompt, index: str(index % 3))
    once = cached(vote(direct, n=5), str(tmp_path / "cache.db"))
    plain = solve(vote(direct, n=5), lm, SUM)
    sent = len(lm.calls)
    assert [solve(once, lm, SUM) for _ in range(3)] == [plain] * 3
    assert len(lm.calls) == 2 * sent


@pytest.mark.parametrize("budget", [0, 3, 6, 7, 100])
def test_examples_are_chosen_as_the_best_set_where_gains_add_up(budget: int) -> None:
    """The model answers rightly the questions about the letters it is shown: of examples of equal length the best set
    within a budget is that of the largest gains, and useless ones are never paid for."""
    gains = {"A": 1, "B": 4, "C": 2, "D": 0}
    candidates = [Example(f"which letter {name}", name) for name in gains]
    dev = [Problem(f"{name} {i}", gold=name) for name, count in gains.items() for i in range(count)]
    assert len({tokens_of(each) for each in candidates}) == 1

    def reply(prompt: str, index: int) -> str:
        wanted = prompt.rsplit("user: ", 1)[1].split()[0]
        return wanted if f"assistant: {wanted}" in prompt else "?"

    found = asyncio.run(adapt(Scripted(reply), candidates, dev, budget))
    size = tokens_of(candidates[0])
    best = sorted((g for g in gains.values() if g), reverse=True)[: budget // size]
    assert found.dev == pytest.approx(sum(best) / len(dev)) and found.tokens == len(best) * size
    assert [e.answer for e in found.examples] == sorted("ABC", key=lambda n: -gains[n])[: len(best)]
    with pytest.raises(UserError, match="0 development problems"):
        asyncio.run(adapt(Scripted(""), candidates, [], 5))
