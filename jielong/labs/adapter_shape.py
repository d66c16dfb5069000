"""Rank, place and number of an adapter's parameters against what the tuned model answers.

A model that has read the world becomes an assistant: as a whole, or by an adapter that leaves it as it is. LoRA of
three ranks sits at the queries and values, in the feed-forwards, or at every matrix; beside it stand IA3, bottlenecks,
BitFit, a prefix and a soft prompt. All read the same chats for as many steps, each at the rate that suited it best on a
world that is not measured, and are then asked what no training asked: known facts in other words, other sums, other
people who do not exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from jielong.base.result import Result
from jielong.labs import aligning, tuning
from jielong.labs.lab import Budget, part
from jielong.labs.tuning import FULL, RANKS, WAYS
from jielong.labs.verdict import check, context, mean, over_seeds
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines

CLAIM = {
    "en": "An adapter of a few per cent of the parameters comes near full fine-tuning, and where it sits matters more "
    "than its rank.",
    "zh": "參數只有百分之幾的轉接器，就接近微調整個模型；放在哪裡比秩（rank）多大更重要。",
}
SOURCE = {
    "en": "Lecture 7 (2024); Hu et al. 2021 (arXiv 2106.09685), sections 5 and 7; Biderman et al. 2024 "
    "(arXiv 2405.09673), section 4",
    "zh": "第 7 講（2024）；Hu et al. 2021（arXiv 2106.09685），第 5、7 節；Biderman et al. 2024"
    "（arXiv 2405.09673），第 4 節",
}
EXPECT = {
    "en": "LoRA of rank 4 at every matrix within 5 points of full fine-tuning; a wider span from place to place than "
    "from rank 1 to 16.",
    "zh": "每個矩陣都加上秩 4 的 LoRA，與微調整個模型相差不到 5 個百分點；換位置的差距大於秩從 1 到 16 的差距。",
}
MINUTES, SEEDS = 6.0, 3
STEPS = 150
NEAR = 0.05  # within so much of full fine-tuning
BEFORE = "not tuned"
FEW = ("LoRA 4, all", "bottleneck 8")  # of a few per cent of the parameters
PLACES = {"queries and values": Words("LoRA, queries and values", "LoRA，查詢與值"),
          "feed-forward": Words("LoRA, feed-forward", "LoRA，前饋層"),
          "all": Words("LoRA, all matrices", "LoRA，所有矩陣")}  # fmt: skip
OTHERS = {FULL: Words("everything", "整個模型"), "bottleneck 8": Words("bottleneck", "瓶頸轉接器"),
          "prefix 20": Words("prefix", "前綴"), "soft prompt 20": Words("soft prompt", "軟提示"),
          "IA3": Words("IA³", "IA³"), "BitFit": Words("BitFit", "BitFit")}  # fmt: skip


def run(budget: Budget) -> Result:
    """Differences within each seed, judged over seeds."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = len(found) * aligning.ASKED
    right, nats = ({name: [one[name][what] for one in found] for name in found[0]} for what in ("right", "nats"))
    size = {name: round(one["trained"]) for name, one in found[0].items()}
    rows = []
    for name in FEW:
        less = [a - b for a, b in zip(right[name], right[FULL])]
        note = f"{size[name] / size[FULL]:.1%} of the parameters"
        rows.append(over_seeds(f"share right, {name}, less full fine-tuning", less, "above", 0.0, FULL, n,
                               unit="share", note=note, margin=-NEAR))  # fmt: skip
    for what, values, unit in (("share right", right, "share"), ("loss", nats, "nats a token")):
        wide = [spans({name: values[name][i] for name in values}) for i in range(len(found))]
        more = [place - rank for place, rank in wide]
        note = "from place to place {:.3f}, from rank to rank {:.3f}".format(*map(mean, zip(*wide)))
        rows.append(over_seeds(f"{what}: span over places less span over ranks", more, "above", 0.0, "no wider", n,
                               unit=unit, note=note))  # fmt: skip
    rows += [check(context("share right, not tuned", right[BEFORE], n, "share"), high=0.1),
             check(context("share right, full fine-tuning", right[FULL], n, "share"), low=0.3)]  # fmt: skip
    for name in WAYS:
        note = f"{size[name]:,} trained parameters"
        rows.append(context("share right", right[name], n, "share", name, note))
        rows.append(context("loss on fresh chats", nats[name], n, "nats a token", name))
    return Result("adapter_shape", "Rank, place and size of adapters", tuple(rows), series=_picture(right, size),
                  meta={"mode": "greedy, float32", "headline": rows[0].name})  # fmt: skip


def spans(values: Mapping[str, float]) -> tuple[float, float]:
    """How far the means of LoRA's places lie apart, and those of its ranks."""

    def span(groups: Sequence[Sequence[float]]) -> float:
        means = [mean(group) for group in groups]
        return max(means) - min(means)

    table = [[values[f"LoRA {rank}, {place}"] for rank in RANKS] for place in PLACES]
    return span(table), span(list(zip(*table)))


def measure(budget: Budget, seed: int) -> dict[str, dict[str, float]]:
    """Of every way: the share right, nats a token of fresh chats, and how many numbers were trained."""
    loaded, world = tuning.base(budget, seed), tuning.world(seed)
    tokens = tuning.chats(world, loaded.codec, aligning.KINDS)
    fresh = tuning.chats(world, loaded.codec, aligning.KINDS, 300, draw=1)
    asked = aligning.questions(world, aligning.ASKED, "asked", 2)

    def seen(model: Any, trained: int) -> dict[str, float]:
        right = tuning.share(tuning.verdicts(model, loaded.codec, world, asked))
        return {"right": right, "nats": tuning.nats(model, fresh), "trained": float(trained)}

    found = {BEFORE: seen(loaded.model, 0)}
    steps = tuning.steps(budget, STEPS, MINUTES)
    for name, way in WAYS.items():
        model = tuning.tuned(loaded, way, tokens, seed, steps, budget.talk)
        found[name] = seen(model, tuning.trained(model))
    return found


def _picture(right: Mapping[str, Sequence[float]], size: Mapping[str, int]) -> dict[str, Any]:
    def curve(shown: Words, names: Sequence[str]) -> Series:
        return Series(shown, [100 * size[name] / size[FULL] for name in names],
                      [mean(right[name]) for name in names], dots=True)  # fmt: skip

    curves = [curve(shown, [f"LoRA {rank}, {place}" for rank in RANKS]) for place, shown in PLACES.items()]
    curves += [curve(shown, [name]) for name, shown in OTHERS.items()]
    axes = Axes(x=Words("trained parameters, per cent", "訓練的參數（百分比）"), y=Words("share right", "答對的比例"),
                log_x=True)  # fmt: skip
    title = Words("Answers by number of trained parameters", "訓練的參數數量與答對的比例")
    return {"size": lines(title, curves, axes=axes)}
