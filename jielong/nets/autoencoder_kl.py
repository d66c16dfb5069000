"""Stable Diffusion's autoencoder: diffusers' `AutoencoderKL`, name for name (Rombach et al. 2022, 2112.10752).

Its bottleneck is `images/kl.py`'s. Each level but the last halves the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.base.errors import UserError
from jielong.nets.residual import Double, GroupAttention, Half, Resnet

EPS = 1e-6


@dataclass(frozen=True)
class KlConfig:
    """`widths` of the levels, finest first; `factor`: what latents are multiplied by before they are denoised."""

    channels: int = 3
    latent: int = 4
    widths: tuple[int, ...] = (32, 64, 64)
    depth: int = 1
    groups: int = 16
    size: int = 32
    factor: float = 0.18215
    around: bool = True  # a 1 x 1 convolution on either side of the bottleneck


class Level(nn.Module):
    """Blocks of one size, then the next."""

    def __init__(self, wide: int, out: int, depth: int, groups: int, after: str = "") -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Resnet(wide if i == 0 else out, out, groups, EPS) for i in range(depth))
        self.downsamplers = nn.ModuleList([Half(out, far=True)]) if after == "half" else None
        self.upsamplers = nn.ModuleList([Double(out)]) if after == "double" else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, out, half or double)."""
        for resnet in self.resnets:
            x = resnet(x)
        for sized in (self.downsamplers, self.upsamplers):
            x = x if sized is None else sized[0](x)
        return x


class Middle(nn.Module):
    """Where the picture is coarsest: blocks, with attention over all places between them."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Resnet(width, width, groups, EPS) for _ in range(2))
        self.attentions = nn.ModuleList([GroupAttention(width, groups, EPS)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        out: Tensor = self.resnets[1](self.attentions[0](self.resnets[0](x)))
        return out


class Encoder(nn.Module):
    """Pixels to moments."""

    def __init__(self, config: KlConfig) -> None:
        super().__init__()
        widths, groups = config.widths, config.groups
        self.conv_in = nn.Conv2d(config.channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            Level(widths[max(0, i - 1)], width, config.depth, groups, "half" if i + 1 < len(widths) else "")
            for i, width in enumerate(widths)
        )
        self.mid_block = Middle(widths[-1], groups)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 2 latent, h, w)."""
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        out: Tensor = self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))
        return out


class Decoder(nn.Module):
    """Latents to pixels."""

    def __init__(self, config: KlConfig) -> None:
        super().__init__()
        widths, groups = config.widths[::-1], config.groups
        self.conv_in = nn.Conv2d(config.latent, widths[0], 3, padding=1)
        self.mid_block = Middle(widths[0], groups)
        self.up_blocks = nn.ModuleList(
            Level(widths[max(0, i - 1)], width, config.depth + 1, groups, "double" if i + 1 < len(widths) else "")
            for i, width in enumerate(widths)
        )
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], config.channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent, h, w) to (B, C, H, W)."""
        x = self.mid_block(self.conv_in(z))
        for level in self.up_blocks:
            x = level(x)
        out: Tensor = self.conv_out(F.silu(self.conv_norm_out(x)))
        return out


class AutoencoderKl(nn.Module):
    """Both, and a convolution of 1 x 1 on either side of the bottleneck."""

    def __init__(self, config: KlConfig, seed: int | None = 0) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            if seed is not None:
                torch.manual_seed(seed)
            self.encoder, self.decoder = Encoder(config), Decoder(config)
            both = 2 * config.latent
            self.quant_conv = nn.Conv2d(both, both, 1) if config.around else None
            self.post_quant_conv = nn.Conv2d(config.latent, config.latent, 1) if config.around else None

    def moments(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] to (B, 2 latent, h, w): means, then logarithms of variances."""
        h: Tensor = self.encoder(x)
        return h if self.quant_conv is None else self.quant_conv(h)

    def decode(self, z: Tensor) -> Tensor:
        """(B, latent, h, w), not scaled, to pixels."""
        out: Tensor = self.decoder(z if self.post_quant_conv is None else self.post_quant_conv(z))
        return out


def to_diffusers(config: KlConfig) -> dict[str, Any]:
    """As `config.json` of an `AutoencoderKL`."""
    n = len(config.widths)
    return {
        "_class_name": "AutoencoderKL", "_diffusers_version": "0.36.0", "in_channels": config.channels,
        "out_channels": config.channels, "down_block_types": ["DownEncoderBlock2D"] * n,
        "up_block_types": ["UpDecoderBlock2D"] * n, "block_out_channels": list(config.widths),
        "layers_per_block": config.depth, "act_fn": "silu", "latent_channels": config.latent,
        "norm_num_groups": config.groups, "sample_size": config.size, "scaling_factor": config.factor,
        "use_quant_conv": config.around, "use_post_quant_conv": config.around, "mid_block_add_attention": True,
        "force_upcast": False,
    }  # fmt: skip


def from_diffusers(said: dict[str, Any]) -> KlConfig:
    """Read such a file. Raises UserError where it says what is not built here."""
    n = len(said.get("block_out_channels", []))
    plain = {"act_fn": "silu", "down_block_types": ["DownEncoderBlock2D"] * n, "mid_block_add_attention": True,
             "up_block_types": ["UpDecoderBlock2D"] * n, "shift_factor": None, "latents_mean": None}  # fmt: skip
    other = [f"{name} {said[name]!r}" for name, value in plain.items() if said.get(name, value) != value]
    if other or not n or said.get("use_quant_conv", True) != said.get("use_post_quant_conv", True):
        raise UserError(f"this autoencoder is of a kind that is not built here ({', '.join(other) or 'its blocks'})")
    return KlConfig(
        said.get("in_channels", 3), said.get("latent_channels", 4), tuple(said["block_out_channels"]),
        said.get("layers_per_block", 1), said.get("norm_num_groups", 32), said.get("sample_size") or 32,
        said.get("scaling_factor", 0.18215), said.get("use_quant_conv", True),
    )  # fmt: skip
