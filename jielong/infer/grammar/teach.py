"""A mask engine to be read: from a regular expression to the tokens that may come next, in four steps.

1. ``Reader`` turns the expression into a language over bytes: nothing, the empty text, one byte of a set, one after
   the other, either, or so many times. A character beyond ASCII is several bytes in a row.
2. ``Languages`` knows the derivative of a language by a byte: what may follow once that byte is written. These are
   again such expressions, and finitely many (Brzozowski 1964; Owens, Reppy & Turon 2009), so they are the states
   of an automaton, each made when a text first gets there. "Nothing" is always written as such: no dead ends.
3. The vocabulary is a trie of bytes. Walking it and the automaton together finds every token whose bytes can be
   read (Willard & Louf 2023, arXiv 2307.09702; Koo et al. 2024, arXiv 2407.08103).
4. ``Teach`` keeps the masks and is a ``Processor`` whose states are numbers.

    rule = Teach("(yes|no)", vocabulary(codec))         # the masks of grammar.regex(codec, "(yes|no)")

Syntax: characters, ``\\`` before a mark, ``\\n \\r \\t``, ``.``, ``[a-z]``, ``[^a-z]``, ``( )``, ``(?: )``, ``|``, and
``* + ? {m} {m,} {m,n}``. The whole text must match; ``.`` is any character but a new line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from jielong.base.errors import UserError
from jielong.infer.grammar.mask import keep
from jielong.infer.grammar.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

NOTHING, EMPTY, OVER = 0, 1, -1  # no text at all; only the empty text; the text has ended
STATES, TIMES, LAST = 50_000, 20_000, 0x10FFFF
NAMED = {"n": "\n", "r": "\r", "t": "\t"}
TOKEN = re.compile(r"\\.|\(\?:|\[\^?|\{\d+(?:,\d*)?\}|.", re.DOTALL)


class Languages:
    """Languages by number, the same number for the same expression: ``nodes[n]`` says how it is written."""

    def __init__(self) -> None:
        self.nodes: list[tuple[Any, ...]] = [("nothing",), ("empty",)]
        self.nullable = [False, True]  # whether the empty text belongs to it
        self.numbers: dict[tuple[Any, ...], int] = {}
        self.derived: dict[tuple[int, int], int] = {}

    def node(self, nullable: bool, *parts: Any) -> int:
        if parts not in self.numbers:
            if len(self.nodes) >= STATES:
                raise UserError(f"the regular expression needs more than {STATES:,} states: make it simpler")
            self.numbers[parts] = len(self.nodes)
            self.nodes.append(parts)
            self.nullable.append(nullable)
        return self.numbers[parts]

    def byte(self, bits: int) -> int:
        """One byte: bit b of ``bits`` says whether b belongs."""
        return self.node(False, "byte", bits) if bits else NOTHING

    def then(self, first: int, second: int) -> int:
        """One after the other; a row is kept as its first part and the rest."""
        if NOTHING in (first, second):
            return NOTHING
        parts = []
        while self.nodes[first][0] == "then":
            parts.append(self.nodes[first][1])
            first = self.nodes[first][2]
        for part in (first, *reversed(parts)):
            if EMPTY in (part, second):
                second = part if second == EMPTY else second
            else:
                second = self.node(self.nullable[part] and self.nullable[second], "then", part, second)
        return second

    def either(self, *several: int) -> int:
        """Any of them: a set, in which all single bytes are one."""
        found, bits = set(), 0
        for each in several:
            for part in self.nodes[each][1:] if self.nodes[each][0] == "either" else (each,):
                if self.nodes[part][0] == "byte":
                    bits |= self.nodes[part][1]
                elif part != NOTHING:
                    found.add(part)
        parts = sorted(found | ({self.byte(bits)} if bits else set()))
        return self.node(any(map(self.nullable.__getitem__, parts)), "either", *parts) if parts[1:] else sum(parts)

    def times(self, part: int, fewest: int, most: int | None) -> int:
        """So many in a row, without a bound for None."""
        if part == EMPTY or most == 0 or (part == NOTHING and fewest == 0):
            return EMPTY
        if part == NOTHING or (fewest, most) == (1, 1):
            return part
        fewest = 0 if self.nullable[part] else fewest
        return self.node(fewest == 0, "times", part, fewest, most)

    def after(self, node: int, byte: int) -> int:
        """The derivative: all texts that, written after ``byte``, make a text of the language."""
        key = (node, byte)
        if key not in self.derived:
            kind, *parts = self.nodes[node]
            if kind == "byte":
                found = parts[0] >> byte & 1  # EMPTY or NOTHING
            elif kind == "then":
                found = self._after_row(node, byte)
            elif kind == "either":
                found = self.either(*(self.after(part, byte) for part in parts))
            elif kind == "times":
                part, fewest, most = parts
                rest = self.times(part, max(fewest - 1, 0), None if most is None else most - 1)
                found = self.then(self.after(part, byte), rest)
            else:
                found = NOTHING
            self.derived[key] = found
        return self.derived[key]

    def _after_row(self, node: int, byte: int) -> int:
        """The byte belongs to the first part, or to a later one if those before it may be empty."""
        ways = []
        while self.nodes[node][0] == "then":
            _, first, rest = self.nodes[node]
            ways.append(self.then(self.after(first, byte), rest))
            if not self.nullable[first]:
                return self.either(*ways)
            node = rest
        return self.either(*ways, self.after(node, byte))

    def letters(self, ranges: list[tuple[int, int]]) -> int:
        """One character, as UTF-8, out of some ranges of code points."""
        ways = []
        for first, last in ranges:
            for chain in utf8(first, last):
                row = EMPTY
                for low, high in reversed(chain):
                    row = self.then(self.byte((1 << high + 1) - (1 << low)), row)
                ways.append(row)
        return self.either(*ways)


def utf8(first: int, last: int) -> Iterator[list[tuple[int, int]]]:
    """The UTF-8 of the code points first..last as rows of byte ranges; halves of pairs are left out."""
    for low, high in ((0, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, LAST)):
        if max(first, low) <= min(last, high):
            yield from _rows(chr(max(first, low)).encode(), chr(min(last, high)).encode())


def _rows(low: bytes, high: bytes) -> Iterator[list[tuple[int, int]]]:
    """All characters between two of equal length, in as few rows as it takes."""
    least, most = b"\x80" * (len(low) - 1), b"\xbf" * (len(low) - 1)
    if low[0] == high[0] and least:
        yield from ([(low[0], low[0]), *rest] for rest in _rows(low[1:], high[1:]))
        return
    first, last = low[0], high[0]
    if low[1:] != least:
        yield from ([(first, first), *rest] for rest in _rows(low[1:], most))
        first += 1
    if high[1:] != most:
        yield from ([(last, last), *rest] for rest in _rows(least, high[1:]))
        last -= 1
    if first <= last:
        yield [(first, last), *((0x80, 0xBF) for _ in least)]


class Reader:
    """Reads an expression from left to right. UserError says what it cannot read."""

    def __init__(self, text: str, languages: Languages) -> None:
        self.tokens, self.make = [*TOKEN.findall(text), ""], languages

    def whole(self) -> int:
        self.tokens.reverse()  # the next one is the last
        try:
            found = self.choice()
        except RecursionError:
            self.refuse("too many brackets inside brackets")
        return found if self.tokens[-1] == "" else self.refuse("a ) that nothing opened")

    def choice(self) -> int:
        ways = [self.row()]
        while self.tokens[-1] == "|":
            self.tokens.pop()
            ways.append(self.row())
        return self.make.either(*ways)

    def row(self) -> int:
        parts = []
        while self.tokens[-1] not in ("", "|", ")"):
            part = self.part()
            if self.tokens[-1][:1] in ("*", "+", "?", "{"):
                part = self.make.times(part, *self.count(self.tokens.pop()))
                if self.tokens[-1][:1] in ("*", "+", "?", "{"):
                    self.refuse("two repetitions side by side: put brackets between them")
            parts.append(part)
        found = EMPTY
        for part in reversed(parts):
            found = self.make.then(part, found)
        return found

    def part(self) -> int:
        token = self.tokens.pop()
        if token in ("(", "(?:"):
            inner = self.choice()
            return inner if self.tokens.pop() == ")" else self.refuse("a ( that nothing closes")
        if token in ("[", "[^"):
            return self.make.letters(self.ranges(negated=token == "[^"))
        if token == ".":
            return self.make.letters([(0, 9), (11, LAST)])
        if token[0] in "*+?{}]^$":
            self.refuse(f"{token} where nothing can be repeated: write \\{token[0]} for the character itself")
        code = self.code(token)
        return self.make.letters([(code, code)])

    def ranges(self, negated: bool) -> list[tuple[int, int]]:
        """What stands in [...]."""
        found = []
        while (token := self.tokens.pop()) != "]":
            low = high = self.code(token, "[]^-&~")
            if self.tokens[-1] == "-":
                self.tokens.pop()
                high = self.code(self.tokens.pop(), "[]^-&~")
            if high < low:
                self.refuse("a range that ends before it begins")
            found.append((low, high))
        if not found:
            self.refuse("an empty class")
        if not negated:
            return found
        edges = [-1, *(edge for low, high in sorted(found) for edge in (low, high)), LAST + 1]
        highest = np.maximum.accumulate(edges).tolist()  # so that ranges inside others end no gap
        gaps = zip(highest[::2], edges[1::2])
        return [(before + 1, after - 1) for before, after in gaps if before + 1 < after]

    def code(self, token: str, marks: str = "") -> int:
        """The code point of a character, written as such or after a backslash."""
        if not token or token[0] in marks or len(token) > 2 or (len(token) == 2 and token[0] != "\\") or token == "\\":
            self.refuse(f"{token or 'an end'} where a character should stand")
        if len(token) == 2 and token[1].isalnum() and token[1] not in NAMED:
            self.refuse(f"{token}: of letters only \\n, \\r and \\t may follow a backslash")
        return ord(NAMED.get(token[-1], token[-1]) if len(token) == 2 else token)

    def count(self, token: str) -> tuple[int, int | None]:
        if token in "*+?":
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[token]
        fewest, comma, most = token[1:-1].partition(",")
        if not fewest or len(fewest + most) > 10 or max(int(fewest), int(most or 0)) > TIMES:
            self.refuse(f"{token}: give {{m}}, {{m,}} or {{m,n}} of at most {TIMES:,}")
        if most and int(most) < int(fewest):
            self.refuse(f"{token}, which runs backwards")
        return int(fewest), int(most) if most else None if comma else int(fewest)

    def refuse(self, what: str) -> NoReturn:
        raise UserError(f"the regular expression has {what}")


class Teach:
    """The grammar of a regular expression over a vocabulary: a ``Processor``. A state is a language's number."""

    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        self.languages, self.vocabulary = Languages(), vocabulary
        self.first = Reader(text, self.languages).whole()
        if self.first == NOTHING:
            raise UserError("the regular expression cannot be met: nothing matches it")
        self.masks: dict[int, np.ndarray] = {}
        self.trie: dict[int, Any] = {}  # branches by byte; at -1 the tokens that end there
        for id, token in enumerate(vocabulary.tokens):
            if vocabulary.usable[id] and id not in vocabulary.ends:
                node = self.trie
                for byte in token:
                    node = node.setdefault(byte, {})
                node.setdefault(-1, []).append(id)

    def start(self, prompt: tuple[int, ...]) -> int:
        return self.first

    def allowed(self, state: int) -> np.ndarray:
        """(vocabulary,) bool: the tokens that may come next. Ends are among them where the text may end."""
        if state not in self.masks:
            found: list[int] = []
            waiting = [] if state == OVER else [(self.trie, state)]
            while waiting:
                node, here = waiting.pop()
                for byte, below in node.items():
                    if byte == -1:
                        found += below
                    elif (after := self.languages.after(here, byte)) != NOTHING:
                        waiting.append((below, after))
            self.masks[state] = self.vocabulary.mask(found, state != OVER and self.languages.nullable[state])
        return self.masks[state]

    def process(self, state: int, logits_V: Tensor) -> Tensor:
        return keep(logits_V, self.allowed(state))

    def advance(self, state: int, token: int) -> int:
        if not self.allowed(state)[token]:
            raise ValueError(f"token {token} is not allowed here")
        if token in self.vocabulary.ends:
            return OVER
        for byte in self.vocabulary.tokens[token]:
            state = self.languages.after(state, byte)
        return state

    def done(self, state: int) -> bool:
        return state in (OVER, EMPTY)
