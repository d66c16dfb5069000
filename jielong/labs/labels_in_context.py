"""Right, wrong and random labels in the examples, by the size of the model.

Three models of different widths have read the same texts: things and their labels, line by line, good things under
"positive" and bad ones under "negative", but in one text of fifty the other way round, and now and then a label is
wrong by itself. So each thing's label is known by heart, and examples can say otherwise. They are asked behind
examples with the natural labels, with all labels flipped, and with labels by lot; and about words whose labels mean
nothing, where the examples are all that is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from jielong.base import noise
from jielong.base.result import Result, Row
from jielong.labs import shots, thinking
from jielong.labs.lab import Budget, part
from jielong.labs.shots import Item
from jielong.labs.verdict import check, context, mean, over_seeds
from jielong.lm.local import Local
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines

CLAIM = {
    "en": "Small models say the label that they know, whatever the examples show; larger ones follow the examples, "
    "even where all labels are flipped.",
    "zh": "小模型不管例子怎麼標，只說自己知道的標籤；較大的模型會跟著例子走，即使所有標籤都顛倒了。",
}
SOURCE = {
    "en": "Lecture 3 (2024); Min et al. 2022 (arXiv 2202.12837), figure 1; Wei et al. 2023 (arXiv 2303.03846), fig. 2",
    "zh": "第 3 講（2024）；Min et al. 2022（arXiv 2202.12837），圖 1；Wei et al. 2023（arXiv 2303.03846），圖 2",
}
EXPECT = {
    "en": "The wider the model, the more often flipped labels are followed, and the better labels that mean nothing "
    "are learnt from the examples; natural labels are given by all; labels by lot cost little at any width.",
    "zh": "模型越寬，越常跟著顛倒的標籤走，沒有意義的標籤也從例子學得越好；自然的標籤誰都答對；"
    "隨機的標籤，不論寬度都損失不多。",
}
MINUTES, SEEDS = 13.0, 5
WIDTHS, ASKED = (32, 64, 96), 300
FEW = (1, 2, 4)  # flipped examples: who knows how the texts were made follows two
LITTLE = 0.25
NATURAL, FLIPPED, LOT, NONE = "natural labels", "flipped labels", "labels by lot", "no examples"
NOTHING, NOTHING_LOT = "labels that mean nothing", "labels that mean nothing, by lot"


def run(budget: Budget) -> Result:
    """Shares of answers that agree with what is told, by width, seed by seed."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n, small, large = ASKED * len(found), str(WIDTHS[0]), str(WIDTHS[-1])

    def more(name: str, what: str) -> Row:
        values = [one[large][what] - one[small][what] for one in found]
        return over_seeds(f"{name}, width {large} over {small}", values, "above", 0.0, "as many", n, unit="share")

    lost = [mean([one[str(width)][NATURAL] - one[str(width)][LOT] for width in WIDTHS]) for one in found]
    rows = [more("flipped labels followed", FLIPPED), more("labels that mean nothing learnt", NOTHING),
            over_seeds("right answers lost by labels by lot, all widths", lost, "below", LITTLE, "a quarter", n,
                       unit="share", note="who believes each example loses a half")]  # fmt: skip
    for width in map(str, WIDTHS):
        by = {name: [one[width][name] for one in found] for name in found[0][width]}
        rows.append(check(context(f"right behind natural labels, width {width}", by[NATURAL], n, "share"), low=0.9))
        unknown = context(f"right by lot where labels mean nothing, width {width}", by[NOTHING_LOT], n, "share")
        rows.append(check(unknown, high=mean(by["chance"]) + 0.05))
        names = ((f"flipped labels followed, width {width}", FLIPPED),
                 (f"right behind labels by lot, width {width}", LOT), (f"right without examples, width {width}", NONE),
                 (f"labels that mean nothing learnt, width {width}", NOTHING),
                 *((f"flipped labels followed after {k}, width {width}", few(k)) for k in FEW))  # fmt: skip
        rows += [context(title, by[name], n, "share") for title, name in names]
    titles = {NATURAL: Words(NATURAL, "自然標籤"), FLIPPED: Words("flipped labels, followed", "顛倒標籤（跟著走）"),
              LOT: Words(LOT, "隨機標籤"), NOTHING: Words(NOTHING, "沒有意義的標籤")}  # fmt: skip
    curves = [Series(words, WIDTHS, [mean([one[str(width)][name] for one in found]) for width in WIDTHS], dots=True)
              for name, words in titles.items()]  # fmt: skip
    axes = Axes(x=Words("width", "寬度"), y=Words("share", "比例"), y_range=(0.0, 1.0))
    picture = lines(Words("Labels in the examples", "例子裡的標籤"), curves, axes=axes)
    return Result("labels_in_context", "Right, wrong and random labels in context", tuple(rows),
                  series={"widths": picture}, meta={"mode": "greedy, float32"})  # fmt: skip


def measure(budget: Budget, seed: int) -> dict[str, dict[str, float]]:
    """Of every width, of one seed."""
    asked = conditions(seed)
    found = {}
    for width in WIDTHS:
        lm = thinking.load(shots.model(budget, seed, width))
        found[str(width)] = {name: share(lm, items) for name, items in asked.items()}
        found[str(width)]["chance"] = chance(asked[NOTHING])
    return found


def conditions(seed: int) -> dict[str, list[Item]]:
    """The same questions behind examples of every kind; what counts is the item's own label."""
    every = list(shots.items(seed, "test", 5 * ASKED, draw=1))
    feelings = [item.natural() for item in every if item.task == "flipped"][:ASKED]
    words = [item for item in every if item.task == "label"][:ASKED]
    return {
        NATURAL: feelings,
        FLIPPED: [item.other() for item in feelings],
        LOT: by_lot(feelings, seed),
        **{few(k): [replace(item.other(), shots=item.other().shots[:k]) for item in feelings] for k in FEW},
        NONE: [replace(item, shots=[]) for item in feelings],
        NOTHING: words,
        NOTHING_LOT: by_lot(words, seed),
    }


def few(k: int) -> str:
    """The name of a condition."""
    return f"{FLIPPED}, {k}"


def by_lot(items: Sequence[Item], seed: int) -> list[Item]:
    """Each example under one of its item's labels, whichever chance gives."""
    lot, found = noise.rng("labels in context", seed, items[0].task), []
    for item in items:
        labels = sorted(_labels(item))
        given = [labels[i] for i in lot.integers(0, len(labels), len(item.shots)).tolist()]
        found.append(replace(item, shots=[(thing, label) for (thing, _), label in zip(item.shots, given)]))
    return found


def _labels(item: Item) -> set[str]:
    return set(shots.OTHER) if item.task == "flipped" else {label for _, label in item.shots} | {item.label}


def chance(items: Sequence[Item]) -> float:
    """How often who knows nothing but the labels is right."""
    return mean([1 / len(_labels(item)) for item in items])


def share(lm: Local, items: Sequence[Item]) -> float:
    """Of answers that are the item's label."""
    problems = [shots.problem(item, str(i)) for i, item in enumerate(items)]
    return thinking.right(problems, shots.answers(lm, problems))
