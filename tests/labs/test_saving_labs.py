"""The labs of instructions, prices, caches and planted pages: what is taught, scripts, closed forms, verdicts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from jielong.base import noise
from jielong.labs import (
    cache_false_hits,
    instruction_found,
    instructions,
    poisoned_passages,
    price_or_accuracy,
    thinking,
)
from jielong.labs.instructions import BRIEF, FILL, PERSON, STEPS, asks
from jielong.labs.lab import Budget
from jielong.labs.thinking_chats import Lot
from jielong.labs.verdict import verdict
from jielong.lm.scripted import Scripted
from jielong.lm.similar import Similar, hashing
from jielong.lm.sync import run as waited
from jielong.prompting import ape, opro, random_search
from jielong.prompting.concatenation import parts
from jielong.prompting.instructed import Tried
from jielong.prompting.readers import number
from jielong.prompting.retrieval import UNKNOWN
from jielong.prompting.strategy import Answer, Example, Problem, user
from jielong.views.verdicts import CONTROL_FAILED, HELD, PART


def total(question: str) -> str:
    """What a row of digits is."""
    return str(sum(map(int, re.findall(r"\d+", question.rpartition("What is")[2]))))


def test_what_instructed_models_are_taught_is_right() -> None:
    followed = 0
    for chat in instructions.chats(1, 400):
        turns = [str(turn["content"]) for turn in chat]
        for question, said in zip(turns[::2], turns[1::2], strict=True):
            listed = re.findall(r"^Q\d+: (.*)$", question, re.MULTILINE)
            if listed:
                found = parts(said, len(listed))
                assert [number(found[i + 1]) for i in range(len(listed))] == [total(each) for each in listed]
                continue
            assert number(said) == total(question.split("\nThink")[0])
            wanted = asks(question) if any(each in question for each in STEPS + BRIEF) else None
            followed += wanted is not None
            assert wanted is None or ("The answer is" in said) == wanted
    assert followed > 100


def test_the_last_sentence_that_asks_for_anything_counts() -> None:
    assert asks(f"{STEPS[0]} {BRIEF[0]} {FILL[0]}") is False and asks(f"{BRIEF[1]} {FILL[2]} {STEPS[3]}") is True
    assert asks(" ".join(FILL[:2])) is None
    assert not set(PERSON[1:]) & {*STEPS, *BRIEF, *FILL} and len(set(PERSON)) == len(PERSON)
    test, dev = ({p.text for p in instructions.problems(1, name, 300)} for name in ("test", "dev"))
    assert len(test) > 200 and test != dev


def test_the_proposer_does_what_is_asked_of_it() -> None:
    lm, shown = instruction_found.proposer(3), [Example("What is 1+2?", "3")]
    proposed = waited(random_search.proposed(lm, shown, 16))
    assert len(set(proposed)) == 16
    assert all(not re.sub("|".join(map(re.escape, STEPS + BRIEF + FILL)), "", each).strip() for each in proposed)
    for first in (f"{STEPS[0]} {FILL[1]}", BRIEF[2]):
        for each in waited(ape.varied(lm, [first], 6)):
            assert asks(each) == asks(first) and each.count(".") == first.count(".")
    tried = [Tried(FILL[0], 0.1, 30), Tried(STEPS[1], 0.9, 30)]
    for draw in lm.sample(user(opro.meta(tried, shown, 4)), 12):
        new = opro.bracketed(draw.text)
        assert new and new != FILL[0]
        assert STEPS[1] in new or new in STEPS + BRIEF + FILL  # one sentence of the best was put in the place of it


def test_helped_models_ask_the_right_one() -> None:
    lm = instruction_found.Helped(Scripted(lambda text, draw: "work"), Scripted(lambda text, draw: "propose"))
    for text in (random_search.PROPOSE["en"], ape.VARY["en"], opro.META["en"]):
        assert lm.sample(user(text))[0].text == "propose"
    assert lm.sample(user("What is 1+2?"))[0].text == "work"


def test_the_best_of_many_alike_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    assert instruction_found.too_good(1, 30, 0.4) == pytest.approx(0)
    # two coins, thrown once each: heads at least once in 3 of 4
    assert instruction_found.too_good(2, 1, 0.5) == pytest.approx(0.25)
    monkeypatch.setattr(instruction_found, "TIMES", 4)
    truth = instruction_found.too_good(instruction_found.TRIED, instruction_found.DEV, instruction_found.ALIKE)
    assert 0.1 < truth < 0.2 and instruction_found.chosen_of_alike(1) == pytest.approx(truth, abs=0.07)


def oracle(text: str, draw: int) -> str:
    """Adds up rightly where it is asked for steps last, else one too many."""
    question = text.rpartition("user: ")[2]
    return str(int(total(question)) + (asks(question) is not True))


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "model", lambda *_: Path("none"))
    monkeypatch.setattr(thinking, "load", lambda path: Scripted(oracle))
    for name, value in {"DEV": 4, "ASKED": 10, "TIMES": 2}.items():
        monkeypatch.setattr(instruction_found, name, value)


@pytest.mark.usefixtures("scripted")
def test_searches_find_what_the_oracle_follows(tmp_path: Path) -> None:
    found = instruction_found.measure(Budget(out=tmp_path, lab="instruction_found"), 0)
    assert found["random"]["test"] == found["ape"]["test"] == 1 and found["random"]["steps"]
    assert found["plain"]["test"] == 0 and found["person"]["evaluations"] == 4 * len(PERSON)
    assert found["random"]["evaluations"] == 4 * instruction_found.TRIED


def searched(seed: int, opro: float, evaluations: int) -> dict[str, Any]:
    def one(test: float) -> dict[str, Any]:
        return {"dev": test + 0.1, "test": test, "evaluations": evaluations, "instruction": "x", "steps": True}

    ways = {"random": one(0.8), "ape": one(0.85 + seed / 100), "opro": one(opro + seed / 100)}
    truth = instruction_found.too_good(instruction_found.TRIED, instruction_found.DEV, instruction_found.ALIKE)
    return ways | {"person": {**one(0.6), "evaluations": 480}, "plain": one(0.3), "alike": truth + seed / 1000}


@pytest.mark.parametrize("opro, evaluations, told", [(0.9, 470, HELD), (0.7, 470, PART), (0.9, 200, CONTROL_FAILED)])
def test_verdicts_on_instructions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, opro: float, evaluations: int, told: str
) -> None:
    def measured(budget: Budget, seed: int) -> dict[str, Any]:
        found = searched(seed, opro, evaluations)
        found["random"]["dev"] += seed / 1000
        return found

    monkeypatch.setattr(instruction_found, "measure", measured)
    assert verdict(instruction_found.run(Budget(out=tmp_path, lab="instruction_found"))) == told


def test_a_router_asks_the_large_model_no_more_than_it_must() -> None:
    from jielong.prompting.outcomes import Outcome

    chances = {"a": 0.9, "b": 0.6, "c": 0.2, "d": 0.1}
    needs = {"a": True, "b": True, "c": False, "d": False}
    valid = [Outcome(q, q, ("", ""), (not needs[q], True), (1, 1)) for q in chances]
    assert price_or_accuracy.tau(chances.__getitem__, valid) == 0.6
    easy = [Outcome(q, q, ("", ""), (True, True), (1, 1)) for q in chances]
    assert price_or_accuracy.tau(chances.__getitem__, easy) == 2.0
    unlucky = [Outcome(q, q, ("", ""), (q == "a", True), (1, 1)) for q in chances]
    assert price_or_accuracy.tau(chances.__getitem__, unlucky) == 0.1


def test_prices_run_whole_on_small_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Real, but hardly trained: every way is gone and paid for."""
    monkeypatch.setattr(instructions, "CHATS", 300)
    for name, value in {"LARGE": (64, 4096), "SMALL": (32, 4096), "LEARN": 12, "VALID": 6, "DEV": 2,
                        "ASKED": 6}.items():  # fmt: skip
        monkeypatch.setattr(price_or_accuracy, name, value)
    monkeypatch.setattr(instructions, "LAYERS", 1)
    monkeypatch.setattr(thinking, "REPLY", 4)
    learn = price_or_accuracy.outcomes

    def some_right(pair: Any, problems: Any) -> Any:
        from dataclasses import replace

        return [replace(each, right=(i % 2 == 0, i % 3 > 0)) for i, each in enumerate(learn(pair, problems))]

    monkeypatch.setattr(price_or_accuracy, "outcomes", some_right)
    found = price_or_accuracy.measure(Budget(out=tmp_path, lab="price_or_accuracy"), 0)
    assert set(found["ways"]) == {"large, long prompt", "large", "small", "shortened", "adapted", "router", "cascade",
                                  "together", "cache"}  # fmt: skip
    assert found["small"]["large tokens"] == 0 < found["small"]["price"] < found["large"]["price"]
    assert found["large"]["price"] < found["large, long prompt"]["price"] and found["cache"]["more"] == 0
    assert found["cache"]["price"] < found["large, long prompt"]["price"] and 0 < found["token"] < 1


def way(right: float, tokens: float) -> dict[str, float]:
    return {"right": right, "large tokens": tokens, "price": tokens + 5}


@pytest.mark.parametrize("right, tokens, more, told", [
    (0.94, 30.0, 0.0, HELD),
    (0.94, 60.0, 0.0, PART),
    (0.94, 30.0, 1.0, CONTROL_FAILED),
])  # fmt: skip
def test_verdicts_on_prices(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, right: float, tokens: float, more: float, told: str
) -> None:
    def measured(budget: Budget, seed: int) -> dict[str, Any]:
        ways = {"large, long prompt": way(0.95, 300), "large": way(0.95, 100), "small": way(0.6, 0),
                "cascade": way(right + seed / 1000, tokens + seed)}  # fmt: skip
        return {**ways, "cache": {**way(0.95, 150), "more": more}, "ways": [*ways, "cache"], "token": 0.2}

    monkeypatch.setattr(price_or_accuracy, "measure", measured)
    assert verdict(price_or_accuracy.run(Budget(out=tmp_path, lab="price_or_accuracy"))) == told


def test_what_comes_out_of_a_cache(tmp_path: Path) -> None:
    answers = {"What is 47+38?": "85", "What is 47+39?": "86", "Who sings?": "Ada"}
    asked = ["What is 47+38?", "What is 47+39?", "Who sings?", "What is 47+39?"]
    exact = cache_false_hits.through(asked, answers, None)
    assert exact == {"saved": 0.25, "wrong": 0.0}
    near = cache_false_hits.through(asked, answers, Similar(hashing(), 0.5, "hashing"))
    assert near == {"saved": 0.5, "wrong": 0.5}  # 47+39 is taken for 47+38, twice
    columns = [{"right": right, "false": false, "n": 1} for right, false in ((0.3, 0.9), (0.05, 0.1), (0.0, 0.0))]
    assert cache_false_hits.first_worth(columns) is columns[1]
    assert cache_false_hits.first_worth(columns[2:]) is columns[2]


def test_streams_have_questions_that_come_again() -> None:
    from jielong.world.world import World

    asked, answers = cache_false_hits.stream(World(1, 40), 1)
    assert len(asked) == cache_false_hits.ASKED and 0.1 < len(set(asked)) / len(asked) < 0.9
    assert set(asked) <= set(answers)


@pytest.mark.parametrize("false, wrong, told", [(0.3, 0.0, HELD), (0.01, 0.0, PART), (0.3, 0.1, CONTROL_FAILED)])
def test_verdicts_on_caches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, false: float, wrong: float, told: str
) -> None:
    def measured(budget: Budget, seed: int) -> dict[str, Any]:
        column = [{"right": 0.1 + seed / 1000, "false": false, "n": 900} for _ in cache_false_hits.THRESHOLDS]
        both = (cache_false_hits.LOW, cache_false_hits.HIGH)
        stream = {str(at): {"saved": 0.4, "wrong": 0.2 + seed / 1000} for at in both}
        exact = {"saved": 0.3, "again": 0.3, "wrong": wrong}
        return {"pairs": {"hashed words": column}, "stream": {"hashed words": stream}, "exact": exact}

    monkeypatch.setattr(cache_false_hits, "measure", measured)
    assert verdict(cache_false_hits.run(Budget(out=tmp_path, lab="cache_false_hits"))) == told


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second reader never answers."""
    monkeypatch.setattr(thinking, "reads", lambda *_: Path("none"))
    monkeypatch.setattr(thinking, "load", lambda path: Scripted(lambda text, draw: UNKNOWN["en"]))
    monkeypatch.setattr(poisoned_passages, "ASKED", 60)


@pytest.mark.usefixtures("reads")
def test_planted_pages_are_seen_where_they_may_be(tmp_path: Path) -> None:
    found = poisoned_passages.measure(Budget(out=tmp_path, lab="poisoned_passages"), 7)
    assert found["by lot, none, planted"] == found["forbidden, passages and scores"] == found["forbidden, answers"] == 0
    assert found["allowed, passages and scores"] > 0.5 and found["shown, order"] > 0.5
    for kind in ("none", *poisoned_passages.KINDS):
        assert found[f"by lot, {kind}, right"] == pytest.approx(found[f"law, {kind}"], abs=0.2)
        assert found[f"model, {kind}, unanswered"] == 1
    assert found["law, none"] > 0.8 > found["law, wrong page"] > found["law, order"]


def test_cases_say_a_wrong_thing_in_the_right_words() -> None:
    problems, pages = thinking.about(7, 40)
    for i in range(40):
        case = poisoned_passages.made(problems, i, [page.text for page in pages], 7)
        assert case is not None and case.wrong != case.problem.gold and case.problem.read(case.wrong) == case.wrong
        gold, planted, true = (each.lower() for each in (str(case.problem.gold), case.planted["wrong page"], case.true))
        assert case.wrong.lower() in planted and gold not in planted
        assert all(each in true for each in re.split(r"(?<=[.!?]) ", planted.replace(case.wrong.lower(), gold)))
        assert case.planted["order"].startswith(case.problem.text)


def test_outcomes_are_counted(tmp_path: Path) -> None:
    problem = Problem("Where?", "p", "Lunde", read=lambda reply: reply or None)
    case = poisoned_passages.Case(problem, "true", "Ostra", {"order": "planted"})
    found = poisoned_passages.outcome([case] * 4, [Answer("Lunde"), Answer("Ostra"), Answer("Vimba"), Answer(None)])
    assert found == {"right": 0.25, "planted": 0.25, "unanswered": 0.25}
    passages: Any = [type("P", (), {"text": text}) for text in ("true", "planted", "else")]
    assert poisoned_passages.law(case, passages) == 0.5 and poisoned_passages.law(case, passages[2:]) == 0


@pytest.mark.parametrize("changed, model, told", [
    (0.0, 0.9, HELD),
    (0.01, 0.9, CONTROL_FAILED),
    (0.0, 0.2, CONTROL_FAILED),
])  # fmt: skip
def test_verdicts_on_planted_pages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: float, model: float, told: str
) -> None:
    def measured(budget: Budget, seed: int) -> dict[str, float]:
        found = {"n": 200.0, "forbidden, passages and scores": changed, "forbidden, answers": 0.0,
                 "allowed, passages and scores": 0.9}  # fmt: skip
        for kind, right in (("none", 0.95), ("wrong page", 0.6), ("order", 0.3)):
            planted = 0.9 - right + noise.uniform(seed, kind) / 100 if kind != "none" else 0.0
            for reader in poisoned_passages.READERS:
                found |= {f"{reader}, {kind}, right": right, f"{reader}, {kind}, planted": planted,
                          f"{reader}, {kind}, unanswered": 0.05}  # fmt: skip
            found |= {f"law, {kind}": right, f"shown, {kind}": 0.5}
        return found | {"model, none, right": model}

    monkeypatch.setattr(poisoned_passages, "measure", measured)
    assert verdict(poisoned_passages.run(Budget(out=tmp_path, lab="poisoned_passages"))) == told


def test_lots_of_other_places_are_others() -> None:
    assert len({instructions.some(Lot(1, i)) for i in range(200)}) > 100
