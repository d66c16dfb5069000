"""One number after the other, row by row: pixels (ImageGPT, Chen et al. 2020) or codes (VQGAN, Esser et al. 2021;
DALL-E, Ramesh et al. 2021), by the very Transformer that writes text.

    p(x | words) = prod_i p(x_i | x_<i, words)       the words stand before the picture, as a prompt does

Its loss is exact: bits above the entropy of the world's pictures can be read off.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.base import noise
from jielong.images.pictures import Batch
from jielong.images.tokens import Units, places_of
from jielong.images.words import Prompt, WordsConfig, left_out
from jielong.nets.cache import KVCache
from jielong.nets.config import Layer, TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.train.objective import Loss


@dataclass(frozen=True)
class Config:
    """`dropped`: the share of captions left out, for guidance; `prefix`: rows of words before the picture."""

    dim: int = 128
    layers: int = 4
    words: WordsConfig | None = None
    dropped: float = 0.1
    guidance: float = 1.0

    @property
    def prefix(self) -> int:
        """Rows before the picture: those of the words and one that begins it."""
        return 1 + (self.words.length if self.words else 0)


class Raster(nn.Module):
    """A causal Transformer over a picture's numbers."""

    def __init__(self, config: Config, units: Units, seed: int = 0, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.config, self.units, self.dtype = config, units, dtype
        self.length = units.grid[0] * units.grid[1]
        heads = max(1, config.dim // 32)
        shape = TransformerConfig(units.size, config.dim, config.layers, heads, heads, config.dim // heads,
                                  2 * config.dim, config.prefix + self.length - 1, layer=Layer(rope=None),
                                  position="learned")  # fmt: skip
        self.body = Transformer(shape, seed)
        places_of(self.body, units)
        self.begin = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.prompt = Prompt(config.words, config.dim, seed + 1)

    def loss(self, batch: Batch) -> Loss:
        """Nats of whole pictures, and the number of pictures."""
        words = left_out(batch.words, self.config.dropped, self.prompt.pad, batch.generator())
        return Loss(-self.log_probs(self.units.encode(batch.pixels), words).sum(), float(len(batch.pixels)))

    def log_probs(self, ids: Tensor, words: Tensor | None) -> Tensor:
        """(B,) ln p of pictures (B, T), each behind its words (B, S)."""
        before = self._before(words, len(ids))
        rows = torch.cat([before, F.embedding(ids[:, :-1], self.body.embed)], 1)
        out = self.body.hidden(embeds=rows, dtype=self.dtype)[:, before.shape[1] - 1 :]
        logits = self.body.logits(out)
        return -F.cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="none").view(ids.shape).sum(1)

    @torch.no_grad()
    def sample(
        self, condition: Tensor | None, n: int, seed: int, steps: int = 0, start: Tensor | None = None,
        temperature: float = 1.0,
    ) -> Tensor:  # fmt: skip
        """(n, C, H, W). `start` (n, k) ids that the picture begins with: half a picture is completed. `steps` is not
        used: there are as many as numbers."""
        return self.units.decode(self.write(condition, n, seed, start, temperature))

    @torch.no_grad()
    def write(
        self, words: Tensor | None, n: int, seed: int, start: Tensor | None = None, temperature: float = 1.0
    ) -> Tensor:  # fmt: skip
        """(n, T) ids, each drawn from p(x_i | x_<i, words)^guidance p(x_i | x_<i)^(1 - guidance)."""
        guided = self.config.guidance != 1 and self.prompt.length > 0 and words is not None
        before = self._before(words, n)
        if guided:
            before = torch.cat([before, self._before(None, n)])
        ids = torch.zeros(n, 0, dtype=torch.long) if start is None else start
        given = F.embedding(ids, self.body.embed).repeat(2 if guided else 1, 1, 1)
        cache = KVCache(self.body.config, len(before))
        rows = torch.cat([before, given], 1)
        lots = torch.stack([torch.from_numpy(noise.gumbel(seed, "raster", i, n=self.length * self.units.size))
                            for i in range(n)]).view(n, self.length, -1)  # fmt: skip
        while ids.shape[1] < self.length:
            logits = self.body.logits(self.body.hidden(embeds=rows, cache=cache)[:, -1])
            if guided:
                asked, free = logits.log_softmax(-1).chunk(2)
                logits = free + self.config.guidance * (asked - free)
            chosen = (logits.double() / max(temperature, 1e-6) + lots[:, ids.shape[1]]).argmax(-1)
            ids = torch.cat([ids, chosen[:, None]], 1)
            rows = F.embedding(chosen[:, None], self.body.embed).repeat(2 if guided else 1, 1, 1)
        return ids

    def _before(self, words: Tensor | None, n: int) -> Tensor:
        """(n, prefix, dim): the words' rows and one that begins the picture."""
        return torch.cat([self.prompt(words, n, self.dtype), self.begin.expand(n, -1, -1)], 1)
