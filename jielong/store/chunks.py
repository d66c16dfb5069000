"""Texts cut into passages: at headings, then paragraphs, then sentences, with a little of the one before in the next.

A passage is a piece of its document's text as it stands there, so that its place can be told: text[begin:end]. It never
crosses the border of a section (a heading's text, a page).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from jielong.store.words import RUNS, UNSPACED_FIRST

SIZE, OVERLAP = 240, 40  # words of a passage, and of what it shares with the one before at most
LETTERS = 24
PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
SENTENCE = re.compile(r"(?<=[。！？；])[」』”’）]*\s*|(?<=[.!?;])[\"'”’)\]]*\s+|\n+")


class Section(Protocol):
    """A stretch of a document's text; `data.documents.Section` is one."""

    @property
    def begin(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def heading(self) -> str: ...
    @property
    def page(self) -> int: ...


@dataclass(frozen=True)
class Chunk:
    """A passage and where it stands: characters `begin` on of its document, the page (0: there are none)."""

    text: str
    begin: int
    heading: str = ""
    page: int = 0


@dataclass(frozen=True)
class _Piece:
    begin: int
    end: int
    words: int
    last: bool  # of its paragraph


def words(text: str) -> int:
    """Words, and characters of scripts without spaces; of what is longer than any word, each LETTERS count as one."""
    return sum(len(run) if UNSPACED_FIRST.match(run) else -(-len(run) // LETTERS) for run in RUNS.findall(text))


def cut(text: str, sections: Sequence[Section], size: int = SIZE, overlap: int = OVERLAP) -> Iterator[Chunk]:
    """The passages of a document, in order; those without a word are left out."""
    for section in sections:
        for begin, end in _spans(_pieces(text, section.begin, section.end, size), size, overlap):
            inside = text[begin:end].strip()
            if words(inside):
                yield Chunk(inside, begin + text[begin:end].index(inside), section.heading, section.page)


def _spans(pieces: list[_Piece], size: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Runs of pieces of `size` words at most, ending at a paragraph's end where that leaves them half full."""
    at, done = 0, 0  # the first piece of this passage; how many pieces are in a passage
    while done < len(pieces):
        end, count, paragraph = at, 0, 0
        while end < len(pieces) and (end == at or count + pieces[end].words <= size):
            count += pieces[end].words
            end += 1
            if pieces[end - 1].last and 2 * count >= size and end > done:
                paragraph = end
        end = paragraph if paragraph and end < len(pieces) else end
        if end <= done:  # what is shared leaves no room for what is new
            at = done
            continue
        yield pieces[at].begin, pieces[end - 1].end
        done, at, shared = end, end, 0
        while done < len(pieces) and at > 0 and shared + pieces[at - 1].words <= overlap:
            at -= 1
            shared += pieces[at].words


def _pieces(text: str, begin: int, end: int, size: int) -> list[_Piece]:
    """Sentences, and parts of those that are longer than a passage."""
    found: list[_Piece] = []
    for first, last in _between(PARAGRAPH, text, begin, end):
        for low, high in _between(SENTENCE, text, first, last):
            for part in _parts(text, low, high, size):
                count = words(text[part[0] : part[1]])
                found.append(_Piece(*part, count, part[1] == last))
    return found


def _between(mark: re.Pattern[str], text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """The stretches that marks end, each with its mark."""
    at = begin
    for found in mark.finditer(text, begin, end):
        if found.end() > at:
            yield at, found.end()
            at = found.end()
    if at < end:
        yield at, end


def _parts(text: str, begin: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """A stretch in parts of `size` words at most."""
    count, at = 0, begin
    for run in RUNS.finditer(text, begin, end):
        step = 1 if UNSPACED_FIRST.match(run[0]) else LETTERS
        for place in range(run.start(), run.end(), step):
            if count == size:
                yield at, place
                count, at = 0, place
            count += 1
    yield at, end
