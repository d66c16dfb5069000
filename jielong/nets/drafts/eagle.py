"""An EAGLE-like head: one block goes on with the model's stream by itself, and the model's head reads that.

    x_t = P [e(token t + 1), h_t],   h'_{t+1} = norm(block(x_{<=t})),   q = softmax(head(h'_{t+1})): the token t + 2

One token is known beyond what the model has read, so the head predicts the stream there; the guess that its law gives,
and the predicted stream, are what it reads next. The block sees the latest `window` places only: a row can be begun
anew from these.
Source: Li et al. 2024 (arXiv 2401.15077), sections 3.1 and 4; going on from its own streams while it learns: Zhang et
al. 2024 (arXiv 2408.15766).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.nets import drafts
from jielong.nets.config import Layer, TransformerConfig
from jielong.nets.transformer import Transformer

STREAM = 1.0  # weight of the smooth L1 between streams beside the nats (the paper: 1 beside 0.1 of them)
CONTEXT = 4096  # a window and the guesses after it
FADES = 0.8  # of the loss, from one round to the next


@dataclass(frozen=True)
class Config:
    """`reach` guesses are what it is meant for; `rounds`: how far it goes on from its own streams while it learns."""

    reach: int = 4
    window: int = 32
    rounds: int = 2

    @staticmethod
    def of(target: TransformerConfig, reach: int) -> Config:
        """For a model of this configuration."""
        return Config(reach, rounds=min(reach, 2))


class Eagle(nn.Module):
    """A projection (D, 2 D) and a Transformer of one block over it; a fresh one gives the stream before, normalised."""

    def __init__(self, config: Config, target: TransformerConfig, seed: int = 0) -> None:
        super().__init__()
        self.config, self.dim, self.vocab = config, target.dim, target.vocab
        self.shape = replace(
            target, vocab=1, layers=1, layer=Layer(window=config.window), layer_list=(), position="rope", causal=True,
            context=CONTEXT, embed_scale=1.0, softcap=None, head_bias=False, final_norm=True, embed_norm=False,
            tied=True, types=0, condition=0, dropout=0.0, attention_scale=0.0,
        )  # fmt: skip
        self.block = Transformer(self.shape, seed)
        self.block.embed.requires_grad_(False)  # it reads streams, not tokens
        self.join = nn.Parameter(torch.cat([torch.zeros(self.dim, self.dim), torch.eye(self.dim)], 1))

    def joined(self, embeds: Tensor, stream: Tensor) -> Tensor:
        """What the block reads (..., D): embeds (..., D) of the tokens after each place, stream (..., D) there."""
        return F.linear(torch.cat([embeds, stream], -1), self.join)

    def forward(self, embeds: Tensor, stream: Tensor, documents: Tensor | None = None) -> Tensor:
        """The same of whole texts (B, T, D) -> predicted streams (B, T, D) of the places after each."""
        return self.block.hidden(embeds=self.joined(embeds, stream), documents=documents)

    def lesson(self, seen: drafts.Seen) -> drafts.Lesson:
        """Nats of the guesses and smooth L1 of the streams, both of each round: in the second, what the first predicted
        stands where the model's own stream stood; `kept_i`: the acceptance of a guess in round i."""
        embeds = F.embedding(seen.ids, seen.model.embed)[:, 1:]
        stream, documents = seen.stream[:, :-1], seen.documents[:, :-1]
        several = bool((documents != documents[:, :1]).any())
        begins = F.pad(documents[:, 1:] != documents[:, :-1], (1, 0), value=True)[..., None]  # nobody expected these
        total, weight, stats = seen.stream.new_zeros(()), 0.0, {}
        for i in range(1, self.config.rounds + 1):
            guessed = self(embeds, stream, documents if several else None)
            loss, count, kept = drafts.nats(seen, guessed, 1)
            counted = seen.ahead(1)
            apart = F.smooth_l1_loss(guessed[counted], seen.stream[:, 1:][counted], reduction="sum") / self.dim
            total = total + FADES ** (i - 1) * (loss + STREAM * apart)
            weight = weight or count
            stats[f"kept_{i}"] = kept
            stream = torch.where(begins, seen.stream[:, :-1], F.pad(guessed[:, :-1], (0, 0, 1, 0)))
        return drafts.Lesson(total, weight, stats)

    def flops(self, context: int) -> float:
        """See `Head`."""
        each = 4.0 * self.dim * self.dim + self.shape.matrix_flops(min(context, self.config.window))
        return self.config.rounds * (each + 2.0 * self.dim * self.vocab)
