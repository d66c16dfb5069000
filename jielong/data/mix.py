"""Sources put together by weight, and documents kept apart for validation. Every draw has an address."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.data.read import Document, read
from jielong.data.tokens import Tokens

Ends = Literal["once", "first", "repeat"]
BLOCK = 256  # draws taken at a time


class HasText(Protocol):
    @property
    def text(self) -> str: ...


T = TypeVar("T")
D = TypeVar("D", bound=HasText)


def weighted(spec: str | Path) -> tuple[str | Path, float]:
    """("a.txt", 0.3) from "a.txt=0.3"; weight 1 where none is given. UserError for a weight not above 0."""
    if isinstance(spec, Path) or Path(spec).exists():
        return spec, 1.0
    name, equals, weight = spec.rpartition("=")
    try:
        value = float(weight) if equals and name else None
    except ValueError:
        value = None
    return (spec, 1.0) if value is None else (name, _weight(value, spec))


def mix(
    sources: Sequence[tuple[Iterable[T], float]],
    seed: int = 0,
    *,
    ends: Ends = "once",
    size: Callable[[T], float] | None = None,
) -> Iterator[T]:
    """Items of all sources interleaved so that source i has share weight_i of the items, or of their `size`.

    Each source is a clock that rings after an exponential time of mean size / weight; the first to ring is
    next. Without `size` that is exactly: the next is from source i with probability weight_i / their sum.

    ends: "once": every item once, a finished source drops out. "first": stops where the first source ends, so
    that the shares hold to the end. "repeat": finished sources begin again until the last one has ended
    (sources must be lists, or other things that can be read again).
    """
    weights = [_weight(weight, f"source {i}") for i, (_, weight) in enumerate(sources)]
    if ends == "repeat" and any(iter(source) is source for source, _ in sources):
        raise UserError("a source that can be read only once cannot be repeated: give a list")
    return _interleave([source for source, _ in sources], weights, seed, ends, size or (lambda item: 1.0))


def _interleave(
    sources: list[Iterable[T]], weights: list[float], seed: int, ends: Ends, size: Callable[[T], float]
) -> Iterator[T]:
    streams = [iter(source) for source in sources]
    waits = [_waits(seed, i) for i in range(len(sources))]
    unfinished = set(range(len(sources)))
    rings: list[tuple[float, int, T]] = []

    def schedule(i: int, now: float) -> bool:
        """Puts the next item of source i into `rings`; False when there is none (left)."""
        got = list(islice(streams[i], 1))
        if not got:
            unfinished.discard(i)
            if ends != "repeat" or not unfinished:
                return False
            streams[i] = iter(sources[i])
            got = list(islice(streams[i], 1))
        if not got:
            return False
        item = got[0]
        heapq.heappush(rings, (now + next(waits[i]) * size(item) / weights[i], i, item))
        return True

    started = [schedule(i, 0.0) for i in range(len(sources))]
    if ends == "first" and not all(started):
        return
    while rings:
        now, i, item = heapq.heappop(rings)
        yield item
        if not schedule(i, now) and ends != "once":
            return


def _waits(seed: int, source: int) -> Iterator[float]:
    block = 0
    while True:
        yield from (-np.log1p(-noise.uniform(seed, "mix", source, block, n=BLOCK))).tolist()
        block += 1


def mixture(
    specs: Sequence[str | Path | tuple[str | Path, float]],
    seed: int = 0,
    *,
    ends: Ends = "once",
    **options: Any,
) -> Iterator[Document]:
    """`read` each of "a.txt=0.3" or (spec, weight), interleaved; a weight is a share of the UTF-8 bytes."""
    if not specs:
        raise UserError("no data: name at least one file, folder, hf:NAME or world:KIND")
    pairs = [weighted(spec) if isinstance(spec, str | Path) else spec for spec in specs]
    sources = [(_Again(spec, options), weight) for spec, weight in pairs]
    return mix(sources, seed, ends=ends, size=lambda document: len(document.text.encode()))


class _Again:
    """What `read` gives, as often as it is asked for; a wrong name is told at once."""

    def __init__(self, spec: str | Path, options: dict[str, Any]) -> None:
        self.spec, self.options = spec, options
        read(spec, **options)

    def __iter__(self) -> Iterator[Document]:
        return read(self.spec, **self.options)


def weigh(parts: Sequence[tuple[Tokens, float]], seed: int = 0, *, ends: Ends = "repeat") -> Tokens:
    """One epoch in which part i has the share weight_i of the tokens.

    ends: "repeat": the part that has most for its weight is taken once, the others more than once. "first":
    the part that has least is taken once, of the others a random choice of documents. "once": all once,
    whatever the weights. Where a whole number of documents does not fit, the last one is cut.
    """
    weights = [_weight(weight, f"part {i}") for i, (_, weight) in enumerate(parts)]
    if any(len(tokens) == 0 for tokens, _ in parts):
        raise UserError("a part of the mixture has no tokens")
    if ends == "once" or not parts:
        return Tokens.concat([tokens for tokens, _ in parts])
    ratios = [len(tokens) / weight for (tokens, _), weight in zip(parts, weights)]
    scale = max(ratios) if ends == "repeat" else min(ratios)
    wanted = [round(scale * weight) for weight in weights]
    return Tokens.concat([_exactly(part[0], n, seed, i) for i, (part, n) in enumerate(zip(parts, wanted))])


def _exactly(tokens: Tokens, wanted: int, seed: int, part: int) -> Tokens:
    """`wanted` tokens: whole copies, then documents in random order, the last one cut."""
    copies, rest = divmod(max(2, wanted), len(tokens))
    taken = [tokens] * copies
    documents = []
    for i in noise.permutation(seed, tokens.documents, "weigh", part).tolist():
        if rest < 2:
            break
        ids, train = tokens.document(i)
        documents.append((ids[:rest], train[:rest]))
        rest -= len(documents[-1][0])
    return Tokens.concat([*taken, Tokens.from_documents(documents)])


def in_validation(text: str, fraction: float, seed: int = 0) -> bool:
    """Which side of the split a text is on: a hash of it and the seed, and of nothing else."""
    return noise.seed_of("validation", seed, text) < fraction * 2.0**63


def split(documents: Iterable[D], fraction: float = 0.1, seed: int = 0) -> tuple[list[D], list[D]]:
    """(training, validation) by `in_validation`: equal texts are on one side, whatever else there is.

    A single document is cut: the first 1 - fraction of its characters is for training, its tail not.
    Among few documents chance may leave a side empty, or give validation more than half of the text: then
    validation gets, in the order of their hash, those that fit into its share, or else the smallest.

    Raises UserError when fraction is not between 0 and 1, or when there is nothing to divide.
    """
    if not 0 < fraction < 1:
        raise UserError(f"the fraction for validation must lie between 0 and 1, not be {fraction}")
    every = list(documents)
    if len(every) == 1 and isinstance(every[0], Document):
        train, tail = _tail(every[0], fraction)
        return [train], [tail]  # type: ignore[list-item]
    sizes = {document.text: len(document.text) for document in every}
    if len(sizes) < 2:
        raise UserError(f"{len(sizes)} different example(s): none is left to validate on; give more data")
    chosen = {text for text in sizes if in_validation(text, fraction, seed)}
    share = sum(sizes[text] for text in chosen) / max(1, sum(sizes.values()))
    if not 0 < len(chosen) < len(sizes) or share > max(0.5, fraction):
        chosen = _few(sizes, fraction, seed)
    sides: tuple[list[D], list[D]] = [], []
    for document in every:
        sides[document.text in chosen].append(document)
    return sides


def _tail(document: Document, fraction: float) -> tuple[Document, Document]:
    at = int((1 - fraction) * len(document.text))
    if not 0 < at < len(document.text):
        raise UserError(
            f"{document.id}: too short ({len(document.text)} characters) to keep some for validation"
        )
    first, last = document.text[:at], document.text[at:]
    return replace(document, text=first), replace(document, text=last, id=f"{document.id}[{at}:]")


def _few(sizes: dict[str, int], fraction: float, seed: int) -> set[str]:
    order = sorted(sizes, key=lambda text: noise.seed_of("validation", seed, text))
    room, chosen = fraction * sum(sizes.values()), set[str]()
    for text in order[:-1]:
        if sizes[text] <= room:
            chosen.add(text)
            room -= sizes[text]
    return chosen or {min(order, key=lambda text: sizes[text])}


def _weight(weight: float, what: str) -> float:
    if not (math.isfinite(weight) and weight > 0):
        raise UserError(f"{what}: a weight must be a number above 0, not {weight}")
    return float(weight)
