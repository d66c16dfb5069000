"""The stream of the world's text, and models that read it in windows."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from jielong.labs import windows
from jielong.labs.lab import Budget
from jielong.nets.config import Layer, Rope, TransformerConfig
from jielong.nets.transformer import Transformer


@pytest.fixture(scope="module")
def text() -> windows.Stream:
    return windows.stream(0, 3000, 500, people=20)


def test_every_document_begins_with_the_end_token_and_fresh_text_is_fresh(text: windows.Stream) -> None:
    assert text.train[0] == text.fresh[0] == text.end and len(text.fresh) >= 500 and len(text.train) >= 3000
    assert text.bytes[text.end] == 0 and len(text.bytes) == text.codec.size
    texts = [set(text.codec.decode(ids.tolist()).split("\n")) for ids in (text.train, text.fresh)]
    assert len(texts[1] - texts[0]) > 0
    plain = text.codec.decode([i for i in text.fresh.tolist() if i != text.end])
    assert int(text.bytes[text.fresh].sum()) == len(plain.encode())


def test_bits_of_a_uniform_law_are_known(text: windows.Stream) -> None:
    targets = [text.fresh[1:40], text.fresh[40:60]]
    uniform = [np.full(len(each), -math.log(text.codec.size)) for each in targets]
    size = sum(int(text.bytes[each].sum()) for each in targets)
    assert windows.bits(uniform, targets, text) == pytest.approx(59 * math.log2(text.codec.size) / size)


def test_a_model_learns_in_windows(text: windows.Stream) -> None:
    config = TransformerConfig(
        text.codec.size, dim=32, layers=1, heads=2, kv_heads=1, head_dim=16, hidden=64, context=16
    )
    model = Transformer(config)
    ids = torch.tensor([[text.end, *text.train[:16].tolist()]])

    def loss() -> float:
        with torch.no_grad():
            return float(torch.nn.functional.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:]))

    before = loss()
    assert windows.learn(model, text, 16, 20_000, 0, Budget(), "toy") is model and not model.training
    assert loss() < before - 0.5


def test_other_positions_for_the_same_weights(text: windows.Stream) -> None:
    config = TransformerConfig(
        text.codec.size, dim=32, layers=1, heads=2, kv_heads=1, head_dim=16, hidden=64, context=16
    )
    model = Transformer(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    turned = replace(config.layer, rope=Rope(scaling="linear", factor=2.0, original=16))
    other = windows.reshaped(model, context=32, layer=turned)
    assert other.config.context == 32 and torch.equal(other.embed, model.embed)
    ids = torch.arange(8)[None]
    with torch.no_grad():
        assert torch.equal(windows.reshaped(model, layer=Layer())(ids), model(ids))
        halves = other(ids, positions=torch.arange(0, 16, 2)[None])  # Chen et al. 2023: place 2 p is place p
        assert torch.allclose(halves, model(ids), atol=1e-5)


def test_tokens_follow_the_budget() -> None:
    assert windows.share(Budget(), 5.0, 1000, 3) == 1000
    assert windows.share(Budget(minutes=2.5), 5.0, 1000, 3) == 500
    assert windows.share(Budget(tokens=3000), 5.0, 1000, 3) == 1000
