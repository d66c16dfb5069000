"""PPO with ten seeds: does the true reward rise each time, and does anything blow up?

A model that imitates a crowd answers questions of the world, and each answer is worth its true reward. PPO learns from
that, ten times over, with nothing changed but the seed: of the order of the questions, of the answers that are drawn,
and of how they are dealt. What it has become is measured on questions in other words. Where the rewards of a rollout
are given to the wrong answers nothing must be learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from jielong.base import noise
from jielong.base.result import Result, Row
from jielong.labs import aligning, learning
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, context, mean, over_seeds
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines
from jielong.world.text import Question

if TYPE_CHECKING:
    from jielong.nets.checkpoint import Loaded
    from jielong.nets.transformer import Transformer
    from jielong.world.world import World

CLAIM = {
    "en": "PPO raises the true reward whatever the seed: ten times of ten, without the KL running away and without "
    "numbers that are none.",
    "zh": "不論亂數種子是什麼，PPO 都能提高真正的獎勵：十次裡十次，KL 不會失控，也不會出現非數值。",
}
SOURCE = {
    "en": "Lecture 8 (2024); Ziegler et al. 2019 (arXiv 1909.08593); Huang et al. 2024 (arXiv 2403.17031)",
    "zh": "第 8 講（2024）；Ziegler et al. 2019（arXiv 1909.08593）；Huang et al. 2024（arXiv 2403.17031）",
}
EXPECT = {
    "en": "Every seed gains; no rollout's KL is beyond four times its target; rewards given to the wrong answers teach "
    "nothing.",
    "zh": "每個種子都有進步；每一輪的 KL 都不超過目標的四倍；把獎勵發給別的答案就什麼也學不到。",
}
MINUTES, SEEDS = 6.0, 10
WORLD = 1  # whose crowd is imitated; world 0 is where the settings were chosen
ROLLOUTS = 16
KL, BLOWN = 3.0, 4.0  # nats an answer that beta is steered to, and how many times that is a blow-up
GENTLE = 1 / 40  # of the usual rates, as `train ppo` has them
POINTS = 4  # rollouts that a point of the picture is the mean of


def run(budget: Budget) -> Result:
    """One run of PPO a seed, from one model; the first seed also with rewards given to the wrong answers."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    mixed = part(budget, ("mixed", budget.seeds[0]), partial(measure, budget, budget.seeds[0], True))
    n = aligning.ASKED * len(found)
    gains = [one["after"] - one["before"] for one in found]
    rose = sum(gain > 0 for gain in gains) / len(gains)
    rows = [
        over_seeds("true reward gained", gains, "above", 0.0, "nothing", n),
        check(Row("seeds whose true reward rose", rose, None, len(gains), truth=1.0, unit="share")),
        check(Row("highest KL of a rollout", max(one["highest"] for one in found), None, len(found),
                  unit="nats an answer"), high=BLOWN * KL),
        check(Row("figures that are no numbers", sum(one["nan"] for one in found), None, len(found), truth=0.0)),
        check(Row("gained where rewards are given to the wrong answers", mixed["after"] - mixed["before"], None,
                  aligning.ASKED), high=min(0.05, max(gains))),
        *(context(name, [one[key] for one in found], n, unit) for name, key, unit in (
            ("true reward before", "before", ""), ("true reward after", "after", ""),
            ("KL at the end", "kl", "nats an answer"), ("an answer at the end", "length", "tokens"),
            ("share of a run's time that answers take", "rollouts", "share"))),
    ]
    meta = {"mode": "float32", "seeds": [round(gain, 4) for gain in gains]}
    return Result("ppo_seeds", "PPO over ten seeds", tuple(rows), series=_picture(found), meta=meta)


def _picture(found: list[dict[str, Any]]) -> dict[str, Any]:
    curves = [Series(Words(f"seed {i}", f"種子 {i}"), [POINTS * (k + 0.5) for k in range(len(one["course"]))],
                     one["course"]) for i, one in enumerate(found)]  # fmt: skip
    axes = Axes(x=Words("rollout", "輪次"), y=Words("true reward of its answers", "該輪答案的真正獎勵"))
    return {"course": lines(Words("True reward while it learns", "學習中的真正獎勵"), curves, axes=axes)}


def measure(budget: Budget, seed: int, mixed: bool = False) -> dict[str, Any]:
    """One run: true reward before and after, KL, and what went wrong."""
    from jielong.nets import checkpoint

    loaded = checkpoint.load(aligning.crowd(budget, WORLD))
    world = aligning.known(WORLD)
    before = aligning.true_reward(loaded.model, loaded.codec, world)
    model, records = learnt(loaded, world, aligning.questions(world), budget, seed, mixed)
    after = aligning.true_reward(model, loaded.codec, world)
    drew = [record for record in records if "rollout_seconds" in record["clock"]]
    rewards, spent = [record["reward"] for record in drew], sum(r["clock"]["rollout_seconds"] for r in drew)
    flat = [v for record in records for v in record.values() if isinstance(v, float)]
    return {
        "before": mean(before), "after": mean(after), "kl": drew[-1]["kl"],
        "highest": max(record["kl"] for record in drew), "nan": sum(value != value for value in flat),
        "length": drew[-1]["length"], "rollouts": spent / records[-1]["clock"]["seconds"],
        "course": [mean(rewards[i : i + POINTS]) for i in range(0, len(rewards), POINTS)],
    }  # fmt: skip


def learnt(
    loaded: Loaded, world: World, some: Sequence[Question], budget: Budget, seed: int, mixed: bool = False
) -> tuple[Transformer, list[dict[str, Any]]]:
    """A copy of the model after PPO with the true reward, and the lines of its metrics. `mixed`: each rollout's rewards
    are given to answers drawn by lot."""
    from jielong.train.preferences.rollout_plan import Drawing, PpoPlan

    drawing = Drawing(prompts=32, group=2, length=aligning.ANSWER)
    true, rollout = learning.true_of(world, some), [0]

    def reward(prompts: Sequence[Any], completions: Sequence[str], **_: Any) -> list[float]:
        found: list[float] = true(prompts, [text.strip() for text in completions])
        rollout[0] += 1
        return [found[i] for i in noise.permutation(seed, len(found), "mixed", rollout[0])] if mixed else found

    count = round(ROLLOUTS * (budget.minutes or MINUTES) / MINUTES)
    steps = max(1, count) * drawing.steps
    work = learning.reinforced(loaded, some, reward, PpoPlan(target=KL), seed, steps, GENTLE, drawing)
    return learning.recorded(learning.exact(work), budget.talk, f"ppo, seed {seed}{', mixed' * mixed}")
