"""One token for each character of a text; any other character is written in its bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jielong.units.chat import TEMPLATE
from jielong.units.codec import SPECIAL, Tokenizer
from jielong.units.tokenlist import build


def train(
    texts: Iterable[str], special: Sequence[str] = SPECIAL, min_frequency: int = 1, template: str = TEMPLATE
) -> Tokenizer:
    """The characters that occur ``min_frequency`` times or more, in the order of their code points."""
    counts: dict[str, int] = {}
    for text in texts:
        for character in set(text):
            counts[character] = counts.get(character, 0) + text.count(character)
    return build(sorted(c for c, count in counts.items() if count >= min_frequency), special, template)
