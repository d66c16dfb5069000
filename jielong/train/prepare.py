"""From files to packed tokens: what `train lm` and `train sft` do before the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from jielong.base.errors import UserError
from jielong.data.chats import ChatRecord, read_chats
from jielong.data.mix import mixture, split
from jielong.data.tokenise import tokenise, tokenise_chats
from jielong.data.tokens import Tokens
from jielong.units import bpe, chars
from jielong.units import codec as codecs
from jielong.units.chat import encode_chat
from jielong.units.codec import Tokenizer

T = TypeVar("T")

SAMPLE_BYTES = 8_000_000  # text that decides a vocabulary; more changes little and takes longer
VALIDATION_TOKENS = 50_000  # at most: the loss is then known to about a hundredth


@dataclass(frozen=True)
class Prepared:
    """A tokenizer and the tokens of both sides."""

    codec: Tokenizer
    train: Tokens
    validation: Tokens | None


def texts(
    specs: Sequence[str], fraction: float, seed: int, tokenizer: str, vocab: int, split_on: str | None = None
) -> Prepared:
    """Documents of `specs` (a file, folder, hf:NAME or world:KIND, each perhaps with =WEIGHT), split and tokenised.

    `tokenizer`: "bpe" or "chars" to learn one, else a folder with one. Raises UserError for what cannot be read.
    """
    documents = list(mixture(specs, seed, split_on=split_on))
    train, held = split(documents, fraction, seed) if fraction else (documents, [])
    codec = find_codec(tokenizer, vocab, (document.text for document in train))
    begin = codec.end  # so that the first token is a target too, and a model can begin from nothing
    return Prepared(
        codec,
        tokenise(train, codec, begin=begin),
        _capped(held, lambda some: tokenise(some, codec, begin=begin)) if held else None,
    )


def find_codec(tokenizer: str, vocab: int, sample: Sequence[str] | object) -> Tokenizer:
    """Learn a byte-pair or character tokenizer from `sample`, or load the one in a folder."""
    if tokenizer == "bpe":
        return bpe.train(_sample(sample), vocab, at_most=True)
    if tokenizer == "chars":
        return chars.train(_sample(sample))
    return codecs.load(tokenizer)


def chats(specs: Sequence[str], fraction: float, seed: int, codec: Tokenizer) -> Prepared:
    """Chats of `specs`, split and tokenised; only the assistant's turns are targets."""
    records = [record for spec in specs for record in read_chats(spec)]
    train, held = split(records, fraction, seed) if fraction and len(records) > 1 else (records, [])
    validation = _capped(held, lambda some: chat_tokens(some, codec)) if held else None
    return Prepared(codec, chat_tokens(train, codec), validation)


def chat_tokens(records: Sequence[ChatRecord], codec: Tokenizer) -> Tokens:
    """Tokens of conversations with their marks."""
    return tokenise_chats(records, lambda messages: encode_chat(codec, messages))


def chat_texts(specs: Sequence[str]) -> list[str]:
    """Every turn as a text: for learning a tokenizer from chats."""
    return [turn["content"] for spec in specs for record in read_chats(spec) for turn in record.messages]


def default_vocab(size: int) -> int:
    """Byte-pair tokens for so many bytes of text: small texts cannot fill a large vocabulary.

    A larger one makes texts shorter, but each token rarer, and the head dearer; 512 to 4,096 in powers of two.
    """
    vocab = 512
    while vocab < 4096 and size > vocab * 2_000:
        vocab *= 2
    return vocab


def bytes_of(specs: Sequence[str]) -> int:
    """Bytes of the files named; 0 for what is not a file."""
    total = 0
    for spec in specs:
        path = Path(spec.rpartition("=")[0] or spec) if not Path(spec).exists() else Path(spec)
        if path.is_dir():
            total += sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
        elif path.is_file():
            total += path.stat().st_size
    return total


def _capped(items: Sequence[T], make: Callable[[Sequence[T]], Tokens]) -> Tokens:
    """The first items whose tokens reach `VALIDATION_TOKENS`."""
    parts, count, step = [], 0, 256
    for start in range(0, len(items), step):
        parts.append(make(items[start : start + step]))
        count += len(parts[-1])
        if count >= VALIDATION_TOKENS:
            break
    return Tokens.concat(parts)


def _sample(texts: object) -> Sequence[str]:
    if not hasattr(texts, "__iter__"):
        raise UserError("no text to learn a tokenizer from")
    kept, size = [], 0
    for text in islice(texts, None):
        kept.append(text)
        size += len(text.encode())
        if size > SAMPLE_BYTES:
            break
    return kept
