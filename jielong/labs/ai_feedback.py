"""AI feedback against human feedback, as the judge's error grows.

People compare few answers and are right as often as the world's judge is; a machine compares eight times as many, at
the same cost, and errs in a known share of them. Both teach DPO from the same model. Where does much and wrong stop to
be better than little and right?
"""

from __future__ import annotations

from functools import partial
from typing import Any

from jielong.base.result import Result, Row
from jielong.labs import aligning, learning, wrong_labels
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, context, mean, over_seeds
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines

CLAIM = {
    "en": "A machine's judgements, many and cheap, teach as well as people's, few and dear, until it errs too often.",
    "zh": "機器的評判又多又便宜，教得和人少而貴的評判一樣好，直到它錯得太多。",
}
SOURCE = {
    "en": "Lecture 8 (2024); Bai et al. 2022 (arXiv 2212.08073); Lee et al. 2023 (arXiv 2309.00267)",
    "zh": "第 8 講（2024）；Bai et al. 2022（arXiv 2212.08073）；Lee et al. 2023（arXiv 2309.00267）",
}
EXPECT = {
    "en": "At 10 % errors the machine's many labels teach more than the people's few; at 40 % less than at 10 %.",
    "zh": "錯誤率 10% 時，機器的大量標記教得比人的少量標記多；40% 時則不如 10% 時。",
}
MINUTES, SEEDS = 8.0, 3
PEOPLE, TIMES = 150, 8  # comparisons by people; so many times as many by the machine
ERRORS = (0.0, 0.1, 0.2, 0.3, 0.4)


def run(budget: Budget) -> Result:
    """Gains of the machine's labels over the people's, seed by seed."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = len(found) * aligning.ASKED * aligning.DRAWN

    def more(a: str, b: str) -> list[float]:
        return [one[a] - one[b] for one in found]

    coin = Row("true reward gained from a judge that flips a coin", mean(more("0.5", "start")), None, n)
    rows = [
        over_seeds("true reward more than by people, errors 10 %", more("0.1", "people"), "above", 0.0, "people", n),
        over_seeds("true reward lost between errors of 10 % and 40 %", more("0.1", "0.4"), "above", 0.0, "nothing", n),
        over_seeds("true reward gained by people's few labels", more("people", "start"), "above", 0.0, "nothing", n),
        check(coin, high=0.02),
    ]
    for name, shown in ([("start", "before"), ("people", "people's labels")]
                        + [(str(e), f"the machine's labels, errors {e:.0%}") for e in ERRORS]):  # fmt: skip
        values = [one[name] for one in found]
        rows.append(context("true reward", values, n, group=shown))
    means = [mean([one[str(e)] for one in found]) for e in ERRORS]
    people, before = (mean([one[name] for one in found]) for name in ("people", "start"))
    ends = [ERRORS[0], ERRORS[-1]]
    picture = lines(
        Words("What DPO learns from whose labels", "DPO 從誰的標記學到多少"),
        [Series(Words("machine", "機器"), list(ERRORS), means, dots=True),
         Series(Words("people, an eighth as many", "人，數量八分之一"), ends, [people, people]),
         Series(Words("before", "之前"), ends, [before, before])],
        axes=Axes(x=Words("errors of the machine", "機器的錯誤率"), y=Words("true reward", "真正的獎勵")),
    )  # fmt: skip
    return Result("ai_feedback", "AI feedback beside people's", tuple(rows), series={"rewards": picture},
                  meta={"mode": "temperature 1, float32"})  # fmt: skip


def measure(budget: Budget, seed: int) -> dict[str, Any]:
    """Of one seed: the true reward before, after people's labels, and after the machine's, by its errors."""
    start = aligning.start(budget, seed, aligning.QUESTIONS)
    judged = aligning.compared(start.world, start.questions, start.said, each=2)
    sure = aligning.compared(start.world, start.questions, start.said, wrong_labels.perfect, 2)
    before = aligning.true_reward(start.loaded.model, start.loaded.codec, start.world)
    few = [judged[i * len(judged) // PEOPLE] for i in range(PEOPLE)]
    many = sure[: PEOPLE * TIMES]
    found = {"start": mean(before), "people": _taught(start, few, budget)}
    for errors in (*ERRORS, 0.5):
        found[str(errors)] = _taught(start, wrong_labels.flipped(many, errors, seed), budget)
    return found


def _taught(start: aligning.Start, pairs: list[aligning.Compared], budget: Budget) -> float:
    """What DPO makes of these labels, each read as often in all."""
    epochs = max(1.0, PEOPLE * TIMES / len(pairs) / 2)
    return wrong_labels.valued(start, learning.dpo(start.loaded, pairs, start.seed, epochs), budget)
