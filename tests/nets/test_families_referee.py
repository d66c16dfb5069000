"""Checkpoints of transformers here, family by family: same logits, same greedy text, written back bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from jielong.nets import checkpoint
from jielong.nets.families import known
from jielong.units import bpe
from jielong.units.codec import Tokenizer

pytestmark = pytest.mark.referee

DECODER = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": None, "eos_token_id": None,
    "pad_token_id": None,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 16, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "rope_theta": 500_000.0,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 1e4}
LONG = {
    "rope_type": "longrope", "short_factor": [1.0, 1.1, 1.3, 1.6], "long_factor": [1.0, 1.9, 3.0, 4.4],
    "rope_theta": 1e4,
}  # fmt: skip
GPT2 = {"vocab_size": 300, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64, "bos_token_id": None,
        "eos_token_id": None}  # fmt: skip
# name: (transformers' class, its configuration)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", GPT2),
    "gpt2, untied, odd": ("GPT2", GPT2 | {"tie_word_embeddings": False, "n_inner": 40, "activation_function": "gelu"}),
    "gpt2, unscaled": ("GPT2", GPT2 | {"scale_attn_weights": False, "activation_function": "relu"}),
    "llama": ("Llama", DECODER),
    "llama, wide heads": ("Llama", DECODER | {"head_dim": 16, "num_key_value_heads": 1}),
    "llama, biases, tied": ("Llama", DECODER | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "llama 3": ("Llama", DECODER | {"rope_parameters": LLAMA3, "rms_norm_eps": 1e-5}),
    "llama, linear": ("Llama", DECODER | {
        "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}}),
    "llama, dynamic": ("Llama", DECODER | {
        "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}, "max_position_embeddings": 24}),
    "llama, yarn": ("Llama", DECODER | {"rope_parameters": YARN | {"beta_fast": 16.0, "attention_factor": 1.5}}),
    "llama, longrope": ("Llama", DECODER | {
        "rope_parameters": LONG | {"factor": 4.0, "original_max_position_embeddings": 24}}),
    "smollm": ("Llama", DECODER | {"num_attention_heads": 6, "num_key_value_heads": 2, "hidden_size": 48,
                                   "tie_word_embeddings": True, "rope_parameters": {"rope_theta": 1e5}}),
    "mistral": ("Mistral", DECODER | {"sliding_window": 7}),
    "mistral, no window": ("Mistral", DECODER | {"sliding_window": None}),
    "qwen2": ("Qwen2", DECODER),
    "qwen2, windows": ("Qwen2", DECODER | {
        "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1, "rope_parameters": YARN}),
    "qwen3": ("Qwen3", DECODER | {"head_dim": 8}),
    "qwen3, all": ("Qwen3", DECODER | {
        "head_dim": 16, "attention_bias": True, "use_sliding_window": True, "sliding_window": 5,
        "max_window_layers": 2, "tie_word_embeddings": True, "rope_parameters": LLAMA3}),
    "gemma 2": ("Gemma2", DECODER | {"head_dim": 16, "sliding_window": 5, "query_pre_attn_scalar": 24}),
    "gemma 2, no caps": ("Gemma2", DECODER | {
        "head_dim": 8, "sliding_window": 9, "query_pre_attn_scalar": 8, "attn_logit_softcapping": None,
        "final_logit_softcapping": None, "attention_bias": True, "tie_word_embeddings": False}),
    "gemma 3": ("Gemma3", DECODER | {"head_dim": 16, "sliding_window": 5, "num_hidden_layers": 7}),
    "gemma 3, scaled": ("Gemma3", DECODER | {
        "head_dim": 16, "sliding_window": 5, "query_pre_attn_scalar": 20, "final_logit_softcapping": 3.0,
        "layer_types": ["sliding_attention", "full_attention", "full_attention"],
        "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}}),
    "phi 3": ("Phi3", DECODER | {"sliding_window": 11}),
    "phi 3, long": ("Phi3", DECODER | {"rope_parameters": LONG, "original_max_position_embeddings": 24}),
    "phi 4 mini": ("Phi3", DECODER | {
        "rope_parameters": LONG | {"partial_rotary_factor": 0.75, "short_factor": [1.0, 1.2, 1.5],
                                   "long_factor": [1.0, 2.0, 4.0]},
        "original_max_position_embeddings": 16, "tie_word_embeddings": True}),
    "olmo 2": ("Olmo2", DECODER | {"rope_parameters": {"rope_theta": 5e5}}),
    "olmo 2, biases": ("Olmo2", DECODER | {"attention_bias": True, "tie_word_embeddings": True}),
}  # fmt: skip
# Where the rotation changes with the length, transformers' cached keys stay turned as they were (but for Phi-3's).
UNCACHED = ("llama, dynamic", "llama, longrope")
IDS = torch.randint(0, 290, (2, 60), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def codec() -> Tokenizer:
    return bpe.train(["the quick brown fox jumps over the lazy dog 接龍就是文字接龍" * 3], 300, at_most=True)


def theirs(case: str, dtype: torch.dtype = torch.float32) -> Any:
    """transformers' model with lively weights: norms and biases too are not what they start as."""
    transformers = pytest.importorskip("transformers")
    kind, options = CASES[case]
    name = {"GPT2": "GPT2LMHeadModel"}.get(kind, f"{kind}ForCausalLM")
    config = getattr(transformers, {"Gemma3": "Gemma3TextConfig"}.get(kind, f"{kind}Config"))(**options)
    model = getattr(transformers, name)(config).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model = model.to(dtype)
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = None
    return model


def saved(case: str, folder: Path, codec: Tokenizer, dtype: torch.dtype = torch.float32, **how: Any) -> Any:
    model = theirs(case, dtype)
    model.save_pretrained(folder, **how)
    codec.save(folder)
    return model


@pytest.mark.parametrize("length", [12, 60])
@pytest.mark.parametrize("case", sorted(CASES))
def test_same_logits(case: str, length: int, codec: Tokenizer, tmp_path: Path) -> None:
    other = saved(case, tmp_path / "m", codec)
    loaded = checkpoint.load(tmp_path / "m")
    ids = IDS[:, :length]
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(ids), other(ids).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", sorted(CASES))
def test_same_greedy_text(case: str, codec: Tokenizer, tmp_path: Path) -> None:
    other = saved(case, tmp_path / "m", codec)
    model = checkpoint.load(tmp_path / "m").model
    prompt = IDS[:1, :9]
    written = other.generate(prompt, max_new_tokens=45, do_sample=False, use_cache=case not in UNCACHED, pad_token_id=0)
    with torch.no_grad():
        for _ in range(45):
            prompt = torch.cat([prompt, model(prompt)[:, -1:].argmax(-1)], 1)
    assert prompt.tolist() == written.tolist()


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", sorted(CASES))
def test_written_back_bit_for_bit(case: str, dtype: torch.dtype, codec: Tokenizer, tmp_path: Path) -> None:
    saved(case, tmp_path / "a", codec, dtype, max_shard_size="20KB" if dtype == torch.float16 else "1GB")
    checkpoint.copy(checkpoint.load(tmp_path / "a"), tmp_path / "b")
    before, after = tensors(tmp_path / "a"), tensors(tmp_path / "b")
    assert before.keys() == after.keys() and (len(list((tmp_path / "b").glob("*.safetensors"))) > 1) == (
        dtype == torch.float16
    )
    for name, value in before.items():
        assert after[name].dtype == value.dtype and torch.equal(after[name], value), name
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    index = "model.safetensors.index.json"
    if dtype == torch.float16:
        maps = [json.loads((tmp_path / f / index).read_text())["weight_map"] for f in "ab"]
        assert maps[0] == maps[1]


@pytest.mark.parametrize("case", sorted(CASES))
def test_saved_as_a_family_that_transformers_reads(case: str, codec: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    saved(case, tmp_path / "a", codec)
    loaded = checkpoint.load(tmp_path / "a")
    assert checkpoint.save(tmp_path / "b", loaded.model, codec) == ""
    other = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "b", dtype=torch.float32).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(IDS), other(IDS).logits, rtol=1e-5, atol=1e-5)
    again = checkpoint.load(tmp_path / "b").model
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    kind = loaded.said["model_type"]
    family, reason = known.fitting(loaded.config, preferred=kind)
    assert reason == "" and family is not None and family.name == kind
