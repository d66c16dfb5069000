"""What a grammar sees of a tokenizer: the bytes of every token, and which tokens end a text."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from jielong.base.errors import UserError
from jielong.units.codec import Tokenizer


@dataclass(frozen=True)
class Vocabulary:
    """``tokens``: the bytes of each id, b"" where there are none. ``ends``: the ids that end a text.

    ``control``: ids that no grammar may write (the ends too, which are allowed where a text may end).
    """

    tokens: tuple[bytes, ...]
    ends: tuple[int, ...]
    control: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if not self.ends:
            raise UserError('a grammar needs a token that ends the text; name one as "eos_token"')
        if not all(0 <= i < self.size for i in (*self.ends, *self.control)):
            raise UserError(f"a token that ends the text is outside the vocabulary of {self.size}")

    @property
    def size(self) -> int:
        return len(self.tokens)

    @cached_property
    def usable(self) -> np.ndarray:
        """(size,) bool: what a grammar may ever write. Not holes, nor control tokens that do not end a text."""
        usable = np.array([bool(token) for token in self.tokens])
        usable[list(self.control)] = False
        usable[list(self.ends)] = True
        return usable

    def mask(self, ids: Sequence[int], end: bool) -> np.ndarray:
        """(size,) bool, read-only: these ids, and those that end a text if it may end here."""
        allowed = np.zeros(self.size, dtype=bool)
        allowed[list(ids)] = True
        allowed[list(self.ends)] = end
        allowed.setflags(write=False)
        return allowed

    @cached_property
    def guidance(self) -> Any:
        """The same for llguidance; 0.5 s for 150,000 tokens, 4 ms for 1,500."""
        from llguidance import LLTokenizer, TokenizerWrapper

        return LLTokenizer(TokenizerWrapper(_Wrapped(self)), eos_token=list(self.ends))


class _Wrapped:
    """The names that llguidance asks for. Special tokens have names there that no text can spell."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.tokens = list(vocabulary.tokens)
        self.eos_token_id, self.bos_token_id = vocabulary.ends[0], None
        self.special_token_ids = sorted(vocabulary.control | set(vocabulary.ends))

    def __call__(self, text: str | bytes) -> list[int]:
        return []  # asked only for text without a choice, which is not forced here


@lru_cache(maxsize=4)
def vocabulary(codec: Tokenizer) -> Vocabulary:
    """That of a tokenizer. A text ends with the end of a document or of a chat turn."""
    found: dict[int, None] = {}
    for name in ("end", "turn_end"):
        with suppress(AttributeError, UserError):  # a tokenizer without such a token
            found[getattr(codec, name)] = None
    control = frozenset(codec.special.values())
    return Vocabulary(tuple(codec.bytes_of(i) for i in range(codec.size)), tuple(found), control)
