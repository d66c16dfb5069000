"""Documents packed into rows of exactly `context` slots, without attention across documents.

Text is cut wherever that fills a row, so nothing is padded. A chat, or anything with targets that are not trained,
is never cut in the middle, since an answer needs its question: see `Packer`.

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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.data.fit import Array, Plan, fill_rows, prefix, suffix, whole_rows
from jielong.data.tokens import Tokens as Tokens

PARTS = (2, 4, 8)  # of a row, where documents are short
SPARE = 1.02  # slots of narrower rows, beside those of rows as wide as asked
IGNORED = -100  # the target that no loss counts (torch's cross-entropy default)


class NothingToTrain(UserError):
    """No document has a target that counts."""


@dataclass(frozen=True, eq=False)
class Batch:
    """ids, targets (B,T) int64; documents, positions (B,T) int32; bytes of UTF-8 in the trained targets.

    targets: the next token within the same document, -100 where it is not trained. documents: 0, 1, ... in
    the row, equal where attention is allowed. positions restart at 0 with each. bytes: 0 without a table.
    above (B,T): where attention is allowed beside that, -1 for nowhere: a prompt that stands before several answers.
    """

    ids: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int32]
    positions: npt.NDArray[np.int32]
    bytes: int = 0
    above: npt.NDArray[np.int32] | None = None

    @property
    def trained(self) -> int:
        """Number of targets that count."""
        return int((self.targets != IGNORED).sum())


class Packer:
    """Cuts `tokens` into batches of `batch` rows of `context` slots.

    byte_lengths (V,): UTF-8 bytes of each token, for bits per byte. Raises NothingToTrain, and UserError for a
    token without a byte length.

    Where documents have untrained targets (a chat's questions), or with `whole`, every document that a row can hold
    stays whole: a target then sees all that came before it. Which lengths share a row is settled once, which documents
    of these lengths anew in every epoch; the few slots that stay free repeat tokens without a target. A chat longer
    than a row keeps its beginning (`shortened` counts these), unless nothing trained is left in it (`left_out`);
    `longest` is the context that holds all chats. Text longer than a row is cut into rows and a rest. With `narrow`,
    rows of documents that are much shorter than a row are cut into parts, each a row of its own: `context` and `batch`
    then say what came of it.
    """

    def __init__(
        self,
        tokens: Tokens,
        context: int,
        batch: int,
        seed: int = 0,
        byte_lengths: npt.NDArray[Any] | None = None,
        whole: bool = False,
        narrow: bool = False,
    ) -> None:
        if context < 1 or batch < 1:
            raise UserError(f"context and batch must be 1 or more, not {context} and {batch}")
        self.tokens, self.context, self.batch, self.seed = tokens, context, batch, seed
        self.byte_lengths = byte_lengths
        self.shortened = self.left_out = self.longest = 0
        lengths = np.diff(tokens.starts) - 1
        kept = lengths > 0
        if not kept.any():
            raise NothingToTrain("nothing to train on: no document has two tokens or more")
        self._starts: Array = np.asarray(tokens.starts[:-1][kept], dtype=np.int64)
        self._lengths: Array = np.asarray(lengths[kept], dtype=np.int64)
        whole = self._settle(whole)
        if byte_lengths is not None and int(tokens.ids.max()) >= len(byte_lengths):
            raise UserError(f"token {int(tokens.ids.max())} has no byte length: the table ends before it")
        self.slots = int(self._lengths.sum())  # (input, target) pairs in the corpus
        # A corpus smaller than one row is repeated until it fills one; that many copies are then an epoch.
        self.copies = max(1, context // self.slots) if whole else -(-context // self.slots)
        self._epoch = self.slots * self.copies
        self._layout = self._lay(self.copies) if whole else None
        if narrow and self._layout:
            self._narrow(self._layout)
        self._plans: dict[int, Plan] = {}

    @property
    def steps_per_epoch(self) -> float:
        """Batches in one pass over the corpus."""
        rows = len(self._layout.order) / self.copies if self._layout else self.slots / self.context
        return rows / self.batch

    def rows(self, step: int) -> Batch:
        """The batch of `step` (0, 1, ...)."""
        if step < 0:
            raise UserError(f"step must be 0 or more, not {step}")
        starts: list[Array] = []
        lengths: list[Array] = []
        for row in range(step * self.batch, (step + 1) * self.batch):
            epoch = row // len(self._layout.order) if self._layout else row * self.context // self._epoch
            plan = self._cached(epoch)
            r = plan.order[row - self._first_row(epoch)]
            starts.append(plan.starts[plan.rows[r] : plan.rows[r + 1]])
            lengths.append(plan.lengths[plan.rows[r] : plan.rows[r + 1]])
        return self._gather(starts, lengths)

    def once(self) -> Iterator[Batch]:
        """Every pair exactly once, for validation; the last batch may have fewer rows.

        The slots that a row lacks repeat earlier pairs without a target.
        """
        if self._layout:
            plan = self._seat(self._lay(1), np.arange(len(self._starts)))
        else:
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
        if self._layout:
            plan = self._seat(self._layout, order)
            return replace(plan, order=noise.permutation(self.seed, len(plan.order), "rows", epoch))
        kept = suffix(self._starts[order], self._lengths[order], self._borrowed(epoch))
        order = self._order(epoch + 1)
        lent = prefix(self._starts[order], self._lengths[order], self._borrowed(epoch + 1))
        starts, lengths = np.concatenate([kept[0], lent[0]]), np.concatenate([kept[1], lent[1]])
        phase = 1 + noise.integers(self.seed, "phase", epoch, below=self.context, n=len(starts))
        plan = fill_rows(starts, lengths, phase, self.context)
        return replace(plan, order=noise.permutation(self.seed, len(plan.order), "rows", epoch))

    def _settle(self, whole: bool) -> bool:
        """Whether documents stay whole; then those longer than a row are cut here, chats counted."""
        starts, lengths = self._starts, self._lengths
        trained = _trained(self.tokens.train, starts, lengths)
        if not trained.any():
            raise NothingToTrain("nothing to train on: no token is marked as a target")
        asked = trained < lengths
        if not asked.any() and not whole:
            return False
        self.longest = int(lengths[asked].max(initial=0))
        long = asked & (lengths > self.context)
        lengths = np.where(long, self.context, lengths)
        some = _trained(self.tokens.train, starts, lengths) > 0
        self.left_out = int((long & ~some).sum())
        self.shortened = int(long.sum()) - self.left_out
        if not some.any():
            raise NothingToTrain(f"nothing to train on: no answer begins within --context {self.context}; give more")
        pieces = -(-lengths[some] // self.context)  # of text longer than a row, which may be cut
        nth = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        self._starts = np.repeat(starts[some], pieces) + self.context * nth
        self._lengths = np.minimum(self.context, np.repeat(lengths[some], pieces) - self.context * nth)
        return True

    def _lay(self, copies: int) -> Plan:
        """Rows of ranks by length: 0 is the shortest document, whichever of equal length that will be."""
        return whole_rows(np.sort(np.tile(self._lengths, copies)), self.context)

    def _narrow(self, layout: Plan) -> None:
        """Rows of a half, a quarter, an eighth, and as many times more of them a batch, where that leaves hardly more
        slots free: a row's attention costs its square."""
        context, batch, found = self.context, self.batch, layout
        for parts in PARTS:
            if context % parts or context // parts < int(self._lengths.max()):
                break
            self.context = context // parts
            other = self._lay(self.copies)
            if len(other.order) > SPARE * parts * len(layout.order):
                break
            found, self.batch = other, batch * parts
        self.context, self._layout = context * batch // self.batch, found

    def _seat(self, layout: Plan, order: Array) -> Plan:
        """The rows of a layout with the documents in it, those of equal length in the order in which they come."""
        ranked = order[np.argsort(self._lengths[order], kind="stable")]
        starts = np.append(self._starts[ranked], len(self.tokens))  # the last: free slots
        return replace(layout, starts=starts[layout.starts])

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
        if self._layout:
            return epoch * len(self._layout.order)
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
        again = flat >= n  # pairs repeated only to fill a row
        flat = np.where(again, (flat - n) % (n - 1), flat)
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


def too_long(packers: Sequence[Packer | None], most: int) -> str:
    """One line on the chats that no row can hold ("" without any); `most` is the model's context."""
    some = [packer for packer in packers if packer is not None]
    cut, out = sum(packer.shortened for packer in some), sum(packer.left_out for packer in some)
    if not cut + out:
        return ""
    context, longest = some[0].context, max(packer.longest for packer in some)
    limit = f" (this model takes {most} at most)" if longest > most else ""
    return (
        f"{cut + out:,} of {sum(packer.tokens.documents for packer in some):,} chats are longer than --context "
        f"{context}: {cut:,} lose their end, {out:,} whose answers begin beyond it are left out; "
        f"--context {longest} would hold all{limit}"
    )


def _trained(train: npt.NDArray[np.bool_], starts: Array, lengths: Array) -> Array:
    """(D,) trained targets of documents that begin at `starts`, each of `lengths` (1 or more) slots."""
    edges = np.stack([starts + 1, starts + 1 + lengths], axis=1).ravel()
    if edges[-1] == len(train):
        edges = edges[:-1]
    sums: Array = np.add.reduceat(train, edges, dtype=np.int64)[::2]
    return sums
