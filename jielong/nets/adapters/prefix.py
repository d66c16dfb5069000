"""Prefix tuning: keys and values that nobody wrote, before every text (Li and Liang 2021, arXiv 2101.00190, section 4).

    attention over [P_k; K], [P_v; V]           P_k, P_v (n, K C) of each block, learnt

The prefix takes the positions 0 to n - 1 and its keys are not turned, as in PEFT: the text then begins at n. Turning
depends on distances alone, so here the text stays where it is and the prefix's keys are turned back by n.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from jielong.base.errors import UserError
from jielong.nets import ops, rope
from jielong.nets.adapters.config import Prefix
from jielong.nets.adapters.targets import Target
from jielong.nets.block import Scene, with_past
from jielong.nets.config import Layer, TransformerConfig

STAYS = ("none", "linear", "ntk", "yarn", "llama3")  # rotations that do not depend on the text's length
SMALL = 0.02


class PrefixSite(nn.Module):
    """One block's prefix: keys and values (n, K, C)."""

    turn: Tensor | None

    def __init__(self, config: Prefix, shape: TransformerConfig, layer: Layer, generator: torch.Generator) -> None:
        super().__init__()
        size = (config.virtual, shape.kv_heads, shape.head_dim)
        self.keys = nn.Parameter(torch.empty(size).normal_(0.0, SMALL, generator=generator))
        self.values = nn.Parameter(torch.empty(size).normal_(0.0, SMALL, generator=generator))
        self.register_buffer("turn", backwards(layer, shape, config.virtual), persistent=False)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, scene: Scene) -> tuple[Tensor, Tensor, Scene]:
        """Keys and values (B, K, S, C) with the prefix before them, and a scene whose mask shows it to everybody."""
        keys, values = (p.transpose(0, 1)[None].to(k.dtype) for p in (self.keys, self.values))
        if self.turn is not None:
            keys = ops.rotate(keys, self.turn)
        return with_past(keys, values, q, k, v, scene)


def backwards(layer: Layer, shape: TransformerConfig, tokens: int) -> Tensor | None:
    """The rotation by `-tokens`, (2, 1, 1, half): without yarn's factor, which only what is read has."""
    if shape.position != "rope" or layer.rope is None:
        return None
    cos, sin = rope.tables(layer.rope, shape.head_dim, shape.context, tokens + 1)[:, tokens]
    length = torch.sqrt(cos**2 + sin**2)
    return torch.stack([cos / length, -sin / length])[:, None, None]


def refuses(shape: TransformerConfig) -> str:
    """Why a model takes no prefix; "" where it does."""
    if shape.position not in ("rope", "none"):
        return f"positions of the kind {shape.position}, which a prefix would shift"
    if any(layer.window for layer in shape.blocks):
        return "blocks that look back a window only, and would lose the prefix"
    if any(layer.rope and layer.rope.scaling not in STAYS for layer in shape.blocks):
        return "a rotation that depends on the text's length"
    return ""


def maker(config: Prefix, shape: TransformerConfig, seed: int) -> Callable[[list[Target]], PrefixSite]:
    """What makes the site of one block. UserError for a model that takes none."""
    reason = refuses(shape)
    if reason:
        raise UserError(f"this model takes no prefix: it has {reason}")
    generator = torch.Generator().manual_seed(seed)
    return lambda targets: PrefixSite(config, shape, shape.blocks[int(targets[0].half.split(".")[1])], generator)
