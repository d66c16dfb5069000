"""The same fine-tuning, from pretrained weights and from random ones, on 60 to 4,000 chats.

Both runs see the same chats for the same number of tokens, with the same rates; only the starting weights differ.
They are asked about people that fine-tuning asked about in other words, and to add numbers never added in training.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from jielong.base.result import Result, Row
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import mean, over_seeds

CLAIM = {
    "en": "Fine-tuning from pretrained weights beats fine-tuning from random weights at every size of data.",
    "zh": "無論資料多少，從預訓練的參數開始微調，都勝過從隨機參數開始。",
}
SOURCE = {"en": "Lecture 7 (2024)", "zh": "第 7 講（2024）"}
EXPECT = {
    "en": "A clear lead at every size, largest where chats are few.",
    "zh": "每種資料量都明顯領先，對話越少差距越大。",
}
MINUTES, SEEDS = 10.0, 3
SIZES = (60, 250, 1000, 4000)
TOKENS = 400_000  # of every fine-tuning run
QUESTIONS = 100  # of each of the two kinds


def run(budget: Budget) -> Result:
    """The difference of the shares right, seed by seed, judged against nought."""
    rows: list[Row] = []
    lines: dict[str, list[float]] = {"pretrained": [], "random": []}
    for size in SIZES:
        pairs = [part(budget, ("size", size, seed), partial(measure, budget, size, seed)) for seed in budget.seeds]
        leads = [one["pretrained"] - one["random"] for one in pairs]
        means = {name: mean([one[name] for one in pairs]) for name in lines}
        for name, value in means.items():
            lines[name].append(value)
        note = f"pretrained {means['pretrained']:.2f}, random {means['random']:.2f}"
        name = f"lead with {size:,} chats"
        rows.append(over_seeds(name, leads, "above", 0.0, "no lead", unit="share right", note=note))
    return Result(
        "pretraining_helps",
        "Fine-tuning from pretrained and from random weights",
        tuple(rows),
        series={name: {"x": list(SIZES), "y": values} for name, values in lines.items()},
        meta={"mode": "greedy, float32"},
    )


def measure(budget: Budget, size: int, seed: int) -> dict[str, float]:
    """Share right after fine-tuning on `size` chats from each start."""
    from jielong.evals.scorecard import judge as ask
    from jielong.labs import stages
    from jielong.lm.local import Local
    from jielong.nets import checkpoint
    from jielong.nets.transformer import Transformer

    world = stages.curriculum(seed).world
    questions = world.questions("facts", QUESTIONS, split="asked") + world.questions("sums", QUESTIONS, split="test")
    shares = {}
    for start in ("pretrained", "random"):
        loaded = checkpoint.load(stages.base(budget, seed))
        if start == "random":
            loaded = replace(loaded, model=Transformer(loaded.config, seed=seed))
        with tempfile.TemporaryDirectory() as folder:
            label = f"{start}, {size} chats, seed {seed}"
            stages.tune(loaded, seed, Path(folder), budget.talk, label, size, TOKENS)
        loaded.model.eval()
        verdicts = ask(Local(loaded), world, questions)
        shares[start] = verdicts.count("right") / len(questions)
    return shares
