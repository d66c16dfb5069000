from collections.abc import Sequence

import numpy as np
import pytest

from jielong.base.errors import UserError
from jielong.data import tokenise as module
from jielong.data.chats import ChatRecord
from jielong.data.pack import Packer
from jielong.data.read import Document
from jielong.data.tokenise import byte_lengths, tokenise, tokenise_chats


class Bytes:
    """A codec of bytes with two special tokens."""

    size = 258
    end = 256

    def __init__(self) -> None:
        self.special = {"<|endoftext|>": 256, "<|im_end|>": 257}
        self.batches: list[int] = []

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        self.batches.append(len(texts))
        return [self.encode(text) for text in texts]

    def bytes_of(self, id: int) -> bytes:
        return bytes([id]) if id < 256 else b"<|special|>"


def test_documents_end_with_the_end():
    tokens = tokenise(["ab", Document("龍", "d"), ""], Bytes())
    assert tokens.ids.tolist() == [97, 98, 256, *"龍".encode(), 256]
    assert tokens.starts.tolist() == [0, 3, 7] and tokens.train.all() and tokens.dropped == 1
    assert tokenise(["ab"], Bytes(), end=257).ids.tolist() == [97, 98, 257]


def test_batches_and_progress(monkeypatch):
    monkeypatch.setattr(module, "BATCH_DOCUMENTS", 3)
    monkeypatch.setattr(module, "BATCH_CHARACTERS", 10)
    codec, seen = Bytes(), []
    texts = ["a", "b", "c", "d", "é" * 20, "f", "g"]
    tokens = tokenise(iter(texts), codec, progress=lambda *so_far: seen.append(so_far))
    assert codec.batches == [3, 2, 2]
    assert seen == [(3, 3), (5, 44), (7, 46)]
    assert tokens.documents == 7
    assert np.array_equal(tokens.ids, tokenise(texts, Bytes()).ids)


def encode_chat(messages: list[dict[str, str]]) -> tuple[list[int], list[bool]]:
    ids: list[int] = []
    mask: list[bool] = []
    for turn in messages:
        content = [*turn["content"].encode(), 257]
        ids += content
        mask += [turn["role"] == "assistant"] * len(content)
    return ids, mask


def chat(*turns: tuple[str, str]) -> ChatRecord:
    return ChatRecord([{"role": role, "content": content} for role, content in turns], "chats.jsonl:7")


def test_chats_keep_their_marks():
    seen = []
    chats = [chat(("user", "hi"), ("assistant", "yo")), chat(("user", "é"), ("assistant", "a"))]
    tokens = tokenise_chats(chats, encode_chat, progress=lambda *so_far: seen.append(so_far))
    ids, train = tokens.document(0)
    assert ids.tolist() == [*b"hi", 257, *b"yo", 257] and train.tolist() == [False] * 3 + [True] * 3
    assert tokens.documents == 2 and seen == [(1, 4), (2, 7)]
    assert np.array_equal(tokens.ids, tokenise_chats(chats, encode_chat).ids)


def test_a_chat_in_which_nothing_is_trained():
    with pytest.raises(UserError, match=r"chats\.jsonl:7: nothing in this chat is trained on"):
        tokenise_chats([chat(("user", "hi"))], encode_chat)
    with pytest.raises(UserError, match="nothing in this chat"):  # a first token is never a target
        tokenise_chats([chat(("assistant", "hi"))], lambda _: ([1, 2], [True, False]))


def test_bytes_of_a_batch_are_the_bytes_of_its_targets():
    codec = Bytes()
    table = byte_lengths(codec)
    assert table.shape == (258,) and table[256] == table[257] == 0 and (table[:256] == 1).all()
    texts = ["abc", "臺灣", "d"]
    packer = Packer(tokenise(texts, codec), 4, 2, byte_lengths=table)
    # the first byte of each document is never asked for, and its end has no bytes
    assert sum(b.bytes for b in packer.once()) == sum(len(text.encode()) - 1 for text in texts)
    begun = tokenise([*texts, ""], codec, begin=codec.end)
    assert begun.document(2)[0].tolist() == [256, 100, 256] and begun.documents == 3
    packer = Packer(begun, 4, 2, byte_lengths=table)
    assert sum(b.bytes for b in packer.once()) == sum(len(text.encode()) for text in texts)
    assert sum(b.trained for b in packer.once()) == sum(len(text.encode()) + 1 for text in texts)
