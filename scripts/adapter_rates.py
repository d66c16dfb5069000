"""Muon or AdamW, and which rate: a LoRA trained by `train lm`, `sft` and `dpo`, and a whole model by `dpo`.

    python scripts/adapter_rates.py [seeds [task ...]]     # minutes; prints validation losses, mean over seeds

A small model reads some kinds of text; then a LoRA of rank 8 on it learns another kind (lm), chats (sft), or
which of two answers is the question's own (dpo: the other is another question's). Every cell begins at the same base.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from jielong.base import noise
from jielong.base.talk import Talk
from jielong.data.pack import Packer
from jielong.data.tokens import Tokens
from jielong.nets.adapters.attach import attach
from jielong.nets.adapters.config import Lora
from jielong.nets.config import shape
from jielong.nets.transformer import Transformer
from jielong.train import loop, prepare
from jielong.train.loop import Course
from jielong.train.muon import Rates
from jielong.train.next_token import NextToken
from jielong.train.objective import Phase
from jielong.train.preferences.dpo import Dpo
from jielong.train.preferences.pairs import Deck, Reference, shares
from jielong.train.preferences.plan import Plan

CONTEXT, BATCH, STEPS, PAIRS = 128, 8, 100, 8
READ = ["world:facts:3000", "world:events:2000", "world:sums:2000"]
RATES = {"adamw": (0.0003, 0.001, 0.003, 0.01, 0.03), "muon": (0.0003, 0.001, 0.003, 0.01, 0.03)}
WHOLE = {"adamw": (0.00003, 0.0001, 0.0003, 0.001), "muon": (0.0001, 0.0003, 0.001, 0.003)}
TASKS = ("lm", "sft", "dpo", "dpo, whole")
QUIET = Talk(verbosity=-1)


@dataclass(frozen=True)
class Moved:
    """An objective whose parameters are moved by Muon or by AdamW, whatever it would choose."""

    inner: Any
    muon: bool

    @property
    def phases(self) -> Sequence[Phase]:
        idle = nn.Linear(1, 1)  # AdamW is to have something, where all that is moved are matrices
        return [replace(phase, model=nn.ModuleList([phase.model, idle]), muon=self.muon) for phase in self.inner.phases]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def trained(objective: Any, muon: bool, rate: float, steps: int) -> dict[str, float]:
    """The last figures of a run of its own."""
    course = Course(steps, 10, 0.5, 1.0, Rates(rate, rate))
    with tempfile.TemporaryDirectory() as place:
        return loop.run(Moved(objective, muon), course, Path(place), QUIET)


def pairs_of(chats: Tokens, seed: int) -> Tokens:
    """Each chat, and its question with the answer of another, as documents side by side."""
    order = np.roll(noise.permutation(seed, chats.documents, "others"), 1)
    found = []
    for i in range(chats.documents):
        (ids, marks), (other, theirs) = chats.document(i), chats.document(int(order[i]))
        asked = int(marks.argmax())
        wrong = np.concatenate([ids[:asked], other[int(theirs.argmax()) :]])[: CONTEXT + 1]
        found += [(ids[: CONTEXT + 1], marks[: CONTEXT + 1]), (wrong, np.arange(len(wrong)) >= asked)]
    return Tokens.from_documents(found)


def main(seeds: int, tasks: Sequence[str]) -> None:
    torch.set_num_threads(1)
    dtype = torch.bfloat16
    made = prepare.texts(READ, 0.05, 0, "bpe", 512)
    base = Transformer(shape(96, made.codec.size, CONTEXT, 3), seed=0)
    assert made.validation is not None
    reading = NextToken(base, Packer(made.train, CONTEXT, 24), Packer(made.validation, CONTEXT, 24), 1, dtype)
    found = loop.run(reading, Course(500, 20, 0.5, 1.0, Rates(0.02, 0.008)), Path(tempfile.mkdtemp()), QUIET)
    print("base", found["val_loss"], flush=True)
    chats = prepare.chats(["world:facts:1500", "world:sums:1500"], 0.1, 0, made.codec)
    tuned = deepcopy(base)
    trained(NextToken(tuned, Packer(chats.train, CONTEXT, 16), None, 1, dtype), True, 0.006, 150)
    texts = prepare.texts(["world:sums_words:2500"], 0.1, 0, "bpe", 512)
    assert texts.validation is not None
    texts = replace(texts, train=_again(texts.train, texts.codec, made.codec),
                    validation=_again(texts.validation, texts.codec, made.codec))  # fmt: skip
    assert chats.validation is not None
    sides = [pairs_of(tokens, 0) for tokens in (chats.train, chats.validation)]
    for task in tasks:
        for kind, rates in (WHOLE if task == "dpo, whole" else RATES).items():
            for rate in rates:
                losses = [_one(task, base, tuned, texts, chats, sides, kind == "muon", rate, seed, dtype)
                          for seed in range(seeds)]  # fmt: skip
                spread = statistics.stdev(losses) if seeds > 1 else 0.0
                print(f"{task:12s} {kind:6s} {rate:<8g} {statistics.fmean(losses):.4f} +- {spread:.4f}", flush=True)


def _again(tokens: Tokens, read: Any, write: Any) -> Tokens:
    """The same texts in another vocabulary."""
    texts = [read.decode([int(i) for i in tokens.document(n)[0]], skip_special=True) for n in range(tokens.documents)]
    return Tokens.from_documents((np.array([write.end, *write.encode(text), write.end]), None) for text in texts)


def _one(
    task: str, base: Transformer, tuned: Transformer, texts: Any, chats: Any, sides: list[Tokens], muon: bool,
    rate: float, seed: int, dtype: torch.dtype,
) -> float:  # fmt: skip
    start = base if task in ("lm", "sft") else tuned
    model = deepcopy(start)
    adapter = None if task == "dpo, whole" else attach(model, Lora(rank=8), seed=seed)
    if task in ("lm", "sft"):
        data = texts if task == "lm" else chats
        rows, held = Packer(data.train, CONTEXT, BATCH, seed), Packer(data.validation, CONTEXT, 32)
        objective: Any = NextToken(model, rows, held, 1, dtype, adapter=adapter)
        return trained(objective, muon, rate, STEPS)["val_loss"]
    still = model if adapter is not None else deepcopy(start).requires_grad_(False)
    read, held_ = (Reference(still, Deck(tokens, 2, seed, shares(model.config)), PAIRS, dtype) for tokens in sides)
    objective = Dpo(model, Plan(), read, held_, 1, dtype, adapter)
    return trained(objective, muon, rate, STEPS // 2)["val_loss"]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, sys.argv[2:] or TASKS)
