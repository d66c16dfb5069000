"""Debate or vote, at equal budgets; and how often an answer is overturned.

A small model was taught to add in steps, and to answer anew after it has heard what others said, right and wrong alike.
Three of it debate for two rounds; a vote of as many runs as use the same tokens stands beside. What a round of debate
overturns and what it mends is counted, for words that ask for openness, for agreement and for contradiction.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from jielong.base.result import Result
from jielong.labs import thinking
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, context, over_seeds
from jielong.lm.local import Local
from jielong.lm.protocol import gather
from jielong.lm.sync import run as waited
from jielong.prompting.cot import cot
from jielong.prompting.debate import ATTITUDES, held
from jielong.prompting.strategy import Answer, Problem, branch, having
from jielong.prompting.vote import majority

CLAIM = {
    "en": "At equal budgets a debate of equal agents is no better than a vote.",
    "zh": "在相同預算下，能力相同的模型互相討論，不比投票好。",
}
SOURCE = {
    "en": "Lecture 4 (2024); Du et al. 2023 (arXiv 2305.14325); Choi et al. 2025 (arXiv 2601.19921)",
    "zh": "第 4 講（2024）；Du et al. 2023（arXiv 2305.14325）；Choi et al. 2025（arXiv 2601.19921）",
}
EXPECT = {
    "en": "No gain over the vote; more wrong answers are mended in debate than right ones overturned.",
    "zh": "不會勝過投票；討論中被改對的錯答多於被推翻的正答。",
}
MINUTES, SEEDS = 8.0, 5
ASKED, AGENTS, ROUNDS = 150, 3, 2
TAUGHT = 2_000_000  # tokens: who is always right has nothing to debate


def run(budget: Budget) -> Result:
    """Shares of right answers at equal tokens, and what the second round changes, seed by seed."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = ASKED * len(found)
    by = {name: [one[name] for one in found] for name in found[0]}
    gain = [a - b for a, b in zip(by["vote"], by["debate"], strict=True)]
    mended = [a - b for a, b in zip(by["mended, open"], by["overturned, open"], strict=True)]
    rows = [
        over_seeds("vote over debate, same tokens", gain, "above", 0.0, "as often", n, unit="share",
                   note="margin of equality: see the interval"),
        over_seeds("answers of a debate mended less overturned", mended, "above", 0.0, "as many", n, unit="share"),
        check(context("tokens of the vote, times the debate's", by["tokens"], n, "times"), low=0.9, high=1.1),
        *(context(name, values, n, "share") for name, values in by.items() if name != "tokens"),
    ]  # fmt: skip
    return Result("debate_or_vote", "Debate or vote", tuple(rows), meta={"mode": "temperature 1, float32"})


def measure(budget: Budget, seed: int) -> dict[str, float]:
    """Of one seed."""
    lm = thinking.load(thinking.counts(budget, seed, taught=TAUGHT))
    problems, found = thinking.sums(seed, ASKED), {}
    for attitude in ATTITUDES:
        before = lm.usage.tokens
        rounds = debated(lm, problems, attitude)
        spent = lm.usage.tokens - before
        first, last = ([answer for each in rounds for answer in each[at]] for at in (0, -1))
        found[f"mended, {attitude}"], found[f"overturned, {attitude}"] = changed(problems, first, last)
        if attitude == "open":
            paid = spent
            found["debate"] = thinking.right(problems, [majority(each[-1]) for each in rounds])
            found["one"] = sum(p.right(a) for p, each in zip(problems, rounds) for a in each[0]) / len(first)
    before = lm.usage.tokens
    runs: list[list[Answer]] = []
    while not runs or (lm.usage.tokens - before) * (len(runs) + 0.5) / len(runs) < paid:
        runs.append(thinking.answers(branch(lm, ("vote", len(runs))), cot, problems))
    found["vote"] = thinking.right(problems, [majority(each) for each in zip(*runs)])
    found["tokens"] = (lm.usage.tokens - before) / paid
    return found


def debated(lm: Local, problems: Sequence[Problem], attitude: Any) -> list[list[list[Answer]]]:
    """Everybody's answers to every problem, round by round; where all agreed at once, the first round is the last."""

    async def all_held() -> list[list[list[Answer]]]:
        asked = having(lm, max_tokens=thinking.REPLY)
        return list(await gather(*(held(asked, problem, cot, AGENTS, ROUNDS, attitude) for problem in problems)))

    return waited(all_held())


def changed(problems: Sequence[Problem], first: Sequence[Answer], last: Sequence[Answer]) -> tuple[float, float]:
    """The shares of all answers that were wrong and became right, and that were right and became wrong."""
    owners = [problem for problem in problems for _ in range(len(first) // len(problems))]
    pairs = [(p.right(a), p.right(b)) for p, a, b in zip(owners, first, last, strict=True)]
    return sum(not a and b for a, b in pairs) / len(pairs), sum(a and not b for a, b in pairs) / len(pairs)
