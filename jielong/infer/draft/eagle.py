"""Guesses of an EAGLE-like head, which goes on with the model's stream by itself (`nets/drafts/eagle.py`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from jielong.infer.draft.guesses import Guess
from jielong.infer.draft.streams import Watching
from jielong.nets.cache import KVCache
from jielong.nets.drafts.eagle import Eagle
from jielong.nets.transformer import Transformer


class EagleDrafter(Watching):
    """`head` was trained beside `model`, whose embedding and head are its own too. At each call it reads the latest
    places again, which is all that it can see; so nothing has to be taken back where guesses were refused."""

    def __init__(self, head: Eagle, model: Transformer, name: str = "eagle") -> None:
        super().__init__(model, name, head.config.window)
        self.head = head

    def guess(self, asked: Sequence[Guess], shown: Sequence[Tensor]) -> None:
        """One after another, each from the stream that the head expects there."""
        stream_BD, cache = self._begin(asked, shown)
        going, depth = list(asked), 0
        while still := self.shaper.extend(going, self.model.logits(stream_BD), depth):
            if len(still) < len(going):
                kept = torch.tensor([at for at, guess in enumerate(going) if guess in still], device=stream_BD.device)
                stream_BD, cache = stream_BD[kept], cache.keep(kept)
            going, depth = still, depth + 1
            last_B = torch.tensor([guess.tokens[-1] for guess in going], device=stream_BD.device)
            embeds = F.embedding(last_B, self.model.embed)[:, None]
            stream_BD = self.head(embeds, stream_BD[:, None], cache=cache)[:, 0]

    def _begin(self, guesses: Sequence[Guess], shown: Sequence[Tensor]) -> tuple[Tensor, KVCache]:
        """The streams (B, D) that the head expects at the rows' last tokens, and what it has read to know them."""
        lengths = [len(stream) for stream in shown]
        stream_BTD = torch.nn.utils.rnn.pad_sequence(list(shown), batch_first=True)
        ids = torch.zeros(len(shown), max(lengths), dtype=torch.long)
        for at, (guess, n) in enumerate(zip(guesses, lengths)):
            ids[at, :n] = torch.tensor(guess.row.text[guess.row.read - n + 1 : guess.row.read + 1])
        device = stream_BTD.device
        most = max(lengths) + max(guess.most for guess in guesses)
        cache = KVCache(self.head.shape, len(shown), most, stream_BTD.dtype, device)
        lengths_B = torch.tensor(lengths, device=device)
        embeds = F.embedding(ids.to(device), self.model.embed)
        found = self.head(embeds, stream_BTD, cache=cache, lengths=lengths_B)
        return found[torch.arange(len(shown), device=device), lengths_B - 1], cache
