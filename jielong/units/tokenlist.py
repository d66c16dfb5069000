"""A vocabulary written by hand: at each place the longest token of the list is taken.

    codec = build(["蘋果", "apple", "a", "b"])
    codec.encode("apple蘋果b")                     # three ids

What no token covers is written in bytes, so nothing is lost. Saved as a ``tokenizer.json`` that the
tokenizers library and transformers read: a BPE model without merges, whose "words" are cut by an expression
made of the list. Meant for lists up to some thousands of tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jielong.base.errors import UserError
from jielong.units.chat import TEMPLATE
from jielong.units.codec import SPECIAL, Tokenizer, check_unicode, new_config

LONGEST = 256  # characters in one token


def build(tokens: Iterable[str], special: Sequence[str] = SPECIAL, template: str = TEMPLATE) -> Tokenizer:
    """Ids: the special tokens, the 256 bytes (those in ASCII as their character), then ``tokens`` in order.

    A token that is one ASCII character is its byte. Raises UserError for an empty token, one of the form
    <0x41> (the name of a byte), one that is special, and text that is not Unicode.
    """
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Backend

    listed = dict.fromkeys(tokens)
    _check(listed, special)
    vocabulary = {token: index for index, token in enumerate(special)}
    for byte in range(256):
        name = chr(byte) if chr(byte) in listed and byte < 128 else f"<0x{byte:02X}>"
        vocabulary[name] = len(vocabulary)
    for token in listed:
        vocabulary.setdefault(token, len(vocabulary))
    backend = Backend(models.BPE(vocabulary, [], byte_fallback=True, ignore_merges=True))
    if any(len(token) > 1 for token in listed):
        backend.pre_tokenizer = pre_tokenizers.Split(_longest(listed), behavior="isolated")
    else:  # the model cuts into characters by itself, but would look a whole text up first
        backend.model.ignore_merges = False
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return Tokenizer(backend, new_config(), template)


def read(path: str | Path, special: Sequence[str] = SPECIAL) -> Tokenizer:
    r"""``build`` from a file with one token a line; ``\n``, ``\t`` and ``\s`` stand for white space."""
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} ({error})") from error
    white = {r"\n": "\n", r"\t": "\t", r"\s": " "}
    return build([re.sub(r"\\[nts]", lambda m: white[m[0]], line) for line in lines if line], special)


def _check(tokens: Iterable[str], special: Sequence[str]) -> None:
    for token in tokens:
        if not 0 < len(token) <= LONGEST:
            raise UserError(f"a token of the list has {len(token)} characters; it may have 1 to {LONGEST}")
        if re.fullmatch("<0x[0-9A-F]{2}>", token):
            raise UserError(f"the token {token} is the name of a byte; remove it from the list")
        if token in special:
            raise UserError(f"the token {token} is a special one; remove it from the list")
        check_unicode(token, f"the token {token!r}")


def _longest(tokens: Iterable[str]) -> Any:
    """An expression whose match at each place is the longest token, else one character.

    The list as a tree of its first characters, so that a place is tried in as many steps as the token is
    long, not as the list is.
    """
    from tokenizers import Regex

    tree: dict[str, Any] = {}
    for token in tokens:
        node = tree
        for character in token:
            node = node.setdefault(character, {})
        node[""] = {}  # a token ends here
    return Regex(rf"(?:{_alternatives(tree)}|[\s\S])")


def _alternatives(tree: dict[str, Any]) -> str:
    branches = [_escaped(first) + _rest(below) for first, below in sorted(tree.items()) if first]
    return "|".join(branches)


def _rest(tree: dict[str, Any]) -> str:
    """What may follow; optional, and taken when it can be, where a token already ends."""
    if set(tree) == {""}:
        return ""
    return f"(?:{_alternatives(tree)})" + ("?" if "" in tree else "")


def _escaped(character: str) -> str:
    return f"\\x{{{ord(character):x}}}"
