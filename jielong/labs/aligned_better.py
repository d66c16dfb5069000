"""Imitation against six ways to learn from what is better, at equal compute, by the true reward.

A model has learnt to answer from a crowd, bad manners and errors with it. People compare its answers; from the same
comparisons DPO and KTO learn directly, and a reward model learns to judge for PPO and for best-of-n. GRPO learns from a
checker, rejection sampling imitates its own answers that the judge likes best, and imitation of the crowd just goes on,
as a control. All that learn spend the same number of operations (passes of a token through the model: one to write or
read, three to learn), but for the judge's own training. Then each answers the same questions, in wordings that nobody
trained on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from jielong.base import stats
from jielong.base.result import Result, Row
from jielong.labs import aligning, learning
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, context, mean, over_seeds, spread
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines

if TYPE_CHECKING:
    from jielong.nets.reward import RewardModel

CLAIM = {
    "en": "Learning from what is better beats imitation: with PPO, DPO, KTO or GRPO, at equal compute, a model answers "
    "better by the true reward.",
    "zh": "學「哪個比較好」勝過模仿：在相同計算量下，經 PPO、DPO、KTO 或 GRPO 的模型，以真正的獎勵衡量都答得更好。",
}
SOURCE = {
    "en": "Lecture 8 (2024); Ouyang et al. 2022 (arXiv 2203.02155), figure 1",
    "zh": "第 8 講（2024）；Ouyang et al. 2022（arXiv 2203.02155），圖 1",
}
EXPECT = {
    "en": "Every method above the model that imitates, seed by seed; more imitation gains nothing.",
    "zh": "每一種方法、每一個種子都高於只模仿的模型；再多模仿也沒有好處。",
}
MINUTES, SEEDS = 25.0, 8
TOKENS = 24_000  # an answer's passes: what a method may spend, in answers of the mean length
BEST = 4  # of so many the judge picks one
COST = {"imitation goes on": 3, "DPO": 8, "KTO": 6, "PPO": 16, "GRPO": 6, "best answers imitated": 3}  # passes an item
SFT = "imitation"
METHODS = ("PPO", "DPO", "KTO", "GRPO", "best of 4", "best answers imitated")
MORE = "imitation goes on"


def run(budget: Budget) -> Result:
    """Gains over the imitating model, seed by seed, and the exact paired test over seeds."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = len(found) * aligning.ASKED * aligning.DRAWN
    rewards = {name: [mean(one["rewards"][name]) for one in found] for name in found[0]["rewards"]}
    rows = []
    for name in METHODS:
        gain = [a - b for a, b in zip(rewards[name], rewards[SFT])]
        p = stats.permutation_paired(rewards[name], rewards[SFT])
        won = sum(each > 0 for each in gain)
        note = f"better with {won} of {len(found)} seeds, exact paired p {p:.2g}"
        rows.append(over_seeds(f"true reward gained, {name}", gain, "above", 0.0, SFT, n, note=note))
    more = [a - b for a, b in zip(rewards[MORE], rewards[SFT])]
    gained = Row(f"true reward gained, {MORE}", mean(more), spread(more), n, 0.0, SFT)
    rows.append(check(gained, low=-0.05, high=0.02))
    for name, values in rewards.items():
        rows.append(context("true reward", values, n, group=name))
    for name in found[0]["seconds"]:
        rows.append(Row("time", mean([one["seconds"][name] for one in found]), None, len(found), unit="seconds",
                        group=name))  # fmt: skip
    seeds = [float(seed) for seed in budget.seeds]
    picture = lines(
        Words("True reward of answers at temperature 1", "溫度 1 時回答的真正獎勵"),
        [Series(NAMES[name], seeds, values, dots=True) for name, values in rewards.items()],
        axes=Axes(x=Words("seed", "種子"), y=Words("true reward", "真正的獎勵")),
    )
    meta = {"mode": "temperature 1, float32", "headline": rows[0].name}
    return Result("aligned_better", "Aligned beside imitating", tuple(rows), series={"rewards": picture}, meta=meta)


NAMES = {
    SFT: Words("imitation", "模仿"), MORE: Words("more imitation", "繼續模仿"), "PPO": Words("PPO", "PPO"),
    "DPO": Words("DPO", "DPO"), "KTO": Words("KTO", "KTO"), "GRPO": Words("GRPO", "GRPO"),
    "best of 4": Words("best of 4", "四個選最好"),
    "best answers imitated": Words("best answers imitated", "模仿最好的回答"),
}  # fmt: skip


def measure(budget: Budget, seed: int) -> dict[str, Any]:
    """Of every method: the true reward of each question, and the seconds that it took."""
    start = aligning.start(budget, seed)
    pairs = aligning.compared(start.world, start.questions, start.said, each=0)
    ways, judge, seconds = methods(start, pairs, budget)
    rewards = {SFT: valued(start, start.loaded.model)}
    for name, make in ways.items():
        began = time.monotonic()
        model = learning.learnt(make(), budget.talk)
        seconds[name] = time.monotonic() - began
        rewards[name] = valued(start, model)
    rewards[f"best of {BEST}"] = chosen(start, judge)
    return {"rewards": rewards, "seconds": seconds}


def methods(
    start: aligning.Start, pairs: list[aligning.Compared], budget: Budget
) -> tuple[dict[str, Callable[[], Any]], RewardModel, dict[str, float]]:
    """What makes the model of each method, the judge, and the judge's time."""
    from jielong.train.preferences.rollout_plan import GrpoPlan, PpoPlan

    loaded, seed, some = start.loaded, start.seed, start.questions
    began = time.monotonic()
    judge = learning.learnt(learning.judge(loaded, pairs, seed), budget.talk)
    seconds = {"reward model": time.monotonic() - began}
    items = {name: (budget.tokens or TOKENS) / cost for name, cost in COST.items()}

    def by_reward(plan: Any, name: str, reward: Any, answers: int) -> Any:
        steps = max(4, round(items[name] / answers))
        return partial(learning.reinforced, loaded, some, reward, plan, seed, steps, 1 / 60)

    best = [answers[row.index(max(row))] for answers, row in
            zip(start.said, learning.worths(judge, loaded.codec, some, start.said), strict=True)]  # fmt: skip
    ways = {
        "PPO": by_reward(PpoPlan(), "PPO", learning.reward_of(judge, loaded.codec), 16),
        "DPO": partial(learning.dpo, loaded, pairs, seed, items["DPO"] / len(pairs)),
        "KTO": partial(learning.kto, loaded, pairs, seed, items["KTO"] / len(pairs) / 2),
        "GRPO": by_reward(GrpoPlan(), "GRPO", learning.true_of(start.world, some), 128),
        "best answers imitated": partial(learning.imitated, loaded, [(q.prompt, a) for q, a in zip(some, best)], seed,
                                         items["best answers imitated"]),
        MORE: partial(learning.imitated, loaded, aligning.crowd_says(start.world, len(some)), seed, items[MORE]),
    }  # fmt: skip
    return ways, judge, seconds


def valued(start: aligning.Start, model: Any) -> list[float]:
    """The true reward of each question of the test."""
    return aligning.true_reward(model, start.loaded.codec, start.world)


def chosen(start: aligning.Start, judge: RewardModel) -> list[float]:
    """The same where the judge picks one of `BEST` answers, for each of the answers that the others give."""
    some, codec = aligning.questions(start.world, aligning.ASKED, "asked", 2), start.loaded.codec
    said = aligning.draws(start.loaded.model, codec, some, BEST * aligning.DRAWN, start.seed)
    worth, true = learning.worths(judge, codec, some, said), aligning.rewards(start.world, some, said)
    found = []
    for w, r in zip(worth, true, strict=True):
        picked = [max(range(i, i + BEST), key=w.__getitem__) for i in range(0, len(w), BEST)]
        found.append(sum(r[i] for i in picked) / len(picked))
    return found
