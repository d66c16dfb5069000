"""Soft prompts: embeddings that no word has, before every text (Lester et al. 2021, arXiv 2104.08691, section 2).

    model([P; embed(x)])            P (n, D) learnt, at first embeddings of words (their section 3.2)

The virtual tokens see themselves alone, so what they are in every block does not depend on the text: they are run once,
and their keys and values stand before those of each text, of all documents of a packed row too (`prefix.py` says which
positions these have). A step costs their n tokens more, not n a document.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from jielong.base.errors import UserError
from jielong.nets import ops
from jielong.nets.adapters.config import SoftPrompt
from jielong.nets.adapters.prefix import backwards, refuses
from jielong.nets.adapters.targets import Target
from jielong.nets.block import Scene
from jielong.nets.config import TransformerConfig
from jielong.nets.tap import Tap

BEFORE = "before"  # the place of a whole model, as "past" is of an attention
Past = tuple[Tensor, Tensor]  # keys and values (1, K, n, C)


class SoftPromptSite(nn.Module):
    """The embeddings (n, D)."""

    def __init__(self, config: SoftPrompt, shape: TransformerConfig) -> None:
        super().__init__()
        self.shape = shape
        self.embeds = nn.Parameter(torch.zeros(config.virtual, shape.dim))
        turns = [backwards(layer, shape, config.virtual) for layer in shape.blocks]
        self.turned = [turn is not None for turn in turns]
        for i, turn in enumerate(turns):
            self.register_buffer(f"turn{i}", turn, persistent=False)
        self.kept: tuple[Any, list[Past]] | None = None  # without gradients, and of which weights

    def forward(self, model: Any, scenes: Sequence[Scene], dtype: torch.dtype) -> list[Scene]:
        """The scenes of a text's blocks with the virtual tokens' keys and values in them."""
        if torch.is_grad_enabled():
            found = self._run(model, dtype)
        else:  # a text is written token by token, and they stay the same all along
            told = (dtype, *((p.data_ptr(), p._version) for each in (model, *model.adapters.values())
                             for p in each.parameters()))  # fmt: skip
            if self.kept is None or self.kept[0] != told:
                self.kept = told, self._run(model, dtype)
            found = self.kept[1]
        return [replace(scene, past=past) for scene, past in zip(scenes, found, strict=True)]

    def _run(self, model: Any, dtype: torch.dtype) -> list[Past]:
        seen: dict[str, Tensor] = {}

        def keep(site: str) -> Callable[[Tensor, Any], Tensor]:
            return lambda value, where: seen.setdefault(site, value)

        layers = range(self.shape.layers)
        tap = Tap({f"block.{i}.{what}": keep(f"{what}{i}") for i in layers for what in "kv"})
        model.through(self.embeds[None], tap, dtype)
        return [(self._back(seen[f"k{i}"], i), seen[f"v{i}"]) for i in layers]

    def _back(self, keys: Tensor, layer: int) -> Tensor:
        return ops.rotate(keys, getattr(self, f"turn{layer}")) if self.turned[layer] else keys

    def start(self, weight: Tensor) -> None:
        """Nothing is taken from a matrix."""

    @torch.no_grad()
    def begin(self, table: Tensor, ids: Sequence[int], seed: int) -> None:
        """From the rows `ids` of the embedding's table (V, D), again and again; without, from rows drawn."""
        n = len(self.embeds)
        drawn = torch.randint(0, len(table), (n,), generator=torch.Generator().manual_seed(seed))
        chosen = (list(ids) * n)[:n] if ids else drawn.tolist()
        self.embeds.copy_(table[torch.tensor(chosen, device=table.device)])


def place(shape: TransformerConfig) -> list[Target]:
    """The one place of a soft prompt: the whole model."""
    return [Target(BEFORE, "", BEFORE, 0, shape.dim, shape.dim)]


def maker(config: SoftPrompt, shape: TransformerConfig) -> Callable[[list[Target]], SoftPromptSite]:
    """What makes the site. UserError for a model that takes none."""
    reason = refuses(shape)
    if reason:
        raise UserError(f"this model takes no soft prompt: it has {reason}")
    return lambda targets: SoftPromptSite(config, shape)
