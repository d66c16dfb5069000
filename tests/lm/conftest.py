"""A small Transformer with random weights behind the common face, with characters or byte pairs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from jielong.lm.local import Local, Parts
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.units import bpe, chars

TEXT = "the cat sat on the mat, the cat ate. 玉山很高。"


def random_parts(codec: Any, context: int = 96, seed: int = 1) -> Parts:
    shape = {"dim": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16, "hidden": 64}
    config = TransformerConfig(vocab=codec.size, context=context, **shape)
    model = Transformer(config)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.3, generator=generator)
    return Parts(model.eval(), codec)


@pytest.fixture(scope="session")
def parts() -> Parts:
    return random_parts(chars.train([TEXT]))


@pytest.fixture(scope="session")
def merged() -> Parts:
    """With merges, so that tokens can lie across the boundary of prompt and continuation."""
    return random_parts(bpe.train([TEXT] * 20, size=280))


@pytest.fixture
def lm(parts: Parts) -> Local:
    return Local(parts)
