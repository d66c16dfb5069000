"""Small convolutional nets for pictures: blocks at one resolution, between patches and pixels.

The picture is cut into patches first, so that everything runs on the coarse grid. A block is ConvNeXt's (Liu et al.
2022, arXiv 2201.03545): a convolution within each channel, then two matrices over channels, added to the stream.
Matrices, unlike full convolutions, are what Muon is for: the same number of steps then learns far more.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.units.patches import patchify, unpatchify


class Matrix(nn.Module):
    """x W^T + b, N(0, 1 / fan-in) at the start, or zero."""

    def __init__(self, wide: int, out: int, zero: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out, wide) if zero else torch.randn(out, wide) * wide**-0.5)
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor) -> Tensor:
        """(..., wide) to (..., out)."""
        return F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


class RowNorm(nn.Module):
    """RMSNorm (Zhang and Sennrich 2019)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) to the same."""
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), 1e-6)


class Block(nn.Module):
    """x + W silu(V norm(conv x)), the convolution within each channel; what is added begins at zero."""

    def __init__(self, dim: int, hidden: int, size: int = 3) -> None:
        super().__init__()
        self.near = nn.Conv2d(dim, dim, size, padding=size // 2, groups=dim)
        self.norm, self.wide, self.back = RowNorm(dim), Matrix(dim, hidden), Matrix(hidden, dim, zero=True)

    def forward(self, rows: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, T, D) of a grid of T places to the same."""
        near = self.near(rows.mT.unflatten(2, grid)).flatten(2).mT
        return rows + self.back(F.silu(self.wide(self.norm(near))))


class Blocks(nn.Module):
    """Several, then a norm."""

    def __init__(self, dim: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, 2 * dim) for _ in range(blocks))
        self.norm = RowNorm(dim)

    def forward(self, rows: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, T, D) to the same."""
        for block in self.blocks:
            rows = block(rows, grid)
        return self.norm(rows)


class Down(nn.Module):
    """Pixels to a coarse grid: (B, C, H, W) to (B, out, H/p, W/p)."""

    def __init__(self, channels: int, patch: int, width: int, blocks: int, out: int) -> None:
        super().__init__()
        self.patch = patch
        self.begin, self.inner = Matrix(channels * patch**2, width), Blocks(width, blocks)
        self.end = Matrix(width, out)

    def forward(self, x: Tensor) -> Tensor:
        """Pixels in [-1, 1] to features."""
        grid = x.shape[2] // self.patch, x.shape[3] // self.patch
        return self.end(self.inner(self.begin(patchify(x, self.patch)), grid)).mT.unflatten(2, grid)


class Up(nn.Module):
    """A coarse grid to pixels: (B, in, h, w) to (B, C, h p, w p), not bounded."""

    def __init__(self, wide: int, channels: int, patch: int, width: int, blocks: int) -> None:
        super().__init__()
        self.patch = patch
        self.begin, self.inner = Matrix(wide, width), Blocks(width, blocks)
        self.end = Matrix(width, channels * patch**2)

    def forward(self, z: Tensor) -> Tensor:
        """Features to pixels about [-1, 1]."""
        grid = z.shape[2], z.shape[3]
        fine = self.end(self.inner(self.begin(z.flatten(2).mT), grid))
        return unpatchify(fine, self.patch, grid[0] * self.patch, grid[1] * self.patch)
