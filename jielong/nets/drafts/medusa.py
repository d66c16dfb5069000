"""Medusa-like heads: from one place of the stream, all the next tokens at once.

    h_i = h + SiLU(W_i h),   q_i = softmax(head(h_i)),   i = 1 ... reach:  the token at place t + 1 + i

Each head is one residual block on the stream after the model's last norm, and the model's own head, frozen. What it
learns is the model's law one to `reach` places on, over what the model may write between.
Source: Cai et al. 2024 (arXiv 2401.10774), Medusa-1, section 2.1; there each head has a matrix to the vocabulary of its
own and learns from tokens, here the model's is shared and laws are learnt.
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
    """`reach` heads, each of `layers` residual blocks."""

    reach: int = 4
    layers: int = 1

    @staticmethod
    def of(target: TransformerConfig, reach: int) -> Config:
        """For a model of this configuration."""
        return Config(reach)


class Medusa(nn.Module):
    """weights (reach, layers, D, D), biases (reach, layers, D); a fresh one gives the stream itself."""

    def __init__(self, config: Config, target: TransformerConfig, seed: int = 0) -> None:
        super().__init__()
        self.config, self.dim, self.vocab = config, target.dim, target.vocab
        shape = (config.reach * config.layers, target.dim)
        self.blocks = nn.ParameterList(torch.zeros(target.dim, target.dim) for _ in range(shape[0]))
        self.biases = nn.ParameterList(torch.zeros(target.dim) for _ in range(shape[0]))

    def forward(self, stream: Tensor, reach: int | None = None) -> list[Tensor]:
        """Streams (..., D) of the first `reach` heads (all): what the model's head is to read for each guess."""
        found = []
        for i in range(self.config.reach if reach is None else reach):
            x = stream
            for j in range(i * self.config.layers, (i + 1) * self.config.layers):
                x = x + F.silu(F.linear(x, self.blocks[j], self.biases[j]))
            found.append(x)
        return found

    def lesson(self, seen: drafts.Seen) -> drafts.Lesson:
        """Nats of all heads, each `FADES` of the one before; `kept_i`: the acceptance of guess i, given those before."""
        streams = self(seen.stream)
        total, weight, stats = torch.zeros(()), 0.0, {}
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
        return 2.0 * self.config.reach * self.dim * (self.config.layers * self.dim + self.vocab)
