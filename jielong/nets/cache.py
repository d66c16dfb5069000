"""Keys and values already computed, one preallocated slab a layer."""

from __future__ import annotations

import torch
from torch import Tensor

from jielong.base.errors import UserError
from jielong.nets.config import TransformerConfig


class KVCache:
    """keys, values: one (B, K, length, C) tensor a layer; `lengths` (B,): how many positions of each row are real.

    Rows may be right-padded by different amounts: what lies beyond a row's length is overwritten by its next tokens.
    """

    def __init__(
        self,
        config: TransformerConfig,
        batch: int,
        length: int | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = config
        self.capacity = length or config.context
        shape = (batch, config.kv_heads, self.capacity, config.head_dim)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.layers)]
        self.lengths = torch.zeros(batch, dtype=torch.long, device=device)
        self.longest = 0
        self.even_start: int | None = 0

    def positions(self, width: int) -> Tensor:
        """Absolute positions (B, width) of the next `width` tokens of every row."""
        if self.longest + width > self.capacity:
            raise UserError(f"the text is longer than the {self.capacity} positions kept for it")
        even = bool((self.lengths == self.longest).all())
        self.even_start = self.longest if even else None  # rows in step are written as one block
        return self.lengths[:, None] + torch.arange(width, device=self.lengths.device)

    def write(self, layer: int, k: Tensor, v: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Store k, v (B, K, T, C) at `positions` (B, T); returns all keys and values up to the longest row."""
        end = self.longest + k.shape[2]
        keys, values = self.keys[layer], self.values[layer]
        if self.even_start is not None:
            keys[:, :, self.even_start : end] = k
            values[:, :, self.even_start : end] = v
        else:
            index = positions[:, None, :, None].expand_as(k)
            keys.scatter_(2, index, k.to(keys.dtype))
            values.scatter_(2, index, v.to(values.dtype))
        return keys[:, :, :end], values[:, :, :end]

    def advance(self, width: int, lengths: Tensor | None) -> None:
        """After a forward pass: each row grew by its number of real tokens (all `width` when None)."""
        self.lengths = self.lengths + (width if lengths is None else lengths)
        self.longest = int(self.lengths.max()) if len(self.lengths) else 0

    def keep(self, rows: Tensor) -> KVCache:
        """A cache of these rows only, in this order (rows may repeat)."""
        new = object.__new__(KVCache)
        new.config, new.capacity = self.config, self.capacity
        new.keys = [keys[rows] for keys in self.keys]
        new.values = [values[rows] for values in self.values]
        new.lengths = self.lengths[rows]
        new.even_start = None
        new.longest = int(new.lengths.max()) if len(new.lengths) else 0
        return new

    def repeat(self, n: int) -> KVCache:
        """Each row n times, side by side: n samples of every prompt."""
        return self.keep(torch.arange(len(self.lengths), device=self.lengths.device).repeat_interleave(n))

    def copy(self) -> KVCache:
        """An independent copy."""
        return self.repeat(1)

    def crop(self, lengths: Tensor) -> None:
        """Forget what lies beyond `lengths` (B,) positions."""
        self.lengths = torch.minimum(self.lengths, lengths.to(self.lengths))
        self.longest = int(self.lengths.max()) if len(self.lengths) else 0
