"""Chance that has an address: the number at (seed, position) does not depend on who asked before.

Philox 4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) turns a key and a
counter into random bits. The key is the seed, the counter the position, so batches, resumes and other
processes draw the same numbers. Bits and uniforms are the same on every platform and numpy version; gumbel
goes through ``log``, whose last bit may differ between chips; the methods of ``rng(...)`` are numpy's, which
keeps them stable within a version only.

All choices of an algorithm that is to be proved go through a ``Source``: ``RandomSource`` draws,
``enumerate_choices`` runs the very same function under every outcome and gives the exact law.
"""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from jielong.base.errors import UserError

T = TypeVar("T")
H = TypeVar("H", bound=Hashable)
Floats = NDArray[np.float64]
WORD = 1 << 64
UNIFORM, GUMBEL, PERMUTATION, CHOICE = range(4)  # what the numbers are for: never the same bits for two
HASHED = 7  # written where the length of a direct position stands


def seed_of(*parts: Any) -> int:
    """63 bits that depend on all parts and their types, alike in every process and on every platform.

    Parts: None, bool, int, float, str, bytes, and tuples, lists, dicts of these. TypeError for others.
    """
    return int.from_bytes(hashlib.blake2b(_canonical(parts), digest_size=8).digest(), "big") >> 1


def rng(*parts: Any) -> np.random.Generator:
    """A numpy generator of its own for these parts: for bulk draws, where order inside is fixed anyway."""
    return np.random.Generator(np.random.Philox(key=seed_of(*parts)))


@overload
def uniform(seed: int, *position: Any, n: None = None) -> float: ...
@overload
def uniform(seed: int, *position: Any, n: int) -> Floats: ...
def uniform(seed: int, *position: Any, n: int | None = None) -> float | Floats:
    """One float in [0, 1), or (n,) of them whose first m are those of ``n=m``. 53 random bits each."""
    values = _unit(_bits(seed, UNIFORM, position, 1 if n is None else n))
    return float(values[0]) if n is None else values


def gumbel(seed: int, *position: Any, n: int) -> Floats:
    """(n,) standard Gumbel numbers: argmax(logits + gumbel) draws from softmax(logits). Always finite."""
    return gumbel_at(gumbel_place(seed, *position), n)


def gumbel_place(seed: int, *position: Any) -> NDArray[np.uint64]:
    """Where the Gumbel numbers of a position come from: Philox's key (2) and counter (3). A position of two or three
    whole numbers stands in the counter as it is."""
    return _place(seed, GUMBEL, position)


def gumbel_at(place: NDArray[np.uint64], n: int) -> Floats:
    """(n,) Gumbel numbers, 32 bits each. -log(-log(1 - x)) with x >= 2^-33: the large ones, which decide, keep all
    their digits."""
    words = _words(place, (n + 1) // 2)
    halves = np.stack([words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)], axis=1).reshape(-1)[:n]
    return np.asarray(-np.log(-np.log1p(-(halves + 0.5) * 2.0**-32)))


def integers(seed: int, *position: Any, below: int, n: int) -> NDArray[np.int64]:
    """(n,) integers in [0, below), each as likely up to ``below / 2**53``."""
    return (uniform(seed, *position, n=n) * below).astype(np.int64)


def permutation(seed: int, n: int, *position: Any) -> NDArray[np.int64]:
    """(n,) the numbers 0..n-1 in random order."""
    return np.argsort(_bits(seed, PERMUTATION, position, n), kind="stable").astype(np.int64)


class Source(Protocol):
    """Where an algorithm takes its choices from."""

    def choose(self, probs: Sequence[float] | Floats, *position: Any) -> int:
        """An index, index i with probability probs[i] / sum(probs). One position serves one choice."""
        ...


class RandomSource:
    """Choices drawn at their positions: a choice does not depend on those made before it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def choose(self, probs: Sequence[float] | Floats, *position: Any) -> int:
        heights = np.cumsum(_weights(probs))
        u = float(_unit(_bits(self.seed, CHOICE, position, 1))[0])
        # "right" passes over a choice of probability 0; the minimum is for u * total rounded up to the total
        index = int(np.searchsorted(heights, u * heights[-1], side="right"))
        return min(index, int(np.searchsorted(heights, heights[-1], side="left")))


class _Replay:
    """Takes the recorded choices, then the first possible one at each new place, and keeps the record."""

    def __init__(self, trail: list[tuple[int, Floats]]) -> None:
        self.trail = trail
        self.at = 0
        self.seen: dict[bytes, tuple[int, Floats]] = {}

    def choose(self, probs: Sequence[float] | Floats, *position: Any) -> int:
        weights = _weights(probs)
        weights = weights / math.fsum(weights)
        key = _canonical(position)
        if key in self.seen:
            index, before = self.seen[key]
            if not np.array_equal(before, weights):
                raise ValueError(f"two choices at position {position}: their noise would be the same")
            return index
        if self.at == len(self.trail):
            self.trail.append((int(np.flatnonzero(weights)[0]), weights))
        index, before = self.trail[self.at]
        if not np.array_equal(before, weights):
            raise ValueError(f"not a function of its choices alone: other probabilities now at {position}")
        self.at += 1
        self.seen[key] = (index, weights)
        return index


def enumerate_choices(fn: Callable[[Source], T], limit: int = 1_000_000) -> list[tuple[float, T]]:
    """Run ``fn(source)`` under every outcome of its choices: [(probability, value)], probabilities sum to 1.

    Depth first over prefixes of choices, each replayed from the start, so fn may be any code that takes its
    chance from ``source`` only. Raises ValueError if fn does not, or if it makes two different choices at one
    position; UserError past ``limit`` outcomes.
    """
    outcomes: list[tuple[float, T]] = []
    trail: list[tuple[int, Floats]] = []
    while True:
        source = _Replay(trail)
        value = fn(source)
        if source.at != len(trail):
            raise ValueError("not a function of its choices alone: it made fewer choices this time")
        if len(outcomes) == limit:
            raise UserError(f"more than {limit} outcomes; make the case smaller (fewer tokens, shorter)")
        outcomes.append((math.prod(float(w[i]) for i, w in trail), value))
        while trail:
            index, weights = trail.pop()
            later = np.flatnonzero(weights[index + 1 :])
            if later.size:
                trail.append((index + 1 + int(later[0]), weights))
                break
        if not trail:
            return outcomes


def law(outcomes: Iterable[tuple[float, H]]) -> dict[H, float]:
    """Add up the probabilities of equal values: the law of ``enumerate_choices``' outcomes."""
    parts: dict[H, list[float]] = {}
    for probability, value in outcomes:
        parts.setdefault(value, []).append(probability)
    return {value: math.fsum(each) for value, each in parts.items()}


def _weights(probs: Sequence[float] | Floats) -> Floats:
    weights = np.asarray(probs, dtype=np.float64)
    if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError("probabilities must be finite, not negative and not all 0")
    return weights


def _unit(bits: NDArray[np.uint64]) -> Floats:
    return np.asarray((bits >> np.uint64(11)) * 2.0**-53, dtype=np.float64)


def _bits(seed: int, use: int, position: tuple[Any, ...], n: int) -> NDArray[np.uint64]:
    """(n,) words."""
    return _words(_place(seed, use, position), n)


def _words(place: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
    counter = np.array([0, *place[2:]], dtype=np.uint64)
    return np.asarray(np.random.Philox(key=place[:2], counter=counter).random_raw(n), dtype=np.uint64)


def _place(seed: int, use: int, position: tuple[Any, ...]) -> NDArray[np.uint64]:
    """(5,) Key: the seed, and use + kind of position. Counter, after the block inside: the position.

    Positions of up to three integers in [0, 2**64) are written as they are, so no two of them can meet; any
    other is hashed into the same 192 bits.
    """
    words = [int(operator.index(p)) for p in position if hasattr(p, "__index__") and not isinstance(p, bool)]
    if len(words) == len(position) <= 3 and all(0 <= word < WORD for word in words):
        kind, words = len(words), words + [0] * (3 - len(words))
    else:
        hashed = hashlib.blake2b(_canonical(position), digest_size=24).digest()
        kind, words = HASHED, [int.from_bytes(hashed[i : i + 8], "big") for i in (0, 8, 16)]
    if not 0 <= seed < WORD:
        seed = seed_of("seed", seed)
    return np.array([seed, 8 * use + kind, *words], dtype=np.uint64)


def _canonical(value: Any) -> bytes:
    """Bytes that differ whenever type or value do: a tag, the length where it varies, the content."""
    if value is None or isinstance(value, bool):
        return f"{value};".encode()
    if isinstance(value, float):
        return f"f{float(value).hex()};".encode()
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        return b"s%d:" % len(text) + text
    if isinstance(value, bytes):
        return b"b%d:" % len(value) + value
    if isinstance(value, tuple | list):
        return b"l%d:" % len(value) + b"".join(map(_canonical, value))
    if isinstance(value, dict):
        pairs = sorted(_canonical(k) + _canonical(v) for k, v in value.items())
        return b"d%d:" % len(pairs) + b"".join(pairs)
    if hasattr(value, "__index__"):
        return f"i{operator.index(value)};".encode()
    raise TypeError(f"a {type(value).__name__} has no stable form to make a seed of")
