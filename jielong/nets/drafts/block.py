"""A block head: all next tokens at once, each from a query of its own that looks at the model's latest stream.

    x_j = P [e(token j + 1), h_j],  j = t - window + 1 ... t;    q_i = x_t + learned query i
    h'_1 ... h'_reach = norm(blocks([x, q]))[q],   guess i = softmax(head(h'_i)):  the token t + 1 + i

Queries and window see each other both ways, so one reading of `window + reach` places gives `reach` laws. Guess i has
its law given the text alone: the guesses before it are not told to it, and it learns the model's law over what may
stand between.
Sources: Stern et al. 2018 (arXiv 1811.03115), section 4, heads for the k next tokens; ParallelSpec, Xiao et al. 2024
(arXiv 2410.05589), learned tokens that one block reads together, with the model's head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.nets import drafts
from jielong.nets.config import Layer, TransformerConfig
from jielong.nets.transformer import Transformer

FADES = 0.8  # of the loss, from one query to the next


@dataclass(frozen=True)
class Config:
    """`reach` queries over the latest `window` places, through `layers` blocks. While it learns, every `every`-th
    place of a row is one from which it guesses."""

    reach: int = 4
    window: int = 16
    layers: int = 1
    every: int = 8

    @staticmethod
    def of(target: TransformerConfig, reach: int) -> Config:
        """For a model of this configuration."""
        return Config(reach)


class Block(nn.Module):
    """A projection (D, 2 D) and a Transformer that sees both ways, whose table holds the queries; a fresh one gives
    the stream of the latest place, normalised."""

    def __init__(self, config: Config, target: TransformerConfig, seed: int = 0) -> None:
        super().__init__()
        self.config, self.dim, self.vocab = config, target.dim, target.vocab
        self.shape = replace(
            target, vocab=config.reach, layers=config.layers, layer=Layer(), layer_list=(), position="rope",
            causal=False, context=config.window + config.reach, embed_scale=1.0, softcap=None, head_bias=False,
            final_norm=True, embed_norm=False, tied=True, types=0, condition=0, dropout=0.0, attention_scale=0.0,
        )  # fmt: skip
        self.block = Transformer(self.shape, seed)
        self.join = nn.Parameter(torch.cat([torch.zeros(self.dim, self.dim), torch.eye(self.dim)], 1))

    def forward(self, embeds: Tensor, stream: Tensor, absent: Tensor) -> Tensor:
        """embeds (N, W, D) of the tokens after each place of a window, stream (N, W, D) there, absent (N, W) bool for
        places before a text's first -> streams (N, reach, D), what the model's head is to read for each guess."""
        joined = F.linear(torch.cat([embeds, stream], -1), self.join)
        queries = joined[:, -1:] + self.block.embed
        hidden_from = torch.cat([absent, absent.new_zeros(len(absent), self.config.reach)], 1).long()
        documents = hidden_from if bool(absent.any()) else None
        read: Tensor = self.block.hidden(embeds=torch.cat([joined, queries], 1), documents=documents)
        return read[:, -self.config.reach :]

    def lesson(self, seen: drafts.Seen) -> drafts.Lesson:
        """Nats of all guesses, each `FADES` of the one before; `kept_i`: the acceptance of guess i, given those before.

        From which places it guesses, the tokens say: a lesson depends on its batch alone."""
        first = int(seen.ids.sum()) % self.config.every
        rows, places = seen.ahead(1)[:, first :: self.config.every].nonzero(as_tuple=True)
        places = first + self.config.every * places
        streams = self(*self._windows(seen, rows, places))
        total, weight, stats = torch.zeros(()), 0.0, {}
        for i in range(1, min(self.config.reach, seen.ids.shape[1] - 1) + 1):
            ahead = seen.ahead(i)
            inside = places < ahead.shape[1]
            inside[inside.clone()] = ahead[rows[inside], places[inside]]
            laws_NV = seen.laws[rows[inside], places[inside] + i]
            loss, count, kept = drafts.against(laws_NV, seen.model.logits(streams[inside, i - 1]))
            total = total + FADES ** (i - 1) * loss
            weight = weight or count
            stats[f"kept_{i}"] = kept * weight / count if count else 0.0
        return drafts.Lesson(total, weight, stats)

    def _windows(self, seen: drafts.Seen, rows: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is read for a guess from each of these places."""
        back = torch.arange(1 - self.config.window, 1, device=places.device)
        window_NW = places[:, None] + back
        absent = (window_NW < 0) | (
            seen.documents[rows[:, None], window_NW.clamp(min=0)] != seen.documents[rows, places][:, None]
        )
        at = rows[:, None], window_NW.clamp(min=0)
        embeds = F.embedding(seen.ids[at[0], at[1] + 1], seen.model.embed)
        return embeds, seen.stream[at], absent

    def flops(self, context: int) -> float:
        """See `Head`."""
        width = self.config.window + self.config.reach
        each = 4.0 * self.dim * self.dim * self.config.window + self.shape.matrix_flops(width) * width
        return (each + 2.0 * self.dim * self.vocab * self.config.reach) / self.config.every
