"""Which examples are shown, and in which order.

A small model has read texts full of examples (`shots`; the middle one of `labels_in_context`, since the largest is
right behind two examples of each label in any order). Of two dozen words of three categories, whose labels mean
nothing, four are shown as `few_shot` chooses them: the first ones, some by lot, or those nearest to the question by the
model's own vectors. Then four examples of two labels stay the same, and only their order changes: all twenty-four, each
for the same questions. Controls: a label that is not shown can only be guessed; and where each question's answers are
dealt out anew to the orders, no order can be better than by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from jielong.base import noise
from jielong.base.result import Result
from jielong.labs import shots, thinking
from jielong.labs.lab import Budget, part
from jielong.labs.shots import NAMES, Item
from jielong.labs.verdict import check, context, mean, over_seeds
from jielong.lm.local import Local
from jielong.lm.sync import run as waited
from jielong.prompting.few_shot import Choice, choose
from jielong.prompting.strategy import Problem
from jielong.world.words.icl import CATEGORIES

CLAIM = {
    "en": "Which examples are shown matters: those nearest to the question help more than others; and so does their "
    "order, since the last one weighs most.",
    "zh": "給哪些例子有差別：和問題最相近的例子最有幫助；順序也有差別，因為最後一個例子影響最大。",
}
SOURCE = {
    "en": "Lecture 3 (2024); Liu et al. 2021 (arXiv 2101.06804); Lu et al. 2021 (arXiv 2104.08786); Zhao et al. 2021 "
    "(arXiv 2102.09690)",
    "zh": "第 3 講（2024）；Liu et al. 2021（arXiv 2101.06804）；Lu et al. 2021（arXiv 2104.08786）；"
    "Zhao et al. 2021（arXiv 2102.09690）",
}
EXPECT = {
    "en": "The nearest are clearly better than some by lot; some orders are better than others for all questions, and "
    "the last example's label is said in more than half of the answers.",
    "zh": "最相近的明顯勝過隨機的；有些順序對所有問題都比較好；最後一個例子的標籤，出現在一半以上的答案裡。",
}
MINUTES, SEEDS = 6.0, 5
WIDTH, ASKED, K = 64, 300, 4
GUESSED = 1 / (len(NAMES) - 2) + 0.05  # of labels that are not shown, at most
CATEGORIES_SHOWN, EACH = 3, 8  # of a pool
SETS, QUESTIONS = 8, 12  # of examples whose order changes, and what is asked behind each
CHOICES: tuple[Choice, ...] = ("fixed", "random", "nearest")
Right = NDArray[np.bool_]


def run(budget: Budget) -> Result:
    """Gains by choice, and what the order does, seed by seed."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n, orders = ASKED * len(found), SETS * QUESTIONS * len(found)
    by = {name: [one[name] for one in found] for name in found[0]}
    gains = [a - b for a, b in zip(by["nearest"], by["random"], strict=True)]
    last = [value - 0.5 for value in by["last"]]
    rows = [
        over_seeds("nearest over some by lot", gains, "above", 0.0, "as often right", n, unit="share"),
        over_seeds("the last example's label said more than by half", last, "above", 0.0, "half", orders, unit="share"),
        over_seeds("spread of the orders, times that of answers dealt out", by["spread"], "above", 1.0,
                   "no order better", orders, unit="times"),
        check(context("right where its label is not shown", by["not shown"], n, "share"), high=GUESSED),
        check(context("spread where answers are dealt out anew", by["dealt"], orders, "times"), low=0.8, high=1.2),
        *(context(f"right, {name}", by[name], n, "share") for name in CHOICES),
        *(context(f"its label is shown, {name}", by[f"shown, {name}"], n, "share") for name in CHOICES),
        *(context(f"right by the {name} order", by[name], orders, "share") for name in ("best", "middle", "worst")),
        context("questions whose answer depends on the order", by["depends"], orders, "share"),
    ]  # fmt: skip
    return Result("examples_chosen", "Choice and order of examples", tuple(rows), meta={"mode": "greedy, float32"})


def measure(budget: Budget, seed: int) -> dict[str, float]:
    """Of one seed."""
    lm = thinking.load(shots.model(budget, seed, WIDTH))
    return chosen(lm, seed) | ordered(lm, seed)


def chosen(lm: Local, seed: int) -> dict[str, float]:
    """By each choice: the share right, and how often the right label was shown at all."""
    problems, found, missed = [pool(seed, i) for i in range(ASKED)], dict[str, float](), []
    for choice in CHOICES:
        said = shots.answers(lm, problems, k=K, choice=choice)
        found[choice] = thinking.right(problems, said)
        here = [waited(shown(lm, problem, choice)) for problem in problems]
        found[f"shown, {choice}"] = sum(here) / ASKED
        missed += [problem.right(answer) for problem, answer, seen in zip(problems, said, here) if not seen]
    return found | {"not shown": sum(missed) / max(1, len(missed))}


async def shown(lm: Local, problem: Problem, choice: Choice) -> bool:
    """Whether an example that is chosen has the right label."""
    some = await choose(lm, problem, problem.examples, K, choice)
    return any(each.answer == problem.gold for each in some)


def pool(seed: int, number: int) -> Problem:
    """A word, and words of its category and of others that may be shown, mixed; each category under a label by lot."""
    lot = noise.rng("examples chosen", seed, number)
    names = [list(CATEGORIES)[i] for i in lot.permutation(len(CATEGORIES))[:CATEGORIES_SHOWN]]
    labels = [NAMES[i] for i in lot.permutation(len(NAMES))[:CATEGORIES_SHOWN]]
    words = {name: [CATEGORIES[name][i][0] for i in lot.permutation(12)] for name in names}
    every = [(word, label) for name, label in zip(names, labels) for word in words[name][:EACH]]
    mixed = [every[i] for i in lot.permutation(len(every))]
    return shots.problem(Item(mixed, words[names[0]][EACH], labels[0], "label"), f"{seed}.{number}")


def ordered(lm: Local, seed: int) -> dict[str, float]:
    """What the order does to the same examples and questions."""
    right, last = zip(*(behind(lm, seed, number) for number in range(SETS)))
    lot = noise.rng("examples chosen, dealt out", seed)
    means = np.array([each.mean(axis=1) for each in right])  # (sets, orders)
    return {
        "spread": spread(right),
        "dealt": mean([spread([lot.permuted(each, axis=0) for each in right]) for _ in range(20)]),
        "last": float(np.mean(last)),
        "best": float(means.max(axis=1).mean()),
        "middle": float(means.mean()),
        "worst": float(means.min(axis=1).mean()),
        "depends": float(np.mean([each.any(axis=0) & ~each.all(axis=0) for each in right])),
    }


def behind(lm: Local, seed: int, number: int) -> tuple[Right, float]:
    """(orders, questions) what is right behind each order of four examples of two labels, and how often the last
    example's label was said, where half of the questions have either label."""
    lot = noise.rng("examples chosen, order", seed, number)
    names = [list(CATEGORIES)[i] for i in lot.permutation(len(CATEGORIES))[:2]]
    labels = [NAMES[i] for i in lot.permutation(len(NAMES))[:2]]
    words = [[CATEGORIES[name][i][0] for i in lot.permutation(12)] for name in names]
    few = [(word, label) for group, label in zip(words, labels) for word in group[: K // 2]]
    asked = [(word, label) for group, label in zip(words, labels) for word in group[K // 2 : K // 2 + QUESTIONS // 2]]
    orders = list(permutations(few))
    base = [shots.problem(Item(few, word, label, "label"), f"{number}.{i}") for i, (word, label) in enumerate(asked)]
    problems = [replace(problem, examples=tuple(shots.problem(Item(order, "", "", "label"), "").examples))
                for order in orders for problem in base]  # fmt: skip
    said = shots.answers(lm, problems)
    right = np.array([problem.right(answer) for problem, answer in zip(problems, said)]).reshape(len(orders), len(base))
    same = [answer.value == problem.examples[-1].answer for problem, answer in zip(problems, said)]
    return right, sum(same) / len(same)


def spread(right: Sequence[Right]) -> float:
    """The variance over the orders of the share right, over all sets, times what it would be if each question's answers
    had nothing to do with each other's order: sum of p (1 - p) / questions^2, p each question's share right."""
    seen = sum(float(each.mean(axis=1).var(ddof=1)) for each in right)
    orders = len(right[0])
    alone = sum(float((each.mean(axis=0) * (1 - each.mean(axis=0))).sum()) for each in right) / len(right[0][0]) ** 2
    return seen / (alone * orders / (orders - 1)) if alone else 1.0
