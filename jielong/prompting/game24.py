"""The Game of 24: make 24 of four numbers, each used once, with + - * / (Yao et al. 2023, arXiv 2305.10601).

A task for `tree_of_thoughts`: a state is lines like "4 * 5 = 20 (left: 6 10 20)"; after three of them one number is
left, and the fourth thought is the whole expression. A state is worth 20 for each judgement "sure", 1 for "likely",
0.001 for "impossible"; four lines without an answer are worth nothing, and nobody is asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jielong.lm.prompts import Prompt
from jielong.prompting.judge import placed
from jielong.prompting.rational import SIGNS, evaluate
from jielong.prompting.strategy import Answer, Example, Problem, read, user

GOAL = 24
WORTH = {"sure": 20.0, "likely": 1.0, "impossible": 0.001}

ASK = "Numbers: {numbers}. Use each of them once, with + - * / and brackets, to make 24."
PROPOSE = """Take two of the numbers away and put their sum, difference, product or quotient in their place.
Write several such steps that may lead to 24, each on a line, like this:
4 * 5 = 20 (left: 6 10 20)
Numbers: {left}
Steps:"""
FINISH = """{question} These steps do it:
{state}Write them as one expression, like this:
Answer: (4 * 5) + (10 - 6) = 24"""
JUDGE = """Can these numbers, each used once with + - * /, make 24? Think briefly; on the last line write only one word:
sure, likely or impossible.
Numbers: {left}"""
JUDGE_LAST = """{question} Is this right? Think briefly; on the last line write only one word: sure or impossible.
{answer}"""
BALLOT = """{question} Which of these beginnings is the most promising? Compare them; on the last line
write: The best is N
{choices}"""

_LEFT = re.compile(r"\(left:\s*([^()]*?)\s*\)")
_STEP = re.compile(r"\S+ [-+*/] \S+ = \S+ \(left: [^()]+\)")


@dataclass(frozen=True)
class Game24:
    """The task: see `tree_of_thoughts.Task`."""

    steps: int = 4
    draws: int = 1

    def think(self, problem: Problem, state: str) -> Prompt:
        left = _left(problem, state)
        if left == str(GOAL):
            return user(FINISH.format(question=problem.text, state=state))
        return user(PROPOSE.format(left=left))

    def thoughts(self, problem: Problem, state: str, reply: str) -> list[str]:
        """Each line that is a step, or, once 24 is left, the answer. Other lines are no thoughts."""
        lines = [" ".join(line.translate(SIGNS).split()) for line in reply.splitlines()]
        if _left(problem, state) == str(GOAL):
            return [f"{state}{line}\n" for line in lines if line.lower().startswith("answer:")]
        return [f"{state}{line}\n" for line in lines if _STEP.fullmatch(line)]

    def judge(self, problem: Problem, state: str) -> Prompt | None:
        last = state.strip().splitlines()[-1]
        if last.lower().startswith("answer:"):
            return user(JUDGE_LAST.format(question=problem.text, answer=last))
        return user(JUDGE.format(left=_left(problem, state))) if state.count("\n") < self.steps else None

    def worth(self, replies: Sequence[str]) -> float:
        """A judgement whose last line is none of the three words counts for nothing."""
        said = [reply.strip().splitlines()[-1].strip().lower() for reply in replies if reply.strip()]
        return sum(value * said.count(word) for word, value in WORTH.items())

    def ballot(self, problem: Problem, states: Sequence[str]) -> Prompt:
        choices = "\n".join(f"{i}. {'; '.join(state.splitlines())}" for i, state in enumerate(states, 1))
        return user(BALLOT.format(question=problem.text, choices=choices))

    def choice(self, reply: str, among: int) -> int | None:
        said = re.findall(r"best is\D{0,3}(\d+)", reply, re.IGNORECASE)
        return placed(said[-1], among) if said else None

    def answer(self, problem: Problem, state: str) -> Answer:
        ended = state.strip().splitlines()[-1:]
        if not ended or not ended[0].lower().startswith("answer:"):
            return Answer(None, state, note="the steps have no end")
        return read(problem, state)


def _left(problem: Problem, state: str) -> str:
    """The numbers that are left in a state."""
    found = _LEFT.findall(state)
    return found[-1] if found else " ".join(map(str, numbers_of(problem.text)))


def numbers_of(text: str) -> tuple[int, ...]:
    """The four numbers that `problem` wrote into a question."""
    found = re.search(r"Numbers: ([\d ]+)", text)
    return tuple(map(int, found[1].split())) if found else ()


def expression(reply: str) -> str | None:
    """The expression on the last line, without "Answer:", spaces and what follows an equals sign; None without one."""
    lines = reply.strip().splitlines()
    text = lines[-1].lower().replace("answer:", "").split("=")[0].translate(SIGNS) if lines else ""
    return re.sub(r"\s+", "", text) if evaluate(text) is not None else None


def solves(text: str, numbers: Sequence[int]) -> bool:
    """Whether the expression is 24, exactly, and uses each of the numbers once."""
    return sorted(map(int, re.findall(r"\d+", text))) == sorted(numbers) and evaluate(text) == GOAL


def problem(numbers: Sequence[int], id: str = "", examples: tuple[Example, ...] = ()) -> Problem:
    """Four numbers as a problem; any expression that is 24 is right."""

    def check(answer: Answer) -> bool:
        return answer.value is not None and solves(answer.value, numbers)

    return Problem(ASK.format(numbers=" ".join(map(str, numbers))), id, read=expression, check=check, examples=examples)
