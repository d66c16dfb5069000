"""Pictures and words in one space (CLIP, Radford et al. 2021, arXiv 2103.00020): two Transformers, each ending in one
vector; a picture's is to be nearest that of its own words among all in the batch, and the other way round.

    loss = (CE(s A B^T, own) + CE(s B A^T, own)) / 2       A, B of length 1, s learnt and at most 100

Words are read at the last one by `clip_text`, which can then stand in a Stable Diffusion folder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from jielong.images.clip_text import ClipText, TextConfig
from jielong.images.dit import places
from jielong.images.pictures import Batch
from jielong.nets import ops
from jielong.nets.config import Layer, TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.train.objective import Loss
from jielong.units.patches import grid, patchify

SURE = math.log(100.0)  # the most that the scale may be, as a logarithm


@dataclass(frozen=True)
class Config:
    """Of the pictures and the tower that sees them; `text`: the one that reads; `shared`: width of the common space."""

    text: TextConfig
    height: int = 32
    width: int = 32
    channels: int = 3
    patch: int = 4
    dim: int = 96
    layers: int = 3
    shared: int = 64


class Clip(nn.Module):
    """Both towers and the scale."""

    def __init__(self, config: Config, seed: int = 0, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.config, self.dtype = config, dtype
        generator = torch.Generator().manual_seed(seed)

        def matrix(rows: int, columns: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns, generator=generator) * columns**-0.5)

        down, across = grid(config.height, config.width, config.patch)
        heads = max(1, config.dim // 32)
        self.sees = Transformer(
            TransformerConfig(1, config.dim, config.layers, heads, heads, config.dim // heads, 2 * config.dim,
                              down * across, causal=False, layer=Layer(rope=None), position="none"), seed)  # fmt: skip
        self.reads = ClipText(config.text, seed + 1)
        self.place = nn.Parameter(places(down, across, config.dim))
        self.inward = matrix(config.dim, config.channels * config.patch**2)
        self.from_picture, self.from_words = matrix(config.shared, config.dim), matrix(config.shared, config.text.dim)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def loss(self, batch: Batch) -> Loss:
        """Nats of picking one's own, summed over the batch. Raises where there are no words."""
        if batch.words is None:
            raise ValueError("a CLIP needs words")
        a, b = self.pictures(batch.pixels), self.texts(batch.words)
        near = self.scale.clamp(max=SURE).exp() * a @ b.T
        same = (batch.words[:, None] == batch.words[None]).all(-1) & ~torch.eye(len(a), dtype=torch.bool)
        near = near.masked_fill(same, -math.inf)  # another picture with the very same words is no wrong one
        own = torch.arange(len(a))
        total = (F.cross_entropy(near, own, reduction="sum") + F.cross_entropy(near.T, own, reduction="sum")) / 2
        return Loss(total, float(len(a)), {"found": float((near.argmax(1) == own).sum())})

    def pictures(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] to (N, shared), of length 1."""
        rows = ops.linear(patchify(pixels, self.config.patch), self.inward) + self.place
        seen = self.sees.hidden(embeds=rows, dtype=self.dtype).float().mean(1)
        return F.normalize(seen @ self.from_picture.T, dim=1)

    def texts(self, ids: Tensor) -> Tensor:
        """(N, T) to (N, shared), of length 1: what stands at the first end."""
        rows = self.reads(ids, self.dtype).float()
        return F.normalize(rows[torch.arange(len(ids)), self.reads.last(ids)] @ self.from_words.T, dim=1)


@torch.no_grad()
def score(model: Clip, pixels: Tensor, words: Tensor, at_once: int = 256) -> NDArray[np.float64]:
    """(N,) CLIP score of each picture and its words: 100 times the cosine, 0 at least (Hessel et al. 2021, arXiv
    2104.08718, without their factor 2.5)."""
    found = [(model.pictures(pixels[i : i + at_once]) * model.texts(words[i : i + at_once])).sum(1)
             for i in range(0, len(pixels), at_once)]  # fmt: skip
    return np.maximum(100.0 * torch.cat(found).double().numpy(), 0.0)


@torch.no_grad()
def retrieved(model: Clip, pixels: Tensor, words: Tensor) -> float:
    """The share of pictures whose own words are the nearest of all these (texts that are alike count as one)."""
    a, b = model.pictures(pixels), model.texts(words)
    best = (a @ b.T).argmax(1)
    return float((words[best] == words).all(1).double().mean())
