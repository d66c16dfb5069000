"""A block head guesses: one reading of the model's latest stream gives the laws of all guesses.

    drafter = BlockDrafter(head, model)       # a head of `jielong train draft --kind block`

Guesses are drawn independently of each other, each by the law of its own query given the text.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from jielong.infer.draft.guesses import Guess
from jielong.infer.draft.streams import Watching
from jielong.infer.schedule import Row
from jielong.nets.drafts.block import Block
from jielong.nets.transformer import Transformer


class BlockDrafter(Watching):
    """`head` beside `model`, whose embedding and head it reads with. It sees the latest places of a row's stream, as
    far back as they were shown."""

    def __init__(self, head: Block, model: Transformer, name: str = "block") -> None:
        super().__init__(model, name, head.config.window, head.config.reach)
        self.head = head.eval()

    def guess(self, asked: Sequence[Guess], shown: Sequence[Tensor]) -> None:
        """As many guesses as there are queries at most."""
        streams_BRD = self.head(*self._windows([guess.row for guess in asked], shown))
        furthest = max(guess.most for guess in asked)
        self.shaper.spread(asked, self.model.logits(streams_BRD[:, :furthest]))

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
