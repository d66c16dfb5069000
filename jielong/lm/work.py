"""What a local model does in one go: many texts to score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from jielong.infer.score import Prefix

SHARE = 256  # tokens saved from which reading a common prompt once is worth a pass of its own


@dataclass(frozen=True, slots=True)
class ToScore:
    """Tokens to score from `start` on."""

    ids: tuple[int, ...]
    start: int
    prefix: Prefix | None


def score(model: Any, tests: Sequence[ToScore]) -> list[np.ndarray]:
    """Log-probabilities of each test's tokens. A long prompt of several continuations is read once."""
    import numpy as np

    from jielong.infer.score import read
    from jielong.infer.score import score as scored

    same: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for number, test in enumerate(tests):
        same.setdefault((id(test.prefix), test.ids[: test.start]), []).append(number)
    together: dict[int, list[int]] = {}
    groups: list[tuple[list[int], Prefix | None]] = []
    for (own, shared), numbers in same.items():
        if tests[numbers[0]].prefix is None and len(shared) * (len(numbers) - 1) >= SHARE:
            groups.append((numbers, read(model, shared[:-1])))
        else:
            together.setdefault(own, []).extend(numbers)
    groups += [(numbers, tests[numbers[0]].prefix) for numbers in together.values()]
    out = [np.zeros(0)] * len(tests)
    for numbers, prefix in groups:
        found = scored(model, [tests[i].ids for i in numbers], [tests[i].start for i in numbers], prefix)
        for number, logprobs in zip(numbers, found):
            out[number] = logprobs
    return out
