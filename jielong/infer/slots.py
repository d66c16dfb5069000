"""Texts with open places: what a model reads that writes all places of an answer at once. No torch here.

A row is a source and, behind it, the slots of its target. A slot that is not known yet holds the mask, an id that no
text has; the Transformer (`causal=False`) reads the row both ways and gives a law for each slot. Ids beyond those of
the tokenizer, in this order: the mask, the question how long the target is, and the lengths 1, 2, ... as its answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from jielong.base.errors import UserError

INFO = "parallel"  # the key in jielong.json
LONGEST = 1000  # slots: a model may have so many ids more than its tokenizer
Length = Literal["end", "predicted"]
LENGTHS: tuple[Length, ...] = ("end", "predicted")


@dataclass(frozen=True)
class Marks:
    """`tokens` of the tokenizer come first; a target has `longest` slots at most.

    `length`: how a text gets its length: always `longest` slots, filled up with the end token ("end"), or as many as
    the model says beforehand ("predicted").
    """

    tokens: int
    longest: int
    length: Length = "end"

    def __post_init__(self) -> None:
        if not 1 <= self.longest <= LONGEST:
            raise UserError(f"a target has 1 to {LONGEST} slots, not {self.longest}")
        if self.length not in LENGTHS:
            raise UserError(f"a length is given by {' or '.join(LENGTHS)}, not {self.length!r}")

    @property
    def mask(self) -> int:
        """Stands in a slot whose token is not known."""
        return self.tokens

    @property
    def ask(self) -> int:
        """Behind a source it asks how many slots follow; the id `ask` + n answers n."""
        return self.tokens + 1

    @property
    def vocab(self) -> int:
        """Rows of the model's table."""
        return self.tokens + 2 + self.longest

    def info(self, objective: str) -> dict[str, Any]:
        """What stands in `jielong.json` under INFO."""
        return {"objective": objective, "slots": self.longest, "length": self.length}


def marks_of(info: Mapping[str, Any], tokens: int, vocab: int) -> Marks | None:
    """The marks of a checkpoint whose `jielong.json` this is; None for a model that writes from left to right.

    Raises UserError for entries that do not fit the tokenizer and the model.
    """
    told = info.get(INFO)
    if told is None:
        return None
    try:
        marks = Marks(tokens, int(told["slots"]), told["length"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"jielong.json: {INFO!r} must name slots and length; train the model again") from error
    if marks.vocab != vocab:
        raise UserError(f"jielong.json: {marks.longest} slots make {marks.vocab} ids, and the model has {vocab}")
    return marks


def refuse(info: Mapping[str, Any], path: object) -> None:
    """UserError for a checkpoint of slots, where a model is needed that writes one token after another."""
    if info.get(INFO) is not None:
        raise UserError(f"{path} writes all places at once: only jielong generate asks it, with --passes")


@dataclass(frozen=True, eq=False)
class Laid:
    """B rows side by side: ids (B, T) int64 with the mask in every slot, padded at the right; slots (B, N) int64, the
    place of each slot in its row; open (B, N) bool, whether there is such a slot; documents (B, T) int64, 1 for padding
    that no token may look at, or None where there is none."""

    ids: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]
    open: npt.NDArray[np.bool_]
    documents: npt.NDArray[np.int64] | None


def lay(sources: Sequence[npt.ArrayLike], counts: Sequence[int], marks: Marks) -> Laid:
    """Row b: source b, then `counts[b]` slots, each with the mask."""
    known = [np.asarray(source, dtype=np.int64).reshape(-1) for source in sources]
    starts = np.array([len(source) for source in known], dtype=np.int64)
    ends = starts + np.asarray(counts, dtype=np.int64)
    ids = np.full((len(known), int(ends.max())), marks.mask, dtype=np.int64)
    for row, source in zip(ids, known):
        row[: len(source)] = source
    place = np.arange(ids.shape[1])
    padding = place[None, :] >= ends[:, None]
    ids[padding] = 0
    number = np.arange(int((ends - starts).max()))
    inside = number[None, :] < (ends - starts)[:, None]
    slots = np.where(inside, starts[:, None] + number, 0)
    return Laid(ids, slots, inside, padding.astype(np.int64) if padding.any() else None)
