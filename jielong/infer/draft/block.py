"""A block head guesses: one reading of the model's latest stream gives the laws of all guesses.

    drafter = BlockDrafter(head, model)       # a head of `jielong train draft --kind block`

Guesses are drawn independently of each other, each by the law of its own query given the text.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from jielong.infer.draft.guesses import Guess, Shaper
from jielong.infer.draft.streams import Streams
from jielong.infer.draft.types import Draft, Draws
from jielong.infer.schedule import Row
from jielong.nets.drafts.block import Block
from jielong.nets.transformer import Transformer


class BlockDrafter:
    """`head` beside `model`, whose embedding and head it reads with. It sees the latest places of a row's stream, as
    far back as they were shown; a row whose latest place was not gets no guesses."""

    watches = True

    def __init__(self, head: Block, model: Transformer, name: str = "block") -> None:
        self.head, self.model, self.name = head.eval(), model, name
        self.streams, self.shaper = Streams(head.config.window), Shaper(model.config.vocab)

    def saw(self, rows: Sequence[Row], hidden: Sequence[Tensor]) -> None:
        """The model's stream, where it has just read."""
        self.streams.saw(rows, hidden)

    def forget(self, row: Row) -> None:
        self.streams.forget(row)

    @torch.no_grad()
    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Draft]:
        """One draft a row, of as many guesses as there are queries at most."""
        drafts, reach = [Draft()] * len(rows), self.head.config.reach
        asked, shown = list[Guess](), list[Tensor]()
        for i, (row, k) in enumerate(zip(rows, most, strict=True)):
            latest = self.streams.latest(row) if k > 0 else None
            if latest is not None:
                asked.append(Guess(i, row, min(k, reach), source(row), list(row.text)))
                shown.append(latest)
        if not asked:
            return drafts
        streams_BRD = self.head(*self._windows([g.row for g in asked], shown))
        furthest = max(guess.most for guess in asked)
        self.shaper.spread(asked, self.model.logits(streams_BRD[:, :furthest]))
        for guess in asked:
            drafts[guess.place] = guess.draft()
        return drafts

    def _windows(self, rows: Sequence[Row], shown: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """What the head reads: embeddings of the tokens after each place, its stream, and what is missing of it."""
        window = max(len(latest) for latest in shown)
        device = self.model.device
        stream = torch.stack([F.pad(latest.to(device), (0, 0, window - len(latest), 0)) for latest in shown])
        ids = torch.zeros(len(rows), window, dtype=torch.long)
        absent = torch.ones(len(rows), window, dtype=torch.bool)
        for i, (row, latest) in enumerate(zip(rows, shown)):
            ids[i, window - len(latest) :] = torch.tensor(row.text[row.read + 1 - len(latest) : row.read + 1])
            absent[i, window - len(latest) :] = False
        embeds = F.embedding(ids.to(device), self.model.embed)
        return embeds, stream.to(embeds.dtype), absent.to(device)
