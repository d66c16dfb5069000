"""A Transformer over patches of a picture, told how noisy it is and what it shows (Peebles and Xie 2022, arXiv
2212.09748): patches in raster order, adaLN-zero from the time, the words as rows before the patches.

At the start its output is 0: every gate and the last layer begin there (section 3.2). Places are learnt from sines
whose wavelengths are those of the grid: with those for texts (10,000) two neighbours of a small grid are alike but for
a few numbers, and "at the top" is not learnt in thousands of steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.nets import ops
from jielong.nets.config import Layer, TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.units.patches import grid, patchify, unpatchify

FREQUENCIES, TURNS = 128, 10_000.0  # of the time's sines and cosines


@dataclass(frozen=True)
class DitConfig:
    """Of what is denoised: (`channels`, `height`, `width`); `words`: the width of the rows that say what it shows, 0
    for none."""

    channels: int
    height: int
    width: int
    patch: int = 2
    dim: int = 128
    layers: int = 6
    words: int = 128
    beside: int = 0  # channels of a picture that is given, not drawn: a small one made larger, a sketch

    @property
    def tokens(self) -> int:
        """Patches of a picture."""
        down, across = grid(self.height, self.width, self.patch)
        return down * across

    def flops(self, words: int = 0) -> float:
        """Of one picture's forward pass, products alone."""
        rows, d = self.tokens + words, self.dim
        block = rows * (4 * d * d + 3 * d * 2 * d) * 2 + 4 * rows * rows * d + 12 * d * d
        ends = self.tokens * 2 * d * (2 * self.channels + self.beside) * self.patch**2 + 2 * words * self.words * d
        return float(self.layers * block + ends)


class Dit(nn.Module):
    """What a solver asks: x_t (B, C, H, W), t (B,), words (B, S, `words`) or None; the same shape as x_t back."""

    def __init__(self, config: DitConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        dim, heads = config.dim, max(1, config.dim // 32)
        shape = TransformerConfig(1, dim, config.layers, heads, heads, dim // heads, 2 * dim, 1 << 14, causal=False,
                                  layer=Layer(rope=None, adaln=True), position="none", condition=dim)  # fmt: skip
        self.body = Transformer(shape, seed)
        del self.body.embed  # it reads vectors alone
        self.body.embed = nn.Parameter(torch.zeros(1, dim), requires_grad=False)
        generator = torch.Generator().manual_seed(seed)

        def matrix(rows: int, columns: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns, generator=generator) * columns**-0.5)

        for name, parameter in self.body.named_parameters():  # their gates are zero: behind these they would stay so
            if name.rsplit(".", 1)[-1] in ("out", "down"):
                nn.init.normal_(parameter, 0.0, parameter.shape[1] ** -0.5, generator=generator)
        size = config.channels * config.patch**2
        self.inward = matrix(dim, size + config.beside * config.patch**2)
        self.inward_bias = nn.Parameter(torch.zeros(dim))
        self.time_wide, self.time_out = matrix(dim, 2 * FREQUENCIES), matrix(dim, dim)
        self.words_in = matrix(dim, config.words) if config.words else None
        self.outward, self.outward_bias = nn.Parameter(torch.zeros(size, dim)), nn.Parameter(torch.zeros(size))
        self.place = nn.Parameter(places(*grid(config.height, config.width, config.patch), dim))

    def forward(
        self, x: Tensor, t: Tensor, words: Tensor | None = None, dtype: torch.dtype | None = None,
        beside: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """What is said of x_t, beside a picture (B, `beside`, H, W) that is given."""
        config = self.config
        kind = dtype or x.dtype
        x = x if beside is None else torch.cat([x, beside], 1)
        rows = ops.linear(patchify(x, config.patch).to(kind), self.inward, self.inward_bias) + self.place.to(kind)
        if self.words_in is not None and words is not None:
            rows = torch.cat([ops.linear(words.to(kind), self.words_in), rows], 1)
        condition = F.linear(F.silu(F.linear(sines(t), self.time_wide)), self.time_out)
        out = self.body.hidden(embeds=rows, condition=condition, dtype=dtype)[:, -config.tokens :]
        said = ops.linear(out, self.outward, self.outward_bias).float()
        return unpatchify(said, config.patch, config.height, config.width)


def sines(t: Tensor) -> Tensor:
    """Times (B,) in 0 ... 1000 to (B, 2 FREQUENCIES)."""
    rates = torch.exp(-math.log(TURNS) * torch.arange(FREQUENCIES) / FREQUENCIES)
    angles = t.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], 1)


def places(down: int, across: int, dim: int) -> Tensor:
    """(down * across, dim): half of the numbers tell the row, half the column, by sines and cosines of wavelengths from
    4 places to the grid's own double."""
    rates = math.pi / 2 * torch.exp(-math.log(2 * max(down, across)) * torch.arange(dim // 4) / (dim // 4))
    y, x = torch.meshgrid(torch.arange(down), torch.arange(across), indexing="ij")
    parts = [part for value in (y, x) for angle in [value.flatten()[:, None] * rates]
             for part in (angle.sin(), angle.cos())]  # fmt: skip
    return F.pad(torch.cat(parts, 1), (0, dim - 4 * (dim // 4)))
