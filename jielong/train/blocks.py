"""Blocks of text, for a model that fills in the next few tokens at once: the latest tokens are given, slots follow.

    pairs = blocks(tokens, Marks(codec.size, longest=4), window=24, end=codec.end)

Unlike an answer, a block may begin at any token, since whoever guesses ahead may stand anywhere. What is hidden of it,
and what that weighs, is `masked_diffusion.hide`. For guessing ahead: SpecDiff, Christopher et al. 2024 (arXiv
2408.05636).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jielong.base.errors import UserError
from jielong.data.pack import NothingToTrain
from jielong.data.tokens import Tokens
from jielong.infer.slots import Marks
from jielong.train import masked_diffusion
from jielong.train.parallel import Ids, Pairs, Parallel

if TYPE_CHECKING:
    from jielong.train.run import Work

MEASURED = 2048  # blocks of validation, evenly spaced


@dataclass(frozen=True, eq=False)
class Cut(Sequence[Ids]):
    """Pieces that are cut when they are asked for."""

    number: int
    piece: Callable[[int], Ids]

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, i: Any) -> Any:
        return self.piece(range(self.number)[i])


def blocks(tokens: Tokens, marks: Marks, window: int, end: int, most: int = 0) -> Pairs:
    """For each trained token: at most `window` tokens before it in its document, and `marks.longest` from it on, those
    behind the trained ones being `end`. With `most`, about so many, evenly spaced.

    A document's first token is nobody's target. UserError where there is no room, or nothing is trained.
    """
    if window < 1:
        raise UserError(f"a block of {marks.longest} tokens after {window}: give a --window of 1 or more")
    trained = tokens.train.copy()
    trained[tokens.starts[:-1][np.diff(tokens.starts) > 0]] = False
    places = np.flatnonzero(trained)
    if not len(places):
        raise NothingToTrain("nothing to train on: no document has a target behind its first token")
    if most:
        places = places[:: -(-len(places) // most)]
    first = tokens.starts[np.searchsorted(tokens.starts, places, side="right") - 1]

    def source(i: int) -> Ids:
        return tokens.ids[max(first[i], places[i] - window) : places[i]].astype(np.int64)

    def target(i: int) -> Ids:
        span = slice(places[i], places[i] + marks.longest)
        kept = int(np.append(trained[span], False).argmin())
        filled = np.full(marks.longest, end, dtype=np.int64)
        filled[:kept] = tokens.ids[span][:kept]
        return filled

    return Pairs(Cut(len(places), source), Cut(len(places), target))


def of_work(work: Work, dtype: torch.dtype, marks: Marks) -> Parallel:
    """The objective of a run (`run.Work`): rows are `context` long, what is no slot is text."""
    settings, end = work.settings, work.codec.end
    window = settings.context - marks.longest
    train, held = blocks(work.train, marks, window, end), None
    if work.validation is not None:
        try:
            held = blocks(work.validation, marks, window, end, MEASURED)
        except NothingToTrain:
            held = None
    rows, more, seed = settings.batch, settings.accumulate, settings.seed
    return Parallel(work.model, marks, masked_diffusion.hide, train, held, rows, more, seed, dtype)
