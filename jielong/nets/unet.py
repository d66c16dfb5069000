"""A U-Net that reads words, in the shape of Stable Diffusion: diffusers' `UNet2DConditionModel`, name for name.

Down through ever coarser pictures, and up again, each level joined to its own of the way down (Ronneberger et al.
2015; Rombach et al. 2022, 2112.10752). `forward` also takes what a ControlNet adds to the joints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.base.errors import UserError
from jielong.nets.residual import Double, Half, Places, Resnet, time_sines


@dataclass(frozen=True)
class UnetConfig:
    """`widths` of the levels, finest first; `reads`: at which of them words are read; `heads` everywhere; `memory`:
    width of the words' rows."""

    size: int = 8
    channels: int = 4
    widths: tuple[int, ...] = (64, 128)
    reads: tuple[bool, ...] = (True, True)
    depth: int = 1
    heads: int = 4
    memory: int = 128
    groups: int = 16
    linear: bool = False

    def __post_init__(self) -> None:
        if len(self.reads) != len(self.widths) or any(w % self.groups or w % self.heads for w in self.widths):
            raise UserError(f"widths {self.widths} must be multiples of {self.groups} groups and {self.heads} heads, "
                            "and each level either reads words or not")  # fmt: skip


class Down(nn.Module):
    """Of a level: blocks, then half the size."""

    def __init__(self, config: UnetConfig, wide: int, out: int, reads: bool, last: bool) -> None:
        super().__init__()
        time = 4 * config.widths[0]
        self.resnets = nn.ModuleList(Resnet(wide if i == 0 else out, out, config.groups, 1e-5, time)
                                     for i in range(config.depth))  # fmt: skip
        self.attentions = readers(config, out, config.depth) if reads else None
        self.downsamplers = None if last else nn.ModuleList([Half(out)])

    def forward(self, x: Tensor, time: Tensor, memory: Tensor) -> Iterator[Tensor]:
        """All that the way up is joined to, in order; the last one goes on."""
        for i, resnet in enumerate(self.resnets):
            x = resnet(x, time)
            x = x if self.attentions is None else self.attentions[i](x, memory)
            yield x
        if self.downsamplers is not None:
            yield self.downsamplers[0](x)


class Up(nn.Module):
    """Of a level: blocks, each joined to one of the way down, then twice the size."""

    def __init__(self, config: UnetConfig, wide: int, out: int, skips: Sequence[int], reads: bool, last: bool) -> None:
        super().__init__()
        time = 4 * config.widths[0]
        self.resnets = nn.ModuleList(Resnet((wide if i == 0 else out) + skip, out, config.groups, 1e-5, time)
                                     for i, skip in enumerate(skips))  # fmt: skip
        self.attentions = readers(config, out, len(skips)) if reads else None
        self.upsamplers = None if last else nn.ModuleList([Double(out)])

    def forward(self, x: Tensor, joints: list[Tensor], time: Tensor, memory: Tensor) -> Tensor:
        """`joints` is taken from its end."""
        for i, resnet in enumerate(self.resnets):
            x = resnet(torch.cat([x, joints.pop()], 1), time)
            x = x if self.attentions is None else self.attentions[i](x, memory)
        return x if self.upsamplers is None else self.upsamplers[0](x)


class Middle(nn.Module):
    """Where the picture is coarsest."""

    def __init__(self, config: UnetConfig) -> None:
        super().__init__()
        width, time = config.widths[-1], 4 * config.widths[0]
        self.resnets = nn.ModuleList(Resnet(width, width, config.groups, 1e-5, time) for _ in range(2))
        self.attentions = readers(config, width, 1)

    def forward(self, x: Tensor, time: Tensor, memory: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        out: Tensor = self.resnets[1](self.attentions[0](self.resnets[0](x, time), memory), time)
        return out


class Time(nn.Module):
    """Sines of the time through two products."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.linear_1, self.linear_2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, 4 * width)

    def forward(self, t: Tensor) -> Tensor:
        """(B,) to (B, 4 width)."""
        sines = time_sines(t, self.width).to(self.linear_1.weight.dtype)
        out: Tensor = self.linear_2(F.silu(self.linear_1(sines)))
        return out


class Unet(nn.Module):
    """What a solver asks: x_t (B, C, H, W), t (B,), words (B, S, memory); the same shape as x_t back."""

    def __init__(self, config: UnetConfig, seed: int | None = 0) -> None:
        super().__init__()
        self.config = config
        widths, levels = config.widths, len(config.widths)
        with torch.random.fork_rng(devices=[]):
            if seed is not None:
                torch.manual_seed(seed)
            self.conv_in = nn.Conv2d(config.channels, widths[0], 3, padding=1)
            self.time_embedding = Time(widths[0])
            self.down_blocks = nn.ModuleList(
                Down(config, widths[max(0, i - 1)], widths[i], config.reads[i], i + 1 == levels) for i in range(levels))
            self.mid_block = Middle(config)
            joints = joint_widths(config)
            self.up_blocks = nn.ModuleList()
            for i in reversed(range(levels)):
                skips = [joints.pop() for _ in range(config.depth + 1)]
                wide = widths[min(i + 1, levels - 1)]
                self.up_blocks.append(Up(config, wide, widths[i], skips, config.reads[i], i == 0))
            self.conv_norm_out = nn.GroupNorm(config.groups, widths[0], 1e-5)
            self.conv_out = nn.Conv2d(widths[0], config.channels, 3, padding=1)

    def forward(
        self, x: Tensor, t: Tensor, memory: Tensor, more: Sequence[Tensor] = (), middle: Tensor | None = None
    ) -> Tensor:  # fmt: skip
        """`more`: added to the joints, `middle` to the coarsest picture (Zhang et al. 2023, 2302.05543)."""
        time = self.time_embedding(t)
        joints, x = self.way_down(x, time, memory)
        x = self.mid_block(x, time, memory)
        x = x if middle is None else x + middle
        joints = [a + b for a, b in zip(joints, more, strict=True)] if more else joints
        for block in self.up_blocks:
            x = block(x, joints, time, memory)
        out: Tensor = self.conv_out(F.silu(self.conv_norm_out(x)))
        return out

    def way_down(self, x: Tensor, time: Tensor, memory: Tensor) -> tuple[list[Tensor], Tensor]:
        """All joints, and the coarsest picture before the middle."""
        return walk_down(self, self.conv_in(x), time, memory)


def walk_down(net: Any, x: Tensor, time: Tensor, memory: Tensor) -> tuple[list[Tensor], Tensor]:
    """Through `net.down_blocks`, of a U-Net or of the copy that controls one."""
    joints = [x]
    for block in net.down_blocks:
        joints.extend(block(joints[-1], time, memory))
    return joints, joints[-1]


def joint_widths(config: UnetConfig) -> list[int]:
    """The widths of the joints, in order of the way down."""
    found = [config.widths[0]]
    for i, width in enumerate(config.widths):
        found += [width] * (config.depth + (i + 1 < len(config.widths)))
    return found


def readers(config: UnetConfig, width: int, n: int) -> nn.ModuleList:
    """Attention for `n` blocks of a level."""
    return nn.ModuleList(Places(width, config.heads, config.memory, config.groups, config.linear) for _ in range(n))


def to_diffusers(config: UnetConfig) -> dict[str, Any]:
    """As `config.json` of a `UNet2DConditionModel`."""
    downs = ["CrossAttnDownBlock2D" if reads else "DownBlock2D" for reads in config.reads]
    ups = ["CrossAttnUpBlock2D" if reads else "UpBlock2D" for reads in reversed(config.reads)]
    return {
        "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.36.0", "sample_size": config.size,
        "in_channels": config.channels, "out_channels": config.channels, "down_block_types": downs,
        "up_block_types": ups, "mid_block_type": "UNetMidBlock2DCrossAttn", "block_out_channels": list(config.widths),
        "layers_per_block": config.depth, "cross_attention_dim": config.memory, "attention_head_dim": config.heads,
        "norm_num_groups": config.groups, "use_linear_projection": config.linear, "act_fn": "silu", "norm_eps": 1e-5,
        "center_input_sample": False, "flip_sin_to_cos": True, "freq_shift": 0, "downsample_padding": 1,
        "mid_block_scale_factor": 1,
    }  # fmt: skip


def from_diffusers(said: dict[str, Any]) -> UnetConfig:
    """Read such a file. Raises UserError where it says what is not built here."""
    heads = said.get("num_attention_heads") or said.get("attention_head_dim", 8)
    downs, ups = said.get("down_block_types", []), said.get("up_block_types", [])
    known = {"CrossAttnDownBlock2D": True, "DownBlock2D": False}
    plain = {"act_fn": "silu", "norm_eps": 1e-5, "flip_sin_to_cos": True, "freq_shift": 0, "addition_embed_type": None,
             "class_embed_type": None, "time_embedding_type": "positional", "mid_block_scale_factor": 1,
             "mid_block_type": "UNetMidBlock2DCrossAttn", "resnet_time_scale_shift": "default", "conv_in_kernel": 3,
             "dual_cross_attention": False, "downsample_padding": 1, "only_cross_attention": False}  # fmt: skip
    other = [f"{name} {said[name]!r}" for name, value in plain.items() if said.get(name, value) != value]
    whole = isinstance(heads, int) and isinstance(said.get("layers_per_block", 2), int)
    good = whole and all(each in known for each in downs)
    if other or not good or [u.replace("Up", "Down") for u in reversed(ups)] != list(downs):
        raise UserError(f"this U-Net is of a kind that is not built here ({', '.join(other) or 'its blocks'})")
    return UnetConfig(
        said.get("sample_size") or 64, said.get("in_channels", 4), tuple(said["block_out_channels"]),
        tuple(known[d] for d in downs), said.get("layers_per_block", 2), heads, said.get("cross_attention_dim", 1280),
        said.get("norm_num_groups", 32), bool(said.get("use_linear_projection", False)),
    )  # fmt: skip
