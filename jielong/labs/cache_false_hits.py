"""False hits of a cache by similarity, by the threshold.

Questions of the world come again in other words, and others come in nearly the same words about another thing; the
world knows which is which. A stream of them goes through the cache in front of a reader that knows every answer: so
what comes out wrong is the cache's doing alone. Nearness is measured with hashed words and with the vectors of a small
model that has read the world. The control is the exact cache: it gives what was asked before, word by word, and is
never wrong.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jielong.base import noise
from jielong.base.result import Result, Row
from jielong.labs import stages
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, context, mean, over_seeds
from jielong.lm.cache import Cached
from jielong.lm.scripted import Scripted
from jielong.lm.similar import KINDS, Embed, Similar, hashing, of_model, rates, world_pairs
from jielong.lm.sync import run as waited
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines
from jielong.world.world import World

CLAIM = {
    "en": "A cache that also answers what is near saves little before it is wrong: where it finds a twentieth of what "
    "means the same in other words, it already gives more wrong answers than right ones.",
    "zh": "也回答「相近」問題的快取，還沒省到多少就開始答錯：當它找到二十分之一的同義問題時，給錯的已經比給對的多。",
}
SOURCE = {
    "en": "Lecture 4 (2024); Chen et al. 2023, FrugalGPT (arXiv 2305.05176), section 3: completion cache",
    "zh": "第 4 講（2024）；Chen et al. 2023，FrugalGPT（arXiv 2305.05176），第 3 節：回答快取",
}
EXPECT = {
    "en": "At every threshold that finds a twentieth of the pairs of one meaning, more pairs of two meanings are taken "
    "for the same; in the stream wrong answers at 0.7, none at 0.95 by hashed words; the exact cache never wrong.",
    "zh": "只要門檻低到能找到二十分之一的同義問題，被誤認的異義問題就更多；"
    "在問題流中，門檻 0.7 會答錯，用雜湊詞向量時 0.95 不會；精確快取從不答錯。",
}
MINUTES, SEEDS = 3.0, 5
PAIRS, ASKED = 150, 1200  # of each kind, language and sort; questions of the stream
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
LOW, HIGH = 0.7, 0.95  # thresholds of the stream
FOUND = 0.05  # of what means the same: a saving worth its while
SAME, OTHER = Words("same meaning, other words", "同義異詞"), Words("same words, another thing", "同詞異義")


def run(budget: Budget) -> Result:
    """Shares of pairs that are taken for the same, by threshold, and what comes out of the stream."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n, rows, series = ASKED * len(found), list[Row](), dict[str, Any]()
    for name in found[0]["pairs"]:
        ratios = [first_worth(one["pairs"][name]) for one in found]
        excess = [each["false"] - each["right"] for each in ratios]
        rows.append(over_seeds(f"wrong hits less right ones where a twentieth is found, {name}", excess, "above", 0.0,
                               "as many", round(sum(each["n"] for each in ratios)), unit="share"))  # fmt: skip
    for name in found[0]["stream"]:
        for at in (LOW, HIGH):
            wrong = [one["stream"][name][str(at)]["wrong"] for one in found]
            told = f"wrong answers of the stream at {at}, {name}"
            rows.append(over_seeds(told, wrong, "above", 0.0, "exact", n, unit="share") if at == LOW else
                        context(told, wrong, n, "share"))  # fmt: skip
            saved = [one["stream"][name][str(at)]["saved"] for one in found]
            rows.append(context(f"saved of the stream at {at}, {name}", saved, n, "share"))
    exact = [one["exact"] for one in found]
    wrong = [one["wrong"] for one in exact]
    rows.append(check(context("wrong answers of the exact cache", wrong, n, "share"), high=0.0))
    more = [one["saved"] - one["again"] for one in exact]
    rows.append(check(context("saved by the exact cache less what was asked again", more, n, "share"), 0.0, 0.0))
    for name in found[0]["pairs"]:
        columns = [[one["pairs"][name][i] for one in found] for i in range(len(THRESHOLDS))]
        for threshold, column in zip(THRESHOLDS, columns, strict=True):
            for what, words in (("right", SAME), ("false", OTHER)):
                rows.append(context(f"taken for the same at {threshold}: {words.en}", [each[what] for each in column],
                                    round(sum(each["n"] for each in column)), "share", name))  # fmt: skip
        both = [Series(words, THRESHOLDS, [mean([each[what] for each in column]) for column in columns], dots=True)
                for what, words in (("right", SAME), ("false", OTHER))]  # fmt: skip
        axes = Axes(Words("threshold (cosine)", "門檻（餘弦）"), Words("taken for the same", "當成相同的比例"))
        series[name] = lines(Words("What a cache by similarity gives", "相似快取給出的答案"), both, axes=axes)
    return Result("cache_false_hits", "False hits of a cache by similarity", tuple(rows), series=series,
                  meta={"mode": "cosine, float32"})  # fmt: skip


def first_worth(column: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """Of the thresholds that find `FOUND` of what means the same the highest; the lowest of all where none does."""
    return next((each for each in reversed(column) if each["right"] >= FOUND), column[0])


def measure(budget: Budget, seed: int) -> dict[str, Any]:
    """Pairs and the stream of one seed: of the world that its model has read."""
    from jielong.lm.local import load

    world = stages.curriculum(seed).world
    reader = load(stages.base(budget, seed))
    embeds: dict[str, Embed] = {"hashed words": hashing(), "a model's vectors": of_model(reader)}
    pairs, found = world_pairs(world, PAIRS), dict[str, Any]()
    asked, answers = stream(world, seed)
    for name, embed in embeds.items():
        column = waited(rates(embed, pairs, THRESHOLDS))
        found[name] = [{"right": each.right, "false": each.false, "n": each.n[1]} for each in column]
    went = {name: {str(at): through(asked, answers, Similar(embed, at, name)) for at in (LOW, HIGH)}
            for name, embed in embeds.items()}  # fmt: skip
    again = 1 - len(set(asked)) / len(asked)
    return {"pairs": found, "stream": went, "exact": {**through(asked, answers, None), "again": again}}


def stream(world: World, seed: int) -> tuple[list[str], dict[str, str]]:
    """Questions in the order in which they come, some of them again, and what each must be answered."""
    known = [each for kind in KINDS for lang in ("en", "zh")
             for each in world.questions(kind, ASKED // 6, split="train", lang=lang)]  # fmt: skip
    answers = {each.prompt: each.accept[0] for each in known}
    places = (noise.uniform(noise.seed_of("false hits, stream", seed), n=ASKED) ** 2 * len(known)).astype(int)
    order = noise.permutation(noise.seed_of("false hits, order", seed), len(known))
    return [known[order[place]].prompt for place in places.tolist()], answers


def through(asked: Sequence[str], answers: Mapping[str, str], similar: Similar | None) -> dict[str, float]:
    """The shares of a stream that the cache answered, and that came out wrong, one question after the other."""
    reader = Scripted(answers, name="knows all")

    async def one_by_one(lm: Cached) -> list[str]:
        return [(await lm.asample(prompt))[0].text for prompt in asked]

    with tempfile.TemporaryDirectory() as folder:
        lm = Cached(reader, Path(folder) / "cache.db", similar=similar)
        said = waited(one_by_one(lm))
        lm.close()
    wrong = sum(answers[prompt] != text for prompt, text in zip(asked, said, strict=True))
    return {"saved": lm.hits / len(asked), "wrong": wrong / len(asked)}
