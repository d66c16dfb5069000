"""How often a reward model is wrong, by the number of comparisons that it has learnt from.

A person compares two answers that a model drew to a question, and is at times mistaken. A reward model learns from 100
to 3,000 such comparisons, and then says of fresh pairs, on questions in other words, which answer is better: wrong is
what the true reward says is wrong. Those who flip a coin instead of comparing must teach nothing.
"""

from __future__ import annotations

from functools import partial

from jielong.base import noise
from jielong.base.result import Result, Row
from jielong.labs import aligning, learning
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, context, mean, over_seeds, spread
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines
from jielong.world.text import Question
from jielong.world.world import World

CLAIM = {
    "en": "A reward model is wrong less often the more comparisons it has seen.",
    "zh": "看過的比較越多，獎勵模型錯得越少。",
}
SOURCE = {
    "en": "Lecture 8 (2024); Ouyang et al. 2022 (arXiv 2203.02155), section 3.5",
    "zh": "第 8 講（2024）；Ouyang et al. 2022（arXiv 2203.02155），第 3.5 節",
}
EXPECT = {
    "en": "Each step of three or so times the comparisons lowers the error, towards that of the people who compared.",
    "zh": "比較的數量每增為約三倍，錯誤就下降，接近做比較的人自己的錯誤率。",
}
MINUTES, SEEDS = 5.0, 3
SIZES = (100, 300, 1000, 3000)
STEPS = 40  # the least that a reward model learns
CLEAR = 0.05  # pairs nearer than this in true reward are not asked


def run(budget: Budget) -> Result:
    """Errors seed by seed; each size is judged against the one before."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = round(sum(one["pairs"] for one in found))
    columns = {name: [one[name] for one in found] for name in found[0]}
    rows = []
    for few, many in zip(SIZES, SIZES[1:]):
        less = [a - b for a, b in zip(columns[str(few)], columns[str(many)])]
        name = f"fewer errors with {many:,} comparisons than with {few:,}"
        rows.append(over_seeds(name, less, "above", 0.0, "no fewer", n, unit="share"))
    coin = Row("errors, taught by a coin", mean(columns["coin"]), spread(columns["coin"]), n, truth=0.5, unit="share")
    rows.append(check(coin, low=0.4, high=0.6))
    for name in (*map(str, SIZES), "people"):
        title = "errors of people" if name == "people" else f"errors with {int(name):,} comparisons"
        rows.append(context(title, columns[name], n, "share"))
    means = [mean(columns[str(size)]) for size in SIZES]
    people = mean(columns["people"])
    picture = lines(
        Words("Wrong about fresh pairs", "對沒看過的兩個答案判斷錯誤"),
        [Series(Words("reward model", "獎勵模型"), list(SIZES), means, dots=True),
         Series(Words("people", "人"), [SIZES[0], SIZES[-1]], [people, people])],
        axes=Axes(x=Words("comparisons", "比較的數量"), y=Words("share wrong", "錯誤的比例"), log_x=True),
    )  # fmt: skip
    meta = {"mode": "float32", "headline": rows[0].name}
    return Result("reward_model_error", "A reward model's errors", tuple(rows), series={"errors": picture}, meta=meta)


def measure(budget: Budget, seed: int) -> dict[str, float]:
    """Shares wrong by number of comparisons, of a coin's pupil, and of people, of one seed."""
    start = aligning.start(budget, seed, round(0.5 * SIZES[-1]))
    pairs = aligning.compared(start.world, start.questions, start.said, each=3)
    asked = aligning.questions(start.world, 2 * aligning.ASKED, "asked", 2)
    said = aligning.draws(start.loaded.model, start.loaded.codec, asked, 4, seed)
    tested = clear(start.world, aligning.compared(start.world, asked, said))
    found = {"pairs": float(len(tested)), "people": wrong(start.world, tested, [p.better for p in tested])}
    for size in SIZES:
        found[str(size)] = errors(start, aligning.evenly(pairs, size), tested, budget)
    by_coin = aligning.compared(start.world, start.questions, start.said, coin, 3)
    return found | {"coin": errors(start, aligning.evenly(by_coin, SIZES[-1]), tested, budget)}


def coin(world: World, question: Question, a: str, b: str, seed: int) -> int:
    """A choice that knows nothing."""
    return int(noise.uniform(noise.seed_of("coin", world.seed), seed) < 0.5)


def clear(world: World, pairs: list[aligning.Compared]) -> list[aligning.Compared]:
    """Those of which one answer is truly better."""
    return [p for p in pairs if abs(world.reward(p.question, p.answers[0]) - world.reward(p.question, p.answers[1]))
            > CLEAR]  # fmt: skip


def wrong(world: World, pairs: list[aligning.Compared], chosen: list[int]) -> float:
    """The share of pairs of which the worse answer was chosen."""
    missed = sum(world.reward(p.question, p.answers[c]) < world.reward(p.question, p.answers[1 - c])
                 for p, c in zip(pairs, chosen, strict=True))  # fmt: skip
    return missed / len(pairs)


def errors(
    start: aligning.Start, pairs: list[aligning.Compared], tested: list[aligning.Compared], budget: Budget
) -> float:
    """A reward model learns from `pairs`, and judges `tested`."""
    epochs = max(1.0, STEPS * learning.BATCH / len(pairs))
    model = learning.learnt(learning.judge(start.loaded, pairs, start.seed, epochs), budget.talk)
    worth = learning.worths(model, start.loaded.codec, [p.question for p in tested], [list(p.answers) for p in tested])
    return wrong(start.world, tested, [int(b > a) for a, b in worth])
