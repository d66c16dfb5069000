"""Guesses of an EAGLE-like head, which goes on with the model's stream by itself (`nets/drafts/eagle.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from jielong.infer.draft.guesses import Guess
from jielong.infer.draft.streams import Watching
from jielong.infer.runner import Runner, pages_for, runner
from jielong.infer.schedule import Row
from jielong.nets.decoder import Feed, Group
from jielong.nets.drafts.eagle import Eagle
from jielong.nets.pages import SIZE
from jielong.nets.transformer import Transformer

ROOM = 64  # places after a window until a row is begun anew, and the most guesses


@dataclass(eq=False)
class _Memory:
    """What the head has read of a row: the places from `start` on, with their tokens and the one after them."""

    slot: int  # which stretch of pages
    start: int = 0
    tokens: list[int] = field(default_factory=list)

    def same(self, text: Sequence[int]) -> int:
        """Places that need not be read again: with their token and the next as they were."""
        there = text[self.start : self.start + len(self.tokens)]
        agree = next((i for i, (a, b) in enumerate(zip(self.tokens, there)) if a != b), len(there))
        return max(0, agree - 1)


@dataclass(frozen=True)
class _Rows:
    """The rows of a call: the place (B,) in its stretch that each reads next, and its stretch's first page (B,)."""

    at: Tensor
    first: Tensor
    span: int

    def kept(self, which: Tensor) -> _Rows:
        """These rows only."""
        return _Rows(self.at[which], self.first[which], self.span)

    def table(self, which: slice) -> Tensor:
        """The rows' pages, one row's after another's."""
        return (self.first[which, None] + torch.arange(self.span, device=self.first.device)).flatten()


class EagleDrafter(Watching):
    """`head` was trained beside `model`, whose embedding and head are its own too.

    A row has a stretch of pages, in which it is begun anew now and then: the head sees the latest places only. Guesses
    are read there with what was expected of them, and written over by the next call; so are places whose tokens are
    others now.
    """

    def __init__(self, head: Eagle, model: Transformer, name: str = "eagle") -> None:
        super().__init__(model, name, head.config.window, ROOM)
        self.head, self.span = head, pages_for(head.config.window + 2 * ROOM)
        self.memories: dict[Row, _Memory] = {}
        self.free: list[int] = []
        self._grow(1)

    def forget(self, row: Row) -> None:
        super().forget(row)
        self._release(row)

    def guess(self, asked: Sequence[Guess], shown: Sequence[Tensor]) -> None:
        """One after another, each from the stream that the head expects there."""
        self._grow(sum(guess.row not in self.memories for guess in asked))
        new = [self._new(guess, len(latest)) for guess, latest in zip(asked, shown)]
        order = sorted(range(len(asked)), key=lambda i: new[i])
        going, depth = [asked[i] for i in order], 0
        stream_BD, rows = self._begin(going, [shown[i][-new[i] :] for i in order])
        while still := self.shaper.extend(going, self.model.logits(stream_BD[:, None])[:, 0], depth):
            if len(still) < len(going):
                kept = torch.tensor([at for at, guess in enumerate(going) if guess in still], device=stream_BD.device)
                stream_BD, rows = stream_BD[kept], rows.kept(kept)
            going, depth = still, depth + 1
            last_B = torch.tensor([guess.tokens[-1] for guess in going], device=stream_BD.device)
            groups = (Group(0, len(going), 1, rows.table(slice(None))),)
            stream_BD = self._read(last_B, stream_BD, rows.at, rows.first, groups)
            rows = _Rows(rows.at + 1, rows.first, rows.span)
        for guess in asked:
            if guess.broken:  # what was read may be the reason, and nothing of it may be left
                first = 1 + self.span * self.memories[guess.row].slot
                self.runner.clear(list(range(first, first + self.span)))
                self._release(guess.row)

    def _new(self, guess: Guess, shown: int) -> int:
        """How many of a row's latest places are to be read; the last always is, for what follows it."""
        row = guess.row
        if row not in self.memories:
            self.memories[row] = _Memory(self.free.pop())
        memory = self.memories[row]
        place = min(memory.start + memory.same(row.text), row.read - 1)
        far = row.read - memory.start + guess.most > self.span * SIZE
        if far or not row.read - shown <= place:
            place = memory.start = row.read - shown
        memory.tokens = row.text[memory.start : row.read + 1]
        return row.read - place

    def _begin(self, asked: Sequence[Guess], fresh: Sequence[Tensor]) -> tuple[Tensor, _Rows]:
        """The streams (B, D) that the head expects at the rows' last tokens, after reading their latest places, whose
        streams are `fresh` (n, D). Rows of as many places stand side by side."""
        device, widths = fresh[0].device, [len(each) for each in fresh]
        memories = [self.memories[guess.row] for guess in asked]
        ends = [guess.row.read - memory.start for guess, memory in zip(asked, memories)]
        first_B = torch.tensor([1 + self.span * memory.slot for memory in memories], device=device)
        rows = _Rows(torch.tensor(ends, device=device), first_B, self.span)
        groups, start, done = list[Group](), 0, 0
        for width, same in groupby(widths):
            count = len(list(same))
            groups.append(Group(start, count, width, rows.table(slice(done, done + count))))
            start, done = start + count * width, done + count
        ids = [guess.row.text[guess.row.read + 1 - n : guess.row.read + 1] for guess, n in zip(asked, widths)]
        places = [range(end - n, end) for end, n in zip(ends, widths)]
        ids_N, places_N = (torch.tensor(list(chain.from_iterable(each)), device=device) for each in (ids, places))
        widths_B = torch.tensor(widths, device=device)
        owners_N = torch.repeat_interleave(first_B, widths_B)
        found_ND = self._read(ids_N, torch.cat(list(fresh)), places_N, owners_N, tuple(groups))
        return found_ND[widths_B.cumsum(0) - 1], rows

    def _read(self, ids: Tensor, stream: Tensor, places: Tensor, first: Tensor, groups: tuple[Group, ...]) -> Tensor:
        """What the head expects after these tokens (N, D); first (N,): the first page of each one's row."""
        table = self.head.joined(F.embedding(ids, self.model.embed), stream)
        feed = Feed(torch.arange(len(ids), device=ids.device), places, first * SIZE + places, groups, ids[:0],
                    table=table)  # fmt: skip
        return self.runner.look(feed)[1]

    def _release(self, row: Row) -> None:
        memory = self.memories.pop(row, None)
        if memory is not None:
            self.free.append(memory.slot)

    def _grow(self, more: int) -> None:
        """Stretches for so many rows more; with new pages all rows are read anew."""
        if more <= len(self.free):
            return
        count = 2 * (len(self.memories) + more)
        self.memories, self.free = {}, list(range(count))
        self.runner: Runner = runner(self.head.block, count * self.span + 1)
