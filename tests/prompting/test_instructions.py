"""Searches for an instruction, and shortening: exact laws, what is chosen on what, prompts, mutations."""

from __future__ import annotations

import math
import re
from functools import partial
from itertools import product
from typing import Any

import pytest

from jielong.base.errors import UserError
from jielong.lm.protocol import LM
from jielong.lm.scripted import Scripted
from jielong.prompting import ape, opro, random_search
from jielong.prompting.instructed import Found, Tried, accuracy, chosen, instructed, likelihood, scored
from jielong.prompting.random_search import line, proposed
from jielong.prompting.shortening import sentences, shorten
from jielong.prompting.strategy import Example, Problem, solve
from tests.prompting.laws import binomial, law_of, oracle

SHOWN = (Example("hot", "cold"), Example("up", "down"))
DEV = tuple(Problem(f"dev {i}", f"d{i}", "yes") for i in range(3))
TEST = tuple(Problem(f"test {i}", f"t{i}", "yes") for i in range(2))


def found(search: Any, lm: LM, **options: Any) -> Found:
    async def run(lm: LM, problem: Problem) -> Any:
        return await search(lm, SHOWN, DEV, TEST, **options)

    value: Any = solve(run, lm, DEV[0])
    return value


def awaited(call: Any, lm: LM) -> Any:
    async def run(lm: LM, problem: Problem) -> Any:
        return await call(lm)

    return solve(run, lm, DEV[0])


# ---------------------------------------------------------------- what is chosen on what


def chosen_on_dev_told_on_test() -> None:
    """One instruction is better on the development problems, the other on the test problems; test is asked last."""

    def say(prompt: str, index: int) -> str:
        if "What was the instruction" in prompt:
            return ["one way", "another way"][index % 2]
        return "yes" if ("one way" in prompt) == ("dev" in prompt) else "no"

    for search, options in ((random_search.search, {"candidates": 2}), (ape.search, {"candidates": 2, "rounds": 0}),
                            (opro.search, {"steps": 1, "start": ("one way", "another way")})):  # fmt: skip
        lm = Scripted(say)
        result = found(search, lm, **options)
        assert (result.instruction, result.dev, result.test, result.overfit) == ("one way", 1.0, 0.0, 1.0)
        asked = [call.prompt[-1]["content"] for call in lm.calls]
        assert [text for text in asked if "test" in text] == [f"one way\n\ntest {i}" for i in range(2)] == asked[-2:]
        assert result.evaluations == 6


def test_chosen_on_dev_told_on_test(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen_on_dev_told_on_test()

    async def on_test(lm: LM, tried: Any, test: Any, score: Any) -> Found:
        again = await scored(lm, [each.instruction for each in tried], test, score)
        best = max(again, key=lambda each: each.score)
        return Found(best.instruction, best.score, best.score, tuple(tried))

    async def told_on_dev(lm: LM, tried: Any, test: Any, score: Any) -> Found:
        good = await chosen(lm, tried, test, score)
        return Found(good.instruction, good.dev, good.dev, good.tried)

    for bug in (on_test, told_on_dev):
        with monkeypatch.context() as patch:
            for module in (random_search, ape, opro):
                patch.setattr(module, "chosen", bug)
            with pytest.raises(AssertionError):
                chosen_on_dev_told_on_test()


def test_the_best_of_equals_looks_better_than_it_is() -> None:
    """m instructions right with p: on n problems the chosen one scores E[max] / n, on others p."""
    m, n, p = 2, 3, 0.6

    async def both(lm: LM) -> tuple[float, float]:
        result = await chosen(lm, await scored(lm, ["a", "b"], DEV, accuracy), TEST[:1], accuracy)
        return result.dev, float(result.test or 0)

    law = law_of(both, oracle(lambda text: "yes", 1 - p, lambda text: ["no"]))
    most = sum(max(k) * math.prod(binomial(each, n, p) for each in k) for k in product(range(n + 1), repeat=m)) / n
    assert sum(dev * q for (dev, _), q in law.items()) == pytest.approx(most, abs=1e-12) and most > p + 0.1
    assert sum(test * q for (_, test), q in law.items()) == pytest.approx(p, abs=1e-12)


def test_unread_answers_are_not_right() -> None:
    problem = Problem("q", gold="yes", read=lambda text: "yes" if text == "yes" else None)
    assert awaited(lambda lm: accuracy(lm, "do", [problem] * 4), Scripted({"": "hm"})) == 0.0
    assert solve(partial(instructed, instruction="Be brief."), (lm := Scripted({"": "yes"})), problem).value == "yes"
    assert lm.calls[0].prompt == [{"role": "user", "content": "Be brief.\n\nq"}]


# ---------------------------------------------------------------- random search


def test_one_of_m_draws_is_good() -> None:
    """Two instructions can come; up to four draws for each of two candidates until both have: 1 - (1 - g)^8."""
    g = 0.3
    make = oracle(lambda text: "good" if "What was" in text else ("yes" if "good" in text else "no"),
                  lambda text: 1 - g if "What was" in text else 0.0, lambda text: ["bad"])  # fmt: skip

    async def good(lm: LM) -> bool:
        return (await random_search.search(lm, SHOWN, DEV[:1], candidates=2)).instruction == "good"

    assert law_of(good, make)[True] == pytest.approx(1 - (1 - g) ** 8, abs=1e-12)

    async def one(lm: LM) -> bool:
        return (await random_search.search(lm, SHOWN, DEV[:1], candidates=1)).instruction == "good"

    assert law_of(one, make)[True] == pytest.approx(g, abs=1e-12)


def test_what_is_proposed() -> None:
    lm = Scripted(lambda text, index: ["", '"Say the opposite."\nmore', "Say the opposite.", "Reverse it."][index % 4])
    assert awaited(lambda lm: proposed(lm, SHOWN, 2), lm) == ["Say the opposite.", "Reverse it."]
    assert lm.calls[0].prompt[0]["content"] == (
        "I gave a friend an instruction. Following it, my friend answered these questions:\n\nQ: hot\nA: cold\n\n"
        "Q: up\nA: down\n\nWhat was the instruction? Write only the instruction, on one line.")  # fmt: skip
    assert [(call.n, call.start) for call in lm.calls] == [(2, 0), (2, 2)] and line("\n 「好」\n") == "好"
    with pytest.raises(UserError, match="proposed no instruction"):
        found(random_search.search, Scripted({"": " "}), candidates=2)
    with pytest.raises(UserError, match="0 candidates"):
        found(random_search.search, lm, candidates=0)


# ---------------------------------------------------------------- APE


def test_scores_are_those_of_the_model() -> None:
    """The likelihood is the mean log-probability of the right answers, after the very prompt that is asked."""
    lm = Scripted({"": "a\nb"}, scores=lambda text, continuation: -float(len(text)) - 100 * (continuation != "yes"))
    wanted = -sum(len(f"user: do it\n\n{each.text}") for each in DEV) / 3
    assert awaited(lambda lm: likelihood(lm, "do it", DEV), lm) == pytest.approx(wanted)
    lm = Scripted(lambda text, index: ["a long instruction", "short"][index % 2], scores=lambda t, c: -float(len(t)))
    result = found(ape.search, lm, candidates=2, rounds=0, score=likelihood)
    assert result.instruction == "short" and [each.verb for each in lm.calls].count("score") == 2 * 3 + 2


def test_variations_are_of_the_best() -> None:
    def say(prompt: str, index: int) -> str:
        if "What was" in prompt:
            return f"grade {index % 3}"
        if "means the same" in prompt:
            return f"grade {int(prompt[-1]) + index % (1 << 20)}"
        grade = re.findall(r"grade (\d)", prompt)[0]
        return "yes" if int(prompt[-1]) < int(grade) else "no"

    lm = Scripted(say)
    result = found(ape.search, lm, candidates=3, rounds=1, keep=1)
    varied = [call for call in lm.calls if "means the same" in call.prompt[0]["content"]]
    assert [call.n for call in varied] == [3] and varied[0].prompt[0]["content"].endswith("\n\ngrade 2")
    grades = [each.instruction for each in result.tried]
    assert grades[:3] == ["grade 0", "grade 1", "grade 2"] and len(set(grades)) == len(grades) > 3
    assert result.dev == 1.0 == next(each.score for each in result.tried if each.instruction == result.instruction)
    with pytest.raises(UserError, match="keeps 0"):
        found(ape.search, lm, keep=0)


def walk(p: tuple[float, float], pulls: int, c: float) -> dict[tuple[int, ...], float]:
    """The law of (right, asked) of two instructions under UCB1, summed up by hand: no code of the package."""
    law: dict[tuple[int, ...], float] = {(0, 0, 0, 0): 1.0}
    for pull in range(pulls):
        after: dict[tuple[int, ...], float] = {}
        for (r1, n1, r2, n2), q in law.items():
            u1 = r1 / n1 + c * math.sqrt(math.log(pull) / n1) if n1 else math.inf
            u2 = r2 / n2 + c * math.sqrt(math.log(pull) / n2) if n2 else math.inf
            for hit in (0, 1):
                if u1 >= u2:
                    state, weight = (r1 + hit, n1 + 1, r2, n2), p[0] if hit else 1 - p[0]
                else:
                    state, weight = (r1, n1, r2 + hit, n2 + 1), p[1] if hit else 1 - p[1]
                after[state] = after.get(state, 0.0) + q * weight
        law = after
    return law


def test_the_bandit_has_the_law_of_its_walk() -> None:
    p, pulls = (0.3, 0.8), 8
    make = oracle(lambda text: "yes", lambda text: 1 - (p[0] if "poor" in text else p[1]), lambda text: ["no"])

    async def pulled(lm: LM) -> tuple[int, ...]:
        one, other = await ape.bandit(lm, ["poor", "fine"], DEV, pulls)
        return round(one.score * one.asked), one.asked, round(other.score * other.asked), other.asked

    law, wanted = law_of(pulled, make), walk(p, pulls, 1.0)
    assert law.keys() == wanted.keys() and all(law[k] == pytest.approx(wanted[k], abs=1e-12) for k in wanted)
    poor = sum(q * state[1] for state, q in walk(p, 48, 1.0).items())
    assert poor < 0.6 * 24  # a coin would ask the poor one 24 times
    with pytest.raises(UserError, match="1 pulls for 2"):
        awaited(lambda lm: ape.bandit(lm, ["a", "b"], DEV, 1), Scripted({"": "yes"}))


# ---------------------------------------------------------------- OPRO


def climber(q: float) -> Any:
    """A model that mends the best instruction it is shown by one grade with probability q, else writes grade 0; under
    grade g it answers the first g of the development problems."""

    def right(prompt: str) -> str:
        grades = [int(each) for each in re.findall(r"grade (\d)", prompt)]
        if "square brackets" in prompt:
            return f"[grade {grades[-1] + 1}]"
        if "What was" in prompt:
            return "grade 1"
        return "yes" if int(prompt[-1]) < grades[0] else "no"

    return oracle(right, lambda text: 1 - q if "brackets" in text or "What was" in text else 0.0,
                  lambda text: ["[grade 0]" if "brackets" in text else "grade 0"])  # fmt: skip


def test_what_learns_from_scores_climbs_and_what_does_not_stays() -> None:
    q, steps = 0.6, 3

    async def grade(lm: LM) -> int:
        return round(3 * (await opro.search(lm, SHOWN, DEV, steps=steps, each=1, start=("grade 0",))).dev)

    law = law_of(grade, climber(q))
    assert law == pytest.approx({k: binomial(k, steps, q) for k in range(steps + 1)}, abs=1e-12)

    async def control(lm: LM) -> int:
        return round(3 * (await random_search.search(lm, SHOWN, DEV, candidates=2)).dev)

    at_random = law_of(control, climber(q))
    assert max(at_random) == 1 < sum(k * p for k, p in law.items())


def test_the_meta_prompt_rises_and_is_cut() -> None:
    tried = [Tried(f"i{k}", score, 4) for k, score in enumerate((0.5, 0.25, 1.0, 0.5))]
    assert opro.meta(tried, SHOWN, 3) == (
        "Here are some instructions with their scores, from 0 to 100; higher is better.\n\n"
        "i0\nscore: 50\n\ni3\nscore: 50\n\ni2\nscore: 100\n\nThey stand above questions like these:\n\n"
        "Q: hot\nA: cold\n\nQ: up\nA: down\n\n"
        "Write a new instruction that differs from all of these and scores higher. Write it in [square brackets].")
    assert [opro.bracketed(text) for text in ("so: [a b] or [c]", "none", "[]", "[ ]")] == ["c", None, None, None]
    lm = Scripted(lambda text, index: "[new]" if "brackets" in text else "yes")
    result = found(opro.search, lm, steps=2, each=4)
    assert [each.instruction for each in result.tried] == ["Answer the question.", "new"]  # scored once
    asked = [call for call in lm.calls if "brackets" in call.prompt[0]["content"]]
    assert [(call.n, call.sampling["temperature"]) for call in asked] == [(4, 1.0)] * 2
    assert found(opro.search, Scripted({"": "no brackets"}), steps=1).instruction == "Answer the question."
    with pytest.raises(UserError, match="0 steps"):
        found(opro.search, lm, steps=0)


# ---------------------------------------------------------------- shortening


def test_what_is_left_is_what_matters() -> None:
    """The answer needs one of four sentences and one of three examples; whatever else there is goes."""
    text = "You are kind. Always add 7. Think well! 再見。"
    shown = (Example("long question here", "a"), Example("key", "b"), Example("q", "c"))

    def say(prompt: str, index: int) -> str:
        return "yes" if "add 7" in prompt and "key" in prompt else "no"

    lm = Scripted(say)
    short = awaited(lambda lm: shorten(lm, text, shown, DEV, TEST), lm)
    assert (short.instruction, short.examples) == ("Always add 7.", (shown[1],))
    assert (short.whole, short.dev, short.test) == (1.0, 1.0, 1.0) and 0 < short.kept < 0.5
    parts = len(sentences(text)) + len(shown)
    assert parts == 7 and short.evaluations == len(DEV) * (1 + sum(range(2, parts + 1)))
    asked = [message["content"] for call in lm.calls for message in call.prompt]
    assert sum("test" in each for each in asked) == len(TEST) and "test 1" in lm.calls[-1].prompt[-1]["content"]
    assert lm.calls[-1].prompt[0]["content"] == "Always add 7.\n\nkey"


def test_a_loss_that_is_allowed_is_taken() -> None:
    def say(prompt: str, index: int) -> str:
        return "yes" if "A." in prompt or "dev 0" not in prompt else "no"

    async def left(lm: LM, loss: float) -> str:
        return (await shorten(lm, "A. B.", (), DEV, loss=loss)).instruction

    assert awaited(lambda lm: left(lm, 0.0), Scripted(say)) == "A."
    assert awaited(lambda lm: left(lm, 0.34), Scripted(say)) == ""
    assert sentences("One. Two!\nThree 3.5 is\n四。五？") == ["One.", "Two!", "Three 3.5 is", "四。", "五？"]
    with pytest.raises(UserError, match="0 parts"):
        awaited(lambda lm: shorten(lm, "", (), DEV), Scripted(say))
