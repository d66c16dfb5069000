"""Feeding a model: through pages of keys and values, or by reading the whole text again.

All runners have one verb, `step(feed)`: logits of the wanted tokens. `Written` is the fast one (float32 on a CPU);
`Plain` calls the Transformer itself, wherever it lies, and can be tapped; `Recompute` serves models without a cache.

Everything that calls a model here runs under `no_grad`, not `inference_mode`: models memoise tables in their forward
pass, and an inference tensor among them would make a later training step fail.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jielong.base.errors import UserError
from jielong.nets.adapters.adapter import Adapter
from jielong.nets.adapters.attach import loose
from jielong.nets.decoder import Decoder, Feed, Group
from jielong.nets.layout import changed, refuses
from jielong.nets.native import decoder as native
from jielong.nets.pages import SIZE, Pages

CACHE_BYTES = 2 << 30
NONE: Mapping[str, Any] = MappingProxyType({})


class Runner(Protocol):
    """What the engine needs of a model. `keeps`: what was read need not be read again. `tiled`: tables must come in
    whole tiles of positions, and two rows or more. `adapters`: what a feed calls each of those that it knows."""

    keeps: bool
    tiled: bool
    adapters: Mapping[str, int]
    device: torch.device

    def step(self, feed: Feed) -> Tensor:
        """Logits (R, V) of the wanted tokens, float32."""
        ...

    def look(self, feed: Feed) -> tuple[Tensor, Tensor]:
        """The same, and the stream after the last norm, (N, D) float32 of all tokens."""
        ...

    def copy(self, sources: list[int], targets: list[int]) -> None:
        """Copy pages."""
        ...

    def clear(self, pages: list[int]) -> None:
        """Forget pages."""
        ...

    def turn(self, pages: list[int], back: int) -> None:
        """Move the keys of some pages `back` positions."""
        ...

    def turns(self) -> str:
        """Why `turn` cannot be had; empty where it can."""
        ...


def runner(
    model: Any, pages: int, *, exact: bool = False, tap: Any = None, bits: int = 32,
    adapters: Mapping[str, Adapter] = NONE,
) -> Runner:
    """The fitting runner, with a cache of so many pages (`bits` 8: in int8). `adapters`: not attached, by name;
    UserError where each row of a batch cannot have its own."""
    device, dtype = home(model)
    if adapters and not (has_cache(model) and device.type == "cpu" and dtype == torch.float32 and tap is None):
        raise UserError("several adapters beside one model are for a float32 Transformer on a CPU, without taps: merge "
                        "one (--adapter FOLDER without a name), or take --device cpu")  # fmt: skip
    if not has_cache(model):
        if exact:
            raise UserError("exact mode needs a Transformer: this model reads its text anew, use mode fast")
        return Recompute(model, tap)
    reason = refuses(model.config)
    if reason:
        raise UserError(f"this model does not write text: it has {reason}")
    if adapters and (loose(model) or changed(model)):
        raise UserError("an adapter is attached to the model already: merge it or detach it before others stand beside")
    plain = not loose(model) and not changed(model)
    fast = device.type == "cpu" and dtype == torch.float32 and tap is None and plain
    if exact and not (fast and bits == 32):
        raise UserError("exact mode is float32 on a CPU, without taps and with a cache of 32 bits: use mode fast")
    cache = Pages(model.config, pages, dtype, device, bits)
    return Written(model, cache, exact, adapters) if fast else Plain(model, cache, tap)


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


class Paged:
    """What both runners with pages share."""

    keeps = True
    tiled = False
    adapters: Mapping[str, int] = NONE

    def __init__(self, pages: Pages) -> None:
        self.pages = pages
        self.device = pages.layers[0].device

    def copy(self, sources: list[int], targets: list[int]) -> None:
        self.pages.copy(sources, targets)

    def clear(self, pages: list[int]) -> None:
        self.pages.clear(pages)

    def turn(self, pages: list[int], back: int) -> None:
        raise UserError(self.turns())

    def turns(self) -> str:
        return "it is for float32 on a CPU, without taps"


class Written(Paged):
    """The decoder written out: in C++ where there is a compiler, else call by call."""

    def __init__(self, model: Any, pages: Pages, exact: bool, adapters: Mapping[str, Adapter] = NONE) -> None:
        super().__init__(pages)
        beside = list(adapters.values())
        compiled = native.decoder(model, 8 if pages.scales else 32, beside)
        self.decoder = compiled or Decoder(model, exact, beside)
        self.adapters = {name: number for number, name in enumerate(adapters, 1)}
        self.tiled = exact and compiled is None

    def step(self, feed: Feed) -> Tensor:
        with torch.inference_mode():
            return self.decoder.step(feed, self.pages)

    def look(self, feed: Feed) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            return self.decoder.look(feed, self.pages)

    def turn(self, pages: list[int], back: int) -> None:
        with torch.inference_mode():
            self.decoder.turn(self.pages, pages, back)

    def turns(self) -> str:
        if self.decoder.config.position in ("learned", "sinusoid"):
            return f"its positions are {self.decoder.config.position}, and keys that were read carry theirs"
        return "its cache is in 8 bits" if self.pages.scales else ""


class Plain(Paged):
    """The Transformer's own forward pass over one group of rows at a time."""

    def __init__(self, model: Any, pages: Pages, tap: Any = None) -> None:
        super().__init__(pages)
        self.model, self.tap = model, tap

    def step(self, feed: Feed) -> Tensor:
        return self.look(feed)[0]

    @torch.no_grad()
    def look(self, feed: Feed) -> tuple[Tensor, Tensor]:
        hidden, places, numbers = [], [], []
        for group in feed.groups:
            span = slice(group.start, group.stop)
            ids = feed.ids[span].view(group.rows, group.width)
            view = _View(self.pages, group, feed.positions[span].view_as(ids), feed.slots[span])
            taps = {} if self.tap is None else {"tap": self.tap, "rows": torch.tensor(group.numbers, device=ids.device)}
            read = {"ids": ids} if feed.table is None else {"embeds": F.embedding(ids, feed.table)}
            hidden.append(self.model.hidden(**read, cache=view, **taps).flatten(0, 1))
            places.append(feed.positions[span])
            numbers += [n for n in group.numbers for _ in range(group.width)]
        hidden_ND = torch.cat(hidden)
        wanted = hidden_ND[feed.wanted][:, None]
        logits: Tensor = self.model.logits(wanted)
        if self.tap is not None and self.tap.wants("logits"):
            from jielong.nets.tap import Where

            rows = torch.tensor(numbers, device=wanted.device)[feed.wanted]
            logits = self.tap("logits", logits, Where(torch.cat(places)[feed.wanted][:, None], rows))
        return logits[:, 0].float(), hidden_ND.float()


class _View:
    """A group's pages in the shape of a cache that the Transformer knows."""

    def __init__(self, pages: Pages, group: Group, positions: Tensor, slots: Tensor) -> None:
        self.pages, self.group, self.at = pages, group, positions
        self.index = pages.index(slots)
        self.lengths = positions[:, 0]
        self.longest = int(self.lengths.max())

    def positions(self, width: int) -> Tensor:
        """Absolute positions (B, width)."""
        return self.at

    def write(self, layer: int, k: Tensor, v: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Store k, v (B, K, T, C); all keys and values up to the longest row."""
        both = torch.cat([k, v], 1).transpose(1, 2).flatten(0, 1)
        self.pages.write(layer, self.index, both)
        found = self.pages.read(layer, self.group.table)
        end = self.longest + self.group.width
        keys, values = found.view(2, k.shape[1], self.group.rows, -1, k.shape[3])[:, :, :, :end].transpose(1, 2)
        return keys, values

    def advance(self, width: int, lengths: Tensor | None) -> None:
        """The scheduler keeps the books."""
        self.lengths = self.lengths + width


class Recompute:
    """A model without a cache: the whole text is read again for every token."""

    keeps = tiled = False
    adapters: Mapping[str, int] = NONE

    def __init__(self, model: Any, tap: Any = None) -> None:
        self.model, self.tap = model, tap
        self.device, _ = home(model)

    @torch.no_grad()
    def step(self, feed: Feed) -> Tensor:
        ids_BT, _ = padded(feed.texts, self.device)
        numbers = [number for group in feed.groups for number in group.numbers]
        taps = {} if self.tap is None else {"tap": self.tap, "rows": torch.tensor(numbers, device=self.device)}
        logits: Tensor = self.model(ids_BT, **taps)
        owners = [row for g, first in zip(feed.groups, _firsts(feed.groups)) for row in _rows(g, first)]
        rows = torch.tensor(owners, device=self.device)[feed.wanted]
        return logits[rows, feed.positions[feed.wanted]].float()

    def look(self, feed: Feed) -> tuple[Tensor, Tensor]:
        raise UserError("this model reads its text anew: there is no stream to look at")

    def copy(self, sources: list[int], targets: list[int]) -> None:
        pass  # there is nothing to copy

    def clear(self, pages: list[int]) -> None:
        pass  # nor to forget

    def turn(self, pages: list[int], back: int) -> None:
        pass  # nor to turn

    def turns(self) -> str:
        return "this model reads its text anew"


def _firsts(groups: Sequence[Group]) -> list[int]:
    """The number of each group's first row."""
    return [0, *np.cumsum([g.rows for g in groups]).tolist()][:-1]


def _rows(group: Group, first: int) -> list[int]:
    """The row of each of the group's tokens."""
    return [first + row for row in range(group.rows) for _ in range(group.width)]


def padded(texts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Right-padded ids (B, T) and lengths (B,)."""
    lengths = [len(t) for t in texts]
    ids = np.zeros((len(texts), max(lengths)), dtype=np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
    return torch.from_numpy(ids).to(device), torch.tensor(lengths, device=device)


def pages_for(positions: int) -> int:
    """Pages that hold so many positions."""
    return -(-positions // SIZE)
