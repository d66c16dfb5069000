"""Grammars through llguidance: which tokens may come next, with no loop over the vocabulary in Python.

llguidance runs a lexer of derivatives and an Earley parser over a trie of the vocabulary; any tokenisation of a
text of the language is allowed, and tokens after which no text of it could follow are not. Masking a law and
normalising again is not the law given the grammar: see ``truth``.
Sources: Willard & Louf 2023 (arXiv 2307.09702); Geng et al. 2023 (arXiv 2305.13971); llguidance's MaskBench.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from jielong.base.errors import UserError
from jielong.infer.grammar import checks
from jielong.infer.grammar.vocabulary import Vocabulary, vocabulary
from jielong.units.codec import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["regex", "json_schema", "lark"]
NAMES = {"regex": "regular expression", "json_schema": "JSON schema", "lark": "grammar"}
# A tenth to a fifth of llguidance's own: a hostile expression then ends in half a second, not in minutes.
LIMITS: dict[str, Any] = {
    "initial_lexer_fuel": 200_000,
    "step_lexer_fuel": 20_000,
    "max_lexer_states": 20_000,
    "max_grammar_size": 100_000,
    "verbose_errors": False,
}
# At most one blank, or a new line with its indent: a model that likes blanks would else never come to an end.
JSON = {"whitespace_pattern": r"(?: |\n[ \t]{0,24})?"}


@dataclass(frozen=True, eq=False, slots=True)
class Place:
    """How far a text has come. ``allowed`` (vocabulary,) bool: what may come next; never changed.

    ``error``: why nothing may, where that came to light on the way.
    """

    matcher: Any  # read by copying only
    allowed: np.ndarray
    tokens: int = 0
    done: bool = False
    error: str = ""


@dataclass(frozen=True, eq=False)
class Mask:
    """A grammar over a vocabulary: a ``Processor``. Made by ``regex``, ``json_schema`` and ``lark``."""

    kind: Kind
    text: str
    vocabulary: Vocabulary
    first: Place

    @property
    def key(self) -> tuple[str, str]:
        """What it is, for the identity of a draw."""
        return self.kind, self.text

    def start(self, prompt: tuple[int, ...]) -> Place:
        """The grammar is about the new text only."""
        return self.first

    def allowed(self, place: Place) -> np.ndarray:
        """(vocabulary,) bool, read-only. Ends are among them where the text may end."""
        return place.allowed

    def process(self, place: Place, logits_V: Tensor) -> Tensor:
        """-inf for what may not come next, and for what a padded model has beyond the tokenizer. UserError where
        the grammar turned out to be too complex, or cannot be met from here on."""
        if place.error:
            raise UserError(place.error)
        return keep(logits_V, place.allowed)

    def advance(self, place: Place, token: int) -> Place:
        """ValueError for a token that is not allowed."""
        if not (0 <= token < self.vocabulary.size and place.allowed[token]):
            raise ValueError(f"token {token} is not allowed after {place.tokens} tokens")
        if token in self.vocabulary.ends:
            return Place(None, np.zeros_like(place.allowed), place.tokens + 1, True)
        matcher = place.matcher.deep_copy()
        matcher.consume_token(token)
        return _place(matcher, self.vocabulary, self.kind, place.tokens + 1)

    def done(self, place: Place) -> bool:
        """Whether the text is complete and nothing but its end may follow."""
        return place.done


def make(codec: Tokenizer | Vocabulary, kind: str, text: str) -> Mask:
    """The grammar of that kind ("regex", "json_schema" or "lark"). UserError as below."""
    makers = {"regex": regex, "json_schema": json_schema, "lark": lark}
    if kind not in makers:
        raise UserError(f"there is no kind of grammar {kind!r}: give {', '.join(makers)}")
    return makers[kind](codec, text)


def regex(codec: Tokenizer | Vocabulary, text: str) -> Mask:
    """The whole text matches a regular expression: the Rust crate's syntax, without look-around and anchors
    inside. UserError for one that is wrong, too large or matches nothing."""
    checks.check_text(text, "regular expression")
    checks.check_repeats(text)
    return _mask("regex", text, codec)


def json_schema(codec: Tokenizer | Vocabulary, schema: Mapping[str, Any] | bool | str) -> Mask:
    """The text is JSON that the schema (or its JSON text) describes, its properties in their order.

    UserError for a schema that is wrong, too large, holds for nothing, or uses what is not implemented (named).
    """
    read = checks.read_schema(schema) if isinstance(schema, str) else schema
    checks.check_schema(read)
    return _mask("json_schema", guided(read), codec)


def guided(schema: Mapping[str, Any] | bool) -> str:
    """A schema's JSON text with a bound on blanks, for ``%json`` in a Lark grammar."""
    whole = {"allOf": [schema]} if isinstance(schema, bool) else dict(schema)
    return json.dumps({**whole, "x-guidance": JSON}, ensure_ascii=False)


def lark(codec: Tokenizer | Vocabulary, text: str) -> Mask:
    """The text belongs to a Lark grammar with a rule ``start``, in llguidance's dialect (``%json {...}`` too).

    UserError for one that is wrong, too large, or has a rule that can never come to an end.
    """
    checks.check_text(text, "grammar")
    checks.check_lark(text)
    return _mask("lark", text, codec)


def keep(logits_V: Tensor, allowed: np.ndarray) -> Tensor:
    """Logits (V,) with -inf where ``allowed`` (V or fewer,) is not true. The given ones stay as they are."""
    import torch

    blocked_V = torch.ones(logits_V.shape[-1], dtype=torch.bool)
    blocked_V[: len(allowed)] = torch.tensor(~allowed)
    return logits_V.masked_fill(blocked_V.to(logits_V.device), -torch.inf)


def _mask(kind: Kind, text: str, codec: Tokenizer | Vocabulary) -> Mask:
    from llguidance import LLMatcher, LLParserLimits

    words = codec if isinstance(codec, Vocabulary) else vocabulary(codec)
    matcher = LLMatcher(words.guidance, source(kind, text), log_level=0, limits=LLParserLimits(**LIMITS))
    first = _place(matcher, words, kind, 0)
    if first.error:
        raise UserError(first.error)
    return Mask(kind, text, words, first)


def source(kind: Kind, text: str) -> str:
    """The grammar in llguidance's Lark.

    Left to itself llguidance replaces text without a choice by the tokenizer's own cut of it; here the model
    chooses among all cuts, so that the mask says no more than the grammar does.
    """
    from llguidance import regex_to_lark

    if kind == "regex":
        text = f"start: /{regex_to_lark(text, '')}/"
    elif kind == "json_schema":
        text = f"start: %json {text}"
    return text + '\n%llguidance {"no_forcing": true}\n'


def _place(matcher: Any, words: Vocabulary, kind: Kind, tokens: int) -> Place:
    """Computes the mask at once, so that a place is never written to again and threads may share it."""
    bits = b"" if matcher.is_error() else matcher.compute_bitmask()
    allowed = np.zeros(words.size, dtype=bool)
    error = ""
    if not matcher.is_error():
        allowed[:] = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), bitorder="little")[: words.size]
        allowed &= words.usable
    elif "NoExtension" not in matcher.get_error():
        error = f"the {NAMES[kind]} cannot be used: {_reason(matcher.get_error())}"
    if not error and not allowed.any():
        error = f"the {NAMES[kind]} cannot be met: nothing may be written"
    if error and tokens:
        error += f" (after {tokens} tokens)"
    allowed.setflags(write=False)
    ending = int(allowed[list(words.ends)].sum())
    return Place(matcher, allowed, tokens, 0 < ending == int(allowed.sum()), error)


def _reason(message: str) -> str:
    """One line of llguidance's message: the word of the expression's own parser, where there is one."""
    inner = re.search(r"^error: (.*)$", message, re.MULTILINE)
    line = inner[1] if inner else re.sub(r"^(?:at )?\d+\(\d+\): ", "", message.strip().split("\n")[0])
    return " ".join(line.split())[:200] or "no reason was given"
