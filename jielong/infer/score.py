"""How probable given tokens are, and what a text looks like from inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jielong.base.errors import UserError
from jielong.infer.runner import context_of, has_cache, home, padded

TOKENS = 8192  # in one forward pass
LOGITS = 1 << 24  # numbers in one block of logits


@dataclass(frozen=True)
class Prefix:
    """Tokens that were already read, with the cache of one row that holds them."""

    ids: tuple[int, ...]
    cache: Any


@torch.no_grad()
def score(
    model: Any, texts: Sequence[Sequence[int]], starts: Sequence[int], prefix: Prefix | None = None
) -> list[np.ndarray]:
    """Log-probabilities (natural) of each text's tokens from `starts` on, given all tokens before them.

    A start is 1 or more: the first token of a text has nothing before it to be predicted from. `prefix`:
    tokens already read with which texts may begin. UserError on a text beyond the context.
    """
    _check(model, texts)
    if any(not 1 <= at <= len(text) for text, at in zip(texts, starts)):
        raise UserError("scoring starts at the second token or later: give a prompt of at least one token")
    out: list[np.ndarray] = [np.zeros(0)] * len(texts)
    shared = 0
    if prefix is not None and texts and has_cache(model):
        shared = min(shared_length(prefix.ids, texts), min(starts) - 1)
        prefix = Prefix(prefix.ids[:shared], prefix.cache)
    for batch in _batches(texts, shared):
        rows = [row for row in batch if starts[row] < len(texts[row])]
        if not rows:
            continue
        parts = [texts[row][shared:-1] for row in rows]
        begins = [starts[row] - 1 - shared for row in rows]
        wanted = [torch.tensor(texts[row][starts[row] :]) for row in rows]
        for row, values in zip(rows, _logprobs(model, parts, begins, wanted, prefix if shared else None)):
            out[row] = values
    return out


@torch.no_grad()
def embed(model: Any, texts: Sequence[Sequence[int]]) -> np.ndarray:
    """(N, D): the mean over each text's tokens of the stream after the last norm, float32."""
    out: list[np.ndarray] = [np.zeros(0)] * len(texts)
    for row, hidden_TD in hidden(model, texts):
        out[row] = hidden_TD.mean(dim=0).cpu().numpy()
    return np.stack(out) if out else np.zeros((0, 0), dtype=np.float32)


@torch.no_grad()
def hidden(model: Any, texts: Sequence[Sequence[int]]) -> Iterator[tuple[int, Tensor]]:
    """(number of the text, (T, D) its stream after the last norm, float32), the longest texts first."""
    _check(model, texts)
    if not hasattr(model, "hidden"):
        raise UserError("this model has no hidden states to embed with: use a Transformer")
    for batch in _batches(texts, 0):
        ids_BT, lengths_B = padded([texts[row] for row in batch], home(model)[0])
        hidden_BTD = model.hidden(ids_BT).float()
        yield from ((row, h[:n]) for row, h, n in zip(batch, hidden_BTD, lengths_B.tolist()))


@torch.no_grad()
def read(model: Any, ids: Sequence[int]) -> Prefix | None:
    """Read some tokens once, for many texts that begin with them; None for a model that cannot."""
    if not ids or not has_cache(model):
        return None
    _check(model, [ids])
    cache, _ = _room(model, None, [[*ids, 0]])
    for begin in range(0, len(ids), TOKENS):
        model.hidden(torch.tensor([ids[begin : begin + TOKENS]], device=home(model)[0]), cache=cache)
    return Prefix(tuple(ids), cache)


@torch.no_grad()
def next_law(model: Any, ids: Sequence[int], prefix: Prefix | None = None) -> np.ndarray:
    """Probabilities (V,) of the next token."""
    _check(model, [ids])
    rows, device = [list(ids)], home(model)[0]
    if not hasattr(model, "hidden"):
        logits_V = model(torch.tensor(rows, device=device))[0, -1]
    else:
        cached = {}
        if has_cache(model):
            cached["cache"], skip = _room(model, prefix, rows)
            rows = [rows[0][skip:]]
        logits_V = model.logits(model.hidden(torch.tensor(rows, device=device), **cached)[:, -1:])[0, 0]
    law: np.ndarray = logits_V.float().softmax(dim=-1).cpu().numpy()
    return law


def _room(model: Any, prefix: Prefix | None, texts: Sequence[Sequence[int]]) -> tuple[Any, int]:
    """A cache that begins with what all texts share with the prefix, and how much that is."""
    from jielong.nets.cache import KVCache

    device, dtype = home(model)
    cache = KVCache(model.config, len(texts), max(map(len, texts)), dtype, device)
    shared = shared_length(prefix.ids, texts) if prefix else 0
    if prefix and shared:
        for mine, theirs in zip(cache.keys + cache.values, prefix.cache.keys + prefix.cache.values):
            mine[:, :, :shared] = theirs[:, :, :shared]
        cache.advance(shared, None)
    return cache, shared


def shared_length(prefix: Sequence[int], texts: Sequence[Sequence[int]]) -> int:
    """How many tokens of `prefix` begin every text, leaving at least one to read in each."""
    shared = min([len(prefix), *(len(t) - 1 for t in texts)])
    for text in texts:
        shared = next((i for i in range(shared) if text[i] != prefix[i]), shared)
    return shared


def _logprobs(
    model: Any, parts: Sequence[Sequence[int]], begins: Sequence[int], wanted: Sequence[Tensor], prefix: Prefix | None
) -> Iterator[np.ndarray]:
    """Feed `parts`; row i's outputs from `begins[i]` on predict `wanted[i]`."""
    device = home(model)[0]
    ids_BT, lengths_B = padded(parts, device)
    rows_N = torch.cat([torch.full((len(w),), i) for i, w in enumerate(wanted)]).to(device)
    places_N = torch.cat([torch.arange(b, b + len(w)) for b, w in zip(begins, wanted)]).to(device)
    ids_N = torch.cat(list(wanted)).to(device)
    if not hasattr(model, "hidden"):
        logits_NV = model(ids_BT)[rows_N, places_N].float()
        flat_N = _gather(logits_NV, ids_N)
    else:
        if prefix is None:
            hidden_BTD = model.hidden(ids_BT)
        else:
            cache, _ = _room(model, prefix, [(*prefix.ids, *p) for p in parts])
            hidden_BTD = model.hidden(ids_BT, cache=cache, lengths=lengths_B)
        hidden_ND = hidden_BTD[rows_N, places_N]
        block = max(1, LOGITS // getattr(model.config, "vocab", 1 << 16))
        flat_N = torch.cat(
            [_gather(model.logits(h[None])[0].float(), i) for h, i in zip(hidden_ND.split(block), ids_N.split(block))]
        )
    return (v.cpu().numpy() for v in flat_N.split([len(w) for w in wanted]))


def _gather(logits_NV: Tensor, ids_N: Tensor) -> Tensor:
    return logits_NV.gather(1, ids_N[:, None])[:, 0] - logits_NV.logsumexp(dim=-1)


def _batches(texts: Sequence[Sequence[int]], shared: int) -> Iterator[list[int]]:
    """Rows by falling length, in groups of about TOKENS padded tokens."""
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    while order:
        size = max(1, TOKENS // max(1, len(texts[order[0]]) - shared))
        yield order[:size]
        order = order[size:]


def _check(model: Any, texts: Sequence[Sequence[int]]) -> None:
    context = context_of(model)
    for text in texts:
        if not text:
            raise UserError("a text is empty: give at least one token")
        if context is not None and len(text) > context:
            raise UserError(f"a text has {len(text)} tokens and the model's context is {context}: shorten it")
