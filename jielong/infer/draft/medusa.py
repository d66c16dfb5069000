"""Guesses of Medusa-like heads: all at once, from the model's stream where it read last (`nets/drafts/medusa.py`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jielong.infer.draft.guesses import Guess
from jielong.infer.draft.streams import Watching
from jielong.nets.drafts.medusa import Medusa
from jielong.nets.transformer import Transformer


class MedusaDrafter(Watching):
    """`heads` were trained beside `model`, whose own head they read through. The law of a guess does not depend on the
    guesses before it, but for the row's penalties."""

    def __init__(self, heads: Medusa, model: Transformer, name: str = "medusa") -> None:
        super().__init__(model, name, 1, heads.config.reach)
        self.heads = heads

    def guess(self, asked: Sequence[Guess], shown: Sequence[Tensor]) -> None:
        """All guesses from the latest place."""
        streams = self.heads(torch.stack([latest[-1] for latest in shown]), max(guess.most for guess in asked))
        self.shaper.spread(asked, self.model.logits(torch.stack(streams, 1)))
