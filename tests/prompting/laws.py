"""What the oracle tests share: the exact law of a strategy, by running it under every outcome of its draws."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from math import comb
from typing import Any

from jielong.base import noise
from jielong.lm.noisy import NoisyOracle
from jielong.lm.protocol import LM
from jielong.prompting.strategy import Problem, Strategy

Make = Callable[[noise.Source], LM]


def law_of(run: Callable[[LM], Awaitable[Any]], make: Make) -> dict[Any, float]:
    """value -> probability, of what `run` gives on the model that `make` makes of a source of choices."""
    with asyncio.Runner() as loop:

        async def once(source: noise.Source) -> Any:
            return await run(make(source))

        return noise.law(noise.enumerate_choices(lambda source: loop.run(once(source))))


def share_right(strategy: Strategy, problem: Problem, make: Make) -> float:
    """The exact probability that the strategy's answer is right."""

    async def right(lm: LM) -> bool:
        return problem.right(await strategy(lm, problem))

    return law_of(right, make).get(True, 0.0)


def oracle(answer: Callable[[str], str], rate: float | Callable[[str], float],
           wrong: Callable[[str], Sequence[str]] = lambda prompt: ("wrong",)) -> Make:  # fmt: skip
    """A `NoisyOracle` on a source of choices."""
    return lambda source: NoisyOracle(answer, rate, wrong, source=source)


def binomial(k: int, n: int, p: float) -> float:
    return comb(n, k) * p**k * (1 - p) ** (n - k)
