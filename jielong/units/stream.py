"""Decoding ids as they arrive: only whole characters are shown.

A Chinese character or an emoji is often several tokens; its bytes wait until they are complete.
"""

from __future__ import annotations

from codecs import getincrementaldecoder

from jielong.units.codec import Tokenizer


class Stream:
    """What ``add`` gave for each id, then ``finish()``, joined, is ``codec.decode(ids)``.

    For families that decode by rules of their own, what can still change is held back instead.
    """

    def __init__(self, codec: Tokenizer, skip_special: bool = False) -> None:
        self._codec = codec
        self._skipped = frozenset(codec.special.values()) if skip_special else frozenset()
        self._bytes = getincrementaldecoder("utf-8")("replace")
        self._ids: list[int] = []  # for the others: those whose text may still change
        self._shown = 0  # how many of them have been shown

    def add(self, id: int) -> str:
        """The text that has become certain with this id; often one character, sometimes nothing."""
        if id in self._skipped:
            return ""
        if self._codec.exact:
            return self._bytes.decode(self._codec.bytes_of(id))
        self._ids.append(id)
        old, new = self._texts()
        if new.endswith("\ufffd") or len(new) <= len(old):
            return ""
        self._ids = self._ids[self._shown :]  # what was shown last stays, as the context of what follows
        self._shown = len(self._ids)
        return new[len(old) :]

    def finish(self) -> str:
        """What is left at the end: an unfinished character, as U+FFFD."""
        if self._codec.exact:
            return self._bytes.decode(b"", final=True)
        old, new = self._texts()
        self._ids, self._shown = [], 0
        return new[len(old) :]

    def _texts(self) -> tuple[str, str]:
        return self._codec.decode(self._ids[: self._shown]), self._codec.decode(self._ids)
