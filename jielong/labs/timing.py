"""Timing in a lab: random weights, interleaved rounds, medians, and their intervals, which assume nothing of a law."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from jielong.base.result import Interval
from jielong.labs.lab import Budget

if TYPE_CHECKING:
    from jielong.nets.config import TransformerConfig
    from jielong.nets.transformer import Transformer

T = TypeVar("T")
FEWEST = 6  # values, below which nothing certain can be said of a median at 95 %


def random_model(config: TransformerConfig, seed: int) -> Transformer:
    """A model to be timed: random weights, none of them zero, on as many threads as this machine has cores."""
    import torch

    from jielong.base import device
    from jielong.nets.transformer import Transformer

    torch.set_num_threads(device.threads())
    device.keep_memory()
    model = Transformer(config)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.7 / parameter.shape[1] ** 0.5, generator=generator)
    return model.eval()


def count(usual: int, budget: Budget, minutes: float) -> int:
    """Rounds in the time there is, of `usual` ones in the lab's own `minutes`; at least FEWEST."""
    return max(FEWEST, round(usual * (budget.minutes or minutes) / minutes))


def rounds(runs: Sequence[Callable[[int], T]], count: int) -> list[list[T]]:
    """What each of `runs` gave in each of `count` rounds: it is called with the number of the round.

    A warm-up (round -1) goes before; each round is begun by another, so that no one always follows the same.
    """
    found: list[list[T]] = [[] for _ in runs]
    for number in range(-1, count):
        for place in range(len(runs)):
            which = (number + place) % len(runs)
            value = runs[which](number)
            if number >= 0:
                found[which].append(value)
    return found


def middle(values: Sequence[float], level: float = 0.95) -> tuple[float, Interval]:
    """The median and an interval for the law's median between two of the sorted values (Thompson 1936).

    The k-th smallest and k-th largest of n hold it between them with probability 1 - 2 P(Binomial(n, 1/2) < k) or
    more, whatever the law; the largest k that keeps the level is taken. Too few values (below FEWEST at 95 %): the
    whole line.
    """
    ordered, n = sorted(values), len(values)
    outside, k = 0.0, 0
    while k < n // 2:
        outside += math.comb(n, k) / 2**n
        if 1 - 2 * outside < level:
            break
        k += 1
    low, high = (ordered[k - 1], ordered[n - k]) if k else (-math.inf, math.inf)
    return statistics.median(ordered), Interval(low, high, level, "order statistics")
