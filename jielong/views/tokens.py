"""What a model sees and expects: a sentence's tokens as chips, next-token bars, merges as they happen.

A token is (piece, id). A piece is bytes, or text. Byte-level tokenizers cut some characters (most of Chinese
in a small vocabulary) into pieces that are no text by themselves: such pieces are shown in hexadecimal over
the character that they make together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from jielong.views.drawing import FAINT, INK, colour, label, svg
from jielong.views.html import table
from jielong.views.markup import Html, Prose, Words, both, element, escape, join, number, shorten, text

Piece = bytes | str
Token = tuple[Piece, int | None]
TINTS = 5
SIGNS = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}


@dataclass(frozen=True)
class Group:
    """Neighbouring tokens that make whole characters together: one token mostly, several where one is cut.

    `whole` is the text they make; None where the bytes are not UTF-8 even together.
    """

    tokens: tuple[Token, ...]
    whole: str | None


def groups(tokens: Sequence[Token]) -> list[Group]:
    """The tokens in groups that each decode; a group stays open for at most one character (4 bytes).

    A token whose bytes cannot begin or continue a character stands in a group of its own.
    """
    found: list[Group] = []
    held: list[Token] = []
    for token in tokens:
        held.append(token)
        while held and (whole := _decode(held)) is None and not _unfinished(held):
            found.append(Group((held.pop(0),), None))
        if held and whole is not None:
            found.append(Group(tuple(held), whole))
            held = []
    return found + [Group((each,), _decode([each])) for each in held]  # what the end of the text cut off


def _bytes(piece: Piece) -> bytes:
    return piece if isinstance(piece, bytes) else piece.encode("utf-8", "surrogatepass")


def _decode(tokens: Sequence[Token]) -> str | None:
    try:
        return b"".join(_bytes(piece) for piece, _ in tokens).decode("utf-8")
    except UnicodeDecodeError:
        return None


def _unfinished(tokens: Sequence[Token]) -> bool:
    """Whether the bytes are valid UTF-8 up to a last character that has only begun."""
    try:
        b"".join(_bytes(piece) for piece, _ in tokens).decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return False


def chips(tokens: Sequence[Token], *, ids: bool = True, small: bool = False) -> Html:
    """A sentence as coloured chips with their ids below; neighbours differ in colour."""
    parts, place = [], 0
    for group in groups(tokens):
        inner = []
        for token in group.tokens:
            inner.append(_chip(token, place, ids, cut=group.whole is None or len(group.tokens) > 1))
            place += 1
        if len(inner) == 1:
            parts += inner
        else:
            whole = element("b", _signed(group.whole or ""))
            parts.append(element("span", join([element("span", join(inner)), whole]), class_="whole"))
    return element("div", join(parts), class_="chips small" if small else "chips")


def _chip(token: Token, place: int, ids: bool, cut: bool) -> Html:
    piece, number_ = token
    raw = _bytes(piece)
    shown = escape(raw.hex(" ").upper()) if cut else _signed(raw.decode("utf-8"))
    below = element("small", str(number_)) if ids and number_ is not None else Html("")
    classes = f"chip t{place % TINTS}" + (" byte" if cut else "")
    said = f"{raw.hex(' ').upper()} ({len(raw)} bytes)"
    return element("span", join([shown, below]), class_=classes, title=said)


def _signed(shown: str) -> Html:
    """Text with its blanks made visible, faintly."""
    return join(element("i", SIGNS[c]) if c in SIGNS else escape(c) for c in shown)


def readable(piece: Piece) -> str:
    """A piece as plain text: blanks have signs, bytes that are no text are written ⟨E6 8E⟩."""
    whole = _decode([(piece, None)])
    if whole is None:
        return f"⟨{_bytes(piece).hex(' ').upper()}⟩"
    return "".join(SIGNS.get(c, c) for c in whole) or "∅"


def next_bars(options: Sequence[tuple[Piece, float]], *, title: Prose, most: int = 8) -> Html:
    """The likeliest next tokens with their probabilities, and what is left for all others."""
    likely = sorted(options, key=lambda option: -option[1])[:most]
    rest = max(0.0, 1.0 - sum(probability for _, probability in likely))
    lines: list[tuple[Prose, float]] = [(readable(piece), probability) for piece, probability in likely]
    lines.append((OTHERS, rest))
    left, right, tall = 118.0, 350.0, 21.0
    parts = []
    for place, (name, probability) in enumerate(lines):
        y = place * tall
        short = shorten(name, 13.0, left - 12) if isinstance(name, str) else name
        hue = colour(0) if name is not OTHERS else FAINT
        wide = max(probability, 0.0) * (right - left)
        bar = element("rect", x=left, y=y + 4, width=wide, height=12.0, rx=2.0, style=f"fill:{hue}")
        ink = INK if name is not OTHERS else FAINT
        parts.append(label(short, left - 8, y + 14.5, text_anchor="end", font_size=13.0, fill=ink))
        parts += [bar, label(number(probability, "share"), left + wide + 6, y + 14.5, fill=FAINT)]
    said = "; ".join(f"{both(name)} {number(probability, 'share')}" for name, probability in lines)
    return svg(right + 58, len(lines) * tall + 2, title, said, join(parts))


OTHERS = Words("all others", "其他")


class Merge(Protocol):
    """One step of byte-pair encoding: the most frequent pair of neighbours becomes one unit."""

    @property
    def left(self) -> bytes: ...
    @property
    def right(self) -> bytes: ...
    @property
    def count(self) -> int: ...


def merge_table(merges: Sequence[Merge], example: Sequence[str] = ()) -> Html:
    """The merges in order. With `example` (words as the pre-tokenizer cuts them), also what each merge makes
    of them: the chips grow together as one reads down."""
    words_ = [[bytes([b]) for b in word.encode("utf-8")] for word in example]
    headers: list[Prose] = ["#", Words("pair", "一對"), Words("count", "次數"), Words("new unit", "新單位")]
    rows: list[list[object]] = []
    for step, merge in enumerate(merges, 1):
        pair = chips([(merge.left, None), (merge.right, None)], ids=False, small=True)
        row: list[object] = [
            step,
            pair,
            merge.count,
            chips([(merge.left + merge.right, None)], small=True),
        ]
        if example:
            words_ = [_merged(word, merge) for word in words_]
            row.append(chips([(piece, None) for word in words_ for piece in word], ids=False, small=True))
        rows.append(row)
    if example:
        headers.append(Words("the example then", "此時的例句"))
    return table(headers, rows, align="rlrl" + ("l" if example else ""))


def _merged(units: Sequence[bytes], merge: Merge) -> list[bytes]:
    """All occurrences of the pair joined, left to right."""
    found: list[bytes] = []
    place = 0
    while place < len(units):
        if units[place] == merge.left and units[place + 1 : place + 2] == [merge.right]:
            found.append(merge.left + merge.right)
            place += 2
        else:
            found.append(units[place])
            place += 1
    return found


def sentence(tokens: Sequence[Token]) -> Html:
    """Chips with a line that says how many tokens, characters and bytes there are."""
    raw = b"".join(_bytes(piece) for piece, _ in tokens)
    characters = len(raw.decode("utf-8", "replace"))
    count, each = len(tokens), number(len(raw) / max(len(tokens), 1))
    said = Words(
        f"{count} tokens for {characters} characters ({len(raw)} bytes): {each} bytes per token",
        f"{characters} 個字元（{len(raw)} 位元組）切成 {count} 個 token：每個 token {each} 位元組",
    )
    return join([chips(tokens), element("p", text(said), class_="sub")])
