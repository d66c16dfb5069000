"""From logits to a token: pure processors, and the one place where chance comes in.

Every processor takes float32 logits (B, V) and settings that are numbers or one per row (B,), and gives
new logits (B, V); a token it removes gets -inf. What a row becomes depends on that row alone. `process`
chains them in the order written in `Sampling`; `pick` draws the token with the largest logit + Gumbel number,
each token's from the row's own place. A temperature of 0 is the limit: all the probability on the most probable
token, the lowest id among equals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from jielong.base.errors import UserError, WorkFailed
from jielong.infer import law
from jielong.infer.sampling import Sampling

LAWLESS = "no token can be drawn: the model gave NaN, or bias, bad words and grammar forbid all"
HEAD = 128  # top_p looks at this many most probable tokens before it sorts them all


def temperature(logits_BV: Tensor, value: float | Tensor) -> Tensor:
    """Divide by the temperature; rows with 0 keep only their most probable token."""
    t_B1 = _column(value, logits_BV)
    greedy_B1 = t_B1 == 0
    if not bool(greedy_B1.any()):
        return logits_BV / t_B1
    best_B1 = logits_BV.argmax(dim=-1, keepdim=True)
    only_BV = torch.full_like(logits_BV, -torch.inf).scatter_(1, best_B1, logits_BV.gather(1, best_B1))
    return torch.where(greedy_B1, only_BV, logits_BV / torch.where(greedy_B1, 1.0, t_B1))


def top_k(logits_BV: Tensor, k: int | Tensor) -> Tensor:
    """Keep the k largest logits of each row; those equal to the k-th are all kept. 0 keeps all."""
    width = logits_BV.shape[1]
    k_B1 = _column(k, logits_BV).long()
    k_B1 = torch.where(k_B1 <= 0, width, k_B1.clamp(max=width))
    if bool((k_B1 == width).all()):
        return logits_BV
    largest = int(torch.where(k_B1 == width, 1, k_B1).max())
    values_BK = logits_BV.topk(largest, dim=-1).values
    edge_B1 = values_BK.gather(1, k_B1.clamp(max=largest) - 1)
    return logits_BV.masked_fill((logits_BV < edge_B1) & (k_B1 < width), -torch.inf)


def top_p(logits_BV: Tensor, p: float | Tensor) -> Tensor:
    """Keep the smallest set of most probable tokens whose probability reaches p (nucleus sampling).

    A token stays when the mass of those more probable is below p; equals of the last one stay too.
    Source: Holtzman et al. 2020, arXiv 1904.09751.
    """
    p_B1 = _column(p, logits_BV)
    width = logits_BV.shape[1]
    total_B1 = logits_BV.logsumexp(dim=-1, keepdim=True)
    for head in (min(HEAD, width), width):  # a sort of every token is rarely needed
        values_BK = logits_BV.topk(head, dim=-1).values
        mass_BK = (values_BK - total_B1).exp().cumsum(dim=-1)
        if head == width or bool(((mass_BK[:, -1:] >= p_B1) | (p_B1 >= 1)).all()):
            break
    kept_B1 = 1 + (mass_BK[:, :-1] < p_B1).sum(dim=-1, keepdim=True)
    edge_B1 = values_BK.gather(1, kept_B1 - 1)
    return logits_BV.masked_fill((logits_BV < edge_B1) & (p_B1 < 1), -torch.inf)


def min_p(logits_BV: Tensor, p: float | Tensor) -> Tensor:
    """Keep tokens whose probability is at least p times the largest one. Source: arXiv 2407.01082."""
    p_B1 = _column(p, logits_BV)
    edge_B1 = logits_BV.amax(dim=-1, keepdim=True) + p_B1.log()  # log 0 = -inf keeps all
    return logits_BV.masked_fill(logits_BV < edge_B1, -torch.inf)


def repetition_penalty(logits_BV: Tensor, seen_BV: Tensor, penalty: float | Tensor) -> Tensor:
    """Make the tokens of `seen_BV` (bool) less probable by `penalty` > 1. Source: arXiv 1909.05858."""
    r_B1 = _column(penalty, logits_BV)
    changed_BV = torch.where(logits_BV > 0, logits_BV / r_B1, logits_BV * r_B1)
    return torch.where(seen_BV, changed_BV, logits_BV)


def count_penalties(
    logits_BV: Tensor, written_BV: Tensor, presence: float | Tensor, frequency: float | Tensor
) -> Tensor:
    """Subtract `presence` where a token was written before, and `frequency` times how often: (B, V) counts."""
    counts_BV = written_BV.to(logits_BV.dtype)
    presence_B1, frequency_B1 = _column(presence, logits_BV), _column(frequency, logits_BV)
    return logits_BV - presence_B1 * (counts_BV > 0) - frequency_B1 * counts_BV


def typical(logits_BV: Tensor, mass: float | Tensor) -> Tensor:
    """Keep the fewest tokens, those whose surprise is nearest to the entropy, that hold `mass` of the probability.

    Source: Meister et al. 2023, arXiv 2202.00666, eq. 10. Tokens as near as the last one kept stay too.
    """
    mass_B1 = _column(mass, logits_BV)
    law_BV = logits_BV.log_softmax(dim=-1)
    probs_BV = law_BV.exp()
    entropy_B1 = -(probs_BV * law_BV).nan_to_num(0.0).sum(dim=-1, keepdim=True)
    away_BV = (-law_BV - entropy_B1).abs()
    ordered_BV, order_BV = away_BV.sort(dim=-1)
    reached_BV = probs_BV.gather(1, order_BV).cumsum(dim=-1)
    kept_B1 = 1 + (reached_BV[:, :-1] < mass_B1).sum(dim=-1, keepdim=True)
    edge_B1 = ordered_BV.gather(1, kept_B1 - 1)
    return logits_BV.masked_fill((away_BV > edge_B1) & (mass_B1 < 1), -torch.inf)


def add_bias(logits_BV: Tensor, rows: Tensor, tokens: Tensor, values: Tensor) -> Tensor:
    """Add `values` (N,) to the logits at (`rows`, `tokens`), each (N,)."""
    return logits_BV.index_put((rows, tokens), values.to(logits_BV.dtype), accumulate=True)


def log_law(logits_BV: Tensor) -> Tensor:
    """Log-probabilities (B, V) in float32."""
    return logits_BV.float().log_softmax(dim=-1)


def pick(logits_BV: Tensor, places_B5: np.ndarray) -> np.ndarray:
    """Tokens (B,) drawn from softmax(logits) by the Gumbel numbers at these places (`law.race`).

    WorkFailed when a row has no token left or is not a number.
    """
    if bool(lawless(logits_BV).any()):
        raise WorkFailed(LAWLESS)
    return law.race(logits_BV, places_B5)


def lawless(logits_BV: Tensor) -> Tensor:
    """Rows (B,) bool from which no token can be drawn: a NaN, or nothing left."""
    return ~logits_BV.amax(dim=-1).isfinite()


def weights(logits_BV: Tensor) -> np.ndarray:
    """Probabilities (B, V), float64 on the host. WorkFailed where there is no law."""
    probs_BV = logits_BV.float().softmax(dim=-1).double().cpu().numpy()
    if not np.isfinite(probs_BV[:, 0]).all():  # a NaN or an empty row spreads to its every column
        raise WorkFailed(LAWLESS)
    return probs_BV


def _column(value: float | Tensor, like_BV: Tensor) -> Tensor:
    """A number, or one per row, as a float column (B, 1) on the logits' device."""
    column = torch.as_tensor(value, dtype=like_BV.dtype, device=like_BV.device).reshape(-1, 1)
    return column.expand(like_BV.shape[0], 1)


@dataclass(frozen=True)
class Rows:
    """The settings of B requests as columns, and which processors they need at all."""

    samplings: tuple[Sampling, ...]
    bans: tuple[tuple[tuple[int, ...], ...], ...]
    device: torch.device
    columns: dict[str, Tensor] = field(default_factory=dict)
    bias: tuple[Tensor, Tensor, Tensor] | None = None

    @classmethod
    def of(
        cls, samplings: Sequence[Sampling], bans: Sequence[tuple[tuple[int, ...], ...]], size: int, device: torch.device
    ) -> Rows:
        """Columns of `samplings`; `bans` are each row's bad words as token ids, `size` the vocabulary.

        UserError when a bias or a bad word names a token outside the vocabulary.
        """
        columns = {}
        for name, off in OFF.items():
            values = [getattr(s, name) for s in samplings]
            if any(v != off for v in values):
                columns[name] = torch.tensor(values, dtype=torch.float32, device=device)
        entries = [(row, i, b) for row, s in enumerate(samplings) for i, b in s.logit_bias]
        entries += [(row, w[0], -np.inf) for row, words in enumerate(bans) for w in words if len(w) == 1]
        named = [i for _, i, _ in entries] + [i for words in bans for w in words for i in w]
        for i in named:
            if not 0 <= i < size:
                raise UserError(f"logit_bias or bad_words names token {i}: the model has 0 to {size - 1}")
        bias = None
        if entries:
            at = torch.tensor([(row, i) for row, i, _ in entries], device=device)
            added = torch.tensor([b for _, _, b in entries], dtype=torch.float32, device=device)
            bias = (at[:, 0], at[:, 1], added)
        return cls(tuple(samplings), tuple(bans), device, columns, bias)

    @property
    def needs_seen(self) -> bool:
        """Whether any row looks at the tokens written before."""
        return "repetition_penalty" in self.columns

    @property
    def needs_counts(self) -> bool:
        """Whether any row is told how often it has written each token."""
        return "presence_penalty" in self.columns or "frequency_penalty" in self.columns


OFF = {
    "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical": 1.0, "repetition_penalty": 1.0,
    "presence_penalty": 0.0, "frequency_penalty": 0.0,
}  # fmt: skip


def process(
    logits_BV: Tensor,
    rows: Rows,
    seen_BV: Tensor | None = None,
    tails: Sequence[Sequence[int]] | None = None,
    written_BV: Tensor | None = None,
) -> Tensor:
    """All processors that `rows` asks for, in order. `seen_BV` (bool, prompt and text) for the repetition penalty,
    `written_BV` (counts, text only) for those of presence and frequency, `tails` (each row's tokens so far) for bad
    words of several tokens. Logits nobody asks to change come back as they are.
    """
    columns = rows.columns
    if rows.bias is not None:
        logits_BV = add_bias(logits_BV, *rows.bias)
    if tails is not None and any(rows.bans):
        logits_BV = forbid_words(logits_BV, rows.bans, tails)
    if seen_BV is not None and rows.needs_seen:
        logits_BV = repetition_penalty(logits_BV, seen_BV, columns["repetition_penalty"])
    if written_BV is not None and rows.needs_counts:
        presence, frequency = (columns.get(f"{name}_penalty", 0.0) for name in ("presence", "frequency"))
        logits_BV = count_penalties(logits_BV, written_BV, presence, frequency)
    if "temperature" in columns:
        logits_BV = temperature(logits_BV, columns["temperature"])
    if "top_k" in columns:
        logits_BV = top_k(logits_BV, columns["top_k"])
    if "top_p" in columns:
        logits_BV = top_p(logits_BV, columns["top_p"])
    if "min_p" in columns:
        logits_BV = min_p(logits_BV, columns["min_p"])
    if "typical" in columns:
        logits_BV = typical(logits_BV, columns["typical"])
    return logits_BV


def forbid_words(
    logits_BV: Tensor, bans: Sequence[tuple[tuple[int, ...], ...]], tails: Sequence[Sequence[int]]
) -> Tensor:
    """Forbid the last token of each bad word of two tokens or more where the row ends with the others."""
    hits = [
        (row, word[-1])
        for row, words in enumerate(bans)
        for word in words
        if len(word) > 1 and tuple(tails[row][-len(word) + 1 :]) == word[:-1]
    ]
    if not hits:
        return logits_BV
    logits_BV = logits_BV.clone()
    rows, tokens = zip(*hits)
    logits_BV[list(rows), list(tokens)] = -torch.inf
    return logits_BV
