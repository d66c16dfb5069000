"""A masked-diffusion block guesses: the latest tokens and some slots, filled in one reading or a few.

    drafter = DiffusionDrafter(model, marks, vocab)      # a model of `jielong train draft --kind diffusion`

In one reading every slot has its law given the text alone, and the guesses are drawn independently. In N readings the
slots are filled from left to right, a share of them in each: a slot's law is given the text and what earlier readings
have put before it, whatever stands beside it. Either way the law of a guess, given the guesses before it, is the one it
was drawn from. (By what is surest first, a slot would see tokens behind it, and no such law could be named.)
Source: SpecDiff, Christopher et al. 2024 (arXiv 2408.05636).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jielong.base.errors import UserError
from jielong.infer.draft.guesses import Guess, Shaper
from jielong.infer.draft.types import Draft, Draws
from jielong.infer.parallel import read
from jielong.infer.schedule import Row
from jielong.infer.slots import Marks, lay


class DiffusionDrafter:
    """`vocab`: the target's. Any model of slots will do (`jielong train parallel` too), best one that was trained on
    blocks. It reads the latest tokens that leave room for its slots, and keeps nothing of a row."""

    def __init__(self, model: Any, marks: Marks, vocab: int, *, passes: int = 1, name: str = "diffusion") -> None:
        if marks.tokens > vocab:
            raise UserError(f"the drafter {name!r} has {marks.tokens} tokens and the model {vocab}: give one with the "
                            "same tokenizer, or wrap it in OtherTokenizer")  # fmt: skip
        if not 1 <= passes <= marks.longest:
            raise UserError(f"{marks.longest} slots in {passes} passes: give 1 to {marks.longest}")
        self.model, self.marks, self.vocab, self.name = model.eval(), marks, vocab, name
        self.window = model.config.context - marks.longest
        self.edges = [marks.longest * i // passes for i in range(passes + 1)]  # what each reading fills
        self.shaper = Shaper(vocab)

    def forget(self, row: Row) -> None:
        """Nothing is kept of rows."""

    @torch.no_grad()
    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Draft]:
        """One draft a row, of as many guesses as there are slots at most."""
        drafts = [Draft()] * len(rows)
        asked = [
            Guess(i, row, min(k, self.marks.longest), source(row), list(row.text))
            for i, (row, k) in enumerate(zip(rows, most, strict=True))
            if k > 0
        ]
        going = asked
        for first, last in zip(self.edges, self.edges[1:]):
            if going:
                going = self.shaper.spread(going, self._read(going, first, last), first)
        for guess in asked:
            drafts[guess.place] = guess.draft()
        return drafts

    def _read(self, guesses: Sequence[Guess], first: int, last: int) -> Tensor:
        """Logits (B, last - first, V) of these slots, given what stands in the slots before `first`."""
        texts = [guess.text[: len(guess.text) - first] for guess in guesses]
        laid = lay([text[-self.window :] for text in texts], [self.marks.longest] * len(texts), self.marks)
        tokens = np.zeros(laid.slots.shape, dtype=np.int64)
        tokens[:, :first] = [guess.tokens for guess in guesses]
        known = np.broadcast_to(np.arange(self.marks.longest) < first, tokens.shape)
        rows, slots = np.indices((len(texts), last - first)).reshape(2, -1)
        logits_NV = read(self.model, self.marks, laid, tokens, known, rows, slots + first)
        logits_NV = F.pad(logits_NV, (0, self.vocab - self.marks.tokens), value=-torch.inf)
        return logits_NV.view(len(texts), last - first, -1)
