"""Soft prompts: one of words' own embeddings is those words; kept, trained and written with."""

from __future__ import annotations

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
from jielong.nets.adapters.config import Lora, SoftPrompt
from jielong.nets.adapters.folder import CONFIG, Upon
from jielong.nets.adapters.targets import family_of
from jielong.nets.cache import KVCache
from jielong.train.next_token import nats
from jielong.units import chars
from tests.nets.adapters.test_lora import IDS, logits, shaken
from tests.nets.adapters.test_prefix import SHAPES
from tests.nets.test_transformer import TINY, VARIANTS, lively


@pytest.mark.parametrize("name", SHAPES)
def test_that_of_words_is_these_words(name: str) -> None:
    """Beside the words written out, value and gradient; with a LoRA beneath it too; without either, the base."""
    model, words = lively(SHAPES[name]), IDS[0, :4].tolist()
    plain = logits(model)
    shaken(on.attach(model, Lora(rank=2), "beneath"))
    whole = model(IDS[:1])
    site: Any = on.attach(model, on.fresh(model, SoftPrompt(virtual=4), words=words)).sites[0]
    found = model(IDS[:1, 4:])
    torch.testing.assert_close(found, whole[:, 4:], rtol=1e-5, atol=1e-5)
    found.square().sum().backward()
    x = F.embedding(IDS[:1], model.embed).detach().requires_grad_()
    on.detach(model)
    model(embeds=x)[:, 4:].square().sum().backward()
    torch.testing.assert_close(site.embeds.grad, x.grad[0, :4], rtol=1e-4, atol=1e-4)
    with on.off(model):
        assert torch.equal(logits(model), plain)


def test_from_words_and_drawn() -> None:
    model = lively(TINY)
    both = [on.fresh(model, SoftPrompt(5), seed=seed, words=words).sites[0].embeds.detach()
            for seed, words in ((0, [7, 9]), (0, []), (1, []))]  # fmt: skip
    assert torch.equal(both[0], model.embed[[7, 9, 7, 9, 7]])
    assert not torch.equal(both[1], both[2])
    assert all(any(torch.equal(row, known) for known in model.embed) for row in both[1])


def test_trained_written_with_and_kept(tmp_path: Path) -> None:
    """Gradients reach the prompt alone; packed documents all see it; the engine's greedy text is the plain model's."""
    model = lively(TINY)
    adapter = shaken(on.attach(model, SoftPrompt(virtual=3)))
    texts = [IDS[0, :4].tolist(), IDS[1, :5].tolist()]
    batch = Packer(Tokens.from_documents((np.array(text), None) for text in texts), 8, 1, 0).rows(0)
    total, weight, _ = nats(model, batch, torch.float32)
    total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in adapter.parameters())
    assert all(p.grad is None for p in model.parameters()) and weight > 4
    with torch.no_grad():
        ids, targets, inside = (torch.from_numpy(a[0]).long() for a in (batch.ids, batch.targets, batch.documents))
        own = [inside == number for number in inside.unique()]
        alone = sum(float(F.cross_entropy(model(ids[None, o])[0], targets[o], reduction="sum")) for o in own)
        assert len(own) > 1 and float(total) == pytest.approx(alone, rel=1e-5)
        prompt = [1, 2, 3]
        for _ in range(6):
            prompt.append(int(model(torch.tensor([prompt]))[0, -1].argmax()))
        cache = KVCache(TINY, 1, 16)
        steps = [model(torch.tensor([[token]]), cache=cache)[0, -1] for token in prompt]
        torch.testing.assert_close(torch.stack(steps), model(torch.tensor([prompt]))[0], rtol=1e-5, atol=1e-5)
        before = logits(model)
        shaken(adapter, 5)
        assert (logits(model) - before).abs().max() > 1e-3  # what was kept of the virtual tokens is not stale
        adapter.sites[0].embeds.sub_(torch.randn(3, TINY.dim, generator=torch.Generator().manual_seed(5)) * 0.1)
        torch.testing.assert_close(logits(model), before, rtol=1e-5, atol=1e-5)
    found = generate(model, [[1, 2, 3], [1, 2]], [Sampling(temperature=0, max_tokens=6)] * 2)
    assert list(found[0].ids) == prompt[3:]
    with pytest.raises(UserError, match=r"kind prompt .* cannot be merged"):
        on.merge(model)
    codec = chars.train(["abcdefghij"])
    Upon(model, family_of(TINY)).save(tmp_path / "a", adapter, codec)
    assert (tmp_path / "a" / CONFIG).exists()
    other = lively(TINY)
    on.attach(other, Upon(other, family_of(TINY)).load(tmp_path / "a", codec).model)
    assert torch.equal(logits(other), logits(model))
    with pytest.raises(UserError, match="no soft prompt: it has positions of the kind learned"):
        on.attach(lively(VARIANTS["gpt2"]), SoftPrompt())
