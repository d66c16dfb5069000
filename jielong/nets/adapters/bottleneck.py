"""Bottleneck adapters: a narrow feed-forward of two matrices, put behind a half of each block or beside it.

    serial      h + U f(D h),     h what attention, or the feed-forward, gives
                                                        (Houlsby et al. 2019, arXiv 1902.00751, section 2.1)
    parallel    h + 4 U f(D x),   x what the feed-forward reads; attention is left alone
                                                        (He et al. 2022, arXiv 2110.04366, table 5 and section 4.6)

D (narrow, dim) with biases, f is GELU, U (dim, narrow) zero: at first nothing changes. No matrix of the base can hold
what they do, so they are never merged.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.nets import ops
from jielong.nets.adapters.config import Bottleneck
from jielong.nets.adapters.targets import Target

BESIDE = 4.0


class BottleneckSite(nn.Module):
    """One half's adapter."""

    def __init__(self, config: Bottleneck, target: Target, generator: torch.Generator) -> None:
        super().__init__()
        self.parallel = config.parallel
        down = torch.empty(config.narrow, target.inputs).normal_(0.0, target.inputs**-0.5, generator=generator)
        self.down, self.down_bias = nn.Parameter(down), nn.Parameter(torch.zeros(config.narrow))
        self.up = nn.Parameter(torch.zeros(target.rows, config.narrow))
        self.up_bias = nn.Parameter(torch.zeros(target.rows))

    def forward(self, x: Tensor, inner: Callable[[Tensor], Tensor], *_: None) -> Tensor:
        """x (..., D) -> (..., D), around a whole half."""
        y = inner(x)
        thin = F.gelu(ops.linear(x if self.parallel else y, self.down, self.down_bias))
        wide = ops.linear(thin, self.up, self.up_bias)
        return y + (BESIDE * wide if self.parallel else wide)

    def start(self, weight: Tensor) -> None:
        """Nothing is taken from the base."""


def maker(config: Bottleneck, seed: int) -> Callable[[list[Target]], BottleneckSite]:
    """What makes the site of one half."""
    generator = torch.Generator().manual_seed(seed)
    return lambda targets: BottleneckSite(config, targets[0], generator)
