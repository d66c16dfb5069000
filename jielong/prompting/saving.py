"""Asking again costs nothing: a strategy over a completion cache.

The cache is exact (`lm.cache`): model, prompt, settings and the draw's index. So the draws of a vote stay different
draws, the answers of a strategy are those that it gives without, and only what was never asked is paid for: of m runs
over the same problems, calls are those of one.
"""

from __future__ import annotations

from jielong.lm.cache import Cached
from jielong.lm.cache_file import File
from jielong.lm.protocol import LM
from jielong.prompting.strategy import Answer, Problem, Strategy


def cached(strategy: Strategy, path: str = "runs/cache.db") -> Strategy:
    """The strategy, with what its model says kept in the file at `path` and taken from there."""
    files: list[File] = []  # opened when first used, then shared by all models

    async def kept(lm: LM, problem: Problem) -> Answer:
        if not files:
            files.append(File(path))
        return await strategy(Cached(lm, files[0]), problem)

    return kept
