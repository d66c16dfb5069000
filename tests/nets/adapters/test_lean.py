"""QLoRA: an adapter beside integers alone, with the floats' own values and gradients."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch

from jielong.nets.adapters import attach as on
from jielong.nets.adapters.config import Bottleneck, Ia3, Lora
from jielong.nets.quant import full, kept, lean, quantise
from tests.nets.adapters.test_lora import IDS, logits, shaken
from tests.nets.test_transformer import TINY, lively

WAYS = {"lora": Lora(rank=3), "dora": Lora(rank=3, dora=True), "pissa": Lora(rank=2, pissa=True), "ia3": Ia3(),
        "bottleneck": Bottleneck(4)}  # fmt: skip


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("way", WAYS)
def test_values_and_gradients_are_the_floats(bits: int, way: str) -> None:
    """In float64 to 1e-6; the base holds no float of its blocks' matrices, and has them back to the bit."""
    model = lively(TINY)
    quantise(model, bits)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    adapter = shaken(on.attach(model, WAYS[way]))
    name = on.fingerprint(model)
    found = []
    for lets_go in (False, True):
        if lets_go:
            lean(model)
            assert not [n for n, _ in model.named_parameters() if n.rsplit(".", 1)[-1] in ("qkv", "out", "up", "down")]
        twin, other = deepcopy(model), deepcopy(adapter)
        on.detach(twin)
        twin.double()
        on.attach(twin, other.double())
        y = twin(embeds=twin.embed[IDS], dtype=torch.float64)
        y.double().square().sum().backward()
        found.append([y.detach(), *(p.grad for p in other.parameters())])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)
    assert on.fingerprint(model) == name and set(kept(model)) == set(model.quantised)
    changed = logits(model)
    full(model)
    torch.testing.assert_close(logits(model), changed, rtol=1e-5, atol=1e-5)
    on.detach(model)
    assert all(torch.equal(value, weights[n]) for n, value in model.state_dict().items())
    assert all(half.integers == {} for block in model.blocks for half in (block.attention, block.feed))


def test_merging_brings_the_floats_back() -> None:
    model = lively(TINY)
    quantise(model, 4)
    shaken(on.attach(model, Lora(rank=2)))
    lean(model)
    changed = logits(model)
    on.merge(model)
    torch.testing.assert_close(logits(model), changed, rtol=1e-5, atol=1e-5)


def test_nothing_but_integers_waits_for_the_backward() -> None:
    """What autograd keeps of a step is rows and thin matrices: no floats of the base's size."""
    model = lively(TINY)
    quantise(model, 8)
    on.attach(model, Lora(rank=2))
    lean(model)
    shapes = {tuple(whole.q.shape) for key, whole in model.quantised.items() if "blocks" in key}
    seen: list[Any] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: seen.append(t) or t, lambda t: t):
        model(IDS)
    floats = {tuple(t.shape) for t in seen if t.is_floating_point() and t.dim() == 2}
    assert seen and not floats & (shapes | {shape[::-1] for shape in shapes})
