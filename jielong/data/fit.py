"""Which piece of which document goes into which row: rows filled exactly, with as few cuts as can be.

Best-fit packing is Ding et al. 2024, "Fewer Truncations Improve Language Modeling" (arXiv:2404.10830). There
rows are padded where nothing fits; here the gap is filled by a cut, so nothing is padded. Only what must not be
cut (`whole_rows`) leaves gaps.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jielong.base import noise

LOOK_AHEAD = 4096  # pieces in the buffer: more finds exact fits, and insertion stays below a microsecond
PAIR_TRIES = 24  # lengths tried for the last two pieces of a row
_SHIFT = 40  # a buffered piece is one integer, length << 40 | index: sorted by length, compared in C
_INDEX = (1 << _SHIFT) - 1

Array = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Plan:
    """Rows of one epoch: row r is pieces rows[r] to rows[r+1]; a piece is `lengths` slots from slot `starts`.

    order: the row to serve first, second, ... cuts: how often a piece was cut to fill a gap.
    """

    starts: Array
    lengths: Array
    rows: Array
    order: Array
    cuts: int


def prefix(starts: Array, lengths: Array, slots: int) -> tuple[Array, Array]:
    """The first `slots` slots of a sequence of pieces."""
    ends = np.cumsum(lengths)
    last = int(np.searchsorted(ends, slots, side="left")) + 1 if slots else 0
    taken = lengths[:last].copy()
    if last:
        taken[-1] -= ends[last - 1] - slots
    return starts[:last], taken


def suffix(starts: Array, lengths: Array, slots: int) -> tuple[Array, Array]:
    """All but the first `slots` slots, fewer than there are."""
    ends = np.cumsum(lengths)
    first = int(np.searchsorted(ends, slots, side="right"))
    starts, left = starts[first:].copy(), lengths[first:].copy()
    taken = left[0] - (ends[first] - slots)
    starts[0] += taken
    left[0] -= taken
    return starts, left


def fill_rows(starts: Array, lengths: Array, phase: Array, context: int) -> Plan:
    """Rows from pieces whose lengths add up to a multiple of `context`.

    phase: where a piece longer than a row is cut first (1 to context); full rows follow, and a remainder.
    Heads and remainders are fitted like whole documents.
    """
    long = lengths > context
    head = np.where(long, phase, lengths)
    full = np.where(long, (lengths - head) // context, 0)
    tail = lengths - head - full * context
    nth = np.arange(full.sum()) - np.repeat(np.cumsum(full) - full, full)  # 0, 1, ... within each long piece
    body = np.repeat(starts + head, full) + context * nth
    ends = np.stack([starts, starts + head + full * context], axis=1).ravel()
    sizes = np.stack([head, tail], axis=1).ravel()
    some = sizes > 0
    fit_starts, fit_lengths, cuts = best_fit(ends[some].tolist(), sizes[some].tolist(), context)
    all_starts = np.concatenate([np.array(fit_starts, dtype=np.int64), body])
    all_lengths = np.concatenate([np.array(fit_lengths, dtype=np.int64), np.full(len(body), context)])
    rows = np.concatenate([[0], np.flatnonzero(np.cumsum(all_lengths) % context == 0) + 1])
    return Plan(all_starts, all_lengths, rows, np.arange(len(rows) - 1), cuts)


def whole_rows(lengths: Array, context: int) -> Plan:
    """Rows of units that are never cut, lengths (U,) `context` or less each. `starts` of the plan are numbers of units.

    A row's free slots are one more piece, of the unit U that does not exist.
    """
    order = noise.permutation(0, len(lengths), "units")  # so that every kind of length is at hand at any time
    found = best_fit(order.tolist(), lengths[order].tolist(), context, filler=len(lengths))
    units, pieces = np.array(found[0], dtype=np.int64), np.array(found[1], dtype=np.int64)
    rows = np.concatenate([[0], np.flatnonzero(np.cumsum(pieces) % context == 0) + 1])
    return Plan(units, pieces, rows, np.arange(len(rows) - 1), 0)


def best_fit(
    starts: list[int], lengths: list[int], context: int, filler: int | None = None
) -> tuple[list[int], list[int], int]:
    """Orders pieces (each `context` or shorter) so that rows of `context` are filled one after another.

    A row takes pieces in the order they came while two more could not fill it, so that the buffer keeps
    lengths of every kind; then a pair or a single piece that fills it exactly, else the longest that fits;
    when none fits, the longest is cut, which loses the smallest share of its context. With `filler` nothing is cut:
    a piece that begins there takes the slots that stay free.
    -> (starts, lengths, number of cuts). Microseconds a piece.
    """
    starts = list(starts)  # grows by what cuts leave
    incoming = deque([length << _SHIFT | i for i, length in enumerate(lengths)])
    queue = deque(incoming.popleft() for _ in range(min(LOOK_AHEAD, len(incoming))))  # by arrival
    buffer = sorted(queue)  # the same pieces by length
    gone: set[int] = set()  # taken from the buffer, not yet from the queue
    out_starts: list[int] = []
    out_lengths: list[int] = []
    gap, cuts = context, 0
    while buffer:
        if filler is not None and gap < (buffer[0] >> _SHIFT):
            out_starts.append(filler)
            out_lengths.append(gap)
            gap = context
        if gap == context or gap > 2 * (buffer[-1] >> _SHIFT):
            while (piece := queue.popleft()) in gone:
                gone.remove(piece)
            buffer.pop(bisect_left(buffer, piece))
        else:
            piece = buffer.pop(_closing(buffer, gap))
            gone.add(piece)
        length, start = piece >> _SHIFT, starts[piece & _INDEX]
        if length > gap:
            new = (length - gap) << _SHIFT | len(starts)
            starts.append(start + gap)
            length = gap
            cuts += 1
        else:
            new = incoming.popleft() if incoming else 0
        if new:
            insort(buffer, new)
            queue.append(new)
        out_starts.append(start)
        out_lengths.append(length)
        gap = gap - length or context
    if filler is not None and gap < context:
        out_starts.append(filler)
        out_lengths.append(gap)
    return out_starts, out_lengths, cuts


def _closing(buffer: list[int], gap: int) -> int:
    """Index of the piece to take next near the end of a row; the last one, to be cut, when none fits."""
    best = j = bisect_left(buffer, (gap + 1) << _SHIFT) - 1
    for _ in range(PAIR_TRIES):
        if j < 0:
            break
        length = buffer[j] >> _SHIFT
        rest = gap - length
        at = bisect_left(buffer, rest << _SHIFT)
        if not rest or (at < len(buffer) and buffer[at] >> _SHIFT == rest):
            return j
        j = bisect_left(buffer, length << _SHIFT) - 1
    return best if best >= 0 else len(buffer) - 1
