"""Guesses of an EAGLE-like head, which goes on with the model's stream by itself (`nets/drafts/eagle.py`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from jielong.infer.draft.guesses import Guess, Shaper
from jielong.infer.draft.streams import Streams
from jielong.infer.draft.types import Draft, Draws
from jielong.infer.schedule import Row
from jielong.nets.cache import KVCache
from jielong.nets.drafts.eagle import Eagle
from jielong.nets.transformer import Transformer


class EagleDrafter:
    """`head` was trained beside `model`, whose embedding and head are its own too. At each call it reads the latest
    places again, which is all that it can see; so nothing has to be taken back where guesses were refused. A row
    whose stream was not shown yet gets no guesses."""

    watches = True

    def __init__(self, head: Eagle, model: Transformer, name: str = "eagle") -> None:
        self.head, self.model, self.name = head, model, name
        self.streams = Streams(head.config.window)
        self.shaper = Shaper(model.config.vocab)

    def saw(self, rows: Sequence[Row], hidden: Sequence[Tensor]) -> None:
        """See `types.Watcher`."""
        self.streams.saw(rows, hidden)

    def forget(self, row: Row) -> None:
        self.streams.forget(row)

    @torch.no_grad()
    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Draft]:
        """One draft a row."""
        drafts = [Draft()] * len(rows)
        guesses, shown = list[Guess](), list[Tensor]()
        for i, (row, k) in enumerate(zip(rows, most, strict=True)):
            stream = self.streams.latest(row) if k > 0 else None
            if stream is not None:
                guesses.append(Guess(i, row, k, source(row), list(row.text)))
                shown.append(stream)
        if not guesses:
            return drafts
        stream_BD, cache = self._begin(guesses, shown)
        going, depth = guesses, 0
        while True:
            still = self.shaper.extend(going, self.model.logits(stream_BD), depth)
            if not still:
                break
            if len(still) < len(going):
                kept = torch.tensor([at for at, guess in enumerate(going) if guess in still], device=stream_BD.device)
                stream_BD, cache = stream_BD[kept], cache.keep(kept)
            going, depth = still, depth + 1
            last_B = torch.tensor([guess.tokens[-1] for guess in going], device=stream_BD.device)
            embeds = F.embedding(last_B, self.model.embed)[:, None]
            stream_BD = self.head(embeds, stream_BD[:, None], cache=cache)[:, 0]
        for guess in guesses:
            drafts[guess.place] = guess.draft()
        return drafts

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
