"""Each technique's share right, beside its closed form: the law of the very function, enumerated, so exact.

An oracle of known error rates answers; `noise.enumerate_choices` runs the technique under every outcome. The few laws
that are too large for that are sampled with stored seeds (half-width 1 point or less, 99 % over the family).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import pytest

from jielong.base import noise, stats
from jielong.lm.noisy import NoisyOracle
from jielong.lm.protocol import LM
from jielong.lm.scripted import Scripted
from jielong.prompting import vote as voting
from jielong.prompting.context import context
from jielong.prompting.cot import cot
from jielong.prompting.critique import critique
from jielong.prompting.direct import direct
from jielong.prompting.few_shot import few_shot
from jielong.prompting.least_to_most import least_to_most
from jielong.prompting.readers import number
from jielong.prompting.refine import refine
from jielong.prompting.reflexion import reflexion
from jielong.prompting.self_check import self_check
from jielong.prompting.spells import SPELLS, spells
from jielong.prompting.strategy import Answer, Example, Problem, Strategy, branch, having, read, say, solve, user
from jielong.prompting.vote import vote
from jielong.prompting.zero_shot_cot import zero_shot_cot
from tests.prompting import laws

SUM = Problem("What is 2 + 2?", "sum", "4", number)
FAMILY = 25  # sampled tests at most in the house: each at 1 - 0.01 / FAMILY


def law(strategy: Strategy, model: Any, problem: Problem = SUM) -> dict[Any, float]:
    """{answer's value: probability} of the strategy on `model(source)`."""

    async def value(lm: LM) -> str | None:
        return (await strategy(lm, problem)).value

    return laws.law_of(value, model)


def oracle(error: Any, right: Any = "4", wrong: Any = ("5",)) -> Any:
    """A model by its error rate (a number, or a function of the prompt), as a function of the source."""
    answer = right if callable(right) else lambda prompt: right
    return laws.oracle(answer, error, wrong if callable(wrong) else lambda prompt: wrong)


def last(prompt: str, role: str) -> str:
    """What the last turn of that role says."""
    return prompt.rpartition(f"{role}: ")[2]


def test_direct_is_as_right_as_the_model() -> None:
    assert law(direct, oracle(0.3))["4"] == pytest.approx(0.7, abs=1e-12)


@pytest.mark.parametrize("choice", ["fixed", "random", "words"])
def test_few_shot_is_as_right_as_its_examples_make_the_model(choice: Any) -> None:
    rates = [0.6, 0.4, 0.25, 0.15]
    shown = tuple(Example(f"What is {i} + {i}?", str(2 * i)) for i in range(5, 9))
    model = oracle(lambda prompt: rates[prompt.count("assistant: ")])
    for k, rate in enumerate(rates):
        found = law(partial(few_shot, k=k, choice=choice), model, replace(SUM, examples=shown)) if k else None
        assert found is None or found["4"] == pytest.approx(1 - rate, abs=1e-12)


@pytest.mark.parametrize("steps, wrong", [(1, 0.3), (3, 0.2), (8, 0.1)])
def test_a_chain_of_k_steps_is_right_if_all_of_them_are(steps: int, wrong: float) -> None:
    def model(source: noise.Source) -> LM:
        def reply(prompt: str, index: int) -> str:
            slips = sum(source.choose([1 - wrong, wrong], index, step) for step in range(steps))
            return f"{steps} steps. The answer is {4 + 100 * slips}. Bye 7"

        return Scripted(reply)

    assert law(cot, model)["4"] == pytest.approx((1 - wrong) ** steps, abs=1e-12)


def zero_shot(think: float, extract: float) -> Any:
    """Reasons rightly unless with probability `think`; copies the result unless with probability `extract`."""

    def right(prompt: str) -> str:
        if "Therefore" not in last(prompt, "user"):
            return "twos make 9, then 4"
        return "4 is it, not 8" if "then 4" in prompt else "6"

    def wrong(prompt: str) -> tuple[str, ...]:
        return ("7",) if "Therefore" in last(prompt, "user") else ("twos make 3",)

    def error(prompt: str) -> float:
        if "Therefore" not in last(prompt, "user"):
            return think
        return extract if "then 4" in prompt else 0.0

    return oracle(error, right, wrong)


def test_zero_shot_chain_of_thought_is_reasoning_times_extraction() -> None:
    assert law(zero_shot_cot, zero_shot(0.3, 0.2))["4"] == pytest.approx(0.7 * 0.8, abs=1e-12)


def test_one_call_instead_of_two_is_caught() -> None:
    async def mutant(lm: LM, problem: Problem) -> Answer:  # the second call left out: any number of the reasoning
        return read(problem, await say(lm, user(f"{problem.text}\nLet's think step by step.")))

    assert law(mutant, zero_shot(0.3, 0.2))["4"] == pytest.approx(0.7)
    assert abs(law(mutant, zero_shot(0.3, 0.2))["4"] - 0.56) > 0.1


@pytest.mark.parametrize("cast", SPELLS)
def test_a_spell_shows_its_effect_and_a_null_shows_none(cast: str) -> None:
    magic = oracle(lambda prompt: 0.5 - 0.2 * (SPELLS[cast].en in prompt))
    effect = law(spells(direct, cast), magic)["4"] - law(spells(direct, cast, neutral=True), magic)["4"]
    assert effect == pytest.approx(0.2, abs=1e-12)
    none = law(spells(direct, cast), oracle(0.5))["4"] - law(spells(direct, cast, neutral=True), oracle(0.5))["4"]
    assert none == 0


def test_context_gives_what_is_known_with_it() -> None:
    model = oracle(lambda prompt: 0.1 if "plus means and" in prompt else 0.8)
    assert law(context(direct, "plus means and"), model)["4"] == pytest.approx(0.9, abs=1e-12)
    assert law(direct, model)["4"] == pytest.approx(0.2, abs=1e-12)


def parts(listing: float, answering: float, m: int) -> Any:
    """Lists `m` questions, or nonsense; answers rightly after right answers only."""
    wanted = "\n".join(f"{i + 1}. What is part {i}?" for i in range(m))

    def right(prompt: str) -> str:
        if "smaller questions" in last(prompt, "user"):
            return wanted
        spoilt = "bad" in prompt or "assistant: " not in prompt
        return "bad 9" if spoilt else "The answer is 4." if "2 + 2" in last(prompt, "user") else "fine"

    def error(prompt: str) -> float:
        if "smaller questions" in last(prompt, "user"):
            return listing
        return answering if ("bad" not in prompt and "assistant: " in prompt) or "part 0" in prompt else 0.0

    return oracle(error, lambda p: "fine" if "part 0" in last(p, "user") else right(p),
                  lambda p: ("no list",) if "smaller" in last(p, "user") else ("bad 8",))  # fmt: skip


@pytest.mark.parametrize("m", [1, 2, 4])
def test_least_to_most_is_a_list_and_all_its_answers(m: int) -> None:
    found = law(least_to_most, parts(0.2, 0.1, m))
    assert found["4"] == pytest.approx(0.8 * 0.9 ** (m + 1), abs=1e-12)


def by_count(n: int, probs: dict[str | None, float], right: str = "4") -> float:
    """The multinomial's outcomes in which the right answer leads, and its part of the ties: 1 / leaders, since
    every order of the same counts is equally likely."""
    total, names = 0.0, list(probs)
    for counts in product(range(n + 1), repeat=len(names)):
        if sum(counts) != n:
            continue
        votes = {name: count for name, count in zip(names, counts) if name is not None and count}
        if not votes or votes.get(right, 0) < max(votes.values()):
            continue
        ways = math.factorial(n) / math.prod(map(math.factorial, counts))
        chance = ways * math.prod(p**c for p, c in zip(probs.values(), counts))
        total += chance / sum(v == max(votes.values()) for v in votes.values())
    return total


CROWD = {"4": 0.45, "5": 0.25, "6": 0.1, None: 0.2}


def crowd(source: noise.Source) -> LM:
    """Right with .45, two ways wrong, and in a fifth of its replies nothing to be read."""
    said = ["4", "5", "6", "hm"]
    return Scripted(lambda prompt, index: said[source.choose(list(CROWD.values()), index)])


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_vote_is_the_multinomial(n: int) -> None:
    assert law(vote(direct, n), crowd)["4"] == pytest.approx(by_count(n, CROWD), abs=1e-12)


def test_a_vote_of_what_could_not_be_read_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def mutant(answers: list[Answer]) -> Answer:  # as if "[invalid]" were an answer
        return Answer(Counter(a.value or "[invalid]" for a in answers).most_common(1)[0][0])

    monkeypatch.setattr(voting, "majority", mutant)
    assert abs(law(vote(direct, 5), crowd)["4"] - by_count(5, CROWD)) > 0.01


def test_a_vote_of_forty_is_a_binomial_tail() -> None:
    """Sampled: 2^40 outcomes are too many. P(more than 20 right) + half of P(20)."""
    p, n, problems = 0.7, 40, 500
    exact = by_count(n, {"4": p, "5": 1 - p})
    lm = NoisyOracle(lambda prompt: "4", 1 - p, lambda prompt: ["5"], seed=11)
    asked = [replace(SUM, text=f"What is 2 + 2? ({i})") for i in range(problems)]
    right = sum(solve(vote(direct, n), lm, each).value == "4" for each in asked)
    assert exact > 0.99
    assert stats.clopper_pearson(right, problems, 1 - 0.01 / FAMILY).low <= exact
    assert right / problems == pytest.approx(exact, abs=0.01)


def judged(right: float, yes_right: float, yes_wrong: float) -> Any:
    """Answers, and says of answers whether they are right."""

    def error(prompt: str) -> float:
        if "Is this answer right" not in prompt:
            return 1 - right
        return 1 - (yes_right if "Answer: 4" in prompt else yes_wrong)

    return oracle(error, lambda p: "yes" if "Is this answer right" in p else "4",
                  lambda p: ("no",) if "Is this answer right" in p else ("5",))  # fmt: skip


@pytest.mark.parametrize("tries, checks", [(1, 1), (3, 1), (2, 3)])
def test_self_check_keeps_what_its_judge_lets_through(tries: int, checks: int) -> None:
    a, t, f = 0.6, 0.9, 0.3
    found = law(self_check(direct, tries, checks), judged(a, t, f))
    t, f = (sum(math.comb(checks, k) * p**k * (1 - p) ** (checks - k) for k in range(checks // 2 + 1, checks + 1))
            for p in (t, f))  # fmt: skip
    q = a * t + (1 - a) * f
    kept = 1 - (1 - q) ** tries
    assert found["4"] == pytest.approx(kept * a * t / q, abs=1e-12)
    assert found.get(None, 0.0) == pytest.approx(1 - kept, abs=1e-12)


def mending(a: float, t: float, f: float, s: float, r: float) -> Any:
    """Drafts, finds fault, rewrites; which it is stands in its last turn, its draft before that."""

    def stage(prompt: str) -> str:
        said = last(prompt, "user")
        return "feedback" if "What is wrong" in said else "revise" if "mended" in said else "draft"

    def drafted(prompt: str) -> bool:
        return prompt.split("assistant: ")[1].startswith("4")

    def error(prompt: str) -> float:
        if stage(prompt) == "draft":
            return 1 - a
        if stage(prompt) == "feedback":
            return 1 - (t if drafted(prompt) else f)
        return 1 - (s if drafted(prompt) else r)

    said = {"draft": ("4", "5"), "feedback": ("Nothing to mend.", "It looks odd."), "revise": ("4", "5")}
    return oracle(error, lambda p: said[stage(p)][0], lambda p: said[stage(p)][1:])


def chain(rounds: int, a: float, t: float, f: float, s: float, r: float) -> float:
    """The Markov chain of refine's docstring; `x` right and `y` wrong among those still open."""
    x, y, closed = a, 1 - a, 0.0
    for _ in range(rounds):
        closed += x * t
        x, y = x * (1 - t) * s + y * (1 - f) * r, x * (1 - t) * (1 - s) + y * (1 - f) * (1 - r)
    return closed + x


@pytest.mark.parametrize("rounds", [0, 1, 2, 4])
@pytest.mark.parametrize("rates", [(0.5, 0.8, 0.3, 0.9, 0.4), (0.7, 0.4, 0.9, 0.6, 0.2)])
def test_refine_is_its_markov_chain(rounds: int, rates: tuple[float, ...]) -> None:
    found = law(refine(direct, rounds), mending(*rates))["4"]
    assert found == pytest.approx(chain(rounds, *rates), abs=1e-12)


def test_refining_with_a_bad_judge_loses() -> None:
    assert law(refine(direct, 3), mending(0.7, 0.4, 0.9, 0.6, 0.2))["4"] < 0.7 - 0.05


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_reflexion_that_is_told_only_rises(tries: int) -> None:
    rates = [0.6, 0.5, 0.3]
    said = oracle(lambda p: 0.0 if "not right" in p else rates[p.count("- try anew")],
                  lambda p: "try anew" if "not right" in p else "4")  # fmt: skip
    found = law(reflexion(direct, tries, signal="told"), said)["4"]
    assert found == pytest.approx(1 - math.prod(rates[:tries]), abs=1e-12)


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_reflexion_that_asks_itself_is_as_good_as_its_judge(tries: int) -> None:
    a, t, f = 0.6, 0.7, 0.5

    def error(prompt: str) -> float:
        if "Is this answer right" in prompt:
            return 1 - (t if "Answer: 4" in prompt else f)
        return 0.0 if "That was not right" in prompt else 1 - a

    model = oracle(
        error,
        lambda p: "yes" if "Is this answer right" in p else "try anew" if "That was not right" in p else "4",
        lambda p: ("no",) if "Is this answer right" in p else ("5",),
    )
    reached, expected = 1.0, 0.0
    for i in range(tries):
        expected += reached * a * (t if i < tries - 1 else 1)
        reached *= a * (1 - t) + (1 - a) * (1 - f)
    assert law(reflexion(direct, tries), model)["4"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_critique_breaks_the_rule_less_each_round(rounds: int) -> None:
    v, d, f, h = 0.8, 0.7, 0.9, 0.05

    def stage(prompt: str) -> str:
        said = last(prompt, "user")
        return "critique" if said.startswith("Look at") else "revise" if said.startswith("Rewrite") else "draft"

    def broken(prompt: str) -> bool:
        return prompt.split("assistant: ")[1].startswith("secret")

    def error(prompt: str) -> float:
        if stage(prompt) == "draft":
            return v
        if stage(prompt) == "critique":  # of a clean text there is nothing to find
            return 1 - d if broken(prompt) else 0.0
        return (1 - f if "found it" in prompt else 1.0) if broken(prompt) else h

    said = {"draft": "clean", "critique": "found it", "revise": "clean"}
    model = oracle(error, lambda p: said[stage(p)], lambda p: ("no fault",) if stage(p) == "critique" else ("secret",))
    found = law(critique(direct, rounds), model, Problem("Tell me.", "c"))
    for _ in range(rounds):
        v = v * (1 - d * f) + (1 - v) * h
    assert found["secret"] == pytest.approx(v, abs=1e-12)


def test_settings_move_no_draw_and_branches_do() -> None:
    lm = NoisyOracle(lambda prompt: "4", 0.5, lambda prompt: [str(i) for i in range(50)], seed=2)
    plain = [lm.sample("q", 1, i)[0].text for i in range(20)]
    assert [having(lm, temperature=0.3).sample("q", 1, i)[0].text for i in range(20)] == plain
    assert [branch(lm, "x").sample("q", 1, i)[0].text for i in range(20)] != plain
