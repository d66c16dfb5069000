"""An adapter for each task against one generalist that was tuned on all of them.

A model that has read the world learns four tasks of an assistant: to answer about people, to add, to say that it does
not know a person, to translate. The generalist reads equally many chats of all tasks; a specialist is a LoRA that reads
those of one. At equal total tokens (then a task too is read about as long either way) a specialist has a quarter of the
generalist's steps; at equal tokens a model it has as many steps. Each then answers all four tasks: what an adapter
makes of a task that is not its own is a control.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from jielong.base.result import Result
from jielong.labs import tuning
from jielong.labs.lab import Budget, part
from jielong.labs.tuning import FULL, WAYS
from jielong.labs.verdict import check, context, mean, over_seeds
from jielong.views.markup import Words
from jielong.views.pictures import heat_map

CLAIM = {
    "en": "One small adapter for each task does as well as one generalist that is fine-tuned on all of them.",
    "zh": "每個任務一個小轉接器，做得和把所有任務一起微調的通才一樣好。",
}
SOURCE = {
    "en": "Lecture 7 (2024); Houlsby et al. 2019 (arXiv 1902.00751), section 3",
    "zh": "第 7 講（2024）；Houlsby et al. 2019（arXiv 1902.00751），第 3 節",
}
EXPECT = {
    "en": "The mean share right of the four specialists no more than 5 points below the generalist's, at equal total "
    "tokens and at equal tokens a model; above that of a single adapter for all.",
    "zh": "總 token 數相同、或每個模型的 token 數相同時，四個專才的平均答對率最多比通才低 5 個百分點，"
    "並高於只用一個轉接器學所有任務。",
}
MINUTES, SEEDS = 5.0, 3
STEPS = 160  # of a generalist
QUESTIONS = 60  # of each task
NEAR = 0.05
TASKS = {"facts": "asked", "sums": "test", "unknown": "asked", "translate": "asked"}  # and how they are asked
LORA = "LoRA 16, all"
TOTAL, EACH = "equal total tokens", "equal tokens a model"
ALL = {f"generalist, {FULL}": FULL, f"generalist, one {LORA}": LORA}
WHOLE, ONE = ALL
BEFORE = "not tuned"
Right = Mapping[str, Mapping[str, float]]  # by model and task


def run(budget: Budget) -> Result:
    """Mean shares right over the tasks, each seed's specialists beside its generalists."""
    found: list[Right] = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = QUESTIONS * len(TASKS) * len(found)
    means = {name: [mean(list(one[name].values())) for one in found] for name in (BEFORE, *ALL)}
    own = {budgeted: [specialists(one, budgeted) for one in found] for budgeted in (TOTAL, EACH)}
    rows = []
    for budgeted, values in own.items():
        less = [a - b for a, b in zip(values, means[WHOLE])]
        rows.append(over_seeds(f"share right, specialists less {WHOLE}, {budgeted}", less, "above", 0.0, WHOLE, n,
                               unit="share", margin=-NEAR))  # fmt: skip
    for budgeted, values in own.items():
        more = [a - b for a, b in zip(values, means[ONE])]
        rows.append(over_seeds(f"share right, specialists less {ONE}, {budgeted}", more, "above", 0.0, ONE, n,
                               unit="share"))  # fmt: skip
    strange = [others(one, EACH) for one in found]
    rows += [check(context("share right, not tuned", means[BEFORE], n, "share"), high=0.1),
             check(context(f"share right, {WHOLE}", means[WHOLE], n, "share"), low=0.3),
             check(context("share right of an adapter for another task", strange, n, "share"),
                   high=0.5 * mean(own[EACH]))]  # fmt: skip
    for name in found[0]:
        for task in TASKS:
            rows.append(context(f"right, {task}", [one[name][task] for one in found], QUESTIONS * len(found),
                                "share", name))  # fmt: skip
    return Result("adapter_per_task", "An adapter for each task, or one generalist", tuple(rows),
                  series=_picture(found), meta={"mode": "greedy, float32", "headline": rows[0].name})  # fmt: skip


def special(task: str, budgeted: str) -> str:
    """A specialist's name."""
    return f"{task}'s {LORA}, {budgeted}"


def specialists(right: Right, budgeted: str) -> float:
    """The mean share right where each task is answered by its own adapter."""
    return mean([right[special(task, budgeted)][task] for task in TASKS])


def others(right: Right, budgeted: str) -> float:
    """The same where each task is answered by every adapter but its own."""
    return mean([right[special(mine, budgeted)][task] for mine in TASKS for task in TASKS if task != mine])


def _picture(found: Sequence[Right]) -> dict[str, Any]:
    names = [name for name in found[0] if not name.endswith(TOTAL)]
    values = [[mean([one[name][task] for one in found]) for task in TASKS] for name in names]
    title = Words(f"Share right by task, {EACH}", "各任務答對的比例（每個模型 token 數相同）")
    return {"right": heat_map(title, values, names, list(TASKS), unit="share")}


def measure(budget: Budget, seed: int) -> dict[str, dict[str, float]]:
    """Shares right by model and task."""
    loaded, world = tuning.base(budget, seed), tuning.world(seed)
    asked = {task: world.questions(task, QUESTIONS, draw=2, split=split) for task, split in TASKS.items()}
    flat = [question for some in asked.values() for question in some]

    def seen(model: Any) -> dict[str, float]:
        said = iter(tuning.verdicts(model, loaded.codec, world, flat))
        return {task: tuning.share([next(said) for _ in some]) for task, some in asked.items()}

    def learnt(kinds: Sequence[str], name: str, steps: int) -> dict[str, float]:
        shares = dict.fromkeys(kinds, 1 / len(kinds))
        tokens = tuning.chats(world, loaded.codec, shares, tuning.CHATS * len(kinds) // len(TASKS))
        return seen(tuning.tuned(loaded, WAYS[name], tokens, seed, steps, budget.talk))

    steps = tuning.steps(budget, STEPS, MINUTES)
    found = {BEFORE: seen(loaded.model)} | {name: learnt(list(TASKS), way, steps) for name, way in ALL.items()}
    for budgeted, each in {TOTAL: max(1, steps // len(TASKS)), EACH: steps}.items():
        found |= {special(task, budgeted): learnt([task], LORA, each) for task in TASKS}
    return found
