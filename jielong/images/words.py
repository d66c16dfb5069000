"""The text encoder of the three parts: words in, a row of vectors out, that a generator of pictures reads.

A small Transformer that looks both ways, trained with the generator or before it (`clip`). An empty text is the
condition of "no words": generators learn it too, for guidance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from jielong.base.errors import UserError
from jielong.nets.config import Layer, TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.units.codec import Codec


@dataclass(frozen=True)
class WordsConfig:
    """`vocab` ids of words or classes, one more for what stands in empty places; at most `length` of them."""

    vocab: int
    length: int = 24
    dim: int = 128
    layers: int = 2

    @property
    def pad(self) -> int:
        """The id of an empty place."""
        return self.vocab


class Words(nn.Module):
    """ids (B, T) to vectors (B, T, dim)."""

    def __init__(self, config: WordsConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        heads = max(1, config.dim // 32)
        shape = TransformerConfig(config.vocab + 1, config.dim, config.layers, heads, heads, config.dim // heads,
                                  2 * config.dim, config.length, causal=False, layer=Layer(rope=None),
                                  position="learned")  # fmt: skip
        self.body = Transformer(shape, seed)
        with torch.no_grad():  # words are told apart from the first step on
            self.body.embed.mul_(25.0)

    def forward(self, ids: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Raises UserError for more than `length` ids."""
        if ids.shape[1] > self.config.length:
            raise UserError(f"{ids.shape[1]} tokens are more than the {self.config.length} that the words may have")
        return self.body.hidden(ids, dtype=dtype)

    def empty(self, n: int, length: int) -> Tensor:
        """(n, length) ids of no words."""
        return torch.full((n, length), self.config.pad)


def left_out(words: Tensor | None, share: float, empty: Tensor | int, generator: torch.Generator) -> Tensor | None:
    """The words (B, T) with this share of the rows emptied (`empty` (1, T), or the id that fills it): so a generator
    learns what is drawn without words."""
    if words is None:
        return None
    return torch.where((torch.rand(len(words), generator=generator) < share)[:, None], empty, words)


def pooled(words: Words | None, ids: Tensor | None, n: int) -> Tensor:
    """(n, dim): the mean of the words' rows; no numbers without a text encoder."""
    if words is None:
        return torch.zeros(n, 0)
    mean: Tensor = words(words.empty(n, words.config.length) if ids is None else ids).mean(1)
    return mean


class Prompt(nn.Module):
    """Words as rows before a picture's own, of the width of the Transformer that reads both; none without a config."""

    def __init__(self, config: WordsConfig | None, dim: int, seed: int = 0) -> None:
        super().__init__()
        self.words = Words(config, seed) if config else None
        self.dim, self.length, self.pad = dim, config.length if config else 0, config.pad if config else 0
        generator = torch.Generator().manual_seed(seed)
        width = config.dim if config else 0
        start = torch.randn(dim, width, generator=generator) * max(width, 1) ** -0.5
        self.inward = nn.Parameter(start) if config else None

    def forward(self, words: Tensor | None, n: int, dtype: torch.dtype | None = None) -> Tensor:
        """(n, length, dim) of words (n, T), of no words for None."""
        if self.words is None or self.inward is None:
            return torch.zeros(n, 0, self.dim)
        full = self.words.empty(n, self.length)
        if words is not None:
            full[:, : words.shape[1]] = words
        return F.linear(self.words(full, dtype).float(), self.inward)


def table(codec: Codec, texts: Sequence[str], length: int, pad: int) -> NDArray[np.int64]:
    """(N, length) ids of texts, padded; longer ones are cut."""
    found = np.full((len(texts), length), pad, np.int64)
    for row, text in zip(found, texts):
        ids = codec.encode(text)[:length]
        row[: len(ids)] = ids
    return found
