"""Tokens as bytes: text out of ids, piece by piece, and the strings that end a text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jielong.base.errors import UserError
from jielong.units.codec import Tokenizer
from jielong.units.stream import Stream


class Pieces:
    """The bytes of every token, specials empty: what a reader sees. Made once for a codec."""

    def __init__(self, codec: Tokenizer) -> None:
        self.hidden = frozenset(codec.special.values())
        self.codec = codec
        self.table = [b"" if i in self.hidden else codec.bytes_of(i) for i in range(codec.size)]

    def bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of some tokens; ids past the tokenizer's end (a padded vocabulary) have none."""
        size = len(self.table)
        return b"".join(self.table[i] for i in ids if i < size)

    def text(self, ids: Iterable[int], stop: str | int | None = None) -> str:
        """The text of some tokens, cut before the stop string; broken UTF-8 shows as U+FFFD."""
        text = self.codec.decode([i for i in ids if i not in self.hidden])
        return text.split(stop, 1)[0] if isinstance(stop, str) else text

    def words(self, word: str) -> list[tuple[int, ...]]:
        """A bad word as token sequences: as it stands, and after a space."""
        return [tuple(self.codec.encode(form)) for form in (word, " " + word)]


class Stops:
    """Finds stop strings in a growing text; only a token that can complete one is looked at closely."""

    def __init__(self, pieces: Pieces | None, stops: tuple[str, ...]) -> None:
        if pieces is None:
            raise UserError("stop strings need the tokenizer: pass pieces=Pieces(codec)")
        self.pieces = pieces
        self.stops = [(s, s.encode()) for s in stops]
        last = {data[-1] for _, data in self.stops}
        self.completes = [not last.isdisjoint(piece) for piece in pieces.table]

    def found(self, ids: Sequence[int]) -> str | None:
        """The stop string that the last of the tokens written completes, or None. The earliest one wins."""
        if not (ids[-1] < len(self.completes) and self.completes[ids[-1]]):
            return None
        window = self.pieces.bytes(ids[-1:])
        enough = len(window) + max(len(data) for _, data in self.stops) - 1
        for i in reversed(ids[:-1]):
            if len(window) >= enough:
                break
            window = self.pieces.bytes([i]) + window
        hits = [(window.find(data), s) for s, data in self.stops if data in window]
        return min(hits)[1] if hits else None


class TextStream:
    """Turns tokens into text as they come: whole characters only, and never part of a stop string.

    `push` gives the text that is now certain; `close` gives the rest.
    """

    def __init__(self, pieces: Pieces, stop: Sequence[str] = ()) -> None:
        self.stop = tuple(stop)
        self.stream = Stream(pieces.codec, skip_special=True)
        self.held = ""

    def push(self, id: int) -> str:
        """The text that the next token makes certain (often its own, sometimes none, sometimes more)."""
        self.held += self.stream.add(id)
        return self._release(self._hold())

    def close(self, stopped_by: str | int | None = None) -> str:
        """What was held back, cut before `stopped_by` if that is a stop string."""
        self.held += self.stream.finish()
        if isinstance(stopped_by, str):
            self.held = self.held.split(stopped_by, 1)[0]
        return self._release(0)

    def _hold(self) -> int:
        """How many last characters may be the beginning of a stop string, or are one."""
        whole = [len(self.held) - self.held.find(s) for s in self.stop if s in self.held]
        parts = [n for s in self.stop for n in range(1, len(s)) if self.held.endswith(s[:n])]
        return max(whole + parts, default=0)

    def _release(self, keep: int) -> str:
        cut = len(self.held) - keep
        ready, self.held = self.held[:cut], self.held[cut:]
        return ready
