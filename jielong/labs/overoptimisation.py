"""Over-optimisation: the proxy goes on rising when the truth has turned.

A reward model learnt from comparisons stands in for people. The more a model is pushed to please it, the higher it
says the answers are; what they are truly worth rises first, and then bends. Two ways to push: best of n draws, whose KL
is ln n - (n - 1) / n and whose law is estimated from 64 draws without bias; and PPO, read at several places on its way.
Three things may delay the bend: more comparisons, several judges of whom the least pleased counts, a dearer KL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
    "en": "Pushed far enough, a model pleases the reward model more and more while its true reward falls; more "
    "comparisons or several judges delay the bend.",
    "zh": "推得夠遠，模型會越來越討獎勵模型喜歡，真正的獎勵卻下降；更多的比較或多位裁判能延後這個轉折。",
}
SOURCE = {
    "en": "Lecture 8 (2024); Gao et al. 2022 (arXiv 2210.10760), figure 1; Coste et al. 2023 (arXiv 2310.02743)",
    "zh": "第 8 講（2024）；Gao et al. 2022（arXiv 2210.10760），圖 1；Coste et al. 2023（arXiv 2310.02743）",
}
EXPECT = {
    "en": "PPO with a free KL: the proxy at its end above, the true reward below, what it was at its best; less lost "
    "with more comparisons, with the least of three judges, and with a KL that costs.",
    "zh": "KL 不收費的 PPO：到最後代理獎勵更高，真正的獎勵卻低於最高點；比較更多、取三位裁判的最低分、"
    "KL 要付代價時，損失較小。",
}
MINUTES, SEEDS = 10.0, 3
FEW, JUDGES = 400, 3  # comparisons of the weak judge; how many judges form a panel
DRAWS = 64
SIZES = (1, 2, 4, 8, 16, 32, 64)
STEPS, LEGS = 320, 8  # of PPO, and how often it is looked at
GENTLE = 1 / 30
WAYS = {
    "few comparisons": Words("few comparisons", "比較少"), "many comparisons": Words("many comparisons", "比較多"),
    "least of three": Words("least of three judges", "三位裁判取最低"), "dear KL": Words("a dear KL", "KL 要付代價"),
}  # fmt: skip


def run(budget: Budget) -> Result:
    """How far the end of PPO lies below its best, seed by seed; how much less with each remedy."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = len(found) * aligning.ASKED

    def lost(way: str) -> list[float]:
        return [max(one["ppo"][way]["true"]) - one["ppo"][way]["true"][-1] for one in found]

    plain = "few comparisons"
    rose = [one["ppo"][plain]["proxy"][-1] - max(one["ppo"][plain]["proxy"][: LEGS // 2]) for one in found]
    rows = [
        over_seeds("proxy gained in the second half of PPO", rose, "above", 0.0, "nothing", n),
        over_seeds("true reward lost since its best", lost(plain), "above", 0.0, "nothing", n),
    ]
    for way in list(WAYS)[1:]:
        less = [a - b for a, b in zip(lost(plain), lost(way))]
        rows.append(over_seeds(f"less of it lost, {way}", less, "above", 0.0, plain, n))
    honest = [one["best"]["true reward"]["true"] for one in found]
    falls = max(a - b for values in honest for a, b in zip(values, values[1:]))
    rows.append(check(Row("most lost by one step of best of n, picked by the true reward", falls, None, n), high=1e-9))
    for way in WAYS:
        kl = [one["ppo"][way]["kl"][-1] for one in found]
        rows.append(context("KL at the end of PPO", kl, n, "nats an answer", way))
    return Result("overoptimisation", "Proxy and true reward", tuple(rows), series=_pictures(found),
                  meta={"mode": "temperature 1, float32", "headline": rows[1].name})  # fmt: skip


def _pictures(found: list[dict[str, Any]]) -> dict[str, Any]:
    def means(columns: Sequence[Sequence[float]]) -> list[float]:
        return [mean(values) for values in zip(*columns, strict=True)]

    kl = Words("KL to the start, nats an answer", "與起點的 KL（nat / 回答）")
    along = {what: {way: means([one["ppo"][way][what] for one in found]) for way in WAYS} for what in ("kl", "true")}
    by_ppo = [Series(name, along["kl"][way], along["true"][way], dots=True) for way, name in WAYS.items()]
    by_best = [Series(name, [nats(k) for k in SIZES], means([one["best"][way]["true"] for one in found]), dots=True)
               for way, name in {**WAYS, "true reward": Words("the true reward picks", "由真正的獎勵挑選")}.items()
               if way in found[0]["best"]]  # fmt: skip
    axes = Axes(x=kl, y=Words("true reward", "真正的獎勵"))
    return {"ppo": lines(Words("PPO", "PPO"), by_ppo, axes=axes),
            "best": lines(Words("Best of n", "n 個選最好"), by_best, axes=axes)}  # fmt: skip


def nats(n: int) -> float:
    """Nats that best of n lies from one draw."""
    from jielong.train.preferences.best_of import kl_bound

    return kl_bound(n)


def measure(budget: Budget, seed: int) -> dict[str, Any]:
    """Of one seed: proxy and truth of best of n, and along PPO, by judge."""
    from jielong.train.preferences.rollout_plan import PpoPlan

    start = aligning.start(budget, seed)
    pairs = aligning.compared(start.world, start.questions, start.said, each=0)
    few = [pairs[i * FEW : (i + 1) * FEW] for i in range(JUDGES)]
    judges = [learning.learnt(learning.judge(start.loaded, some, start.seed + i), budget.talk)
              for i, some in enumerate(few)]  # fmt: skip
    well = learning.learnt(learning.judge(start.loaded, pairs, start.seed), budget.talk)
    codec = start.loaded.codec
    rewards = {"few comparisons": learning.reward_of(judges[0], codec),
               "many comparisons": learning.reward_of(well, codec),
               "least of three": least([learning.reward_of(judge, codec) for judge in judges])}  # fmt: skip
    free = PpoPlan(beta=0.0, target=0.0, stop=0.0)
    plans = {way: (reward, free) for way, reward in rewards.items()}
    plans["dear KL"] = (rewards["few comparisons"], PpoPlan())
    return {
        "best": best(start, rewards, seed),
        "ppo": {way: course(start, reward, plan, budget) for way, (reward, plan) in plans.items()},
    }


def least(rewards: Sequence[Any]) -> Any:
    """The least that any of these says, each measured from its own mean over the first answers that all were shown."""
    shift: list[float] = []

    def reward(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        columns_ = [list(each(prompts, completions, **columns)) for each in rewards]
        if not shift:
            shift.extend(map(mean, columns_))
        return [min(v - s for v, s in zip(row, shift)) for row in zip(*columns_, strict=True)]

    return reward


def best(start: aligning.Start, rewards: dict[str, Any], seed: int) -> dict[str, dict[str, list[float]]]:
    """Mean proxy and true reward of the best of n, by who picks."""
    from jielong.train.preferences.best_of import expected_best

    some = aligning.questions(start.world, aligning.ASKED // 2, "asked", 2)
    said = aligning.draws(start.loaded.model, start.loaded.codec, some, DRAWS, seed)
    true = aligning.rewards(start.world, some, said)
    proxies = {way: learning.by_question(reward, some, said) for way, reward in rewards.items()}
    found = {}
    for way, proxy in {**proxies, "true reward": true}.items():
        found[way] = {name: [sum(expected_best(p, n, v) for p, v in zip(proxy, values, strict=True)) / len(some)
                             for n in SIZES] for name, values in (("proxy", proxy), ("true", true))}  # fmt: skip
    return found


def course(start: aligning.Start, reward: Any, plan: Any, budget: Budget) -> dict[str, list[float]]:
    """PPO in legs of as many steps each: KL, proxy and true reward at the beginning and after each."""
    some = aligning.questions(start.world, aligning.ASKED, "asked", 2)
    codec, model = start.loaded.codec, start.loaded.model
    found: dict[str, list[float]] = {"kl": [], "proxy": [], "true": []}
    steps = max(LEGS, round(STEPS * (budget.minutes or MINUTES) / MINUTES)) // LEGS
    for leg in range(LEGS + 1):
        if leg:
            loaded = replace(start.loaded, model=model)
            work = learning.reinforced(loaded, start.questions, reward, plan, start.seed + leg, steps, GENTLE,
                                       reference=start.loaded.model)  # fmt: skip
            model = learning.learnt(work, budget.talk)
        said = aligning.draws(model, codec, some, 1, start.seed)
        proxy = learning.by_question(reward, some, said)
        found["kl"].append(learning.kl(model, start.loaded.model, codec, some, said))
        found["proxy"].append(sum(values[0] for values in proxy) / len(some))
        found["true"].append(sum(v[0] for v in aligning.rewards(start.world, some, said)) / len(some))
    return found
