"""Exact mode's proof on the machine at hand: the same text read whole, in pieces, and beside others, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.nets.pages import SIZE

if TYPE_CHECKING:
    from jielong.infer.core import Core

LENGTH = 150  # more than one tile of attention
CHUNKS = (3, 17, 64)


def check(core: Core) -> None:
    """Leaves the core used; clear it. UserError when the same text gives other bits in other company."""
    size = core.vocab or 2
    room = (core.scheduler.blocks.count - 1) * SIZE // 4
    length = max(2, min(LENGTH, room, (core.context or LENGTH) - 2))
    text, *others = (tuple(noise.integers(i, below=size, n=length - i).tolist()) for i in range(3))
    names = list(core.roots)
    for name in core.layouts:
        alone = _read(core, [text], 1 << 30, [name])
        for number, chunk in enumerate(CHUNKS):
            beside = [names[(names.index(name) + number + i) % len(names)] for i in range(len(others))]
            together = [text, *others[: core.scheduler.streams - 1]]
            if _read(core, together, chunk, [name, *beside]) != alone:
                raise UserError(
                    "exact mode cannot be kept on this machine: the same text gave other bits in other company "
                    "(this CPU's matrix library sums in an order that depends on the batch); use mode fast"
                )


def _read(core: Core, texts: list[tuple[int, ...]], chunk: int, names: list[str]) -> list[float]:
    """Log-probabilities of the first text and of four tokens more, while the others are written beside it, each by
    the adapter of this name."""
    core.clear()
    core.scheduler.chunk = chunk
    settings = Sampling(max_tokens=2, temperature=0)
    rows = [core.submit(Request(texts[0], settings, echo=True, adapter=names[0]))]
    for text, name in zip(texts[1:], names[1:]):
        rows.append(core.submit(Request(text[: 1 + len(text) // 3], settings.with_(max_tokens=9), adapter=name)))
    logprobs: list[float] = []
    while core.busy:
        logprobs += [token.logprob for token in core.step() if token.row is rows[0]]
    return [*rows[0].report[0], *logprobs]
