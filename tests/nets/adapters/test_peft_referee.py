"""Adapters here and in PEFT: written by either, read by the other, with the same logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from jielong.base.errors import UserError
from jielong.nets import checkpoint, reward
from jielong.nets.adapters import attach as on
from jielong.nets.adapters.config import Ia3, Lora, Prefix, SoftPrompt
from jielong.nets.adapters.folder import upon, with_adapter
from jielong.units import bpe
from jielong.units.codec import Tokenizer
from tests.nets.adapters.test_lora import shaken
from tests.nets.test_families_referee import CASES

pytestmark = pytest.mark.referee

BASES = ("llama, biases, tied", "qwen2", "qwen3", "gpt2", "phi 3", "gemma 2", "olmo 2")
IDS = torch.randint(0, 290, (2, 12), generator=torch.Generator().manual_seed(0))
WAYS: dict[str, dict[str, Any]] = {
    "lora": {"r": 4, "lora_alpha": 2},
    "rslora": {"r": 4, "lora_alpha": 2, "use_rslora": True},
    "dora": {"r": 4, "lora_alpha": 2, "use_dora": True},
    "patterns": {"r": 4, "lora_alpha": 2, "rank_pattern": {"layers.1.*": 3, "h.1.*": 3}, "alpha_pattern": {".*2.*": 3}},
    "some layers": {"r": 2, "lora_alpha": 2, "layers_to_transform": [0, 2],
                    "target_modules": ["k_proj", "down_proj", "qkv_proj", "c_proj"]},
}
OURS = {
    "lora": Lora(rank=4, alpha=4), "rslora": Lora(rank=4, alpha=3, rslora=True),
    "dora": Lora(rank=3, alpha=2, dora=True), "pissa": Lora(rank=3, alpha=5, pissa=True),
    "pissa, rslora, dora": Lora(rank=3, alpha=2, pissa=True, rslora=True, dora=True), "ia3": Ia3(),
}  # fmt: skip


@pytest.fixture(scope="module")
def codec() -> Tokenizer:
    return bpe.train(["the quick brown fox jumps over the lazy dog 接龍就是文字接龍" * 3], 290, at_most=True)


def base(name: str, folder: Path, codec: Tokenizer) -> Any:
    """A tiny random model of transformers', and its folder."""
    transformers = pytest.importorskip("transformers")
    kind, options = CASES[name]
    torch.manual_seed(0)
    made = getattr(transformers, kind + ("LMHeadModel" if kind == "GPT2" else "ForCausalLM"))
    model = made(getattr(transformers, f"{kind}Config")(attn_implementation="eager", **options))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.eval().save_pretrained(folder)
    codec.save(folder)
    return model


def theirs_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def ours_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", BASES)
def test_theirs_here(name: str, way: str, codec: Tokenizer, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = base(name, tmp_path / "base", codec)
    plain = theirs_of(model)
    options = {"target_modules": "all-linear", "init_lora_weights": False, "task_type": "CAUSAL_LM"} | WAYS[way]
    config = peft.LoraConfig(**options)
    torch.manual_seed(1)
    adapted = peft.get_peft_model(model, config).eval()
    if way == "dora":
        with torch.no_grad():
            for key, value in adapted.named_parameters():
                if "magnitude" in key:
                    value.mul_(1 + 0.1 * torch.rand_like(value))
    wanted = theirs_of(adapted)
    assert (wanted - plain).abs().max() > 0.01
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = checkpoint.load(tmp_path / "base")
    found = upon(loaded).load(tmp_path / "adapter", loaded.codec)
    on.attach(loaded.model, found.model)
    torch.testing.assert_close(ours_of(loaded.model), wanted, rtol=1e-5, atol=1e-5)
    on.merge(loaded.model)
    torch.testing.assert_close(ours_of(loaded.model), wanted, rtol=1e-5, atol=1e-5)
    merged = with_adapter(checkpoint.load(tmp_path / "base"), tmp_path / "adapter")
    assert torch.equal(ours_of(merged.model), ours_of(loaded.model))
    on.detach(loaded.model)
    upon(loaded).save(tmp_path / "again", found.model, codec)
    again = peft.PeftModel.from_pretrained(base(name, tmp_path / "other", codec), tmp_path / "again").eval()
    torch.testing.assert_close(theirs_of(again), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("way", OURS)
@pytest.mark.parametrize("name", BASES)
def test_ours_there(name: str, way: str, codec: Tokenizer, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = base(name, tmp_path / "base", codec)
    loaded = checkpoint.load(tmp_path / "base")
    plain = ours_of(loaded.model)
    adapter = on.attach(loaded.model, OURS[way], family=upon(loaded).family)
    shaken(adapter)
    wanted = ours_of(loaded.model)
    assert (wanted - plain).abs().max() > 0.01
    upon(loaded).save(tmp_path / "adapter", adapter, codec, {"model": str(tmp_path / "base")})
    torch.testing.assert_close(
        theirs_of(peft.PeftModel.from_pretrained(model, tmp_path / "adapter").eval()), wanted, rtol=1e-5, atol=1e-5
    )
    back = checkpoint.load(tmp_path / "base")
    on.attach(back.model, upon(back).load(tmp_path / "adapter", codec).model)
    torch.testing.assert_close(ours_of(back.model), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["llama, biases, tied", "qwen2", "gpt2"])
def test_their_ia3_here(name: str, codec: Tokenizer, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = base(name, tmp_path / "base", codec)
    plain = theirs_of(model)
    adapted = peft.get_peft_model(model, peft.IA3Config(task_type="CAUSAL_LM", init_ia3_weights=True)).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for key, value in adapted.named_parameters():
            if "ia3" in key:
                value.add_(torch.randn_like(value) * 0.1)
    wanted = theirs_of(adapted)
    assert (wanted - plain).abs().max() > 0.01
    adapted.save_pretrained(tmp_path / "adapter")
    merged = with_adapter(checkpoint.load(tmp_path / "base"), tmp_path / "adapter")
    torch.testing.assert_close(ours_of(merged.model), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_prefixes(name: str, codec: Tokenizer, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = base(name, tmp_path / "base", codec)
    plain = theirs_of(model)
    torch.manual_seed(1)
    config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
    adapted = peft.get_peft_model(model, config).eval()
    wanted = theirs_of(adapted)
    assert (wanted - plain).abs().max() > 0.01
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = with_adapter(checkpoint.load(tmp_path / "base"), tmp_path / "adapter")
    torch.testing.assert_close(ours_of(loaded.model), wanted, rtol=1e-5, atol=1e-5)
    upon(loaded).save(tmp_path / "again", on.detach(loaded.model), codec)
    again = peft.PeftModel.from_pretrained(base(name, tmp_path / "other", codec), tmp_path / "again").eval()
    torch.testing.assert_close(theirs_of(again), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_soft_prompts(name: str, codec: Tokenizer, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = base(name, tmp_path / "base", codec)
    plain = theirs_of(model)
    torch.manual_seed(1)
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
    adapted = peft.get_peft_model(model, config).eval()
    wanted = theirs_of(adapted)[:, 5:]
    assert (wanted - plain).abs().max() > 0.01
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = with_adapter(checkpoint.load(tmp_path / "base"), tmp_path / "adapter")
    torch.testing.assert_close(ours_of(loaded.model), wanted, rtol=1e-5, atol=1e-5)
    upon(loaded).save(tmp_path / "again", on.detach(loaded.model), codec)
    again = peft.PeftModel.from_pretrained(base(name, tmp_path / "other", codec), tmp_path / "again").eval()
    torch.testing.assert_close(theirs_of(again)[:, 5:], wanted, rtol=1e-5, atol=1e-5)
    base("gpt2", tmp_path / "gpt2", codec)
    with pytest.raises(UserError, match=r"another one|positions of the kind learned"):
        with_adapter(checkpoint.load(tmp_path / "gpt2"), tmp_path / "adapter")


@pytest.mark.parametrize("way", [Lora(rank=3), Ia3(), Prefix(4), SoftPrompt(4)])
def test_reward_models(way: Any, codec: Tokenizer, tmp_path: Path) -> None:
    """An adapter with a head of two names: PEFT's model for sequence classification gives the same two numbers, and an
    adapter that it wrote is read here."""
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    base("qwen3", tmp_path / "base", codec)
    loaded = checkpoint.load(tmp_path / "base")
    adapter = on.fresh(loaded.model, way, upon(loaded).family)
    adapter.judges(("helpful", "safe"), torch.zeros(2, loaded.config.dim))
    on.attach(loaded.model, shaken(adapter))
    judge = reward.RewardModel(loaded.model, adapter.heads, adapter.head)
    with torch.no_grad():
        wanted = judge(loaded.model.hidden(IDS.clamp(min=1))[:, -1])
    told = {"model": str(tmp_path / "base")}
    upon(loaded).save(tmp_path / "adapter", adapter, codec, told)

    def theirs(folder: Path) -> Any:
        body = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=2)
        body.config.pad_token_id = 0
        return peft.PeftModel.from_pretrained(body, folder).eval()

    model = theirs(tmp_path / "adapter")
    with torch.no_grad():
        torch.testing.assert_close(model(IDS.clamp(min=1)).logits, wanted, rtol=1e-5, atol=1e-5)
    back = reward.load(tmp_path / "adapter")
    assert back.model.heads == ("helpful", "safe")
    with torch.no_grad():
        found = back.model(back.model.body.hidden(IDS.clamp(min=1))[:, -1])
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    model.save_pretrained(tmp_path / "again")
    other = checkpoint.load(tmp_path / "base")
    again = upon(other).load(tmp_path / "again").model
    assert again.heads == ("0", "1") and torch.equal(again.head, adapter.head)


def test_what_is_not_honoured_is_refused(codec: Tokenizer, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    cases: list[tuple[str, dict[str, Any]]] = [
        ("modules_to_save", {"modules_to_save": ["lm_head"]}), ("bias", {"bias": "all"}),
        ("embed_tokens", {"target_modules": ["q_proj", "embed_tokens"]}), ("pissa", {"init_lora_weights": "pissa"}),
        ("lora_bias", {"lora_bias": True}),
    ]  # fmt: skip
    for i, (told, options) in enumerate(cases):
        model = base("llama", tmp_path / f"base{i}", codec)
        config = peft.LoraConfig(r=2, task_type="CAUSAL_LM", **{"target_modules": ["q_proj"], **options})
        peft.get_peft_model(model, config).save_pretrained(tmp_path / f"adapter{i}")
        with pytest.raises(UserError, match=told):
            upon(checkpoint.load(tmp_path / f"base{i}")).load(tmp_path / f"adapter{i}")
    said = json.loads((tmp_path / "adapter0" / "adapter_config.json").read_text())
    assert said["peft_type"] == "LORA"
