"""Bytes written as visible characters, and the expressions that cut text into words before merging.

A byte-level vocabulary must be stored as text. GPT-2 gave every byte one printable character: the 188 bytes
that print in Latin-1 stand for themselves, the other 68 take the characters from U+0100 on, in order (so a
space is "Ġ" and a newline "Ċ"). `tokenizer.json` files of this kind all use that table.
"""

from __future__ import annotations

from typing import Any

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)  # what llama.cpp calls "qwen2": every digit alone, a line break ends a run of marks
GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def _characters() -> tuple[str, ...]:
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    rest = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in visible else next(rest)) for byte in range(256))


CHARACTER_OF = _characters()  # byte -> its visible character
BYTE_OF = {character: byte for byte, character in enumerate(CHARACTER_OF)}


def show(data: bytes) -> str:
    """Bytes as their visible characters: ``show(b" the") == "Ġthe"``."""
    return "".join(CHARACTER_OF[byte] for byte in data)


def read(token: str) -> bytes:
    """The inverse of ``show``. Raises KeyError for a character that stands for no byte."""
    return bytes(BYTE_OF[character] for character in token)


def splitter(pattern: str = QWEN2) -> Any:
    """A pre-tokenizer of the tokenizers library that cuts by ``pattern`` and keeps every character."""
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Split(Regex(pattern), behavior="isolated")
