"""A drafter that speaks another tokenizer: text goes over to it, and its guesses come back, as bytes.

    drafter = OtherTokenizer(ModelDrafter(small, small.config.vocab), theirs=its_codec, ours=codec)

Source: the idea of universal assisted generation (Intel and Hugging Face 2024; Timor et al. 2025, arXiv 2502.05202,
section 3).
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from jielong.base.errors import UserError
from jielong.infer.draft.types import Draft, Drafter, Draws
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.infer.schedule import Row
from jielong.units.codec import Tokenizer

TAIL = 512  # at most so many bytes are encoded anew at each step: of more, all but the last KEEP tokens are settled
KEEP = 8


@dataclass(eq=False)
class _Other:
    """A row as the other tokenizer has it."""

    row: Row
    read: list[int] = field(default_factory=list)  # our tokens that went into it
    settled: list[int] = field(default_factory=list)  # theirs, for good
    tail: bytes = b""  # what came since
    rest: bytes = b""  # the begun character at its end, which they have not seen


class OtherTokenizer:
    """`drafter` guesses in `theirs`, the target's text is in `ours`. Its guesses are its most probable ones: a chance
    that both share there is none, and a certain guess is accepted oftenest where it is the likeliest.

    Control tokens that both know by name are translated; any other ends the guesses. A text is handed over in whole
    characters, and guesses must begin with what is missing of the last one.
    """

    def __init__(self, drafter: Drafter, theirs: Tokenizer, ours: Tokenizer, name: str = "") -> None:
        vocab = getattr(drafter, "vocab", theirs.size)
        if vocab < theirs.size:
            raise UserError(f"the drafter {drafter.name!r} has {vocab} tokens and its tokenizer {theirs.size}: "
                            "give the tokenizer that belongs to it")  # fmt: skip
        self.drafter, self.theirs, self.ours = drafter, theirs, ours
        self.name = name or f"{drafter.name} (other tokenizer)"
        self.over = {id: theirs.special.get(text) for text, id in ours.special.items()}
        self.back = {id: ours.special.get(text) for text, id in theirs.special.items()}
        self.rows: dict[Row, _Other] = {}

    def forget(self, row: Row) -> None:
        other = self.rows.pop(row, None)
        if other is not None:
            self.drafter.forget(other.row)

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Draft]:
        """One draft a row, in our tokens."""
        asked = [(i, row, k) for i, (row, k) in enumerate(zip(rows, most, strict=True)) if k > 0]
        drafts = [Draft()] * len(rows)
        if not asked:
            return drafts
        others = [self._brought_up(row) for _, row, _ in asked]
        owners = {other.row: row for other, (_, row, _) in zip(others, asked)}
        found = self.drafter.propose([o.row for o in others], [k for *_, k in asked], lambda row: source(owners[row]))
        for other, (i, _, k), proposal in zip(others, asked, found, strict=True):
            draft = proposal if isinstance(proposal, Draft) else next(iter(proposal), Draft())
            drafts[i] = Draft(self._translated(draft.tokens, other.rest)[:k])
        return drafts

    def _brought_up(self, row: Row) -> _Other:
        """The row in their tokens, as far as it goes now."""
        other = self.rows.get(row)
        if other is None or row.text[: len(other.read)] != other.read:
            mirror = Row(row.number, Request((), Sampling(temperature=0)), row.limit) if other is None else other.row
            other = self.rows[row] = _Other(mirror)
        for id in row.text[len(other.read) :]:
            if id in self.over:
                self._settle(other, 0)
                name = self.over[id]
                other.settled += self.theirs.encode(self._name(id)) if name is None else [name]
            else:
                other.tail += self.ours.bytes_of(id)
                if len(other.tail) > TAIL and self.theirs.exact:
                    self._settle(other, KEEP)
        other.read = list(row.text)
        ids, other.rest = self._encoded(other.tail)
        other.row.text = other.settled + ids
        return other

    def _settle(self, other: _Other, keep: int) -> None:
        """Tokens of the tail, but for the last `keep`, will not be looked at again."""
        ids, rest = self._encoded(other.tail)
        cut = max(len(ids) - keep, 0)
        other.settled += ids[:cut]
        other.tail = b"".join(map(self.theirs.bytes_of, ids[cut:])) + (rest if keep else b"")

    def _encoded(self, data: bytes) -> tuple[list[int], bytes]:
        """Their tokens of the whole characters, and what is left. Bytes that are no text show as U+FFFD."""
        decoder = getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(data)
        return (self.theirs.encode(text) if text else []), decoder.getstate()[0]

    def _translated(self, ids: Sequence[int], rest: bytes) -> tuple[int, ...]:
        """Their guesses in our tokens: as much as stands in whole characters, up to a control token."""
        data, last = b"", None
        for id in ids:
            if id in self.back:
                last = self.back[id]
                break
            data += self.theirs.bytes_of(id)
        if not data.startswith(rest):
            return ()
        out: list[int] = []
        new = data[len(rest) :]
        while rest and new and new[0] & 0xC0 == 0x80:  # what is missing of our last character
            byte = self.single.get(new[:1])
            if byte is None:
                return ()
            out, new = [*out, byte], new[1:]
        decoder = getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(new).split("\ufffd", 1)[0]
        ours = self.ours.encode(text) if text else []
        if b"".join(map(self.ours.bytes_of, ours)) != text.encode():  # a tokenizer that puts something before each text
            return tuple(out)
        whole = last is not None and len(text.encode()) == len(new)
        return (*out, *ours, *([last] if whole and last is not None else []))

    @cached_property
    def single(self) -> dict[bytes, int]:
        """Our tokens of one byte."""
        pieces = [self.ours.bytes_of(id) for id in range(self.ours.size)]
        return {piece: id for id, piece in enumerate(pieces) if len(piece) == 1}

    def _name(self, id: int) -> str:
        return self.ours.bytes_of(id).decode("utf-8", errors="replace")
