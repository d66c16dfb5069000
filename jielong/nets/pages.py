"""Keys and values in pages: one preallocated pool a layer, which rows of text reach through tables of page numbers.

    pages = Pages(config, count=64)
    pages.write(layer, slots, keys_values)       # slot = page * SIZE + place in it
    keys, values = pages.read(layer, table)      # what the table's pages hold, side by side

Page 0 belongs to nobody: padding is written there, and tables are filled up with it. Who owns which page is decided
one room up (`infer/blocks.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from jielong.nets.config import TransformerConfig

SIZE = 16  # positions in a page


def page_bytes(config: TransformerConfig, bits: int = 32) -> int:
    """Bytes of one page over all layers."""
    vectors = 2 * config.layers * config.kv_heads * SIZE
    return vectors * (config.head_dim * bits // 8 + (4 if bits == 8 else 0))


class Pages:
    """One tensor a layer, (2 K, count * SIZE, C): the K heads of keys, then those of values.

    `bits` 8 keeps each vector as int8 and one float32 scale (largest magnitude / 127): a quarter of the memory.
    """

    def __init__(
        self,
        config: TransformerConfig,
        count: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        bits: int = 32,
    ) -> None:
        self.count, self.heads, self.width = count, 2 * config.kv_heads, config.head_dim
        shape = (self.heads, count * SIZE, self.width)
        kind = torch.int8 if bits == 8 else dtype
        self.layers = [torch.zeros(shape, dtype=kind, device=device) for _ in range(config.layers)]
        scale = (self.heads, count * SIZE, 1)
        self.scales = [torch.zeros(scale, device=device) for _ in range(config.layers if bits == 8 else 0)]
        self.dtype = dtype
        self._space = torch.empty(0, dtype=kind, device=device)  # what `read` gathers, and views of it by size
        self._rooms: dict[int, Tensor] = {}
        self._heads = torch.arange(self.heads, device=device)[:, None] * (count * SIZE)

    def index(self, slots_N: Tensor) -> Tensor:
        """Where `write` puts the vectors of these slots, (2 K N,): the same for every layer of one step."""
        return (self._heads + slots_N).view(-1)

    def write(self, layer: int, index: Tensor, both_NHC: Tensor) -> None:
        """Store keys and values (N, 2 K, C)."""
        new = both_NHC.transpose(0, 1).reshape(-1, self.width)
        if self.scales:
            scale = new.abs().amax(-1, keepdim=True).div_(127).clamp_(min=1e-12)
            self.scales[layer].view(-1, 1).index_copy_(0, index, scale.float())
            new = (new / scale).round_().to(torch.int8)
        self.layers[layer].view(-1, self.width).index_copy_(0, index, new.to(self.layers[layer].dtype))

    def read(self, layer: int, table_P: Tensor) -> Tensor:
        """(2 K, P * SIZE, C): the pages of a flat table, in its order. Good until the next read."""
        found = self._gather(self._pages(self.layers[layer]), table_P).view(self.heads, -1, self.width)
        if self.scales:
            scale = self._pages(self.scales[layer]).index_select(1, table_P).view(self.heads, -1, 1)
            return (found * scale).to(self.dtype)
        return found

    def _gather(self, pages: Tensor, table_P: Tensor) -> Tensor:
        """Into the same memory every time: fresh memory costs more than what is written to it."""
        count = len(table_P)
        if count not in self._rooms:
            numbers = self.heads * count * pages.shape[2]
            if numbers > self._space.numel():
                self._rooms.clear()
                self._space = torch.empty(numbers, dtype=pages.dtype, device=pages.device)
            self._rooms[count] = self._space[:numbers].view(self.heads, count, -1)
        return torch.index_select(pages, 1, table_P, out=self._rooms[count])

    def copy(self, sources: list[int], targets: list[int]) -> None:
        """Copy whole pages."""
        if sources:
            device = self.layers[0].device
            source, target = torch.tensor(sources, device=device), torch.tensor(targets, device=device)
            for pool in (*self.layers, *self.scales):
                pages = self._pages(pool)
                pages.index_copy_(1, target, pages.index_select(1, source))

    def turn(self, layer: int, pages: list[int], turn: Tensor) -> None:
        """Multiply the keys in some pages, as pairs of neighbours, by complex numbers (C / 2,)."""
        places = torch.tensor(pages)
        keys = self._pages(self.layers[layer])[: self.heads // 2]
        found = keys.index_select(1, places).unflatten(2, (SIZE, -1, 2))
        torch.view_as_complex(found).mul_(turn)
        keys.index_copy_(1, places, found.flatten(2))

    def clear(self, pages: list[int]) -> None:
        """Forget what stands in some pages: a NaN must not reach whoever has them next."""
        if pages:
            for pool in (*self.layers, *self.scales):
                self._pages(pool).index_fill_(1, torch.tensor(pages, device=pool.device), 0)

    def _pages(self, pool: Tensor) -> Tensor:
        return pool.view(self.heads, self.count, -1)
