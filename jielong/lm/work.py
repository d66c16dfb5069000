"""What a local model does in one go: many draws, or many texts to score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jielong.infer.sampling import Sampling

if TYPE_CHECKING:
    import numpy as np

    from jielong.infer.generate import Generated
    from jielong.infer.pieces import Pieces
    from jielong.infer.runner import Prefix

SHARE = 256  # tokens saved from which reading a common prompt once is worth a pass of its own


@dataclass(frozen=True, slots=True)
class ToDraw:
    """One draw to make; `prefix` is what was read before and its beginning may share."""

    ids: tuple[int, ...]
    sampling: Sampling
    prefix: Prefix | None


@dataclass(frozen=True, slots=True)
class ToScore:
    """Tokens to score from `start` on."""

    ids: tuple[int, ...]
    start: int
    prefix: Prefix | None


def draw(model: Any, asks: Sequence[ToDraw], pieces: Pieces, batch: int, cancelled: Any) -> list[Generated]:
    """All draws together; rows whose number comes to stand in `cancelled` end early."""
    from jielong.infer.generate import generate

    return generate(model, [a.ids for a in asks], [a.sampling for a in asks], pieces=pieces,
                    prefix=[a.prefix for a in asks], batch=batch, cancelled=cancelled)  # fmt: skip


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
