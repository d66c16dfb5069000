"""Comparing against writing, at the same cost of people's time.

To write a good answer takes a person longer than to say which of two is better. One half of the people writes answers,
with care, and the model imitates them; the other half compares answers that the model drew, and DPO learns from that.
The price of writing is the question: one to eight comparisons for one answer.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from jielong.base.result import Result, Row
from jielong.labs import aligning, learning
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, context, mean, over_seeds
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines

CLAIM = {
    "en": "For the same human time, people who compare teach a model more than people who write, once an answer takes "
    "as long to write as a few comparisons.",
    "zh": "花同樣的人力時間，讓人比較比讓人寫答案教得更多——只要寫一個答案的時間抵得上幾次比較。",
}
SOURCE = {
    "en": "Lecture 8 (2024): it is easier to judge than to write; Ouyang et al. 2022 (arXiv 2203.02155)",
    "zh": "第 8 講（2024）：評判比動筆容易；Ouyang et al. 2022（arXiv 2203.02155）",
}
EXPECT = {
    "en": "At a price of eight comparisons an answer, comparing is ahead; at a price of one, writing is.",
    "zh": "寫一個答案的代價是八次比較時，比較領先；代價是一次時，動筆領先。",
}
MINUTES, SEEDS = 6.0, 3
TIME = 640  # comparisons that the people's time is worth
PRICES = (1, 2, 4, 8)  # comparisons in the time of one written answer
READ = 4000  # answers that imitation reads in all, again and again where they are few


def run(budget: Budget) -> Result:
    """Comparing less writing, by price, seed by seed."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = len(found) * aligning.ASKED * aligning.DRAWN
    dear = [one["compared"] - one[str(PRICES[-1])] for one in found]
    cheap = [one[str(PRICES[0])] - one["compared"] for one in found]
    rows = [
        over_seeds(f"comparing ahead at {PRICES[-1]} comparisons an answer", dear, "above", 0.0, "writing", n),
        over_seeds("writing ahead at one comparison an answer", cheap, "above", 0.0, "comparing", n),
    ]
    gained = [one["compared"] - one["start"] for one in found]
    rows.append(over_seeds("true reward gained by comparing", gained, "above", 0.0, "before", n))
    crowd = [one["crowd"] - one["start"] for one in found]
    rows.append(check(Row("true reward gained from what the crowd writes, without care", mean(crowd), None, n),
                      high=0.03))  # fmt: skip
    shown = {"start": "before", "compared": "comparing", "crowd": "the crowd writes"}
    shown |= {str(price): f"writing at {price}" for price in PRICES}
    for key, name in shown.items():
        rows.append(context("true reward", [one[key] for one in found], n, group=name))
    level = mean([one["compared"] for one in found])
    written = [mean([one[str(price)] for one in found]) for price in PRICES]
    picture = lines(
        Words("The same human time", "同樣的人力時間"),
        [Series(Words("writing", "動筆"), list(PRICES), written, dots=True),
         Series(Words("comparing", "比較"), [PRICES[0], PRICES[-1]], [level, level])],
        axes=Axes(x=Words("comparisons in the time of one answer", "寫一個答案抵幾次比較"),
                  y=Words("true reward", "真正的獎勵"), log_x=True),
    )  # fmt: skip
    return Result("comparing_or_writing", "Comparing beside writing", tuple(rows), series={"rewards": picture},
                  meta={"mode": "temperature 1, float32"})  # fmt: skip


def measure(budget: Budget, seed: int) -> dict[str, Any]:
    """Of one seed: the true reward before, after comparing, and after writing at each price."""
    start = aligning.start(budget, seed)
    pairs = aligning.compared(start.world, start.questions, start.said, each=1)
    some = aligning.evenly(pairs, TIME)

    def valued(work: Any) -> float:
        return mean(aligning.true_reward(learning.learnt(work, budget.talk), start.loaded.codec, start.world))

    before = aligning.true_reward(start.loaded.model, start.loaded.codec, start.world)
    found = {"start": mean(before), "compared": valued(learning.dpo(start.loaded, some, start.seed, 2.0))}
    for price in PRICES:
        n = TIME // price
        written = [(q.prompt, q.answer) for q in aligning.evenly(start.questions, n)]
        found[str(price)] = valued(learning.imitated(start.loaded, written, start.seed, READ))
    crowd = aligning.crowd_says(start.world, TIME)
    found["crowd"] = valued(learning.imitated(start.loaded, crowd, start.seed, READ))
    return found
