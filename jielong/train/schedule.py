"""Warm-up, stable, decay: the learning rate's course (Hu et al. 2024)."""

from __future__ import annotations


def scale(step: int, steps: int, warmup: int, decay: float) -> float:
    """Factor on the top learning rate at `step` (0-based) of `steps`: up linearly over `warmup` steps, level,
    then down linearly to zero over the last share `decay` of the run.

    >>> [round(scale(i, 10, 2, 0.5), 2) for i in range(10)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]
    """
    rising = (step + 1) / warmup if step < warmup else 1.0
    falling = (steps - step) / (steps * decay) if decay else 1.0
    return min(rising, falling, 1.0)
