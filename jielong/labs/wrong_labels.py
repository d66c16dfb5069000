"""Human labels that are wrong: flipped by accident, or given by those who cannot tell.

The same comparisons of a model's own answers, with 0, 20 or 40 % of the labels flipped, go to DPO, to its relatives
that expect wrong labels (cDPO, robust DPO, told the true share), to IPO and to KTO. Then labels of people who cannot
add: where two sums differ in being right they guess. What each method does with them is measured by the true reward,
and for those who cannot add by the share of sums that come out right.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from jielong.base import noise
from jielong.base.result import Result, Row
from jielong.labs import aligning, learning
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, context, mean, over_seeds
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines
from jielong.world.text import Question
from jielong.world.world import World

CLAIM = {
    "en": "Wrong labels cost every method some of what it learns; losses that expect wrong labels lose less; and "
    "nobody learns what the labellers cannot tell.",
    "zh": "錯誤的標記讓每種方法都少學一些；預期會有錯誤標記的損失函數損失較小；標記者分辨不出來的，誰也學不到。",
}
SOURCE = {
    "en": "Lecture 8 (2024); Mitchell 2023 (a note on DPO with noisy preferences); Chowdhury et al. 2024 (arXiv "
    "2403.00409)",
    "zh": "第 8 講（2024）；Mitchell 2023（關於有雜訊偏好的 DPO）；Chowdhury et al. 2024（arXiv 2403.00409）",
}
EXPECT = {
    "en": "With 40 % flipped every method is worth less than with none; cDPO and robust DPO lose less than DPO; sums "
    "come out right less often after labels of people who cannot add.",
    "zh": "四成標記被翻轉時，每種方法都不如沒有翻轉時；cDPO 與 robust DPO 的損失比 DPO 小；由不會加法的人標記後，"
    "算對的比例較低。",
}
MINUTES, SEEDS = 10.0, 3
SHARES = (0.0, 0.2, 0.4)
METHODS = ("DPO", "cDPO", "robust DPO", "IPO", "KTO")
QUESTIONS = 600
BLIND = "labels of people who cannot add"


def run(budget: Budget) -> Result:
    """What each method loses between no label and 40 % of them flipped, seed by seed."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = len(found) * aligning.ASKED * aligning.DRAWN
    worst = str(SHARES[-1])

    def lost(method: str) -> list[float]:
        return [one["rewards"][method]["0.0"] - one["rewards"][method][worst] for one in found]

    rows = [over_seeds(f"true reward lost to {SHARES[-1]:.0%} wrong labels, {method}", lost(method), "above", 0.0,
                       "nothing", n) for method in METHODS]  # fmt: skip
    for method in ("cDPO", "robust DPO"):
        less = [a - b for a, b in zip(lost("DPO"), lost(method))]
        rows.append(over_seeds(f"less of it lost, {method}", less, "above", 0.0, "DPO", n))
    missed = [one["sums"]["seeing"] - one["sums"]["blind"] for one in found]
    rows.append(over_seeds(f"sums right lost to {BLIND}", missed, "above", 0.0, "nothing", n, unit="share"))
    coin = [one["rewards"]["DPO"]["0.5"] - one["start"] for one in found]
    rows.append(check(Row("true reward gained from labels by a coin, DPO", mean(coin), None, n), high=0.02))
    for method in METHODS:
        for share in SHARES:
            values = [one["rewards"][method][str(share)] for one in found]
            rows.append(context(f"true reward with {share:.0%} wrong labels", values, n, group=method))
    curves = [Series(Words(m, m), list(SHARES), [mean([one["rewards"][m][str(s)] for one in found]) for s in SHARES],
                     dots=True) for m in METHODS]  # fmt: skip
    axes = Axes(x=Words("share of labels that are wrong", "錯誤標記的比例"), y=Words("true reward", "真正的獎勵"))
    picture = lines(Words("True reward by wrong labels", "標記錯誤與真正的獎勵"), curves, axes=axes)
    return Result("wrong_labels", "Labels that are wrong", tuple(rows), series={"rewards": picture},
                  meta={"mode": "temperature 1, float32"})  # fmt: skip


def measure(budget: Budget, seed: int) -> dict[str, Any]:
    """Of one seed: the true reward by method and share of flipped labels, and sums right by who labels."""
    start = aligning.start(budget, seed, QUESTIONS)
    pairs = aligning.compared(start.world, start.questions, start.said, perfect, 2)
    rewards: dict[str, dict[str, float]] = {method: {} for method in METHODS}
    for share in SHARES:
        some = flipped(pairs, share, seed)
        for method in METHODS:
            rewards[method][str(share)] = valued(start, learner(start, method, some, share), budget)
    rewards["DPO"]["0.5"] = valued(start, learner(start, "DPO", flipped(pairs, 0.5, seed), 0.5), budget)
    blind = aligning.compared(start.world, start.questions, start.said, cannot_add, 2)
    sums = {"seeing": right(start, learner(start, "DPO", pairs, 0.0), budget),
            "blind": right(start, learner(start, "DPO", blind, 0.0), budget)}  # fmt: skip
    before = aligning.true_reward(start.loaded.model, start.loaded.codec, start.world)
    return {"rewards": rewards, "sums": sums, "start": mean(before)}


def perfect(world: World, question: Question, a: str, b: str, seed: int) -> int:
    """Who is never mistaken; a coin where both are worth the same."""
    first, second = world.reward(question, a), world.reward(question, b)
    return int(second > first) if first != second else _coin(seed)


def cannot_add(world: World, question: Question, a: str, b: str, seed: int) -> int:
    """The same, but a coin where one sum is right and the other is not."""
    verdicts = {world.check(question, a) == "right", world.check(question, b) == "right"}
    if question.origin.kind == "sums" and len(verdicts) == 2:
        return _coin(seed)
    return perfect(world, question, a, b, seed)


def _coin(seed: int) -> int:
    return int(noise.uniform(noise.seed_of("wrong labels"), seed) < 0.5)


def flipped(pairs: list[aligning.Compared], share: float, seed: int) -> list[aligning.Compared]:
    """The same pairs, `share` of them with the other label."""
    order = noise.permutation(seed, len(pairs), "flipped").tolist()
    turned = set(order[: round(share * len(pairs))])
    return [aligning.Compared(p.question, p.answers, 1 - p.better if i in turned else p.better)
            for i, p in enumerate(pairs)]  # fmt: skip


def learner(start: aligning.Start, method: str, pairs: list[aligning.Compared], share: float) -> Any:
    """The run of a method; those that expect wrong labels are told their share."""
    if method == "KTO":
        return learning.kto(start.loaded, pairs, start.seed, 1.0)
    told = min(share, 0.45)
    plans: dict[str, dict[str, Any]] = {"DPO": {}, "cDPO": {"loss": "cdpo", "flipped": told},
                                        "robust DPO": {"loss": "robust", "flipped": told}, "IPO": {"loss": "ipo"}}
    return learning.dpo(start.loaded, pairs, start.seed, 1.0, **plans[method])


def valued(start: aligning.Start, work: Any, budget: Budget) -> float:
    """The mean true reward of what the run makes."""
    return mean(aligning.true_reward(learning.learnt(work, budget.talk), start.loaded.codec, start.world))


def right(start: aligning.Start, work: Any, budget: Budget) -> float:
    """The share of sums that what the run makes gets right."""
    model = learning.learnt(work, budget.talk)
    some = start.world.questions("sums", aligning.ASKED, draw=2, split="test")
    said = aligning.draws(model, start.loaded.codec, some, 2, start.seed)
    flat = [start.world.check(q, answer) == "right" for q, answers in zip(some, said) for answer in answers]
    return sum(flat) / len(flat)
