"""Steps before the answer, and a vote over many; and a model that writes steps anyway.

A small model was taught to add numbers of three digits, at once when it is only asked, in steps when it is asked for
steps. It adds pairs that were held out: at once, in steps, and by a vote of forty that wrote steps. A second model has
learnt to write steps whenever it is asked: there the request gains nothing. How many different replies come to one
question is counted too.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from jielong.base.result import Result
from jielong.labs import thinking
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, context, over_seeds
from jielong.lm.local import Local
from jielong.prompting.cot import cot
from jielong.prompting.direct import direct
from jielong.prompting.strategy import Problem
from jielong.prompting.vote import vote

CLAIM = {
    "en": "Writing steps before the answer makes it right more often, and a vote over many such answers more often "
    "still; a model that writes steps anyway gains nothing by being asked to.",
    "zh": "先寫步驟再回答，答對的比例更高；許多這樣的回答投票，又更高；本來就會寫步驟的模型，要求它寫步驟沒有幫助。",
}
SOURCE = {
    "en": "Lectures 3 and 4 (2024); Wei et al. 2022 (arXiv 2201.11903); Wang et al. 2022 (arXiv 2203.11171), figure 2",
    "zh": "第 3、4 講（2024）；Wei et al. 2022（arXiv 2201.11903）；Wang et al. 2022（arXiv 2203.11171），圖 2",
}
EXPECT = {
    "en": "Twenty points and more by steps, five and more by the vote of forty, none where steps come anyway.",
    "zh": "寫步驟多出二十個百分點以上，四十票多出五個百分點以上；本來就寫步驟的模型則沒有差別。",
}
MINUTES, SEEDS = 10.0, 5
ASKED, VOTES, AGAIN = 200, 40, 10  # questions, votes, and replies to a question that are compared
ANYWAY = 1_000_000  # tokens: the second model learns sums alone


def run(budget: Budget) -> Result:
    """Gains in shares, seed by seed."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = ASKED * len(found)

    def gain(name: str, more: str, less: str, least: float) -> Any:
        values = [one[more] - one[less] for one in found]
        return over_seeds(name, values, "above", least, "the bar", n, unit="share")

    anyway = [one["steps, anyway"] - one["at once, anyway"] for one in found]
    rows = [
        gain("steps over at once", "steps", "at once", 0.20),
        gain(f"vote of {VOTES} over one, in steps", "vote", "steps", 0.05),
        gain("more replies that differ, in steps", "variety, steps", "variety, at once", 0.0),
        check(context("steps over at once, where steps come anyway", anyway, n, "share"), low=-0.05, high=0.05),
        *(context(name, [one[name] for one in found], n, "share") for name in found[0]),
    ]
    return Result("steps_and_votes", "Steps, votes", tuple(rows), meta={"mode": "temperature 1, float32"})


def measure(budget: Budget, seed: int) -> dict[str, float]:
    """Shares of right answers, and of different replies among `AGAIN`, of one seed."""
    problems = thinking.sums(seed, ASKED)
    lm = thinking.load(thinking.counts(budget, seed))
    anyway = thinking.load(thinking.steps_anyway(budget, seed, taught=ANYWAY))
    ways = {"at once": direct, "steps": cot, "vote": vote(cot, VOTES)}
    found = {name: thinking.right(problems, thinking.answers(lm, way, problems)) for name, way in ways.items()}
    for name in ("at once", "steps"):
        found[f"{name}, anyway"] = thinking.right(problems, thinking.answers(anyway, ways[name], problems))
        found[f"variety, {name}"] = variety(lm, ways[name], problems)
    return found


def variety(lm: Local, way: Any, problems: list[Problem]) -> float:
    """How many of `AGAIN` replies to a question differ, as a share, on the average."""
    from jielong.prompting.strategy import branch

    replies = [[answer.text for answer in thinking.answers(branch(lm, again), way, problems)] for again in range(AGAIN)]
    return sum(len(set(each)) for each in zip(*replies)) / len(problems) / AGAIN
