"""Documents packed into rows of exactly `context` slots: no padding, no attention across documents.

A document of n tokens (end token included) has n-1 slots; slot s shows token s and asks for token s+1. So the
last token costs no slot, and a cut loses nothing: piece k ends by asking for the token with which piece k+1
begins.

Every epoch is a fresh permutation of the documents. Whole documents go into rows by best fit within a
look-ahead buffer; a document is cut only to fill the last gap of a row, or when it is longer than a row
(then at a random phase, so that each epoch sees it through other windows). Finished rows are shuffled. What
an epoch lacks to fill its rows it borrows from the first documents of the next, which then does without them.
All of it is a pure function of (tokens, seed, step): resuming needs no state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.data.fit import Array, Plan, fill_rows, prefix, suffix
from jielong.data.tokens import Tokens as Tokens

IGNORED = -100  # the target that no loss counts (torch's cross-entropy default)


@dataclass(frozen=True, eq=False)
class Batch:
    """ids, targets (B,T) int64; documents, positions (B,T) int32; bytes of UTF-8 in the trained targets.

    targets: the next token within the same document, -100 where it is not trained. documents: 0, 1, ... in
    the row, equal where attention is allowed. positions restart at 0 with each. bytes: 0 without a table.
    """

    ids: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int32]
    positions: npt.NDArray[np.int32]
    bytes: int = 0

    @property
    def trained(self) -> int:
        """Number of targets that count."""
        return int((self.targets != IGNORED).sum())


class Packer:
    """Cuts `tokens` into batches of `batch` rows of `context` slots.

    byte_lengths (V,): UTF-8 bytes of each token, for bits per byte. Raises UserError when there is nothing to
    train on, or a token has no byte length.
    """

    def __init__(
        self,
        tokens: Tokens,
        context: int,
        batch: int,
        seed: int = 0,
        byte_lengths: npt.NDArray[Any] | None = None,
    ) -> None:
        if context < 1 or batch < 1:
            raise UserError(f"context and batch must be 1 or more, not {context} and {batch}")
        lengths = np.diff(tokens.starts) - 1
        kept = lengths > 0
        if not kept.any():
            raise UserError("nothing to train on: no document has two tokens or more")
        self.tokens, self.context, self.batch, self.seed = tokens, context, batch, seed
        self.byte_lengths = byte_lengths
        self._starts: Array = np.asarray(tokens.starts[:-1][kept], dtype=np.int64)
        self._lengths: Array = np.asarray(lengths[kept], dtype=np.int64)
        if not any(tokens.train[s + 1 : s + 1 + n].any() for s, n in zip(self._starts, self._lengths)):
            raise UserError("nothing to train on: no token is marked as a target")
        if byte_lengths is not None and int(tokens.ids.max()) >= len(byte_lengths):
            raise UserError(f"token {int(tokens.ids.max())} has no byte length: the table ends before it")
        self.slots = int(self._lengths.sum())  # (input, target) pairs in the corpus
        # A corpus smaller than one row is repeated until it fills one; that many copies are then an epoch.
        self.copies = -(-context // self.slots)
        self._epoch = self.slots * self.copies
        self._plans: dict[int, Plan] = {}

    @property
    def steps_per_epoch(self) -> float:
        """Batches in one pass over the corpus."""
        return self.slots / (self.context * self.batch)

    def rows(self, step: int) -> Batch:
        """The batch of `step` (0, 1, ...)."""
        if step < 0:
            raise UserError(f"step must be 0 or more, not {step}")
        starts: list[Array] = []
        lengths: list[Array] = []
        for row in range(step * self.batch, (step + 1) * self.batch):
            epoch = row * self.context // self._epoch
            plan = self._cached(epoch)
            r = plan.order[row - self._first_row(epoch)]
            starts.append(plan.starts[plan.rows[r] : plan.rows[r + 1]])
            lengths.append(plan.lengths[plan.rows[r] : plan.rows[r + 1]])
        return self._gather(starts, lengths)

    def once(self) -> Iterator[Batch]:
        """Every pair exactly once, for validation; the last batch may have fewer rows.

        The slots that the last row lacks repeat earlier pairs without a target.
        """
        missing = -self.slots % self.context
        copies = -(-missing // self.slots)
        again = np.tile(self._starts, copies) + len(self.tokens), np.tile(self._lengths, copies)
        lent = prefix(*again, missing)
        starts, lengths = np.concatenate([self._starts, lent[0]]), np.concatenate([self._lengths, lent[1]])
        plan = fill_rows(starts, lengths, np.full(len(starts), self.context), self.context)
        for first in range(0, len(plan.order), self.batch):
            last = min(first + self.batch, len(plan.order))
            cut = [slice(plan.rows[r], plan.rows[r + 1]) for r in range(first, last)]
            yield self._gather([plan.starts[c] for c in cut], [plan.lengths[c] for c in cut])

    def plan(self, epoch: int) -> Plan:
        """The rows of an epoch, computed afresh."""
        order = self._order(epoch)
        kept = suffix(self._starts[order], self._lengths[order], self._borrowed(epoch))
        order = self._order(epoch + 1)
        lent = prefix(self._starts[order], self._lengths[order], self._borrowed(epoch + 1))
        starts, lengths = np.concatenate([kept[0], lent[0]]), np.concatenate([kept[1], lent[1]])
        phase = 1 + noise.integers(self.seed, "phase", epoch, below=self.context, n=len(starts))
        plan = fill_rows(starts, lengths, phase, self.context)
        return replace(plan, order=noise.permutation(self.seed, len(plan.order), "rows", epoch))

    def _cached(self, epoch: int) -> Plan:
        """Two epochs are kept, since a batch may lie across their border."""
        found = self._plans.get(epoch)
        if found is None:
            found = self.plan(epoch)
            nearest = sorted(self._plans, key=lambda other: abs(other - epoch))[:1]
            self._plans = {other: self._plans[other] for other in nearest} | {epoch: found}
        return found

    def _order(self, epoch: int) -> Array:
        n = len(self._starts)
        return noise.permutation(self.seed, n * self.copies, "documents", epoch) % n

    def _first_row(self, epoch: int) -> int:
        return -(-epoch * self._epoch // self.context)

    def _borrowed(self, epoch: int) -> int:
        """Slots that the epoch before has taken from this one to fill its last row."""
        return self._first_row(epoch) * self.context - epoch * self._epoch

    def _gather(self, starts: list[Array], lengths: list[Array]) -> Batch:
        b, t, n = len(starts), self.context, len(self.tokens)
        length = np.concatenate(lengths)
        begin = np.cumsum(length) - length
        position = np.arange(b * t) - np.repeat(begin, length)
        flat = np.repeat(np.concatenate(starts), length) + position
        again = flat >= n  # pairs that `once` repeats only to fill its last row
        flat = np.where(again, flat - n, flat)
        targets = self.tokens.ids[flat + 1].astype(np.int64)
        counted = self.tokens.train[flat + 1] & ~again
        size = 0 if self.byte_lengths is None else int(self.byte_lengths[targets[counted]].sum())
        number = np.repeat(np.concatenate([np.arange(len(row)) for row in lengths]), length)
        return Batch(
            ids=self.tokens.ids[flat].astype(np.int64).reshape(b, t),
            targets=np.where(counted, targets, IGNORED).reshape(b, t),
            documents=number.astype(np.int32).reshape(b, t),
            positions=position.astype(np.int32).reshape(b, t),
            bytes=size,
        )
