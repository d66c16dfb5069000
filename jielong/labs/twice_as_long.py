"""Rows twice as long as any that was added up in training, by smaller questions.

A small model has added rows of up to four numbers, at once, in steps, and as a chat of smaller questions; rows of up to
eight it has taken apart, and concluded when their last part was told, without adding them. It is asked for rows of four
and of eight: at once, in steps, and by `least_to_most`, which has the row taken apart and asks the parts one after the
other. A control asks the parts in reverse, so that each has lost what it leans on.
"""

from __future__ import annotations

import re
from functools import partial

from jielong.base.result import Result
from jielong.labs import thinking
from jielong.labs.lab import Budget, part
from jielong.labs.thinking_chats import LONGEST, smaller
from jielong.labs.verdict import check, context, over_seeds
from jielong.lm.prompts import Message
from jielong.lm.protocol import LM
from jielong.prompting.cot import cot
from jielong.prompting.direct import direct
from jielong.prompting.least_to_most import least_to_most
from jielong.prompting.strategy import Answer, Problem, assistant, read, say, user

CLAIM = {
    "en": "By smaller questions, least to most, a model solves problems twice as long as it was trained on, which it "
    "cannot solve in steps.",
    "zh": "把問題拆成小問題、由易到難，模型能解出比訓練時長一倍的題目，只寫步驟則不行。",
}
SOURCE = {
    "en": "Lecture 4 (2024); Zhou et al. 2022 (arXiv 2205.10625), table 3",
    "zh": "第 4 講（2024）；Zhou et al. 2022（arXiv 2205.10625），表 3",
}
EXPECT = {
    "en": "At the trained length all ways but the answer at once do well; at twice the length smaller questions alone.",
    "zh": "在訓練過的長度，除了直接回答，各種方法都好；長一倍時，只有拆成小問題可行。",
}
MINUTES, SEEDS = 8.0, 5
ASKED = 100
WAYS = {"at once": direct, "in steps": cot, "smaller questions": least_to_most}


def run(budget: Budget) -> Result:
    """Shares of right answers by length and way, seed by seed."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n, twice, once = ASKED * len(found), 2 * LONGEST, LONGEST
    by = {name: [one[name] for one in found] for name in found[0]}
    more = [a - b for a, b in zip(by[f"smaller questions, {twice}"], by[f"in steps, {twice}"], strict=True)]
    rows = [
        over_seeds(f"{twice} terms, smaller questions over steps", more, "above", 0.0, "as often", n, unit="share"),
        over_seeds(f"{twice} terms, right by smaller questions", by[f"smaller questions, {twice}"], "above", 0.5,
                   "half", n, unit="share"),
        check(context(f"{once} terms, right in steps", by[f"in steps, {once}"], n, "share"), low=0.8),
        check(context(f"{twice} terms, smaller questions in reverse", by["reverse"], n, "share"), high=0.2),
        *(context(f"right: {name}", values, n, "share") for name, values in by.items() if name != "reverse"),
    ]  # fmt: skip
    return Result("twice_as_long", "Twice the trained length", tuple(rows), meta={"mode": "greedy, float32"})


def measure(budget: Budget, seed: int) -> dict[str, float]:
    """Of one seed."""
    lm, found = thinking.load(thinking.counts(budget, seed)), {}
    for terms in (LONGEST, 2 * LONGEST):
        problems = thinking.rows(seed, ASKED, terms)
        for name, way in WAYS.items():
            given = thinking.answers(lm, way, problems, temperature=0.0)
            found[f"{name}, {terms}"] = thinking.right(problems, given)
    found["reverse"] = thinking.right(problems, thinking.answers(lm, reverse, problems, temperature=0.0))
    return found


async def reverse(lm: LM, problem: Problem) -> Answer:
    """The right smaller questions in the wrong order."""
    turns: list[Message] = []
    for question in reversed(smaller([int(term) for term in re.findall(r"\d+", problem.text)])):
        turns = user(question, *turns)
        turns = [*turns, assistant(await say(lm, turns))]
    return read(problem, await say(lm, user(problem.text, *turns)))
