"""A tiny run that takes a second: thirty-two wide, two blocks, a few hundred short documents."""

from __future__ import annotations

import pytest

from jielong.data.tokenise import tokenise
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.train.run import Work
from jielong.train.settings import Settings
from jielong.units import bpe
from jielong.units.codec import Tokenizer

TEXTS = [f"{a} and {b} make {a + b}." for a in range(12) for b in range(12)]


@pytest.fixture(scope="session")
def codec() -> Tokenizer:
    return bpe.train(TEXTS, 280, at_most=True)


@pytest.fixture
def work(codec: Tokenizer) -> Work:
    return make_work(codec)


def make_work(codec: Tokenizer, **changes: object) -> Work:
    config = TransformerConfig(
        vocab=codec.size, dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, hidden=64, context=32
    )
    settings = {"steps": 12, "context": 24, "batch": 4, "warmup": 2, "precision": "float32", "validate": 2}
    train = tokenise(TEXTS[:120], codec, begin=codec.end)
    held = tokenise(TEXTS[120:], codec, begin=codec.end)
    return Work(Transformer(config, seed=0), codec, train, held, Settings(**{**settings, **changes}), {"name": "tiny"})  # type: ignore[arg-type]
