"""The blocks that Stable Diffusion's nets are made of, with the names and the arithmetic of diffusers' own, so that
weights go both ways as they are (`unet.py`, `autoencoder_kl.py`).

Sources: Ho et al. 2020 (2006.11239, appendix B); Rombach et al. 2022 (2112.10752, appendix E).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Resnet(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x))) + time))); a convolution of 1 x 1 where the width changes."""

    def __init__(self, wide: int, out: int, groups: int, eps: float, time: int = 0) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, wide, eps), nn.Conv2d(wide, out, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, out) if time else None
        self.norm2, self.conv2 = nn.GroupNorm(groups, out, eps), nn.Conv2d(out, out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(wide, out, 1) if wide != out else None

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), time (B, T) to (B, out, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        if self.time_emb_proj is not None and time is not None:
            h = h + self.time_emb_proj(F.silu(time))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Attention(nn.Module):
    """Queries from x, keys and values from `memory`, or x's own."""

    def __init__(self, dim: int, heads: int, memory: int = 0, bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias)
        self.to_k, self.to_v = (nn.Linear(memory or dim, dim, bias) for _ in range(2))
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """x (B, T, D), memory (B, S, M) to (B, T, D)."""
        source = x if memory is None else memory
        q, k, v = (each.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for each in (self.to_q(x), self.to_k(source), self.to_v(source)))  # fmt: skip
        out: Tensor = self.to_out[0](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class GroupAttention(Attention):
    """Attention over the places of a picture, added to it: one head, a norm over groups of channels (autoencoders)."""

    def __init__(self, dim: int, groups: int, eps: float) -> None:
        super().__init__(dim, 1, bias=True)
        self.group_norm = nn.GroupNorm(groups, dim, eps)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """(B, C, H, W) to the same."""
        rows = self.group_norm(x).flatten(2).mT
        return x + super().forward(rows).mT.reshape(x.shape)


class Geglu(nn.Module):
    """a gelu(b) of two products (Shazeer 2020)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, dim) to (B, T, hidden)."""
        a, b = self.proj(x).chunk(2, -1)
        return a * F.gelu(b)


class FeedForward(nn.Module):
    """Four times as wide inside."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([Geglu(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to the same."""
        out: Tensor = self.net[2](self.net[0](x))
        return out


class Reads(nn.Module):
    """Attention to oneself, then to the words, then a feed-forward."""

    def __init__(self, dim: int, heads: int, memory: int) -> None:
        super().__init__()
        self.norm1, self.attn1 = nn.LayerNorm(dim), Attention(dim, heads)
        self.norm2, self.attn2 = nn.LayerNorm(dim), Attention(dim, heads, memory)
        self.norm3, self.ff = nn.LayerNorm(dim), FeedForward(dim)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """x (B, T, D), memory (B, S, M)."""
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), memory)
        return x + self.ff(self.norm3(x))


class Places(nn.Module):
    """The places of a picture as rows that read the words, added to it."""

    def __init__(self, dim: int, heads: int, memory: int, groups: int, linear: bool) -> None:
        super().__init__()
        self.norm, self.linear = nn.GroupNorm(groups, dim, 1e-6), linear
        kind = nn.Linear if linear else lambda wide, out: nn.Conv2d(wide, out, 1)
        self.proj_in, self.proj_out = kind(dim, dim), kind(dim, dim)
        self.transformer_blocks = nn.ModuleList([Reads(dim, heads, memory)])

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """x (B, C, H, W), memory (B, S, M) to x's shape."""
        h = self.norm(x)
        rows = self.proj_in(h.flatten(2).mT) if self.linear else self.proj_in(h).flatten(2).mT
        for block in self.transformer_blocks:
            rows = block(rows, memory)
        if self.linear:
            return x + self.proj_out(rows).mT.reshape(x.shape)
        return x + self.proj_out(rows.mT.reshape(x.shape))


class Half(nn.Module):
    """Half the size: a convolution of stride 2. Autoencoders see one more row and column at the far ends alone."""

    def __init__(self, dim: int, far: bool = False) -> None:
        super().__init__()
        self.far = far
        self.conv = nn.Conv2d(dim, dim, 3, stride=2, padding=0 if far else 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H/2, W/2)."""
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)) if self.far else x)
        return out


class Double(nn.Module):
    """Twice the size: every pixel four times, then a convolution."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, 2 H, 2 W)."""
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


def time_sines(t: Tensor, width: int) -> Tensor:
    """(B,) times to (B, width): cosines, then sines, of falling rates from 1 to 1/10,000."""
    half = width // 2
    rates = torch.exp(-torch.log(torch.tensor(10_000.0)) * torch.arange(half, device=t.device) / half)
    angles = t.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], 1)
