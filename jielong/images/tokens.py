"""Pictures as rows of numbers, for generators that write them one after the other or fill them in: the colours of
pixels, or the codes of an autoencoder."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from jielong.images.autoencoder import Autoencoder
from jielong.images.pictures import to_bytes, to_net
from jielong.units.pixels import Palette


class Units(Protocol):
    """`size` numbers; a picture is a `grid` of them, written row by row."""

    size: int
    grid: tuple[int, int]

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] to (B, T) ids."""

    def decode(self, ids: Tensor) -> Tensor:
        """The way back."""


class Pixels:
    """Every pixel the number of its colour in a palette."""

    def __init__(self, palette: Palette, height: int, width: int) -> None:
        self.palette, self.size, self.grid = palette, palette.size, (height, width)

    def encode(self, pixels: Tensor) -> Tensor:
        """Of pictures in [-1, 1]."""
        return torch.from_numpy(self.palette.encode(to_bytes(pixels)).reshape(len(pixels), -1))

    def decode(self, ids: Tensor) -> Tensor:
        """To pictures in [-1, 1]."""
        return to_net(self.palette.decode(np.asarray(ids.reshape(-1, *self.grid))))


class Codes:
    """Every place of a coarse grid a code of an autoencoder, which stays as it is."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        self.autoencoder, self.size, self.grid = autoencoder.eval(), autoencoder.size, autoencoder.config.grid

    def encode(self, pixels: Tensor) -> Tensor:
        """Of pictures in [-1, 1]."""
        return self.autoencoder.codes(pixels).flatten(1)

    def decode(self, ids: Tensor) -> Tensor:
        """To pictures about [-1, 1]."""
        return self.autoencoder.decode_codes(ids.reshape(-1, *self.grid))


def places_of(body: Any, units: Units) -> None:
    """Begin the learnt places of a Transformer over a grid at its sines, as those of patches do (`dit.places`)."""
    from jielong.images.dit import places

    with torch.no_grad():
        table = places(*units.grid, body.config.dim)
        body.place[-len(table) :].copy_(table * 0.5)
