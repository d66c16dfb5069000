"""What every method's module is: parts at matrices of the base, each a change of one product.

An adapter knows its base by shape and names alone and holds none of its parameters; the base holds no parameter of the
adapter. So either is saved, moved and counted by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor, nn

from jielong.nets.adapters.config import Config
from jielong.nets.adapters.targets import Target
from jielong.nets.families.family import Family

Place = tuple[str, str]  # a half of a block and its matrix: ("blocks.0.attention", "qkv")


class Site(Protocol):
    """An adapter's module at one matrix. Called as a `block.Change`."""

    def __call__(self, x: Tensor, inner: Callable[[Tensor], Tensor], weight: Tensor, bias: Tensor | None) -> Tensor:
        """What comes of x, where `inner` is the product as it was before."""
        ...

    def start(self, weight: Tensor) -> None:
        """Take from the matrix what the method begins with."""
        ...

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Weight and bias with which a plain product does the same."""
        ...

    def unmerged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Back from what `merged` gave, to the rounding of its type."""
        ...


class Adapter(nn.Module):
    """All of one adapter's parameters. `targets`: the modules it changes, by the names of the base's `family`.

    One that makes a reward model of its base brings the head (len(`heads`), D), a number for each name.
    """

    head: nn.Parameter | None

    def __init__(
        self, config: Config, targets: Sequence[Target], family: Family, make: Callable[[list[Target]], nn.Module]
    ) -> None:
        super().__init__()
        self.config, self.targets, self.family = config, tuple(targets), family
        self.places: dict[Place, list[Target]] = {}
        for target in targets:
            self.places.setdefault((target.half, target.matrix), []).append(target)
        self.sites = nn.ModuleList(make(each) for each in self.places.values())
        self.heads: tuple[str, ...] = ()
        self.register_parameter("head", None)

    def judges(self, heads: Sequence[str], weight: Tensor) -> None:
        """Bring a head: weight (len(heads), D), learnt with the rest."""
        self.heads, self.head = tuple(heads), nn.Parameter(weight)

    def items(self) -> list[tuple[Place, Site]]:
        """Each place with its site."""
        return list(zip(self.places, self.sites, strict=True))  # type: ignore[arg-type]
