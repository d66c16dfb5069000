"""Guesses by the numbers that the target itself will use: what shared-noise verification lives on.

    drafts = drafter.propose(rows, most, paired(source))        # and then verify.coupled

Only for `verify.coupled`: the other verifiers need guesses whose chance has decided nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jielong.infer.draft.types import PLACE, Choose, Draws, Floats
from jielong.infer.schedule import Row


def paired(source: Draws) -> Draws:
    """The i-th guess of any drafter is drawn by the numbers that plain sampling has for that place."""

    def draws(row: Row) -> Choose:
        choose = source(row)

        def same(probs: Sequence[float] | Floats, *position: Any) -> int:
            return choose(probs, PLACE, *position[1:2]) if position[0] == "draft" else choose(probs, *position)

        return same

    return draws
