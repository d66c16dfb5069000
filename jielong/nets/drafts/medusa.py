"""Medusa-like heads: from one place of the stream, all the next tokens at once.

    h_i = A_i h + U_i SiLU(W_i h) + b_i,   q_i = softmax(head(h_i)),   i = 1 ... reach:  the token at place t + 1 + i

Each head is a small network on the stream after the model's last norm, and the model's own head, frozen. What it
learns is the model's law one to `reach` places on, over what the model may write between.
Source: Cai et al. 2024 (arXiv 2401.10774), Medusa-1, section 2.1. There a head is h + SiLU(W h) and a matrix to the
vocabulary of its own; with the model's, A_i and U_i are needed to turn away from what the model says here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.nets import drafts
from jielong.nets.config import TransformerConfig

FADES = 0.8  # of the loss, from one head to the next (the paper's lambda_k)


@dataclass(frozen=True)
class Config:
    """`reach` heads, each `hidden` wide inside."""

    reach: int = 4
    hidden: int = 256

    @staticmethod
    def of(target: TransformerConfig, reach: int) -> Config:
        """For a model of this configuration."""
        return Config(reach, 2 * target.dim)


class Medusa(nn.Module):
    """Of each head: skips (D, D), outs (D, H) and biases (D,), zero at first (all tokens are equally likely), and
    ins (H, D)."""

    def __init__(self, config: Config, target: TransformerConfig, seed: int = 0) -> None:
        super().__init__()
        self.config, self.dim, self.vocab = config, target.dim, target.vocab
        generator = torch.Generator().manual_seed(seed)
        inner = (config.hidden, target.dim)
        heads = range(config.reach)
        self.skips = nn.ParameterList(torch.zeros(target.dim, target.dim) for _ in heads)
        self.ins = nn.ParameterList(torch.randn(inner, generator=generator) * target.dim**-0.5 for _ in heads)
        self.outs = nn.ParameterList(torch.zeros(target.dim, config.hidden) for _ in heads)
        self.biases = nn.ParameterList(torch.zeros(target.dim) for _ in heads)

    def forward(self, stream: Tensor, reach: int | None = None) -> list[Tensor]:
        """Streams (..., D) of the first `reach` heads (all): what the model's head is to read for each guess."""
        heads = list(zip(self.skips, self.ins, self.outs, self.biases, strict=True))[:reach]
        return [F.linear(stream, a, b) + F.linear(F.silu(F.linear(stream, w)), u) for a, w, u, b in heads]

    def lesson(self, seen: drafts.Seen) -> drafts.Lesson:
        """Nats of all heads, each `FADES` of the one before; `kept_i`: acceptance of guess i, given those before."""
        streams = self(seen.stream)
        total, weight, stats = seen.stream.new_zeros(()), 0.0, {}
        for i, stream in enumerate(streams, 1):
            if stream.shape[1] <= i:
                break
            loss, count, kept = drafts.nats(seen, stream[:, :-i], i)
            total = total + FADES ** (i - 1) * loss
            weight = weight or count
            stats[f"kept_{i}"] = kept * weight / count if count else 0.0
        return drafts.Lesson(total, weight, stats)

    def flops(self, context: int) -> float:
        """See `Head`."""
        return 2.0 * self.config.reach * self.dim * (self.dim + 2 * self.config.hidden + self.vocab)
