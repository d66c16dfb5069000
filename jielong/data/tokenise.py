"""Documents and chats to flat tokens, in batches, through any codec."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from jielong.base.errors import UserError
from jielong.data.chats import ChatRecord
from jielong.data.tokens import Ids, Mask, Tokens

BATCH_DOCUMENTS = 1024
BATCH_CHARACTERS = 1 << 20


class HasText(Protocol):
    @property
    def text(self) -> str: ...


class Codec(Protocol):
    """What tokenising needs of a codec; `end` closes every document."""

    @property
    def size(self) -> int: ...
    @property
    def end(self) -> int: ...
    def encode(self, text: str) -> list[int]: ...
    def encode_batch(self, texts: Sequence[str]) -> Sequence[Sequence[int]]: ...


class ByteCodec(Protocol):
    """A codec that knows the bytes of its tokens."""

    @property
    def size(self) -> int: ...
    @property
    def special(self) -> Mapping[str, int]: ...
    def bytes_of(self, id: int) -> bytes: ...


Progress = Callable[[int, int], object]  # (documents so far, UTF-8 bytes so far)
EncodeChat = Callable[[list[dict[str, str]]], tuple[Ids, Mask]]


def tokenise(
    documents: Iterable[str | HasText],
    codec: Codec,
    end: int | None = None,
    progress: Progress | None = None,
    begin: int | None = None,
) -> Tokens:
    """The tokens of all documents, each closed by `end` (default: the codec's). Empty ones are dropped.

    A document's first token is never a target. `begin` lays a token before it, so that it is one: then a
    model can start a text from nothing, and its loss adds up to that of whole documents (the entropy of a law
    counts the first token too). GPT-2 uses its end token for both.
    """
    close = codec.end if end is None else end
    before = [] if begin is None else [begin]
    return Tokens.from_documents(_encoded(documents, codec, before, close, progress))


def tokenise_chats(
    chats: Iterable[ChatRecord], encode_chat: EncodeChat, progress: Progress | None = None
) -> Tokens:
    """The tokens of all chats with their marks of what is trained: `encode_chat(messages) -> (ids, mask)`.

    Raises UserError naming the chat in which nothing would be trained on.
    """
    return Tokens.from_documents(_encoded_chats(chats, encode_chat, progress))


def byte_lengths(codec: ByteCodec) -> npt.NDArray[np.int64]:
    """(size,) UTF-8 bytes of each token, 0 for special ones: the table that makes bits per byte of a loss."""
    special = set(codec.special.values())
    lengths = [0 if i in special else len(codec.bytes_of(i)) for i in range(codec.size)]
    return np.array(lengths, dtype=np.int64)


def _encoded(
    documents: Iterable[str | HasText],
    codec: Codec,
    before: list[int],
    end: int,
    progress: Progress | None,
) -> Iterator[tuple[Any, None]]:
    done = size = 0
    for texts in _batches(documents):
        for ids in codec.encode_batch(texts):
            yield ([*before, *ids, end] if len(ids) else []), None
        if progress is not None:
            done += len(texts)
            size += sum(len(text.encode()) for text in texts)
            progress(done, size)


def _batches(documents: Iterable[str | HasText]) -> Iterator[list[str]]:
    """Batches of a bounded number of documents and, but for the last document of each, of characters."""
    batch, characters = list[str](), 0
    for document in documents:
        text = document if isinstance(document, str) else document.text
        batch.append(text)
        characters += len(text)
        if len(batch) == BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _encoded_chats(
    chats: Iterable[ChatRecord], encode_chat: EncodeChat, progress: Progress | None
) -> Iterator[tuple[Ids, Mask]]:
    done = size = 0
    for chat in chats:
        ids, mask = encode_chat(chat.messages)
        if not np.asarray(mask, dtype=bool)[1:].any():  # the first token is never a target
            raise UserError(f"{chat.id}: nothing in this chat is trained on; an assistant's turn must be")
        yield ids, mask
        if progress is not None:
            done += 1
            size += sum(len(turn["content"].encode()) for turn in chat.messages)
            progress(done, size)
