"""A small Transformer with random weights, and the same function without a cache."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer

VOCAB = 48


def random_model(vocab: int = VOCAB, context: int = 64, seed: int = 1) -> Transformer:
    """Weights large enough that the past matters (a fresh model's attention does nothing)."""
    config = TransformerConfig(vocab=vocab, dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, hidden=64,
                               context=context)  # fmt: skip
    model = Transformer(config)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.3, generator=generator)
    return model.eval()


class NoCache(nn.Module):
    """A model that can only read a text as a whole."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model, self.config = model, model.config

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(ids)


@pytest.fixture(scope="session")
def model() -> Transformer:
    return random_model()


@pytest.fixture(scope="session")
def no_cache(model: Transformer) -> NoCache:
    return NoCache(model)
