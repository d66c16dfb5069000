"""All numbers at once, the surest first (MaskGIT, Chang et al. 2022, arXiv 2202.04200): a Transformer that looks both
ways fills in masked codes; in each of a few passes the codes it is surest of stay, the others are masked again.

    masked share at r of the way: cos(pi r / 2), of codes drawn by lot in training, of the least sure in drawing
    sure of a code: ln p(code) + temperature (1 - r) Gumbel                     (appendix of the paper; its code)

One pass draws every code from its own law, as if the others were not there: the half-left, half-right dog.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.base import noise
from jielong.images.pictures import Batch
from jielong.images.tokens import Units, places_of
from jielong.images.words import Prompt, WordsConfig, left_out
from jielong.nets.config import Layer, TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.train.objective import Loss


@dataclass(frozen=True)
class Config:
    """`steps` passes; `temperature` of the lots among the surest; `order`: by sureness, or spread evenly over the grid
    (Halton's sequence: Besnier et al. 2025, arXiv 2503.17076)."""

    dim: int = 128
    layers: int = 4
    words: WordsConfig | None = None
    dropped: float = 0.1
    guidance: float = 2.0
    steps: int = 8
    temperature: float = 2.0
    order: Literal["sure", "halton"] = "sure"


class MaskGit(nn.Module):
    """A Transformer over a picture's codes and one more that hides them."""

    def __init__(self, config: Config, units: Units, seed: int = 0, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.config, self.units, self.dtype, self.mask = config, units, dtype, units.size
        self.length = units.grid[0] * units.grid[1]
        heads = max(1, config.dim // 32)
        before = config.words.length if config.words else 0
        shape = TransformerConfig(units.size + 1, config.dim, config.layers, heads, heads, config.dim // heads,
                                  2 * config.dim, before + self.length, causal=False, layer=Layer(rope=None),
                                  position="learned")  # fmt: skip
        self.body = Transformer(shape, seed)
        places_of(self.body, units)
        self.prompt = Prompt(config.words, config.dim, seed + 1)

    def loss(self, batch: Batch) -> Loss:
        """Nats of a masked code, averaged over each picture's, summed over pictures."""
        ids, generator = self.units.encode(batch.pixels), batch.generator()
        share = torch.cos(math.pi / 2 * torch.rand(len(ids), generator=generator))
        hidden = (share * self.length).ceil().clamp(1, self.length)
        masked = torch.rand(ids.shape, generator=generator).argsort(1).argsort(1) < hidden[:, None]
        words = left_out(batch.words, self.config.dropped, self.prompt.pad, generator)
        logits = self._logits(ids.masked_fill(masked, self.mask), words)[masked]
        nats = F.cross_entropy(logits, ids[masked], reduction="none") / hidden.repeat_interleave(masked.sum(1))
        return Loss(nats.sum(), float(len(ids)))

    @torch.no_grad()
    def sample(self, condition: Tensor | None, n: int, seed: int, steps: int = 0) -> Tensor:
        """(n, C, H, W) in `steps` passes."""
        return self.units.decode(self.fill(torch.full((n, self.length), self.mask), condition, seed, steps))

    def fill(self, ids: Tensor, words: Tensor | None, seed: int, steps: int = 0) -> Tensor:
        """The masked places of ids (n, T) filled in by `steps` passes. The others stay, as half a picture may."""
        for _, left in self.walk(ids, words, seed, steps):
            ids = left
        return ids

    def passes(self, words: Tensor | None, n: int, seed: int, steps: int = 0) -> Iterator[Tensor]:
        """What the picture (n, T) would be after each pass, were it the last one."""
        for filled, _ in self.walk(torch.full((n, self.length), self.mask), words, seed, steps):
            yield filled

    @torch.no_grad()
    def walk(self, ids: Tensor, words: Tensor | None, seed: int, steps: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """After each pass: all places filled in, and what of them stays (the others masked again)."""
        steps = steps or self.config.steps
        open_ = ids == self.mask
        total = open_.sum(1)
        for step in range(steps):
            r = (step + 1) / steps
            logits = self._guided(ids, words)
            drawn = (logits + self._lots(seed, len(ids), "code", step, self.units.size)).argmax(-1)
            masked = ids == self.mask
            filled = torch.where(masked, drawn, ids)
            stay = (math.cos(math.pi / 2 * r) * total).floor().long() if step + 1 < steps else torch.zeros_like(total)
            sure = self._sure(logits, filled, seed, step, 1 - r).masked_fill(~masked, math.inf)
            ids = filled.masked_fill(sure.argsort(1).argsort(1) < stay[:, None], self.mask)
            yield filled, ids

    def _sure(self, logits: Tensor, filled: Tensor, seed: int, step: int, left: float) -> Tensor:
        """(n, T): the least are masked again."""
        if self.config.order == "halton":
            return -halton(*self.units.grid).argsort().double().expand(len(filled), -1)
        nats = logits.log_softmax(-1).gather(-1, filled[..., None])[..., 0]
        return nats + self.config.temperature * left * self._lots(seed, len(filled), "order", step, 1)[..., 0]

    def _lots(self, seed: int, n: int, what: str, step: int, width: int) -> Tensor:
        """(n, T, width) Gumbel numbers; those of a picture do not depend on how many are drawn."""
        lots = [noise.gumbel(seed, what, i, step, n=self.length * width) for i in range(n)]
        return torch.stack([torch.from_numpy(each).view(self.length, width) for each in lots])

    def _guided(self, ids: Tensor, words: Tensor | None) -> Tensor:
        if not self.prompt.length or words is None or self.config.guidance == 1:
            return self._logits(ids, words).double()
        asked, free = self._logits(ids, words).double(), self._logits(ids, None).double()
        return free + self.config.guidance * (asked - free)

    def _logits(self, ids: Tensor, words: Tensor | None) -> Tensor:
        """(B, T, size) of all places."""
        rows = torch.cat([self.prompt(words, len(ids), self.dtype), F.embedding(ids, self.body.embed)], 1)
        out = self.body.hidden(embeds=rows, dtype=self.dtype)[:, -self.length :]
        return self.body.logits(out)[..., : self.units.size]


def halton(down: int, across: int) -> Tensor:
    """The places of a grid in the order in which Halton's sequence (bases 2 and 3) first visits them."""

    def fraction(i: int, base: int) -> float:
        value, scale = 0.0, 1.0
        while i:
            scale /= base
            value, i = value + scale * (i % base), i // base
        return value

    found: dict[int, None] = {}
    i = 1
    while len(found) < down * across:
        found[int(fraction(i, 2) * down) * across + int(fraction(i, 3) * across)] = None
        i += 1
    return torch.tensor(list(found))
