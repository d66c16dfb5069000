"""Debate and its judge: what theory says of agents that are alike and of others, exactly; prompts, calls, mutations."""

from __future__ import annotations

import re
from typing import Any

import pytest

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.lm.noisy import NoisyOracle
from jielong.lm.protocol import LM
from jielong.lm.scripted import Scripted
from jielong.prompting import debate as debating
from jielong.prompting.debate import ATTITUDES, debate, held
from jielong.prompting.direct import direct
from jielong.prompting.judge import judge, pick, placed
from jielong.prompting.strategy import Answer, Problem, solve
from jielong.prompting.vote import majority, vote
from tests.prompting.laws import binomial, law_of, oracle, share_right

ASKED = Problem("Left or right?", gold="right", read=lambda text: text if text in ("right", "wrong", "bad") else None)


def seen(prompt: str) -> list[str]:
    """The own last answer and those of the others, in a prompt of a later round; empty in the first."""
    own = re.findall(r"^assistant: (.*)$", prompt, re.MULTILINE)
    return [own[-1], *re.findall(r"^- (.*)$", prompt.rpartition("assistant: ")[2], re.MULTILINE)] if own else []


def alike(p: float, later: Any) -> Any:
    """Agents right with p at first; then wrong with `later(right answers seen, answers seen)`."""

    def rate(prompt: str) -> float:
        said = seen(prompt)
        return later(said.count("right"), len(said)) if said else 1 - p

    return oracle(lambda prompt: "right", rate)


@pytest.mark.parametrize("agents, rounds, p", [(2, 4, 0.4), (3, 2, 0.4), (3, 2, 0.7)])
def test_agents_that_take_over_what_they_see_are_right_as_often_as_before(agents: int, rounds: int, p: float) -> None:
    """The martingale: the expected share of right answers is p after every round, exactly."""

    async def share(lm: LM) -> int:
        return sum(ASKED.right(each) for each in (await held(lm, ASKED, direct, agents, rounds))[-1])

    law = law_of(share, alike(p, lambda right, of: 1 - right / of))
    assert sum(count * q for count, q in law.items()) / agents == pytest.approx(p, abs=1e-12)


@pytest.mark.parametrize("rounds", [2, 3])
def test_agents_that_follow_the_majority_end_in_the_vote(rounds: int) -> None:
    follow = alike(0.6, lambda right, of: float(right * 2 < of))
    debated, voted = share_right(debate(direct, 3, rounds), ASKED, follow), share_right(vote(direct, 3), ASKED, follow)
    assert debated == pytest.approx(voted, abs=1e-12) == sum(binomial(k, 3, 0.6) for k in (2, 3))


def test_agents_that_do_not_listen_are_a_fresh_vote_unless_they_agreed() -> None:
    """Where the first round is unanimous (q) it ends there; else n new answers are voted on."""
    p, n = 0.7, 3
    exact = share_right(debate(direct, n, 2), ASKED, alike(p, lambda right, of: 1 - p))
    fresh = sum(binomial(k, n, p) for k in (2, 3))
    assert exact == pytest.approx(p**n + (1 - p**n - (1 - p) ** n) * fresh, abs=1e-12)


def test_only_those_who_err_differently_and_know_what_is_right_gain() -> None:
    p, q = 0.6, 0.5

    def member(source: noise.Source, right: float, wrong: str, name: str) -> LM:
        def rate(prompt: str) -> float:
            said = seen(prompt)
            return 1 - right if not said else float("right" not in said)

        return NoisyOracle(lambda prompt: "right", rate, lambda prompt: [wrong], source=source, name=name)

    async def right(lm: Any) -> bool:
        members = (member(lm.source, p, "wrong", "one"), member(lm.source, q, "bad", "other"))
        return ASKED.right(await debate(direct, rounds=2, members=members)(lm, ASKED))

    assert law_of(right, oracle(lambda p: "", 0.0))[True] == pytest.approx(1 - (1 - p) * (1 - q), abs=1e-12)


# ---------------------------------------------------------------- the judge


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_judge_among_n_by_its_closed_form(n: int) -> None:
    p, e = 0.6, 0.2

    def place(prompt: str) -> str:
        return re.findall(r"^(\d)\. right$", prompt, re.MULTILINE)[0]

    make = oracle(lambda t: place(t) if "Which of" in t else "right", lambda t: e if "Which of" in t else 1 - p,
                  lambda t: [str(3 - int(place(t)))] if "Which of" in t else ["wrong"])  # fmt: skip
    mixed = 1 - p**n - (1 - p) ** n
    assert share_right(judge(direct, n), ASKED, make) == pytest.approx(p**n + mixed * (1 - e), abs=1e-12)


def test_who_prefers_a_place_decides_nothing_over_two_looks() -> None:
    answers = [Answer("wrong", "wrong"), Answer(None, "?"), Answer("right", "right"), Answer("right", "again")]
    first = Scripted({"": "1"})

    async def picked(lm: LM, looks: int) -> Answer:
        return await pick(lm, ASKED, answers, looks)

    assert solve(lambda lm, _: picked(lm, 2), first, ASKED).votes == {"wrong": 1.0, "right": 1.0}
    assert [call.prompt[0]["content"].splitlines()[2:5] for call in first.calls] == [
        ["1. wrong", "", "2. right"], ["1. right", "", "2. wrong"]]  # fmt: skip
    assert solve(lambda lm, _: picked(lm, 1), first, ASKED).value == "wrong"
    assert solve(lambda lm, _: picked(lm, 3), Scripted({"": "no idea"}), ASKED).value is None
    assert solve(judge(direct, 3), (lm := Scripted({"": "right"})), ASKED).value == "right" and len(lm.calls) == 3
    assert solve(judge(direct, 3), Scripted({"": "?"}), ASKED).value is None


def test_places_are_read_or_not() -> None:
    assert [placed(text, 3) for text in ("2", "Answer 3.", "1, 1", "4", "0", "", "1 or 2", "99999999999")] == [
        1, 2, 0, None, None, None, None, None]  # fmt: skip


def test_a_judge_may_end_a_debate() -> None:
    replies = {"user: Left or right?": ["right", "wrong", "wrong"]}
    lm = Scripted(lambda text, i: "1" if "Which of" in text else replies["user: Left or right?"][len(lm.calls) - 1])
    assert solve(debate(direct, 3, 1, judged=True), lm, ASKED).value == "right"
    assert solve(debate(direct, 3, 1), Scripted(["right", "wrong", "wrong"]), ASKED).value == "wrong"


# ---------------------------------------------------------------- structure and mutations


@pytest.mark.parametrize("attitude", ["open", "agreeable", "contrary"])
def test_prompts_and_order_of_a_debate(attitude: Any) -> None:
    lm = Scripted(["right", "wrong", "right", "wrong", "right", "right"])
    answer = solve(debate(direct, 3, 2, attitude=attitude), lm, ASKED)
    assert answer.value == "right" and answer.votes == {"wrong": 1, "right": 2} and len(lm.calls) == 6
    told = ("These are the answers of the others:\n\n- right\n\n- right\n\n"
            f"{ATTITUDES[attitude]['en']} Give your answer to the question again.")  # fmt: skip
    assert [call.prompt for call in lm.calls[:3]] == [[{"role": "user", "content": "Left or right?"}]] * 3
    assert [(m["role"], m["content"]) for m in lm.calls[4].prompt] == [
        ("user", "Left or right?"), ("assistant", "wrong"), ("user", told)]  # fmt: skip
    assert len({call.start for call in lm.calls[:3]}) == 3  # each agent has draws of its own


def test_it_asks_in_the_language_of_the_question() -> None:
    lm = Scripted(["甲", "乙", "甲", "甲"])
    assert solve(debate(direct, 2, 2, attitude="contrary"), lm, Problem("左還是右？")).value == "甲"
    assert "你不必同意任何人" in lm.calls[-1].prompt[-1]["content"]


def counts_are_what_was_asked_for() -> None:
    """Three agents and two rounds are six calls (one project generates 3 x 2 and evaluates 3 x 3)."""
    for agents, rounds in ((3, 2), (2, 3), (1, 1)):
        lm = Scripted(["right", "wrong"] * 5)
        solve(debate(direct, agents, rounds), lm, ASKED)
        assert len(lm.calls) == (agents * rounds if agents > 1 else 1), (agents, rounds)


def unread_is_never_right() -> None:
    """What no answer can be read from is not right (one project scores it 1), whoever says it."""
    assert not ASKED.right(solve(debate(direct, 3, 2), Scripted({"": "hm"}), ASKED))
    assert not ASKED.right(solve(judge(direct, 3), Scripted({"": "hm"}), ASKED))


def unread_never_votes() -> None:
    """Two replies without an answer do not outvote one with one (one project lets them vote as "[invalid]")."""
    replies = ["hm", "hm", "right"]
    assert solve(debate(direct, 3, 1), Scripted(replies), ASKED).value == "right"


def agreement_stops() -> None:
    lm = Scripted({"": "right"})
    assert solve(debate(direct, 3, 5), lm, ASKED).votes == {"right": 3} and len(lm.calls) == 3
    unread = Scripted({"": "hm"})
    solve(debate(direct, 2, 2), unread, ASKED)
    assert len(unread.calls) == 4  # all alike, and no answer: that is no agreement


@pytest.mark.parametrize("check", [counts_are_what_was_asked_for, unread_is_never_right, unread_never_votes,
                                   agreement_stops])  # fmt: skip
def test_what_others_had_wrong_is_right_here(check: Any) -> None:
    check()


def invalid_votes(answers: Any) -> Answer:
    found = majority([Answer(each.value or "[invalid]", each.text) for each in answers])
    return Answer(None if found.value == "[invalid]" else found.value, found.text, found.votes)


def test_injected_bugs_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right, whole = Problem.right, held
    for check, place, name, bug in (
        (unread_is_never_right, Problem, "right", lambda self, answer: answer.value is None or right(self, answer)),
        (unread_never_votes, debating, "majority", invalid_votes),
        (counts_are_what_was_asked_for, debating, "held",
         lambda lm, problem, strategy, agents, rounds, *rest: whole(lm, problem, strategy, agents, agents, *rest)),
        (agreement_stops, debating, "agreed", lambda answers: False),
        (agreement_stops, debating, "agreed", lambda answers: len({each.value for each in answers}) == 1),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(place, name, bug)
            with pytest.raises(AssertionError):
                check()  # type: ignore[operator]


def test_bad_settings() -> None:
    with pytest.raises(UserError, match="0 agents"):
        debate(direct, 0)
    with pytest.raises(UserError, match="'loud'"):
        debate(direct, attitude="loud")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="0 looks"):
        judge(direct, 3, 0)
