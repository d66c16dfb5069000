"""Pixels as tokens: every pixel is the number of its nearest colour in a palette (ImageGPT, Chen et al. 2020, section
3.1: k-means of colours, 512 there).

Pictures with no more colours than the palette holds come back exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.base.files import read_json, write_json

FILE = "palette.json"
SAMPLE, ROUNDS = 200_000, 20  # pixels that k-means looks at, and its rounds
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Palette:
    """`colours` (K, C) bytes, in order of brightness."""

    colours: Bytes

    @property
    def size(self) -> int:
        """How many colours there are."""
        return len(self.colours)

    def encode(self, pixels: Bytes) -> NDArray[np.int64]:
        """(N, H, W, C) to (N, H, W) numbers of the nearest colours."""
        flat = pixels.reshape(-1, pixels.shape[-1])
        found, back = np.unique(flat, axis=0, return_inverse=True)
        far = ((found[:, None, :].astype(np.int32) - self.colours[None].astype(np.int32)) ** 2).sum(-1)
        return far.argmin(1)[back].reshape(pixels.shape[:-1])

    def decode(self, ids: NDArray[np.int64]) -> Bytes:
        """(N, H, W) to (N, H, W, C). Raises UserError for a number that is no colour."""
        if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < self.size:
            raise UserError(f"colours are numbered 0 to {self.size - 1}")
        return self.colours[ids]

    def save(self, folder: str | Path) -> None:
        """As `palette.json`."""
        write_json(Path(folder) / FILE, {"colours": self.colours.tolist()})


def load(folder: str | Path) -> Palette:
    """Read what `save` wrote. Raises UserError for another thing."""
    data = read_json(Path(folder) / FILE)
    try:
        colours = np.array(data["colours"])
        good = colours.ndim == 2 and len(colours) and colours.min() >= 0 and colours.max() <= 255
    except (KeyError, TypeError, ValueError):
        good = False
    if not good:
        raise UserError(f"{Path(folder) / FILE} is no palette: a list of colours of numbers from 0 to 255")
    return Palette(colours.astype(np.uint8))


def learn(pixels: Bytes, size: int, seed: int = 0) -> Palette:
    """The colours of these pictures where there are no more than `size`, else their k-means (begun by k-means++)."""
    from scipy.cluster.vq import kmeans2

    flat = pixels.reshape(-1, pixels.shape[-1])
    found = np.unique(flat, axis=0)
    if len(found) > size:
        generator = noise.rng("palette", seed)
        some = flat[generator.integers(0, len(flat), min(SAMPLE, len(flat)))].astype(np.float64)
        centres, _ = kmeans2(some, size, ROUNDS, minit="++", rng=generator, missing="warn")
        found = np.unique(np.clip(np.rint(centres), 0, 255).astype(np.uint8), axis=0)
    return Palette(found[np.argsort(found.astype(np.int64).sum(1), kind="stable")])
