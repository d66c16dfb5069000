"""A product and a sum, at once or by a program.

A small model that cannot multiply was taught to write down the question as a program (`program_aided`); the sandbox
runs it. The same questions, of numbers of two digits, are answered at once by the same model. A control runs the
programs of other questions: then nothing is right but by chance.
"""

from __future__ import annotations

from functools import partial

from jielong.base.result import Result
from jielong.labs import thinking
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, context, over_seeds
from jielong.prompting.direct import direct
from jielong.prompting.program_aided import program_aided

CLAIM = {
    "en": "A model that writes a program and lets it be run gets arithmetic right that it cannot do itself.",
    "zh": "讓模型寫程式、由程式去算，就能答對模型自己算不出來的題目。",
}
SOURCE = {
    "en": "Lecture 4 (2024); Gao et al. 2022 (arXiv 2211.10435), figure 1",
    "zh": "第 4 講（2024）；Gao et al. 2022（arXiv 2211.10435），圖 1",
}
EXPECT = {
    "en": "95 % and more with programs, hardly any without.",
    "zh": "寫程式答對 95 % 以上，不寫程式幾乎全錯。",
}
MINUTES, SEEDS = 8.0, 5
ASKED = 200


def run(budget: Budget) -> Result:
    """Shares of right answers, seed by seed."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = ASKED * len(found)
    by = {name: [one[name] for one in found] for name in found[0]}
    gains = [a - b for a, b in zip(by["by a program"], by["at once"], strict=True)]
    rows = [
        over_seeds("right by a program", by["by a program"], "above", 0.95, "the bar", n, unit="share"),
        over_seeds("more than at once", gains, "above", 0.5, "the bar", n, unit="share"),
        check(context("right by the program of another question", by["another's program"], n, "share"), high=0.02),
        context("right at once", by["at once"], n, "share"),
    ]
    return Result("programs", "Arithmetic by programs", tuple(rows), meta={"mode": "temperature 1, float32"})


def measure(budget: Budget, seed: int) -> dict[str, float]:
    """By a program, at once, and by another question's program, of one seed."""
    from jielong.agents.sandbox.choose import choose
    from jielong.agents.sandbox.ran import arun

    lm, problems = thinking.load(thinking.counts(budget, seed)), thinking.products(seed, ASKED)
    with choose() as box:
        by_program = thinking.answers(lm, program_aided(partial(arun, box)), problems)
    turned = problems[1:] + problems[:1]
    return {
        "by a program": thinking.right(problems, by_program),
        "at once": thinking.right(problems, thinking.answers(lm, direct, problems)),
        "another's program": thinking.right(turned, by_program),
    }
