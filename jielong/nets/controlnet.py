"""A copy of a U-Net's way down that reads a picture of hints (edges, poses) and adds to the joints: diffusers'
`ControlNetModel`, name for name (Zhang et al. 2023, arXiv 2302.05543).

Its last convolutions begin at zero: at the start the U-Net draws what it drew without it, bit for bit.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.base.errors import UserError
from jielong.nets import unet
from jielong.nets.unet import Down, Middle, Time, Unet, UnetConfig, joint_widths, walk_down

HINTS = (16, 32, 64)  # widths on the way from a picture of hints to the size of the latents: half the size at each


class Hints(nn.Module):
    """A picture (B, C, H, W) to what is added to the first joint."""

    def __init__(self, channels: int, widths: tuple[int, ...], out: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for wide, next_ in zip(widths, widths[1:]):
            self.blocks += [nn.Conv2d(wide, wide, 3, padding=1), nn.Conv2d(wide, next_, 3, padding=1, stride=2)]
        self.conv_out = zeroed(nn.Conv2d(widths[-1], out, 3, padding=1))

    def forward(self, hints: Tensor) -> Tensor:
        """(B, out, h, w)."""
        x = F.silu(self.conv_in(hints))
        for block in self.blocks:
            x = F.silu(block(x))
        out: Tensor = self.conv_out(x)
        return out


class ControlNet(nn.Module):
    """What is added to a U-Net's joints and to its coarsest picture."""

    def __init__(self, config: UnetConfig, hints: tuple[int, ...] = HINTS, channels: int = 3) -> None:
        super().__init__()
        self.config, self.hints, self.channels = config, hints, channels
        widths, levels = config.widths, len(config.widths)
        self.conv_in = nn.Conv2d(config.channels, widths[0], 3, padding=1)
        self.time_embedding = Time(widths[0])
        self.controlnet_cond_embedding = Hints(channels, hints, widths[0])
        self.down_blocks = nn.ModuleList(
            Down(config, widths[max(0, i - 1)], widths[i], config.reads[i], i + 1 == levels) for i in range(levels)
        )
        self.mid_block = Middle(config)
        self.controlnet_down_blocks = nn.ModuleList(zeroed(nn.Conv2d(w, w, 1)) for w in joint_widths(config))
        self.controlnet_mid_block = zeroed(nn.Conv2d(widths[-1], widths[-1], 1))

    def forward(self, x: Tensor, t: Tensor, memory: Tensor, hints: Tensor) -> tuple[list[Tensor], Tensor]:
        """x_t (B, C, H, W), t (B,), words (B, S, M), a picture of hints: for `Unet.forward`'s `more` and `middle`."""
        time = self.time_embedding(t)
        joints, x = walk_down(self, self.conv_in(x) + self.controlnet_cond_embedding(hints), time, memory)
        coarse = self.mid_block(x, time, memory)
        more = [own(joint) for own, joint in zip(self.controlnet_down_blocks, joints, strict=True)]
        return more, self.controlnet_mid_block(coarse)


def beside(net: Unet, hints: tuple[int, ...] = HINTS, channels: int = 3) -> ControlNet:
    """One that begins as a copy of the U-Net."""
    copy = ControlNet(net.config, hints, channels)
    own = copy.state_dict()
    copy.load_state_dict(own | {name: value.clone() for name, value in net.state_dict().items() if name in own})
    return copy


def zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    """With all weights 0."""
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.zero_()
    return conv


def to_diffusers(net: ControlNet) -> dict[str, Any]:
    """As `config.json` of a `ControlNetModel`."""
    said = unet.to_diffusers(net.config)
    dropped = ("sample_size", "out_channels", "up_block_types", "center_input_sample")
    return {**{name: value for name, value in said.items() if name not in dropped}, "_class_name": "ControlNetModel",
            "conditioning_channels": net.channels, "conditioning_embedding_out_channels": list(net.hints)}  # fmt: skip


def from_diffusers(said: dict[str, Any], size: int) -> ControlNet:
    """A net of the shape of such a file, for latents of `size`. Raises UserError for what is not built here."""
    if said.get("global_pool_conditions") or said.get("controlnet_conditioning_channel_order", "rgb") != "rgb":
        raise UserError("this ControlNet is of a kind that is not built here")
    ups = [name.replace("Down", "Up") for name in reversed(said.get("down_block_types", []))]
    config = unet.from_diffusers({**said, "sample_size": size, "up_block_types": ups})
    widths = tuple(said.get("conditioning_embedding_out_channels", (16, 32, 96, 256)))
    return ControlNet(config, widths, said.get("conditioning_channels", 3))
