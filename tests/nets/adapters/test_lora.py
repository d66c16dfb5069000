"""Adapters that are changes of matrices, on models of every shape: closed forms, merging, stacking, what is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from jielong.base.errors import UserError
from jielong.nets.adapters import attach as on
from jielong.nets.adapters.config import Bitfit, Ia3, Lora
from jielong.nets.adapters.targets import chosen, endings, family_of, targets
from jielong.nets.quant import kept, quantise
from jielong.nets.transformer import Transformer
from tests.nets.test_transformer import TINY, VARIANTS, lively

IDS = torch.randint(0, TINY.vocab, (2, 9), generator=torch.Generator().manual_seed(1))
WAYS = {
    "lora": Lora(rank=3), "rslora": Lora(rank=3, rslora=True), "dora": Lora(rank=3, dora=True),
    "pissa": Lora(rank=3, pissa=True), "pissa, dora": Lora(rank=2, pissa=True, dora=True),
    "two rows of three": Lora(rank=2, targets=("q_proj", "v_proj")), "last rows": Lora(targets=("v_proj", "gate_proj")),
    "ia3": Ia3(), "ia3, other rows": Ia3(("q_proj", "o_proj", "up_proj")), "bitfit": Bitfit(),
}  # fmt: skip


def shaken(adapter: Any, seed: int = 0) -> Any:
    """As if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return adapter


def logits(model: Transformer) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS)


@pytest.mark.parametrize("way", WAYS)
def test_a_fresh_one_changes_nothing_and_a_merged_one_is_a_plain_model(way: str) -> None:
    model = lively(TINY)
    before, weights = logits(model), {k: v.clone() for k, v in model.state_dict().items()}
    adapter = on.attach(model, WAYS[way])
    torch.testing.assert_close(logits(model), before, rtol=1e-5, atol=1e-5)
    shaken(adapter)
    changed = logits(model)
    assert (changed - before).abs().max() > 0.01
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    on.merge(model)
    assert not on.loose(model) and not model.blocks[0].attention.changes
    torch.testing.assert_close(logits(model), changed, rtol=1e-5, atol=1e-5)
    on.unmerge(model)
    torch.testing.assert_close(logits(model), changed, rtol=1e-5, atol=1e-5)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=1e-6)
    on.detach(model)
    torch.testing.assert_close(logits(model), before, rtol=1e-5, atol=1e-5)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", VARIANTS)
def test_every_shape(name: str) -> None:
    config = replace(VARIANTS[name], vocab=TINY.vocab)
    model = lively(config)
    if any(layer.adaln or layer.cross for layer in model.config.blocks):
        pytest.skip("reads more than tokens")
    adapter = shaken(on.attach(model, Lora(rank=2, dora=True)))
    assert len(adapter.places) == 4 * model.config.layers
    shaken(on.attach(model, Ia3(), "ia3"), 1)
    shaken(on.attach(model, Bitfit(), "bitfit"), 2)
    changed = logits(model)
    for each in ("adapter", "ia3", "bitfit"):
        on.merge(model, each)
        torch.testing.assert_close(logits(model), changed, rtol=1e-5, atol=1e-5)
    assert model.config.qkv_bias and model.config.mlp_bias
    twin = Transformer(model.config)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(logits(twin.eval()), logits(model))
    for each in ("bitfit", "ia3", "adapter"):
        on.detach(model, each)
    assert model.config == config
    for key, value in lively(config).state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize("way", ["lora", "dora", "pissa"])
def test_the_formula_in_float64(way: str) -> None:
    """One product beside the paper's own words, value and gradients."""
    model = lively(TINY)
    adapter = shaken(on.attach(model, replace(WAYS[way], targets=("k_proj",)))).double()
    attention = model.blocks[0].attention.double()
    low: Any = next(iter(adapter.sites)).parts[0]
    x = torch.randn(5, TINY.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weight = attention.qkv.detach()
    a, b = low.a.detach().clone().requires_grad_(), low.b.detach().clone().requires_grad_()
    rows, scale = slice(low.start_, low.stop), 16.0 / 3
    own = weight[rows] + scale * b @ a
    wanted = [a, b]
    if way == "pissa":
        own = own - scale * low.b0 @ low.a0
        left, values, right = torch.linalg.svd(weight[rows].float(), full_matrices=False)
        residual = (left[:, 3:] * values[3:]) @ right[3:]
        torch.testing.assert_close(weight[rows] - scale * low.b0 @ low.a0, residual.double(), rtol=0, atol=1e-5)
    if way == "dora":
        length = low.length.detach().clone().requires_grad_()
        own = length[:, None] * own / own.detach().norm(dim=1, keepdim=True)
        wanted.append(length)
    whole = torch.cat([weight[: low.start_], own, weight[low.stop :]])
    y = attention.product("qkv", x, attention.qkv, None)
    torch.testing.assert_close(y, x @ whole.t())
    slope = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(4))
    grads = torch.autograd.grad((x @ whole.t() * slope).sum(), wanted)
    mine = torch.autograd.grad((y * slope).sum(), [low.a, low.b, *([low.length] if way == "dora" else [])])
    for one, other in zip(mine, grads, strict=True):
        torch.testing.assert_close(one, other)


def test_only_the_adapter_is_trained() -> None:
    model = lively(TINY)
    adapter = on.attach(model, Lora(rank=2))
    model(IDS).square().sum().backward()
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert all(p.grad is not None for p in on.parameters(model))
    assert not {id(p) for p in adapter.parameters()} & {id(p) for p in model.parameters()}
    assert set(model.state_dict()) == set(lively(TINY).state_dict())


def test_one_over_the_other() -> None:
    model = lively(TINY)
    first, second = shaken(on.attach(model, Lora(rank=2), "one")), shaken(on.attach(model, Lora(rank=3), "two"), 1)
    both = logits(model)
    for told, act in (
        ("already", lambda: on.attach(model, Lora(), "one")), ("no adapter", lambda: on.merge(model)),
        ("merge it first", lambda: on.merge(model, "two")), ("DoRA", lambda: on.attach(model, Lora(dora=True))),
        ("not merged", lambda: on.unmerge(model, "two")),
    ):  # fmt: skip
        with pytest.raises(UserError, match=told):
            act()
    on.merge(model, "one")
    torch.testing.assert_close(logits(model), both, rtol=1e-5, atol=1e-5)
    on.merge(model, "two")
    torch.testing.assert_close(logits(model), both, rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match="unmerge it first"):
        on.unmerge(model, "one")
    on.detach(model, "two")
    alone = lively(TINY)
    on.attach(alone, first)
    torch.testing.assert_close(logits(model), logits(alone), rtol=1e-5, atol=1e-5)
    assert second not in model.adapters.values()


def test_names() -> None:
    family = family_of(TINY)
    found = targets(TINY, family)
    assert endings(found) == ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    assert len(found) == 7 * TINY.layers and found[0].name == "model.layers.0.self_attn.q_proj"
    assert {t.name.split(".")[-1] for t in chosen(found, ("mlp.up_proj", "k_proj"))} == {"up_proj", "k_proj"}
    with pytest.raises(UserError, match="no module query; it has q_proj"):
        chosen(found, ("query", "q_proj"))
    gpt2 = replace(VARIANTS["gpt2"], dim=32)
    assert endings(targets(gpt2, family_of(gpt2, {"model_type": "gpt2"}))) == [
        "c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"]  # fmt: skip
    nobodys = replace(TINY, parallel=True, activation="relu")
    assert family_of(nobodys).name == "jielong"
    assert endings(targets(nobodys, family_of(nobodys)))[-2:] == ["down_proj", "up_proj"]


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"rank": 2.5}, {"alpha": 0.0}, {"dropout": 1.0}])
def test_wrong_options(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="adapter's"):
        Lora(**wrong)


def test_the_base_is_known_by_its_numbers() -> None:
    model = lively(TINY)
    name = on.fingerprint(model)
    assert on.fingerprint(lively(TINY).to(torch.bfloat16)) == name != on.fingerprint(lively(TINY, seed=1))
    on.attach(model, Lora())
    assert on.fingerprint(model) == name != on.fingerprint(lively(replace(TINY, context=TINY.context * 2)))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("way", ["lora", "dora", "ia3"])
def test_over_integers(bits: int, way: str) -> None:
    """QLoRA: a base whose matrices stand for integers is trained beside like any other, and given back to the bit."""
    model = lively(TINY)
    quantise(model, bits)
    before, weights = logits(model), {k: v.clone() for k, v in model.state_dict().items()}
    adapter = on.attach(model, WAYS[way])
    model(IDS).square().sum().backward()
    assert all(p.grad is not None for p in adapter.parameters()) and len(kept(model)) == len(model.quantised)
    shaken(adapter)
    changed = logits(model)
    assert (changed - before).abs().max() > 0.01
    on.merge(model)
    torch.testing.assert_close(logits(model), changed, rtol=1e-5, atol=1e-5)
    assert len(kept(model)) < len(model.quantised)
    on.unmerge(model)
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    assert len(kept(model)) == len(model.quantised)
