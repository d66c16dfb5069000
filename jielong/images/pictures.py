"""Pictures in memory, and the batches that training draws from them.

At the edge of the package a picture is (H, W, 3) bytes; inside nets it is (3, H, W) float32 in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.base.files import digest

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """`pixels` (N, H, W, C) bytes, C of 1 or 3; `captions`, one or several texts a picture, or none at all; `labels`
    (N,) class numbers, or None, and `classes` their names; `skipped`: files that were none, by reason; `places`: which
    of the whole these are, of a part."""

    pixels: Bytes
    captions: Sequence[Sequence[str]] = ()
    labels: NDArray[np.int64] | None = None
    skipped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    places: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.dtype != np.uint8 or not len(self.pixels):
            raise UserError("there is no picture to learn from")
        if len(self.captions) not in (0, len(self)):
            raise UserError(f"{len(self.captions):,} captions for {len(self):,} pictures; give one each, or none")

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[1], self.pixels.shape[2]

    @property
    def channels(self) -> int:
        """1 for grey pictures, 3 for coloured ones."""
        return self.pixels.shape[3]

    @cached_property
    def fingerprint(self) -> str:
        """Of all that training reads."""
        said = "\n".join("\t".join(each) for each in self.captions)
        labels = b"" if self.labels is None else self.labels.tobytes()
        return digest(np.ascontiguousarray(self.pixels).tobytes() + said.encode() + labels)

    def split(self, share: float = 0.05, seed: int = 0) -> tuple[Pictures, Pictures]:
        """Those to learn from and those held out: `share` of them by lot, one at least."""
        order = noise.permutation(seed, len(self), "held out")
        held = max(1, round(share * len(self)))
        if held >= len(self):
            raise UserError("one picture is too few: some are held out to be measured with; give more")
        return self[np.sort(order[held:])], self[np.sort(order[:held])]

    def __getitem__(self, places: NDArray[np.int64]) -> Pictures:
        captions = [self.captions[i] for i in places.tolist()] if self.captions else ()
        labels = None if self.labels is None else self.labels[places]
        return Pictures(self.pixels[places], captions, labels, {}, self.classes, places)


@dataclass(frozen=True)
class Batch:
    """Of a step: pixels (B, C, H, W) in [-1, 1]; words (B, T) ids, or labels (B, 1), or None; `seed` of what is drawn
    by lot for this batch, so that a step is a pure function of its number."""

    pixels: Tensor
    words: Tensor | None
    seed: int

    def generator(self) -> torch.Generator:
        """For times, noise and masks."""
        return torch.Generator().manual_seed(self.seed)


@dataclass(frozen=True)
class Feed:
    """Batches in an order by lot, each picture once an epoch. `pixels`: bytes, or what stands for them, (N, d, h, w)
    numbers. `words` (N, M, T): ids of M captions a picture, one of which is taken each time; a picture's label as
    (N, 1, 1); None without either."""

    pixels: Bytes | Tensor
    words: NDArray[np.int64] | None
    batch: int
    seed: int = 0

    def at(self, step: int) -> Batch:
        """The batch of a step."""
        first, n = step * self.batch, len(self.pixels)
        places = np.concatenate([self._epoch(epoch)[max(0, first - epoch * n) : first + self.batch - epoch * n]
                                 for epoch in range(first // n, (first + self.batch - 1) // n + 1)])  # fmt: skip
        words = None
        if self.words is not None:
            which = noise.integers(self.seed, "caption", step, below=self.words.shape[1], n=self.batch)
            words = torch.from_numpy(self.words[places, which])
        some = self.pixels[places]
        return Batch(some.float() if isinstance(some, Tensor) else to_net(some), words,
                     noise.seed_of("batch", self.seed, step))  # fmt: skip

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        kept = self.__dict__.get("_order")
        if kept is None or kept[0] != epoch:
            kept = (epoch, noise.permutation(self.seed, len(self.pixels), "epoch", epoch))
            self.__dict__["_order"] = kept
        return np.asarray(kept[1])


def to_net(pixels: Bytes) -> Tensor:
    """(N, H, W, C) bytes to (N, C, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).contiguous().float().div_(127.5).sub_(1)


def to_bytes(pixels: Tensor) -> Bytes:
    """The way back, rounded; what lies beyond [-1, 1] is cut."""
    whole = pixels.detach().float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return whole.permute(0, 2, 3, 1).contiguous().cpu().numpy()
