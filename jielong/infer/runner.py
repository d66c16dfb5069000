"""Stepping a model forward, many texts at a time: with a KV cache, or by full re-computation.

Both runners have the same three verbs. `start` reads prompts and gives the logits of each one's next
token; `step` appends one token a row; `keep` goes on with some of the rows. `retire` says that a row is
over but stays until the next `keep` (dropping rows copies the cache, so it is done in geometric steps).

Everything here runs under `no_grad`, not `inference_mode`: models memoise tables in their forward pass, and
an inference tensor among them would make a later training step fail.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

PREFILL_TOKENS = 8192  # tokens in one forward pass of a prompt chunk, over all rows
CACHE_BYTES = 2 << 30


@dataclass(frozen=True)
class Prefix:
    """Tokens that were already read, with the cache of one row that holds them."""

    ids: tuple[int, ...]
    cache: Any


class Runner(Protocol):
    """What generation needs of a model. Logits are (rows, vocabulary)."""

    def start(self, prompts: Sequence[tuple[int, ...]], numbers: np.ndarray, length: int) -> Tensor: ...
    def step(self, ids: np.ndarray) -> Tensor: ...
    def keep(self, rows: np.ndarray) -> None: ...
    def retire(self, rows: np.ndarray) -> None: ...


def runner(model: Any, prefix: Prefix | None = None, tap: Any = None) -> Runner:
    """The fitting runner: cached if the model's forward takes a cache."""
    if has_cache(model):
        return Cached(model, prefix, tap)
    return Recompute(model, tap)


def has_cache(model: Any) -> bool:
    """Whether a model can go on from what it has read."""
    forward = getattr(model, "forward", model)
    return hasattr(model, "hidden") and "cache" in inspect.signature(forward).parameters


def context_of(model: Any) -> int | None:
    """The longest text the model reads, in tokens; None where there is no bound."""
    return getattr(getattr(model, "config", None), "context", None)


def home(model: Any) -> tuple[torch.device, torch.dtype]:
    """Where a model's parameters live and their type; the CPU and float32 for one that has none."""
    first = next(iter(model.parameters()), None) if hasattr(model, "parameters") else None
    if first is None or not first.is_floating_point():
        return torch.device("cpu"), torch.float32
    return first.device, first.dtype


class Cached:
    """A model with a KV cache: `hidden(ids, cache=, lengths=)` and `logits(hidden)`."""

    def __init__(self, model: Any, prefix: Prefix | None = None, tap: Any = None) -> None:
        self.model, self.prefix, self.tap = model, prefix, tap
        self.device, self.dtype = home(model)
        self.cache: Any = None
        self.numbers = np.zeros(0, dtype=np.int64)

    def start(self, prompts: Sequence[tuple[int, ...]], numbers: np.ndarray, length: int) -> Tensor:
        """Read the prompts, equal ones once; `numbers` are the rows' names for a tap, `length` the room."""
        order: dict[tuple[int, ...], int] = {}
        index = [order.setdefault(p, len(order)) for p in prompts]
        self.numbers = numbers
        if len(order) == len(prompts) or self.tap is not None:  # a tap may treat equal prompts differently
            self.cache, skip = self.room(prompts, length)
            return self._read([p[skip:] for p in prompts])
        self.cache, skip = self.room(list(order), length)
        logits_PV = self._read([p[skip:] for p in order])
        rows = torch.tensor(index, device=self.device)
        self.cache = self.cache.keep(rows)
        return logits_PV[rows]

    def step(self, ids: np.ndarray) -> Tensor:
        """One more token for every row."""
        ids_B1 = torch.from_numpy(ids).to(self.device)[:, None]
        last_B = torch.zeros(len(ids), dtype=torch.long, device=self.device)
        return self._forward(ids_B1, None, last_B)

    def keep(self, rows: np.ndarray) -> None:
        """Go on with these rows only."""
        self.cache = self.cache.keep(torch.from_numpy(rows).to(self.device))
        self.numbers = self.numbers[rows]

    def retire(self, rows: np.ndarray) -> None:
        """These rows are over: they begin anew, so that they never run out of room."""
        lengths = self.cache.lengths.clone()
        lengths[torch.from_numpy(rows).to(self.device)] = 1
        self.cache.crop(lengths)

    def room(self, prompts: Sequence[Sequence[int]], length: int) -> tuple[Any, int]:
        """A cache that begins with the prefix that all prompts share, and how much that is."""
        from jielong.nets.cache import KVCache

        cache = KVCache(self.model.config, len(prompts), length, self.dtype, self.device)
        shared = shared_length(self.prefix.ids, prompts) if self.prefix else 0
        if self.prefix and shared:
            read = self.prefix.cache
            for mine, theirs in zip(cache.keys + cache.values, read.keys + read.values):
                mine[:, :, :shared] = theirs[:, :, :shared]
            cache.advance(shared, None)
        return cache, shared

    def _read(self, tails: Sequence[Sequence[int]]) -> Tensor:
        """Feed right-padded chunks; the logits after each row's last token."""
        ids_BT, lengths_B = padded(tails, self.device)
        width = max(1, PREFILL_TOKENS // len(tails))
        out = torch.empty(0)
        for begin in range(0, ids_BT.shape[1], width):
            chunk_BT = ids_BT[:, begin : begin + width]
            here_B = (lengths_B - begin).clamp(0, chunk_BT.shape[1])
            lengths = None if bool((here_B == chunk_BT.shape[1]).all()) else here_B
            logits_BV = self._forward(chunk_BT, lengths, (here_B - 1).clamp(min=0))
            out = logits_BV if begin == 0 else torch.where((here_B > 0)[:, None], logits_BV, out)
        return out

    def _forward(self, ids_BT: Tensor, lengths_B: Tensor | None, last_B: Tensor) -> Tensor:
        """Logits (B, V) at position `last_B` of the chunk: the output layer, the widest, sees only these."""
        taps = {}
        if self.tap is not None:
            taps = {"tap": self.tap, "rows": torch.from_numpy(self.numbers).to(self.device)}
        before_B = self.cache.lengths
        hidden_BTD = self.model.hidden(ids_BT, cache=self.cache, lengths=lengths_B, **taps)
        hidden_B1D = hidden_BTD[torch.arange(len(last_B), device=self.device), last_B][:, None]
        logits: Tensor = self.model.logits(hidden_B1D)
        if self.tap is not None and self.tap.wants("logits"):
            from jielong.nets.tap import Where

            logits = self.tap("logits", logits, Where((before_B + last_B)[:, None], taps["rows"]))
        return logits[:, 0]


class Recompute:
    """A model without a cache: the whole text is read again for every token."""

    def __init__(self, model: Any, tap: Any = None) -> None:
        self.model, self.tap = model, tap
        self.device, _ = home(model)
        self.texts: list[list[int]] = []
        self.numbers = np.zeros(0, dtype=np.int64)

    def start(self, prompts: Sequence[tuple[int, ...]], numbers: np.ndarray, length: int) -> Tensor:
        self.texts, self.numbers = [list(p) for p in prompts], numbers
        return self._logits()

    def step(self, ids: np.ndarray) -> Tensor:
        for text, id in zip(self.texts, ids.tolist()):
            text.append(id)
        return self._logits()

    def keep(self, rows: np.ndarray) -> None:
        self.texts, self.numbers = [self.texts[r] for r in rows], self.numbers[rows]

    def retire(self, rows: np.ndarray) -> None:
        for r in rows:
            self.texts[r] = self.texts[r][:1]

    def _logits(self) -> Tensor:
        ids_BT, lengths_B = padded(self.texts, self.device)
        taps = {}
        if self.tap is not None:
            taps = {"tap": self.tap, "rows": torch.from_numpy(self.numbers).to(self.device)}
        logits: Tensor = self.model(ids_BT, **taps)
        return logits[torch.arange(len(self.texts), device=self.device), lengths_B - 1]


def padded(texts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Right-padded ids (B, T) and lengths (B,)."""
    lengths = [len(t) for t in texts]
    ids = np.zeros((len(texts), max(lengths)), dtype=np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
    return torch.from_numpy(ids).to(device), torch.tensor(lengths, device=device)


def shared_length(prefix: Sequence[int], prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens of `prefix` begin every prompt, leaving at least one to read in each."""
    shared = min([len(prefix), *(len(p) - 1 for p in prompts)])
    for prompt in prompts:
        shared = next((i for i in range(shared) if prompt[i] != prefix[i]), shared)
    return shared
