"""The whole matrix of drafter x verifier x chain of settings, and what it comes to.

small = Small(*matrix.QUICK)
    found = matrix.run(small, chains(3), drafters(small))
found.document()["worst"]
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import nan
from typing import Any

from jielong.base import noise
from jielong.infer.draft.cases import Chain, Small, orders
from jielong.infer.draft.loop import plain, speculate
from jielong.infer.draft.prove import BAR, Cell, Guesser, Stage, cell
from jielong.infer.draft.types import Drafter
from jielong.infer.draft.verify import VERIFIERS

Makers = Mapping[str, Callable[[], Drafter]]
QUICK, FULL = (3, 4, 3), (4, 5, 2)  # kinds of token, how far, guesses a step


@dataclass(frozen=True)
class Matrix:
    """All cells. `same` of `paths` texts written by seeds with coupled guesses were those written without."""

    small: Small
    chains: Sequence[Chain]
    cells: Sequence[Cell]
    same: int
    paths: int
    seconds: float

    @property
    def wrong(self) -> list[Cell]:
        return [c for c in self.cells if not c.right]

    @property
    def right(self) -> bool:
        return not self.wrong and self.same == self.paths and not self.fewer()

    @property
    def worst(self) -> float:
        return max((c.distance for c in self.cells if not c.refused), default=nan)

    def fewer(self) -> list[str]:
        """Where block, or several drafts, keep fewer guesses than token by token, which they never should."""
        token, short = dict[tuple[str, tuple[str, ...]], float](), list[str]()
        for c in self.cells:  # chain by chain, token first: two drawn chains may have one name
            if c.verifier == "token":
                token[c.drafter, c.chain] = c.accepted
            several = c.verifier in ("block", "multi") and not c.refused
            if several and c.accepted < token.get((c.drafter, c.chain), 0.0) - BAR:
                short.append(f"{c.drafter}, {c.verifier}, {' + '.join(c.chain) or 'none'}")
        return short

    def groups(self) -> list[dict[str, Any]]:
        """One line for each drafter and verifier."""
        lines = []
        for drafter in dict.fromkeys(c.drafter for c in self.cells):
            for verifier in VERIFIERS:
                own = [c for c in self.cells if (c.drafter, c.verifier) == (drafter, verifier)]
                counted = [c for c in own if not c.refused]
                worst = max(counted, key=lambda c: c.distance, default=None)
                lines.append({
                    "drafter": drafter, "verifier": verifier, "chains": len(own),
                    "refused": len(own) - len(counted),
                    "reason": next((c.refused for c in own if c.refused), ""),
                    "wrong": sum(not c.right for c in own),
                    "distance": worst.distance if worst else None,
                    "worst_chain": list(worst.chain) if worst else [],
                    "accepted": sum(c.accepted for c in counted) / len(counted) if counted else None,
                })  # fmt: skip
        return lines

    def document(self) -> dict[str, Any]:
        """Everything as JSON has it; the cells that are wrong one by one."""
        return {
            "right": self.right, "bar": BAR, "worst": self.worst, "cells": len(self.cells),
            "refused": sum(bool(c.refused) for c in self.cells), "wrong": [asdict(c) for c in self.wrong],
            "fewer": self.fewer(), "chains": [list(c.names) for c in self.chains], "orders": orders(self.chains),
            "vocab": self.small.size, "horizon": self.small.horizon, "guess": self.small.guess,
            "paths": self.paths, "same": self.same, "seconds": self.seconds, "groups": self.groups(),
        }  # fmt: skip


def run(
    small: Small, found: Sequence[Chain], makers: Makers, paths: int = 0, tell: Callable[[int], None] = lambda n: None
) -> Matrix:
    """Prove every cell; `tell` hears how many chains are done. What a drafter keeps is carried from chain to chain."""
    began = time.monotonic()
    guessers = {name: Guesser(make()) for name, make in makers.items()}
    cells: list[Cell] = []
    for done, chain in enumerate(found, 1):
        stage = Stage(small, chain)
        for name, guesser in guessers.items():
            cells += [_cell(stage, name, guesser, verifier) for verifier in VERIFIERS]
        tell(done)
    same = pathwise(small, found, makers, paths)
    return Matrix(small, found, cells, same, paths, time.monotonic() - began)


def _cell(stage: Stage, name: str, guesser: Guesser, verifier: str) -> Cell:
    made = cell(stage, guesser, verifier)
    return Cell(**{**vars(made), "drafter": name})


def pathwise(small: Small, found: Sequence[Chain], makers: Makers, paths: int) -> int:
    """How many of `paths` texts, each of its own seed, come out token for token as without guesses: `coupled`, all
    drafters and chains in turn (greedy among them)."""
    drafters = [make() for make in makers.values()]
    stages = [Stage(small, chain) for chain in found]
    same = 0
    for seed in range(paths):
        stage, drafter = stages[seed % len(stages)], drafters[(seed // len(stages)) % len(drafters)]
        row, alone = stage.chain.row(small), stage.chain.row(small)
        source = noise.RandomSource(noise.seed_of("prove", seed))
        steps = speculate(stage.law_of, drafter, VERIFIERS["coupled"], source, row, small.horizon, small.guess)
        plain(stage.law_of, source, alone, small.horizon)
        same += row.text == alone.text and bool(steps)
    return same
