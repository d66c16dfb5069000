"""N-grams with interpolated Kneser-Ney smoothing, under the Transformer's face: `model(ids) -> logits`.

    model = fit(NGramConfig(vocab=512, order=4), ids, starts)
    model(torch.tensor([[1, 2, 3]]))        # (1, 3, 512) log-probabilities of what comes next

With c the counts of its order, D(c) the discount of an n-gram seen c times, and h' the context h without its
first token (Kneser & Ney 1995, as modified by Chen & Goodman 1999):

    P(w | h) = (c(hw) - D(c(hw))) / c(h) + gamma(h) P(w | h'),      gamma(h) = sum_w D(c(hw)) / c(h)

At the highest order c is how often; below it, in how many different places: the number of different
tokens seen before it. Under the unigrams lies 1 / V. Each document begins with a mark of its own, so its
first tokens are predicted from what documents begin with.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from jielong.base.errors import UserError
from jielong.nets.weights import read_one, write_one

FLOOR = 0.1  # no discount below this: every token keeps some probability after every context
USUAL = (0.5, 1.0, 1.5)  # discounts where the data is too small to estimate them


@dataclass(frozen=True)
class NGramConfig:
    """`order` tokens in an n-gram, `order - 1` of them context. `context` None: reads text of any length."""

    vocab: int
    order: int = 4
    context: int | None = None

    def __post_init__(self) -> None:
        if self.vocab < 1 or self.order < 1:
            raise UserError(f"an n-gram model needs a vocabulary and an order of 1 or more, not {self}")
        if (self.vocab + 1) ** self.order >= 2**63:
            fits = int(63 * np.log(2) / np.log(self.vocab + 1))
            raise UserError(f"order {self.order} with {self.vocab} tokens is too large: order {fits} fits")


class NGram(nn.Module):
    """The counted model, in float64.

    Buffers, for m = 2 to order: `contexts_m` (C,) sorted keys of the contexts of m - 1 tokens, `left_m` (C,)
    their gammas, `begins_m` (C + 1,) where each one's entries begin in `tokens_m` and `shares_m` (N,), the
    tokens seen after it and their discounted probabilities. `unigrams` (V,) is the floor of all.
    """

    unigrams: Tensor

    def __init__(self, config: NGramConfig, tables: dict[str, Tensor]) -> None:
        super().__init__()
        self.config = config
        for name, table in tables.items():
            self.register_buffer(name, table)

    def forward(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Log-probabilities (B, T, V) of the token after each of ids (B, T), float32.

        documents (B, T): where the number changes a document begins, and what went before is forgotten.
        positions and dtype are there for the common face and change nothing. Raises IndexError for an id
        outside the vocabulary.
        """
        if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= self.config.vocab):
            raise IndexError(f"token ids must be in [0, {self.config.vocab})")
        keys, valid = self._keys(ids, documents)
        probs = self.unigrams.expand(ids.numel(), -1).clone()
        for order in range(2, self.config.order + 1):
            self._interpolate(probs, order, keys[order - 2].flatten(), valid[order - 2].flatten())
        return probs.log().float().view(*ids.shape, self.config.vocab)

    def _keys(self, ids: Tensor, documents: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
        """For contexts of 1 to order - 1 tokens: the key at each position, and whether there are so many."""
        base, mark = self.config.vocab + 1, self.config.vocab
        before_BT = place_in_document(ids, documents)
        key, valid = torch.zeros_like(ids), torch.ones_like(ids, dtype=torch.bool)
        keys, valids = [], []
        for lag in range(self.config.order - 1):
            token = torch.roll(ids, lag, dims=1) if lag else ids
            key = key + torch.where(before_BT >= lag, token, mark) * base**lag
            valid = valid & (before_BT + 1 >= lag)
            keys.append(key)
            valids.append(valid)
        return keys, valids

    def _interpolate(self, probs: Tensor, order: int, key: Tensor, valid: Tensor) -> None:
        """Turn probs (N, V) of order - 1 into those of `order` wherever the context was seen."""
        contexts, begins = self.get_buffer(f"contexts_{order}"), self.get_buffer(f"begins_{order}")
        if not len(contexts):
            return
        at = torch.searchsorted(contexts, key).clamp(max=len(contexts) - 1)
        rows = (valid & (contexts[at] == key)).nonzero()[:, 0]
        at = at[rows]
        probs[rows] *= self.get_buffer(f"left_{order}")[at, None]
        count = begins[at + 1] - begins[at]
        row = rows.repeat_interleave(count)
        first = (begins[at] - (count.cumsum(0) - count)).repeat_interleave(count)
        entry = first + torch.arange(len(row), device=row.device)
        probs[row, self.get_buffer(f"tokens_{order}")[entry]] += self.get_buffer(f"shares_{order}")[entry]

    def save(self, path: Path | str) -> None:
        """Write one safetensors file, whole or not at all."""
        write_one(path, "ngram", self.config, self.state_dict())


def load(path: Path | str) -> NGram:
    """Read what `save` wrote. Raises UserError for anything else."""
    return read_one(
        path, "ngram", lambda about, tensors: NGram(NGramConfig(int(about["vocab"]), int(about["order"])), tensors)
    )


def place_in_document(ids: Tensor, documents: Tensor | None) -> Tensor:
    """How many tokens of its own document stand before each position, (B, T)."""
    at = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    if documents is None:
        return at
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return at - torch.where(begins, at, 0).cummax(dim=1).values


def fit(config: NGramConfig, ids: np.ndarray, starts: np.ndarray | None = None) -> NGram:
    """Count ids (N,); documents begin at each of starts (D,), whose last may be N. Default: one document.

    Raises UserError where there is nothing to count or an id is outside the vocabulary.
    """
    ids = np.asarray(ids).astype(np.int64)
    if not len(ids):
        raise UserError("an n-gram model needs text to count, and there is none")
    if ids.min() < 0 or ids.max() >= config.vocab:
        raise UserError(f"token {ids.max()} is outside the vocabulary of {config.vocab}")
    begins = np.unique(np.append(0, np.asarray([] if starts is None else starts, dtype=np.int64)))
    counted = count(config, np.insert(ids, begins[begins < len(ids)], config.vocab))
    tables: dict[str, Tensor] = {}
    for order, (keys, counts) in enumerate(counted, start=1):
        values = tables_of(config, order, keys, counts)
        tables |= {name: torch.from_numpy(value) for name, value in values.items()}
    return NGram(config, tables)


def count(config: NGramConfig, stream: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sorted keys and counts of every order from 1; `stream` has the mark before each document.

    An n-gram's key is its tokens as digits in base V + 1. Those that begin with the mark have nothing before
    them, so at every order they are counted as often as they occur.
    """
    base, mark = config.vocab + 1, config.vocab
    text = np.flatnonzero(stream != mark)
    # How many tokens stand before each position back to its document's mark, the mark included.
    room = (
        np.arange(len(stream)) - np.maximum.accumulate(np.where(stream == mark, np.arange(len(stream)), 0))
    )[text]
    raw = []
    for order in range(1, config.order + 1):
        ends = text[room >= order - 1]
        keys = np.zeros(len(ends), dtype=np.int64)
        for lag in range(order):
            keys += stream[ends - lag] * base**lag
        raw.append(np.unique(keys, return_counts=True))
    for order in range(1, config.order):
        keys, often = raw[order - 1]
        _, places = np.unique(raw[order][0] % base**order, return_counts=True)
        marked = keys // base ** (order - 1) == mark
        counts = often.copy()
        counts[~marked] = places
        raw[order - 1] = (keys, counts)
    return raw


def discounts(counts: np.ndarray) -> np.ndarray:
    """D(1), D(2), D(3 and more), from how many n-grams were seen once to four times (Chen & Goodman 1999)."""
    n1, n2, n3, n4 = (float((counts == c).sum()) for c in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return np.array(USUAL)
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return np.clip(found, FLOOR, (1, 2, 3))


def tables_of(config: NGramConfig, order: int, keys: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """The buffers of one order."""
    base = config.vocab + 1
    taken = discounts(counts)[np.minimum(counts, 3) - 1]
    contexts, begins = np.unique(keys // base, return_index=True)
    total = np.add.reduceat(counts, begins)
    left = np.add.reduceat(taken, begins) / total
    share = (counts - taken) / np.repeat(total, np.diff(np.append(begins, len(keys))))
    if order == 1:
        unigrams = np.full(config.vocab, left[0] / config.vocab)
        unigrams[keys] += share
        return {"unigrams": unigrams}
    return {
        f"contexts_{order}": contexts,
        f"begins_{order}": np.append(begins, len(keys)).astype(np.int64),
        f"tokens_{order}": keys % base,
        f"shares_{order}": share,
        f"left_{order}": left,
    }
