"""Prefixes: that of a text's own keys and values is that text; kept, trained and written with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from jielong.base.errors import UserError
from jielong.data.pack import Packer
from jielong.data.tokens import Tokens
from jielong.infer.generate import generate
from jielong.infer.sampling import Sampling
from jielong.nets.adapters import attach as on
from jielong.nets.adapters.config import Prefix
from jielong.nets.adapters.folder import CONFIG, Upon
from jielong.nets.adapters.targets import family_of
from jielong.nets.config import Layer, Rope, TransformerConfig
from jielong.nets.tap import Tap
from jielong.train.next_token import nats
from jielong.units import chars
from tests.nets.adapters.test_lora import IDS, logits, shaken
from tests.nets.test_transformer import TINY, VARIANTS, lively

SHAPES = {
    "plain": TINY,
    "no rotation": replace(TINY, layer=Layer(rope=None)),
    "half turns": replace(TINY, layer=Layer(rope=Rope(fraction=0.5), qk_norm=None)),
    "yarn": replace(TINY, layer=Layer(rope=Rope(scaling="yarn", factor=4.0, original=16))),
    "caps": replace(TINY, layer=Layer(softcap=5.0, norm="sandwich")),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_texts_own_keys_are_that_text(name: str) -> None:
    model, ids, seen = lively(SHAPES[name]), IDS[:1], {}

    def keep(key: str) -> Any:
        return lambda x, where: seen.setdefault(key, x)

    sites = [f"block.{i}.{what}" for i in range(TINY.layers) for what in "kv"]
    with torch.no_grad():
        whole = model(ids, tap=Tap({site: keep(site) for site in sites}))
    adapter = on.attach(model, Prefix(virtual=4))
    with torch.no_grad():
        for i, site in enumerate(adapter.sites):
            given: Any = site
            given.keys.copy_(seen[f"block.{i}.k"][0, :, :4].transpose(0, 1))
            given.values.copy_(seen[f"block.{i}.v"][0, :, :4].transpose(0, 1))
        torch.testing.assert_close(model(ids[:, 4:]), whole[:, 4:], rtol=1e-5, atol=1e-5)


def test_trained_written_with_and_kept(tmp_path: Path) -> None:
    """Gradients reach the prefix alone; packed documents all see it; the engine's greedy text is the plain model's."""
    model = lively(TINY)
    adapter = shaken(on.attach(model, Prefix(virtual=3)))
    documents = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1, 1]])
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4]])
    packed = model(IDS[:1], documents=documents, positions=positions)
    torch.testing.assert_close(packed[:, 4:], model(IDS[:1, 4:]), rtol=1e-5, atol=1e-5)
    packed.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in adapter.parameters())
    assert all(p.grad is None for p in model.parameters())
    prompt = [1, 2, 3]
    with torch.no_grad():
        for _ in range(6):
            prompt.append(int(model(torch.tensor([prompt]))[0, -1].argmax()))
    found = generate(model, [[1, 2, 3], [1, 2]], [Sampling(temperature=0, max_tokens=6)] * 2)
    assert list(found[0].ids) == prompt[3:]
    with pytest.raises(UserError, match=r"kind prefix .* cannot be merged"):
        on.merge(model)
    codec = chars.train(["abcdefghij"])
    Upon(model, family_of(TINY)).save(tmp_path / "a", adapter, codec)
    assert (tmp_path / "a" / CONFIG).exists()
    other = lively(TINY)
    on.attach(other, Upon(other, family_of(TINY)).load(tmp_path / "a", codec).model)
    assert torch.equal(logits(other), logits(model))


@pytest.mark.parametrize(
    "shape, told",
    [(VARIANTS["gpt2"], "positions of the kind learned"), (replace(TINY, layer=Layer(window=3)), "window"),
     (replace(TINY, layer=Layer(rope=Rope(scaling="dynamic", factor=2.0))), "depends on the text's length")],
)  # fmt: skip
def test_where_there_can_be_none(shape: TransformerConfig, told: str) -> None:
    with pytest.raises(UserError, match=told):
        on.attach(lively(shape), Prefix())


def test_packed_rows_are_texts_by_themselves() -> None:
    """Training's rows hold many documents: each sees the prefix as if it were alone."""
    model = lively(TINY)
    shaken(on.attach(model, Prefix(virtual=3)))
    texts = [IDS[0, :4].tolist(), IDS[1, :5].tolist()]
    tokens = Tokens.from_documents((np.array(text), None) for text in texts)
    with torch.no_grad():
        batch = Packer(tokens, 8, 1, 0).rows(0)
        total, weight, _ = nats(model, batch, torch.float32)
        ids, targets, inside = (torch.from_numpy(a[0]).long() for a in (batch.ids, batch.targets, batch.documents))
        alone = 0.0
        for number in inside.unique():
            own = inside == number
            alone += float(F.cross_entropy(model(ids[None, own])[0], targets[own], reduction="sum"))
    assert weight > 4 and len(inside.unique()) > 1 and float(total) == pytest.approx(alone, rel=1e-5)
