"""Price against accuracy, for every way of saving.

A large and a small model were taught to add up rows of numbers (`instructions`). Ways to spend less than a long prompt
to the large one: leave out what the prompt does not need, choose examples that are worth their tokens, ask several
questions at once, keep what was answered, let a router send easy questions to the small model, or ask the small model
first and the large one where a learned scorer does not believe it (cascade). The scorer and the router learn from one
set of problems, thresholds are chosen on a second, prompts on a third, and all figures come from a fourth. Prices are
in tokens of the large model; one of the small model's costs as much less as it takes fewer operations. Beside the
cascade, as control: models by lot, with as many tokens of the large one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base import noise
from jielong.base.result import Result, Row
from jielong.labs import instructions, thinking
from jielong.labs.instructions import LARGE, SMALL, examples
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, context, mean, over_seeds
from jielong.lm.cache import Cached
from jielong.lm.protocol import LM
from jielong.lm.sync import run as waited
from jielong.prompting import cascade as cascades
from jielong.prompting import router
from jielong.prompting.adaptation import adapt, shows
from jielong.prompting.cascade import believing, cascade, using
from jielong.prompting.concatenation import answer_all
from jielong.prompting.cot import cot
from jielong.prompting.instructed import instructed
from jielong.prompting.outcomes import Outcome
from jielong.prompting.router import route
from jielong.prompting.shortening import shorten
from jielong.prompting.strategy import Answer, Problem, Strategy, having
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines

if TYPE_CHECKING:
    from jielong.lm.local import Local

CLAIM = {
    "en": "Nearly all of a large model's accuracy can be had for less than half of its price: a cascade keeps 98 % of "
    "it at 40 % of the large model's tokens.",
    "zh": "用不到一半的價錢就能保有大模型幾乎全部的正確率：級聯用 40 % 的大模型標記，保有 98 % 的正確率。",
}
SOURCE = {
    "en": "Lecture 4 (2024); Chen et al. 2023, FrugalGPT (arXiv 2305.05176), figures 1 and 3",
    "zh": "第 4 講（2024）；Chen et al. 2023，FrugalGPT（arXiv 2305.05176），圖 1 與圖 3",
}
EXPECT = {
    "en": "The cascade at 98 % and 40 %, clearly above models by lot; the router near it, as far as a question's "
    "length tells what is hard; shorter prompts and chosen examples as right as the long prompt, for less.",
    "zh": "級聯達到 98 % 與 40 %，明顯勝過隨機分派；題目長短看得出難易時，路由也差不多；"
    "縮短的提示與挑選的例子和長提示一樣準，但更便宜。",
}
MINUTES, SEEDS = 14.0, 5
LEARN, VALID, DEV, ASKED = 300, 200, 30, 300  # problems: to learn from, to choose thresholds, prompts; to be judged by
TOGETHER, BUDGET = 3, 80  # questions in one prompt; tokens of chosen examples
AGAIN = 2  # times a question of the cache's stream comes, on the average
KEEP = 0.01  # of the large model's share right, on the problems that choose
RIGHT, PRICE = 0.98, 0.40  # what is to be reached
INSTRUCTION = "You are good at sums. Think step by step. This is very important to me."
LONG, LONE = "large, long prompt", "large"


@dataclass(frozen=True)
class Pair:
    """Both models, and what a token of the small one costs in those of the large one."""

    large: Local
    small: Local
    price: float

    def spent(self) -> tuple[int, int]:
        """Tokens of the large and of the small model so far."""
        return self.large.usage.tokens, self.small.usage.tokens


def run(budget: Budget) -> Result:
    """Shares right and prices, seed by seed."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = ASKED * len(found)

    def times(way: str, what: str, other: str) -> list[float]:
        return [one[way][what] / one[other][what] for one in found]

    shares = times("cascade", "large tokens", LONE)
    mixed = [one["small"]["right"] + share * (one[LONE]["right"] - one["small"]["right"])
             for one, share in zip(found, shares, strict=True)]  # fmt: skip
    lead = [one["cascade"]["right"] - other for one, other in zip(found, mixed, strict=True)]
    rows = [
        over_seeds("cascade: right, times the large model's", times("cascade", "right", LONE), "above", RIGHT,
                   "the bar", n, unit="times"),
        over_seeds("cascade: tokens of the large model, times its own", shares, "below", PRICE, "the bar", n,
                   unit="times"),
        over_seeds("cascade over models by lot, as many tokens of the large one", lead, "above", 0.0,
                   "as often right", n, unit="share"),
        check(context("calls behind the cache less different questions", [one["cache"]["more"] for one in found], n),
              0.0, 0.0),
        context("cascade: price with the small model's tokens, times the large model's",
                times("cascade", "price", LONE), n, "times"),
        context("price of a token of the small model", [one["token"] for one in found], len(found), "times"),
    ]  # fmt: skip
    for way in found[0]["ways"]:
        rows += _of_way(found, way, n)
    return Result("price_or_accuracy", "Price against accuracy", tuple(rows), series={"ways": _picture(found)},
                  meta={"mode": "greedy, float32"})  # fmt: skip


def _of_way(found: Sequence[Any], way: str, n: int) -> list[Row]:
    price = [one[way]["price"] / one[LONG]["price"] for one in found]
    return [context("right", [one[way]["right"] for one in found], n, "share", way),
            context("price, times the long prompt's", price, n, "times", way)]  # fmt: skip


def _picture(found: Sequence[Any]) -> Any:
    points = [Series(Words(way, way), [mean([one[way]["price"] for one in found])],
                     [mean([one[way]["right"] for one in found])], dots=True) for way in found[0]["ways"]]  # fmt: skip
    axes = Axes(x=Words("tokens of the large model a question", "每題的大模型標記數"),
                y=Words("share right", "答對的比例"), log_x=True)  # fmt: skip
    return lines(Words("Price and accuracy", "價錢與正確率"), points, axes=axes)


def measure(budget: Budget, seed: int) -> dict[str, Any]:
    """Every way's share right, price a question and tokens of the large model a question, of one seed."""
    large, small = (thinking.load(instructions.model(budget, seed, *which)) for which in (LARGE, SMALL))
    costs = [lm.model.config.matrix_flops(instructions.CONTEXT) for lm in (large, small)]
    pair = Pair(large, small, costs[1] / costs[0])
    test, dev = (instructions.problems(seed, name, n) for name, n in (("test", ASKED), ("dev", DEV)))
    learn, valid = (instructions.problems(seed, name, n) for name, n in (("learn", LEARN), ("valid", VALID)))
    long = partial(instructed, instruction=INSTRUCTION, examples=examples(seed, 3, True))
    ways: dict[str, Strategy] = {LONG: long, LONE: cot}
    ways |= prompts(pair, seed, dev) | choosing(pair, outcomes(pair, learn), outcomes(pair, valid))
    found: dict[str, Any] = {name: went(pair, way, test) for name, way in ways.items()}
    found["together"] = together(pair, test)
    found["cache"] = behind_cache(pair, ways[LONG], test, seed)
    return found | {"ways": list(found), "token": pair.price}


def went(pair: Pair, way: Strategy, problems: Sequence[Problem], lm: LM | None = None) -> dict[str, float]:
    """What a way gets right, and what it costs, a question. `lm`: what stands before the large model."""
    before = pair.spent()
    said = thinking.answers(lm or pair.large, way, problems, temperature=0.0)
    return {"right": thinking.right(problems, said), **paid(pair, before, len(problems))}


def paid(pair: Pair, before: tuple[int, int], n: int) -> dict[str, float]:
    """Of n questions: tokens of the large model, and the price, each a question."""
    large, small = (now - then for now, then in zip(pair.spent(), before, strict=True))
    return {"large tokens": large / n, "price": (large + pair.price * small) / n}


def prompts(pair: Pair, seed: int, dev: Sequence[Problem]) -> dict[str, Strategy]:
    """The long prompt with what it needs alone, and examples that are worth their tokens."""
    lm = having(pair.large, temperature=0.0, max_tokens=thinking.REPLY)
    short = waited(shorten(lm, INSTRUCTION, examples(seed, 3, True), dev))
    some = [*examples(seed + 1, 3, True), *examples(seed + 1, 3, False)]
    adapted = waited(adapt(lm, some, dev, BUDGET))

    async def shown(lm: LM, problem: Problem) -> Answer:
        return await shows(lm, replace(problem, examples=adapted.examples))

    return {"shortened": partial(instructed, instruction=short.instruction, examples=short.examples), "adapted": shown}


def outcomes(pair: Pair, problems: Sequence[Problem]) -> list[Outcome]:
    """What both models answer to them in steps, the small one first."""
    both = [[_told(lm, problem, answer) for problem, answer in
             zip(problems, thinking.answers(lm, cot, problems, temperature=0.0), strict=True)]
            for lm in (pair.small, pair.large)]  # fmt: skip
    return [Outcome(problem.id, problem.text, *map(tuple, zip(*each))) for problem, *each in zip(problems, *both)]


def _told(lm: Local, problem: Problem, answer: Answer) -> tuple[str, bool, int]:
    return answer.text, problem.right(answer), len(lm.codec.encode(f"{problem.text} {answer.text}"))


def choosing(pair: Pair, learn: Sequence[Outcome], valid: Sequence[Outcome]) -> dict[str, Strategy]:
    """The small model alone, a router and a cascade, whose thresholds keep up with the large one on `valid`."""
    prices = (pair.price, 1.0)
    scorer = cascades.learn(learn)
    at = cascades.choose(valid, [scorer], prices, keep=KEEP)
    wins = router.train(learn)
    small, large = using(pair.small, greedy(cot)), using(pair.large, greedy(cot))
    return {"small": small, "router": route(small, large, wins.of, tau(wins.of, valid)),
            "cascade": cascade(small, large, at=at, accept=believing(scorer))}  # fmt: skip


def greedy(strategy: Strategy) -> Strategy:
    """The strategy with the most probable tokens, whichever model it has."""

    async def asked(lm: LM, problem: Problem) -> Answer:
        return await strategy(having(lm, temperature=0.0, max_tokens=thinking.REPLY), problem)

    return asked


def tau(wins: Any, valid: Sequence[Outcome]) -> float:
    """The highest threshold with which a router keeps up with the large model: it asks it least."""
    chances = [wins(each.question) for each in valid]
    floor = sum(each.right[1] for each in valid) - KEEP * len(valid)

    def right(at: float) -> int:
        return sum(each.right[chance >= at] for each, chance in zip(valid, chances, strict=True))

    return max((at for at in [0.0, *chances, 2.0] if right(at) >= floor), default=0.0)


def together(pair: Pair, problems: Sequence[Problem]) -> dict[str, float]:
    """Several questions in each prompt."""
    before = pair.spent()
    lm = having(pair.large, temperature=0.0, max_tokens=TOGETHER * thinking.REPLY)
    said = waited(answer_all(lm, problems, TOGETHER, alone=cot))
    return {"right": thinking.right(problems, said), **paid(pair, before, len(problems))}


def behind_cache(pair: Pair, way: Strategy, problems: Sequence[Problem], seed: int) -> dict[str, float]:
    """A stream in which questions come again, behind an exact cache; `more`: calls less different questions."""
    places = noise.integers(seed, "price or accuracy, stream", below=len(problems) // AGAIN, n=len(problems)).tolist()
    stream, calls = [problems[place] for place in places], pair.large.usage.calls
    with tempfile.TemporaryDirectory() as folder:
        found = went(pair, way, stream, Cached(pair.large, Path(folder) / "cache.db"))
    return {**found, "more": float(pair.large.usage.calls - calls - len({each.text for each in stream}))}
