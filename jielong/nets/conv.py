"""Small convolutional nets for pictures: residual blocks at one resolution, between patches and pixels.

The picture is cut into patches first, so that all convolutions run on the coarse grid, where they cost the least.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.units.patches import patchify, unpatchify


class ChannelNorm(nn.Module):
    """RMSNorm over the channels of every place (Zhang and Sennrich 2019), in float32."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        scale = torch.rsqrt(x.float().pow(2).mean(1, keepdim=True) + 1e-6).to(x.dtype)
        return x * scale * self.weight.to(x.dtype)[:, None, None]


class Residual(nn.Module):
    """x + conv(silu(conv(norm(x)))) (He et al. 2016, norms before); the second convolution begins at zero."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(dim)
        self.wide = nn.Conv2d(dim, hidden, 3, padding=1)
        self.back = nn.Conv2d(hidden, dim, 1)
        nn.init.zeros_(self.back.weight)
        nn.init.zeros_(self.back.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x + self.back(F.silu(self.wide(self.norm(x))))


class Down(nn.Module):
    """Pixels to a coarse grid: (B, C, H, W) to (B, out, H/p, W/p)."""

    def __init__(self, channels: int, patch: int, width: int, blocks: int, out: int) -> None:
        super().__init__()
        self.patch = patch
        self.begin = nn.Conv2d(channels * patch**2, width, 1)
        self.blocks = nn.Sequential(*(Residual(width, width) for _ in range(blocks)))
        self.norm, self.end = ChannelNorm(width), nn.Conv2d(width, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Pixels in [-1, 1] to features."""
        down, across = x.shape[2] // self.patch, x.shape[3] // self.patch
        coarse = patchify(x, self.patch).mT.reshape(len(x), -1, down, across)
        return self.end(F.silu(self.norm(self.blocks(self.begin(coarse)))))


class Up(nn.Module):
    """A coarse grid to pixels: (B, in, h, w) to (B, C, h p, w p), not bounded."""

    def __init__(self, wide: int, channels: int, patch: int, width: int, blocks: int) -> None:
        super().__init__()
        self.patch = patch
        self.begin = nn.Conv2d(wide, width, 1)
        self.blocks = nn.Sequential(*(Residual(width, width) for _ in range(blocks)))
        self.norm, self.end = ChannelNorm(width), nn.Conv2d(width, channels * patch**2, 1)

    def forward(self, z: Tensor) -> Tensor:
        """Features to pixels about [-1, 1]."""
        fine = self.end(F.silu(self.norm(self.blocks(self.begin(z)))))
        return unpatchify(fine.flatten(2).mT, self.patch, z.shape[2] * self.patch, z.shape[3] * self.patch)
