"""Guesses of Medusa-like heads: all at once, from the model's stream where it read last (`nets/drafts/medusa.py`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jielong.infer.draft.guesses import Guess, Shaper
from jielong.infer.draft.streams import Streams
from jielong.infer.draft.types import Draft, Draws
from jielong.infer.schedule import Row
from jielong.nets.drafts.medusa import Medusa
from jielong.nets.transformer import Transformer


class MedusaDrafter:
    """`heads` were trained beside `model`, whose own head they read through. A row whose stream was not shown yet gets
    no guesses; the law of a guess does not depend on the guesses before it, but for the row's penalties."""

    watches = True

    def __init__(self, heads: Medusa, model: Transformer, name: str = "medusa") -> None:
        self.heads, self.model, self.name = heads, model, name
        self.streams = Streams(1)
        self.shaper = Shaper(model.config.vocab)

    def saw(self, rows: Sequence[Row], hidden: Sequence[Tensor]) -> None:
        """See `types.Watcher`."""
        self.streams.saw(rows, hidden)

    def forget(self, row: Row) -> None:
        self.streams.forget(row)

    @torch.no_grad()
    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Draft]:
        """One draft a row, as long as there are heads."""
        drafts = [Draft()] * len(rows)
        guesses, shown = list[Guess](), list[Tensor]()
        for i, (row, k) in enumerate(zip(rows, most, strict=True)):
            stream = self.streams.latest(row) if k > 0 else None
            if stream is not None:
                guesses.append(Guess(i, row, min(k, self.heads.config.reach), source(row), list(row.text)))
                shown.append(stream[-1])
        if not guesses:
            return drafts
        reach = max(guess.most for guess in guesses)
        streams_KBD = torch.stack(self.heads(torch.stack(shown), reach))
        self.shaper.spread(guesses, self.model.logits(streams_KBD).transpose(0, 1))
        for guess in guesses:
            drafts[guess.place] = guess.draft()
        return drafts
