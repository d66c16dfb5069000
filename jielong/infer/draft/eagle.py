"""Guesses of an EAGLE-like head, which goes on with the model's stream by itself (`nets/drafts/eagle.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from jielong.infer.draft.guesses import Guess
from jielong.infer.draft.streams import Watching
from jielong.infer.runner import Runner, pages_for, runner
from jielong.nets.decoder import Feed, Group
from jielong.nets.drafts.eagle import Eagle
from jielong.nets.pages import SIZE
from jielong.nets.transformer import Transformer


@dataclass(frozen=True)
class _Rows:
    """What the head has read of some rows: `read` (B,) places each, in the `span` pages from `first` (B,) on."""

    read: Tensor
    first: Tensor
    span: int

    def kept(self, which: Tensor) -> _Rows:
        """These rows only."""
        return _Rows(self.read[which], self.first[which], self.span)

    def table(self, which: slice) -> Tensor:
        """The rows' pages, one row's after another's."""
        return (self.first[which, None] + torch.arange(self.span, device=self.first.device)).flatten()


class EagleDrafter(Watching):
    """`head` was trained beside `model`, whose embedding and head are its own too. At each call it reads the latest
    places again, which is all that it can see; so nothing has to be taken back where guesses were refused."""

    def __init__(self, head: Eagle, model: Transformer, name: str = "eagle") -> None:
        super().__init__(model, name, head.config.window)
        self.head, self.pages = head, 0
        self.runner: Runner | None = None

    def guess(self, asked: Sequence[Guess], shown: Sequence[Tensor]) -> None:
        """One after another, each from the stream that the head expects there."""
        order = sorted(range(len(asked)), key=lambda i: len(shown[i]))
        going, depth = [asked[i] for i in order], 0
        stream_BD, rows = self._begin(going, [shown[i] for i in order])
        while still := self.shaper.extend(going, self.model.logits(stream_BD[:, None])[:, 0], depth):
            if len(still) < len(going):
                kept = torch.tensor([at for at, guess in enumerate(going) if guess in still], device=stream_BD.device)
                stream_BD, rows = stream_BD[kept], rows.kept(kept)
            going, depth = still, depth + 1
            last_B = torch.tensor([guess.tokens[-1] for guess in going], device=stream_BD.device)
            groups = (Group(0, len(going), 1, rows.table(slice(None))),)
            stream_BD = self._read(last_B, stream_BD, rows.read, rows.first, groups)
            rows = _Rows(rows.read + 1, rows.first, rows.span)

    def _begin(self, asked: Sequence[Guess], shown: Sequence[Tensor]) -> tuple[Tensor, _Rows]:
        """The streams (B, D) that the head expects at the rows' last tokens. Rows of one length stand side by side."""
        device, lengths = shown[0].device, [len(latest) for latest in shown]
        span = pages_for(lengths[-1] + max(guess.most for guess in asked))
        self._make_room(len(asked) * span + 1)
        rows = _Rows(torch.tensor(lengths, device=device), 1 + span * torch.arange(len(asked), device=device), span)
        groups, start, done = list[Group](), 0, 0
        for width, same in groupby(lengths):
            count = len(list(same))
            groups.append(Group(start, count, width, rows.table(slice(done, done + count))))
            start, done = start + count * width, done + count
        texts = [(guess.row.text, guess.row.read + 1, n) for guess, n in zip(asked, lengths)]
        ids_N = torch.tensor([id for text, end, n in texts for id in text[end - n : end]], device=device)
        positions_N = torch.cat([torch.arange(n, device=device) for n in lengths])
        owners_N = torch.repeat_interleave(rows.first, rows.read)
        found_ND = self._read(ids_N, torch.cat(list(shown)), positions_N, owners_N, tuple(groups))
        return found_ND[rows.read.cumsum(0) - 1], rows

    def _read(self, ids: Tensor, stream: Tensor, positions: Tensor, first: Tensor, groups: tuple[Group, ...]) -> Tensor:
        """What the head expects after these tokens (N, D); first (N,): the first page of each one's row."""
        assert self.runner is not None
        table = self.head.joined(F.embedding(ids, self.model.embed), stream)
        nothing = ids[:0]
        feed = Feed(torch.arange(len(ids), device=ids.device), positions, first * SIZE + positions, groups, nothing,
                    table=table)  # fmt: skip
        return self.runner.look(feed)[1]

    def _make_room(self, pages: int) -> None:
        if self.runner is None or pages > self.pages:
            self.pages = max(pages, 2 * self.pages)
            self.runner = runner(self.head.block, self.pages)
