"""What `bench align` trains on: a checkpoint of random weights, chats and pairs of random tokens, lengths drawn."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jielong.base import noise
from jielong.bench.trl import Chat, Pair
from jielong.nets import checkpoint
from jielong.nets.config import TransformerConfig, shape
from jielong.nets.transformer import Transformer
from jielong.units import bpe


@dataclass(frozen=True)
class Scene:
    """The checkpoint's folder, its configuration, examples, and how many a step takes."""

    folder: str
    config: TransformerConfig
    chats: list[Chat]
    pairs: list[Pair]
    rows: int  # packed rows of a step of SFT
    batch: int  # pairs of a step of DPO

    @property
    def chat_tokens(self) -> float:
        """Of a chat, on the average."""
        return statistics.fmean(len(a) + len(b) for a, b in self.chats)

    @property
    def pair_tokens(self) -> float:
        """Of a pair's two chats, on the average."""
        return statistics.fmean(2 * len(a) + len(b) + len(c) for a, b, c in self.pairs)


def examples(
    vocab: int, n: int, asked: tuple[int, int], answered: tuple[int, int], answers: int
) -> list[list[list[int]]]:
    """n times something asked and some answers, of random tokens and of lengths drawn between these bounds."""
    found = []
    for i in range(n):
        sizes = [asked, *[answered] * answers]
        lengths = [low + int(noise.integers(7, "lengths", answers, i, k, below=high - low + 1, n=1)[0])
                   for k, (low, high) in enumerate(sizes)]  # fmt: skip
        ids = (noise.integers(7, "ids", answers, i, below=vocab - 8, n=sum(lengths)) + 8).tolist()
        ends = np.cumsum([0, *lengths]).tolist()
        found.append([ids[a:b] for a, b in zip(ends, ends[1:])])
    return found


def staged(
    place: Path, width: int, layers: int, vocab: int, context: int, rows: int, batch: int, steps: int
) -> Scene:
    """A checkpoint of random weights in `place`, and examples for so many steps."""
    config = shape(width, vocab, context, layers)
    model = Transformer(config, seed=0)
    letters = "".join(chr(97 + i) for i in noise.integers(7, "letters", below=26, n=40 * vocab))
    codec = bpe.train([" ".join(letters[i : i + 6] for i in range(0, len(letters), 6))], vocab)  # nobody reads them
    folder = str(place / "model")
    checkpoint.save(folder, model, codec)
    longest = context // 4
    chats = examples(vocab, max(64, 12 * rows * steps), (8, longest // 2), (8, longest), 1)
    pairs = examples(vocab, batch * steps, (8, longest // 2), (8, longest), 2)
    return Scene(folder, config, [(a, b) for a, b in chats], [(a, b, c) for a, b, c in pairs], rows, batch)


def alike(chats: list[Chat], batch: int) -> list[Chat]:
    """The chats in batches of about one length, as transformers groups them: sorted within fifty batches, these then
    in any order; whole batches only."""
    ordered: list[list[Chat]] = []
    for start in range(0, len(chats), 50 * batch):
        some = sorted(chats[start : start + 50 * batch], key=lambda chat: len(chat[0]) + len(chat[1]))
        ordered += [some[i : i + batch] for i in range(0, len(some) - batch + 1, batch)]
    mixed = noise.permutation(7, len(ordered), "batches")
    return [chat for i in mixed for chat in ordered[int(i)]]


def rows_of(scene: Scene) -> int:
    """Packed rows that TRL's best-fit makes of the chats."""
    from datasets import Dataset
    from trl.data_utils import pack_dataset

    rows = Dataset.from_list([{"input_ids": a + b} for a, b in scene.chats])
    return len(pack_dataset(rows, scene.config.context))
