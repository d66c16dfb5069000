"""Passes against quality: the answers of one model written in 1, 2, 4, ... passes, by three ways to spend them.

Questions with two right answers, which a single pass mixes. A model trained by mask-predict re-masks what it is least
sure of; one trained by masked diffusion opens its slots at random (ancestral) or keeps the surest (confident). Beside
them the closed form of ancestral sampling by a model that knows the law, and one token after another.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from jielong.base.result import Result, Row
from jielong.labs import several
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, mean, over_seeds, spread
from jielong.views.charts import Axes, Level, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines

CLAIM = {
    "en": "Writing a text in N passes instead of one lets later places agree with earlier ones: the more passes, the "
    "fewer mixed answers.",
    "zh": "把一次到位改成 N 次到位，後寫的位置就能配合先寫的：次數越多，混雜的答案越少。",
}
SOURCE = {
    "en": "Lecture 15 (2024); Ghazvininejad et al. 2019 (arXiv 1904.09324); Sahoo et al. 2024 (arXiv 2406.07524); "
    "Nie et al. 2025 (arXiv 2502.09992)",
    "zh": "第 15 講（2024）；Ghazvininejad et al. 2019（arXiv 1904.09324）；Sahoo et al. 2024（arXiv 2406.07524）；"
    "Nie et al. 2025（arXiv 2502.09992）",
}
EXPECT = {
    "en": "Right answers rise with the passes, all three ways, towards what is reached one after another; what is sure "
    "first names one of the two answers more often than it should, ancestral sampling both.",
    "zh": "三種做法的正確率都隨次數上升，趨近一個接一個寫的水準；先寫最有把握的，常偏向其中一個答案，"
    "順序隨機則兩個都會說。",
}
MINUTES, SEEDS = 6.0, 3
QUESTIONS, DRAWS = 60, 6
PASSES = (1, 2, 4, 8, 16)
WAYS = {"mask-predict": "mask-predict", "ancestral": "diffusion", "confident": "diffusion"}  # way: trained by
SHOWN = {
    "mask-predict": Words("mask-predict", "遮了再猜"),
    "ancestral": Words("diffusion, ancestral", "擴散，隨機順序"),
    "confident": Words("diffusion, surest first", "擴散，先寫最有把握的"),
    "closed form": Words("ancestral by who knows the law", "完全知道機率者，隨機順序"),
}


def run(budget: Budget) -> Result:
    """Every seed trains its models; the rise from one pass to the most is judged over seeds, way by way."""
    answers = max(several.BATCH, round(several.ANSWERS * (budget.minutes or MINUTES) / MINUTES))
    parts = [part(budget, ("seed", seed), partial(measure, budget, seed, answers)) for seed in budget.seeds]
    columns = {name: [one[name] for one in parts] for name in parts[0]}
    n, most = QUESTIONS * DRAWS * len(parts), PASSES[-1]
    rows = []
    for way in WAYS:
        rises = [more - one for more, one in zip(columns[f"right, {way}, {most}"], columns[f"right, {way}, 1"])]
        rows.append(over_seeds(f"right answers, {most} passes less one, {way}", rises, "above", 0.0, "no more", n,
                               unit="share"))  # fmt: skip
    rows += _context(columns, n) + _controls(columns, n)
    return Result("passes_quality", "Passes and quality", tuple(rows), series=_picture(columns),
                  meta={"mode": "temperature 1, float32"})  # fmt: skip


def _context(columns: dict[str, list[float]], n: int) -> list[Row]:
    """Every number of passes and way, without a verdict; what one after another reaches beside it."""
    rows = []
    after = mean(columns["right, after"])
    titles = {"right": "right answers", "mixed": "mixed answers", "both": "questions of whose draws both are named",
              "reads": "readings that wait for each other"}  # fmt: skip
    for way in WAYS:
        for number in PASSES:
            for kind, title in titles.items():
                values = columns[f"{kind}, {way}, {number}"]
                truth = 1 - 2.0 ** (1 - DRAWS) if kind == "both" else None
                control = after if kind == "right" else None
                rows.append(Row(f"{title}, {number} passes", mean(values), spread(values), n, control,
                                several.ONE if control is not None else "", truth,
                                unit="readings" if kind == "reads" else "share", group=way))  # fmt: skip
    for number in PASSES:
        values = columns[f"whole, ancestral, {number}"]
        rows.append(Row(f"all slots of one answer, {number} passes", mean(values), None, n,
                        truth=mean(columns[f"closed form, {number}"]), unit="share", group="ancestral"))  # fmt: skip
    return rows


def _controls(columns: dict[str, list[float]], n: int) -> list[Row]:
    """Where one answer is right, a single pass knows it; one after another nothing is mixed."""
    rows = [
        check(Row(f"right, one right answer, one pass, trained by {name}", mean(columns[f"single, {name}"]), None, n,
                  unit="share"), low=0.8)
        for name in sorted(set(WAYS.values()))
    ]  # fmt: skip
    mixed = Row("mixed answers, one after another", mean(columns["mixed, after"]), None, n, unit="share")
    return [*rows, check(mixed, high=0.05)]


def _picture(columns: dict[str, list[float]]) -> dict[str, Any]:
    """Right answers against passes."""
    names = {way: f"right, {way}" for way in WAYS} | {"closed form": "closed form"}
    curves = [
        Series(SHOWN[shown], list(PASSES), [mean(columns[f"{key}, {number}"]) for number in PASSES], dots=True)
        for shown, key in names.items()
    ]
    axes = Axes(x=Words("passes", "次數"), y=Words("share right", "正確比例"), log_x=True)
    level = Level(Words(several.ONE, "一個接一個"), mean(columns["right, after"]))
    return {"passes": lines(Words("Passes and quality", "次數與品質"), curves, axes=axes, levels=[level])}


def measure(budget: Budget, seed: int, answers: int) -> dict[str, float]:
    """Shares for every way and number of passes, of one seed's models."""
    from jielong.infer.parallel import Passes

    world, found = several.world_of(seed), {}
    for name in sorted(set(WAYS.values())):
        loaded = several.model(budget, name, seed, answers)
        end = loaded.codec.end
        one, two = (several.questions(world, loaded.codec, "asked", both, QUESTIONS) for both in (False, True))
        single = several.in_passes(loaded, one, DRAWS, seed, Passes())
        found[f"single, {name}"] = several.shares(single, end)["right"]
        for way in (way for way, trained in WAYS.items() if trained == name):
            for number in PASSES:
                drawn = several.in_passes(loaded, two, DRAWS, seed, Passes(way, number))  # type: ignore[arg-type]
                figures = {
                    **several.shares(drawn, end),
                    "both": several.both_named(drawn, end),
                    "whole": sum(several.whole(each, end) for each in drawn) / len(drawn),
                    "reads": sum(each.reads for each in drawn) / len(drawn),
                }
                found |= {f"{kind}, {way}, {number}": value for kind, value in figures.items()}
        slots = len(single[0].ids)
        for number in PASSES:
            found[f"closed form, {number}"] = sum(several.consistent(each, slots, number) for each in two) / len(two)
    after = several.model(budget, several.AFTER, seed, answers)
    some = several.questions(world, after.codec, "asked", True, QUESTIONS)
    drawn = several.one_by_one(after, some, DRAWS, seed)
    return found | {f"{kind}, after": share for kind, share in several.shares(drawn, after.codec.end).items()}
