"""What drafters that watch a model have in common: the latest places of each row's stream, and asking with them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jielong.infer.draft.guesses import Guess, Shaper
from jielong.infer.draft.types import Draft, Draws
from jielong.infer.schedule import Row
from jielong.nets.transformer import Transformer


class Streams:
    """The last `window` places that were read of each row, as far as they were shown (`types.Watcher.saw`)."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.kept: dict[Row, tuple[int, list[int], Tensor]] = {}  # first place; tokens and stream (n, D) from there on

    def saw(self, rows: Sequence[Row], hidden: Sequence[Tensor]) -> None:
        """What the model has just read of these rows stands after what it had read before; guesses that were refused
        are written over. A row that jumped ahead (its beginning was found in the cache) begins anew, and so does one
        that has read other tokens than were shown (another draft's, on a branch)."""
        for row, fresh in zip(rows, hidden, strict=True):
            before = self._read(row)
            first = row.read if before is None else row.read - len(before)
            whole = fresh if before is None else torch.cat([before, fresh])
            extra = max(0, len(whole) - self.window - row.guesses)  # guesses may go again
            tokens = row.text[first + extra : row.read + len(fresh)]
            self.kept[row] = first + extra, tokens, whole[extra:].clone()

    def latest(self, row: Row) -> Tensor | None:
        """(n, D), n at most `window`: the stream of the places up to `row.read - 1`; None where it was not shown."""
        read = self._read(row)
        return None if read is None else read[-self.window :]

    def forget(self, row: Row) -> None:
        """The row is over."""
        self.kept.pop(row, None)

    def _read(self, row: Row) -> Tensor | None:
        """What is kept up to `row.read`; None where that does not reach it, or belongs to other tokens."""
        first, tokens, stream = self.kept.get(row, (0, [], None))
        size = row.read - first
        if stream is None or not 0 < size <= len(tokens) or tokens[:size] != row.text[first : row.read]:
            return None
        return stream[:size]


class Watching:
    """A drafter beside `model` that reads the latest `window` places of its stream and guesses `reach` tokens at most
    (0: as many as are asked for). A row whose latest place was not shown gets no guesses."""

    watches = True

    def __init__(self, model: Transformer, name: str, window: int, reach: int = 0) -> None:
        self.model, self.name, self.reach = model, name, reach
        self.streams, self.shaper = Streams(window), Shaper(model.config.vocab)

    def saw(self, rows: Sequence[Row], hidden: Sequence[Tensor]) -> None:
        """The model's stream, where it has just read."""
        self.streams.saw(rows, hidden)

    def forget(self, row: Row) -> None:
        self.streams.forget(row)

    @torch.no_grad()
    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Draft]:
        """One draft a row."""
        drafts = [Draft()] * len(rows)
        asked, shown = list[Guess](), list[Tensor]()
        for i, (row, k) in enumerate(zip(rows, most, strict=True)):
            latest = self.streams.latest(row) if k > 0 else None
            if latest is not None:
                asked.append(Guess(i, row, min(k, self.reach or k), source(row), list(row.text)))
                shown.append(latest)
        if asked:
            self.guess(asked, shown)
        for guess in asked:
            drafts[guess.place] = guess.draft()
        return drafts

    def guess(self, asked: Sequence[Guess], shown: Sequence[Tensor]) -> None:
        """Write the guesses of these rows; shown (n, D): the stream of each one's latest places, the last of them at
        `row.read - 1`, where the token after it is `row.text[row.read]`."""
        raise NotImplementedError
