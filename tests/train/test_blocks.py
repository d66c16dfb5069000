"""Blocks that begin anywhere: which tokens are given and which are slots; what a model of them learns."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from jielong.base.errors import UserError
from jielong.base.talk import Talk
from jielong.data.pack import NothingToTrain
from jielong.data.tokenise import tokenise
from jielong.data.tokens import Tokens
from jielong.infer.slots import Marks
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.train import blocks, run
from jielong.train.masked_diffusion import hide
from jielong.train.parallel import Parallel, filling
from jielong.train.settings import Settings
from tests.train.conftest import TEXTS

HELD = TEXTS[::6]
DOCUMENTS = [
    ([9, 1, 2, 3, 4, 9], None),  # text: all but the first token
    ([5, 6, 7, 8, 9, 1], [1, 0, 1, 1, 0, 1]),  # a chat of two turns
]


def test_a_block_begins_at_every_trained_token() -> None:
    found = blocks.blocks(Tokens.from_documents(DOCUMENTS), Marks(10, 3), 2, end=0)
    given = [(s.tolist(), t.tolist()) for s, t in zip(found.sources, found.targets)]
    assert given == [
        ([9], [1, 2, 3]), ([9, 1], [2, 3, 4]), ([1, 2], [3, 4, 9]), ([2, 3], [4, 9, 0]), ([3, 4], [9, 0, 0]),
        ([5, 6], [7, 8, 0]), ([6, 7], [8, 0, 0]), ([8, 9], [1, 0, 0]),
    ]  # fmt: skip
    assert found.sources[-1].tolist() == [8, 9] and len(found) == 8
    with pytest.raises(IndexError):
        found.targets[8]
    some = blocks.blocks(Tokens.from_documents(DOCUMENTS), Marks(10, 3), 2, end=0, most=3)
    assert [t.tolist() for t in some.targets] == [given[i][1] for i in (0, 3, 6)]


def test_a_document_ends_where_the_next_begins() -> None:
    """Every block by a plain loop, from documents of random marks."""
    rng = np.random.default_rng(0)
    documents = [(rng.integers(1, 9, n), rng.random(n) < 0.6) for n in rng.integers(2, 12, 60)]
    due = []
    for ids, marked in documents:
        for place in range(1, len(ids)):
            if marked[place]:
                run_ = [int(ids[place])]
                while len(run_) < 4 and place + len(run_) < len(ids) and marked[place + len(run_)]:
                    run_.append(int(ids[place + len(run_)]))
                due.append((ids[max(0, place - 5) : place].tolist(), run_ + [0] * (4 - len(run_))))
    found = blocks.blocks(Tokens.from_documents(documents), Marks(10, 4), 5, end=0)
    assert [(s.tolist(), t.tolist()) for s, t in zip(found.sources, found.targets)] == due and len(due) > 100


def test_what_there_is_not_is_refused() -> None:
    with pytest.raises(UserError, match="--window"):
        blocks.blocks(Tokens.from_documents(DOCUMENTS), Marks(10, 3), 0, end=0)
    with pytest.raises(NothingToTrain):
        blocks.blocks(Tokens.from_documents([([1, 2], [1, 0])]), Marks(10, 3), 2, end=0)


def test_it_learns_to_fill_blocks(codec, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Nats of a wholly hidden slot on fresh text fall far below those of an untrained model and of how often each token
    stands there, which needs no context."""
    marks = Marks(codec.size, 3)
    train, held = (tokenise(some, codec, begin=codec.end) for some in ([t for t in TEXTS if t not in HELD], HELD))
    config = TransformerConfig(marks.vocab, dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, hidden=64, context=11,
                               causal=False)  # fmt: skip
    settings = Settings(steps=60, context=11, batch=48, warmup=5, precision="float32", validate=1, save_every=0.0)
    model = Transformer(config, seed=0)
    made = run.Work(model, codec, train, held, settings, {"name": "t"},
                    objective=partial(blocks.of_work, marks=marks))  # fmt: skip
    objective = blocks.of_work(made, torch.float32, marks)
    assert isinstance(objective, Parallel) and objective.hide is hide
    before = objective.validate()["val_loss"]
    run.start(made, tmp_path, Talk(verbosity=-1))
    after = objective.validate()["val_loss"]
    targets = np.concatenate(list(objective.train.targets))
    chances = (np.bincount(targets, minlength=codec.size) + 1) / (len(targets) + codec.size)
    assert objective.validation is not None
    unigram = float(np.mean([-np.log(chances[t]).mean() for t in objective.validation.targets]))
    assert after < 0.6 * unigram < unigram < before, (after, unigram, before)
    some = filling(objective.train, marks, lambda counts, g: np.ones((len(counts), 3)), np.random.default_rng(0))
    assert (some.ids == marks.mask).sum() == 3 * len(objective.train)
