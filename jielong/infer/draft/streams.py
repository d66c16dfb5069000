"""What a drafter that watches a model keeps of it: the latest places of each row's stream."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jielong.infer.schedule import Row


class Streams:
    """The last `window` places that were read of each row, as far as they were shown (`types.Watcher.saw`)."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.kept: dict[Row, tuple[int, Tensor]] = {}  # first place, (n, D) from there on

    def saw(self, rows: Sequence[Row], hidden: Sequence[Tensor]) -> None:
        """What the model has just read of these rows stands after what it had read before; guesses that were refused
        are written over. A row that jumped ahead (its beginning was found in the cache) begins anew."""
        for row, fresh in zip(rows, hidden, strict=True):
            first, before = self.kept.get(row, (row.read, fresh[:0]))
            if not first <= row.read <= first + len(before):
                first, before = row.read, fresh[:0]
            whole = torch.cat([before[: row.read - first], fresh])
            extra = max(0, len(whole) - self.window - row.guesses)  # guesses may go again
            self.kept[row] = first + extra, whole[extra:].clone()

    def latest(self, row: Row) -> Tensor | None:
        """(n, D), n at most `window`: the stream of the places up to `row.read - 1`; None where it was not shown."""
        first, known = self.kept.get(row, (0, None))
        if known is None or not 0 < row.read - first <= len(known):
            return None
        return known[: row.read - first][-self.window :]

    def forget(self, row: Row) -> None:
        """The row is over."""
        self.kept.pop(row, None)
