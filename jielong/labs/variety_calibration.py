"""Variety of answers and calibration, before and after alignment.

A model that imitates a crowd gives many answers to one question, and about as often as it gives an answer that answer
is right. After DPO, PPO and KTO: how many different answers come in sixteen draws, and how far the share in which the
commonest answer comes lies from the share in which it is right (ECE over ten bins). Both beside a model that goes on
imitating for as many tokens: more training of any kind costs some variety. A control draws again from the same model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from jielong.base.result import Result, Row
from jielong.labs import aligned_better, aligning, learning
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, context, mean, over_seeds
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines

CLAIM = {
    "en": "Alignment costs variety, and a model that was calibrated becomes too sure of itself.",
    "zh": "對齊會犧牲多樣性，原本校準良好的模型會變得過度自信。",
}
SOURCE = {
    "en": "Lecture 8 (2024); OpenAI 2023 (arXiv 2303.08774), figure 8; Kirk et al. 2024 (arXiv 2310.06452)",
    "zh": "第 8 講（2024）；OpenAI 2023（arXiv 2303.08774），圖 8；Kirk et al. 2024（arXiv 2310.06452）",
}
EXPECT = {
    "en": "Fewer different answers in sixteen draws after each method; a larger calibration error after each.",
    "zh": "經每種方法之後，十六次抽樣裡不同的答案都變少，校準誤差都變大。",
}
MINUTES, SEEDS = 6.0, 3
DRAWS, ASKED, BINS = 16, 160, 10
METHODS = ("DPO", "PPO", "KTO")
BEFORE, AGAIN, MORE = "imitation", "imitation, drawn again", aligned_better.MORE


def run(budget: Budget) -> Result:
    """Differences to the model that goes on imitating, seed by seed."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = len(found) * ASKED

    def column(name: str, what: str) -> list[float]:
        return [one[name][what] for one in found]

    rows = []
    for name in METHODS:
        fewer = [a - b for a, b in zip(column(MORE, "different"), column(name, "different"))]
        rows.append(over_seeds(f"fewer different answers in {DRAWS} draws, {name}", fewer, "above", 0.0, MORE, n))
        worse = [b - a for a, b in zip(column(MORE, "error"), column(name, "error"))]
        rows.append(over_seeds(f"larger calibration error, {name}", worse, "above", 0.0, MORE, n, unit="share"))
    fewer = [a - b for a, b in zip(column(BEFORE, "different"), column(AGAIN, "different"))]
    rows.append(check(Row("fewer different answers, drawn again", mean(fewer), None, n), -0.3, 0.3))
    for name in (BEFORE, MORE, *METHODS):
        for what, title, unit in (("different", f"different answers in {DRAWS} draws", ""),
                                  ("error", "calibration error", "share"), ("sure", "share of the commonest", "share"),
                                  ("right", "commonest right", "share")):  # fmt: skip
            rows.append(context(title, column(name, what), n, unit, name))
    return Result("variety_calibration", "Variety and calibration", tuple(rows), series=_picture(found),
                  meta={"mode": "temperature 1, float32"})  # fmt: skip


def _picture(found: list[dict[str, Any]]) -> dict[str, Any]:
    names = {BEFORE: Words("imitation", "模仿"), **{name: Words(name, name) for name in METHODS}}
    curves = [Series(Words("as sure as right", "信心等於正確"), [0.0, 1.0], [0.0, 1.0])]
    for name, shown in names.items():
        pooled = [pair for one in found for pair in one[name]["pairs"]]
        cells = [(sum(c for c, _ in cell) / len(cell), sum(r for _, r in cell) / len(cell)) for cell in bins(pooled)]
        curves.append(Series(shown, [x for x, _ in cells], [y for _, y in cells], dots=True))
    axes = Axes(x=Words("share of draws that say so", "抽到該答案的比例"), y=Words("share right", "答對的比例"))
    return {"calibration": lines(Words("Sure and right", "信心與正確"), curves, axes=axes)}


def measure(budget: Budget, seed: int) -> dict[str, Any]:
    """Figures of every model, of one seed."""
    start = aligning.start(budget, seed)
    pairs = aligning.compared(start.world, start.questions, start.said, each=0)
    ways, _, _ = aligned_better.methods(start, pairs, budget)
    found = {BEFORE: figures(start, start.loaded.model), AGAIN: figures(start, start.loaded.model, 1)}
    for name in (MORE, *METHODS):
        found[name] = figures(start, learning.learnt(ways[name](), budget.talk))
    return found


def figures(start: aligning.Start, model: Any, draw: int = 0) -> dict[str, Any]:
    """Of the values that `DRAWS` answers name: how many, how sure, how right."""
    some = start.world.questions("facts", ASKED, draw=3, split="asked")
    said = aligning.draws(model, start.loaded.codec, some, DRAWS, start.seed + 1000 * draw)
    different = sum(len(set(answers)) for answers in said) / len(said)
    pairs = []
    for question, answers in zip(some, said, strict=True):
        named = Counter(named_by(question, answer) for answer in answers)
        value, count = named.most_common(1)[0]
        pairs.append((count / len(answers), float(value in {a.lower() for a in question.accept})))
    return {"different": different, "error": error(pairs), "sure": sum(c for c, _ in pairs) / len(pairs),
            "right": sum(r for _, r in pairs) / len(pairs), "pairs": pairs}  # fmt: skip


def named_by(question: Any, answer: str) -> str:
    """What an answer says the value is: the values of the list that it names, in order of the alphabet."""
    from jielong.world.check import mentioned

    return ", ".join(sorted(mentioned(answer, question.origin.get("field"))))


def bins(pairs: Sequence[Sequence[float]]) -> list[list[Sequence[float]]]:
    """(sure, right) by tenths of being sure, without those that are empty."""
    cells: list[list[Sequence[float]]] = [[] for _ in range(BINS)]
    for pair in pairs:
        cells[min(BINS - 1, int(pair[0] * BINS))].append(pair)
    return [cell for cell in cells if cell]


def error(pairs: Sequence[Sequence[float]]) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599, eq. 3)."""
    total = 0.0
    for cell in bins(pairs):
        sure, right = (sum(pair[i] for pair in cell) / len(cell) for i in (0, 1))
        total += len(cell) / len(pairs) * abs(sure - right)
    return total
