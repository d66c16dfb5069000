"""Finding the answer in a reply: each gives one normal form of it, or None where there is none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal

from jielong.prompting.strategy import Reader

NUMBER = re.compile(  # beside a letter it is part of a name; Chinese stands beside its numbers without a space
    r"(?<![A-Za-z0-9_.])-?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?(?![A-Za-z0-9_])"
    r"|(?<![A-Za-z0-9_.])-?\.\d+"
)
MINUS = str.maketrans("\u2212\uff0d", "--")


def number(reply: str) -> str | None:
    """The last number, as 1234.5 is written: no separators, no sign of money, no zeros that say nothing."""
    found = NUMBER.findall(unicodedata.normalize("NFKC", reply).translate(MINUS))
    return plain(found[-1]) if found else None


def first_number(reply: str) -> str | None:
    """The first: what zero-shot chain of thought reads after "the answer (arabic numerals) is" (Kojima et al. 2022)."""
    found = NUMBER.findall(unicodedata.normalize("NFKC", reply).translate(MINUS))
    return plain(found[0]) if found else None


def plain(text: str) -> str:
    """A number in its shortest form."""
    value = Decimal(text.replace(",", "").replace("$", "")).normalize()
    return f"{value:f}" if value else "0"


def after(phrase: str, reader: Reader) -> Reader:
    """`reader` on what follows the last `phrase`; None where the phrase does not stand."""

    def read(reply: str) -> str | None:
        at = reply.lower().rfind(phrase.lower())
        return None if at < 0 else reader(reply[at + len(phrase) :])

    return read


def last_line(reply: str) -> str | None:
    """The last line that says something."""
    lines = [line.strip() for line in reply.splitlines() if line.strip()]
    return lines[-1] if lines else None


def one_of(choices: Sequence[str]) -> Reader:
    """The one of `choices` that is named; None where none is, or several are. Of choices one inside the other, the
    longer."""
    ordered = sorted(choices, key=len, reverse=True)

    def read(reply: str) -> str | None:
        rest, found = unicodedata.normalize("NFKC", reply), set()
        for choice in ordered:
            pattern = re.escape(unicodedata.normalize("NFKC", choice))
            latin = rf"(?<![^\W\d_]){pattern}(?![^\W\d_])" if choice.isascii() else pattern
            rest, count = re.subn(latin, " ", rest, flags=re.IGNORECASE)
            if count:
                found.add(choice)
        return found.pop() if len(found) == 1 else None

    return read
