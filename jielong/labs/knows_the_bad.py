"""A judge that cannot write the good answer still knows the bad one.

A small assistant is asked about people and sums. Where its own most probable answer is wrong it is shown two others,
the right one and a wrong one that it did not say, and judges by which it finds more probable. A control asks about the
people of another world, of whom it has read nothing: there nobody knows. (The same answers behind another question are
no control: an answer names its person, and is judged rightly alone.)
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from jielong.base import noise
from jielong.base.result import Result
from jielong.labs import aligning, learning, stages
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, context, mean, over_seeds
from jielong.world import crowd
from jielong.world.text import Question

if TYPE_CHECKING:
    from jielong.nets.checkpoint import Loaded

CLAIM = {
    "en": "A model that cannot write the good answer can still tell it from a bad one: judging is easier than writing.",
    "zh": "寫不出好答案的模型，仍分得出答案的好壞：評判比動筆容易。",
}
SOURCE = {
    "en": "Lecture 8 (2024): it is easier to judge than to write; Leike et al. 2018 (arXiv 1811.07871), section 2.2",
    "zh": "第 8 講（2024）：評判比動筆容易；Leike et al. 2018（arXiv 1811.07871），第 2.2 節",
}
EXPECT = {
    "en": "Of questions that it answers wrongly it still prefers the right answer in clearly more than half.",
    "zh": "在它答錯的題目裡，它仍在明顯多於一半的情況下偏好正確的答案。",
}
MINUTES, SEEDS = 4.0, 3
ASKED = {"facts": 400, "sums": 200}
OTHER = 500  # added to a seed: a world that no training here has read


def run(budget: Budget) -> Result:
    """Shares judged right where the own answer is wrong, seed by seed, beside a coin's."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    rows = []
    for kind in ASKED:
        n = sum(round(one[kind]["failed"]) for one in found)
        judged = [one[kind]["judged"] for one in found]
        rows.append(over_seeds(f"judged right where the own answer is wrong, {kind}", judged, "above", 0.5, "a coin", n,
                               unit="share"))  # fmt: skip
        lead = [one[kind]["every"] - one[kind]["written"] for one in found]
        rows.append(over_seeds(f"judged right more often than written, {kind}", lead, "above", 0.0, "as often", n,
                               unit="share", note="of all questions; a coin would judge half of them right"))
    strange = context("judged right about people of another world", [one["facts"]["strange"] for one in found],
                      ASKED["facts"] * len(found), "share")  # fmt: skip
    rows.append(check(strange, low=0.42, high=0.58))
    for kind in ASKED:
        for what, title in (("written", "written right"), ("every", "judged right")):
            values = [one[kind][what] for one in found]
            rows.append(context(title, values, ASKED[kind] * len(found), "share", kind))
    return Result("knows_the_bad", "Judging beside writing", tuple(rows), meta={"mode": "greedy, float32"})


def measure(budget: Budget, seed: int) -> dict[str, dict[str, float]]:
    """By kind: what is written right, and what is judged right, of one seed."""
    from jielong.nets import checkpoint

    loaded = checkpoint.load(stages.assistant(budget, seed))
    world = stages.curriculum(seed).world
    found = {}
    for kind, n in ASKED.items():
        some = world.questions(kind, n, draw=2, split="test")
        said = [each[0] for each in aligning.draws(loaded.model, loaded.codec, some, 1, seed, 0.0)]
        own = [world.check(q, answer) == "right" for q, answer in zip(some, said, strict=True)]
        wrong = [unsaid(q, answer, noise.uniform(noise.seed_of("knows the bad", seed), i))
                 for i, (q, answer) in enumerate(zip(some, said))]  # fmt: skip
        judged = better(loaded, some, wrong)
        failed = [i for i, right in enumerate(own) if not right]
        others = stages.curriculum(seed + OTHER).world.questions(kind, n, draw=2, split="test")
        strange = better(loaded, others, [unsaid(q, "", noise.uniform(noise.seed_of("strange", seed), i))
                                          for i, q in enumerate(others)])  # fmt: skip
        found[kind] = {
            "written": mean(own), "every": mean(judged), "failed": float(len(failed)),
            "judged": sum(judged[i] for i in failed) / max(1, len(failed)),
            "strange": mean(strange),
        }  # fmt: skip
    return found


def unsaid(question: Question, said: str, u: float) -> str:
    """A wrong answer that is not the one that was said."""
    for step in range(16):
        other = crowd.reply(question, "wrong", (u + step / 16) % 1.0)
        if other.strip() != said.strip():
            return other
    return crowd.reply(question, "wrong", u)


def better(loaded: Loaded, asked: list[Question], wrong: list[str]) -> list[bool]:
    """Of each question: whether its right answer is more probable than the wrong one."""
    right = log_probs(loaded, asked, [q.answer for q in asked])
    return [a > b for a, b in zip(right, log_probs(loaded, asked, wrong), strict=True)]


def log_probs(loaded: Loaded, asked: list[Question], answers: list[str]) -> list[float]:
    """ln p of each answer behind its question."""
    import torch

    from jielong.train.preferences.pairs import told_by

    return [value for laid in learning.laid(loaded.codec, asked, answers)
            for value in told_by(loaded.model, laid, torch.float32).sums.tolist()]  # fmt: skip

