"""Our checkpoints in transformers: the same logits, the same greedy text, and back again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jielong.nets import checkpoint
from jielong.nets.config import Layer, Rope, TransformerConfig
from jielong.units import bpe
from tests.nets.test_transformer import lively

pytestmark = pytest.mark.referee

SHAPE = TransformerConfig(
    vocab=300, dim=32, layers=3, heads=4, kv_heads=2, head_dim=8, hidden=48, context=64, norm_eps=1e-6
)
SHAPES = {
    "plain": SHAPE,
    "untied": replace(SHAPE, tied=False),
    "biases": replace(SHAPE, qkv_bias=True, out_bias=True),
    "window": replace(SHAPE, layer=Layer(window=7)),
    "mixed windows": replace(SHAPE, layer_list=(Layer(window=5), Layer(), Layer(window=5))),
    "one key head": replace(SHAPE, kv_heads=1),
    "base": replace(SHAPE, layer=Layer(rope=Rope(base=1_000_000.0))),
    "linear": replace(SHAPE, layer=Layer(rope=Rope(scaling="linear", factor=4.0))),
    "yarn": replace(SHAPE, layer=Layer(rope=Rope(scaling="yarn", factor=4.0, original=16))),
    "llama3": replace(SHAPE, layer=Layer(rope=Rope(scaling="llama3", factor=8.0, original=16))),
}


@pytest.fixture(scope="module")
def codec():  # type: ignore[no-untyped-def]
    return bpe.train(["the quick brown fox jumps over the lazy dog 接龍就是文字接龍" * 3], 300, at_most=True)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_same_logits_and_greedy_text(name: str, codec, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    transformers = pytest.importorskip("transformers")
    model = lively(SHAPES[name])
    assert checkpoint.save(tmp_path / "m", model, codec) == ""
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float32).eval()
    assert type(theirs).__name__ == "Qwen3ForCausalLM"
    ids = torch.randint(0, codec.size, (2, 40), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        mine, other = model(ids), theirs(ids).logits
    torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)
    prompt = ids[:1, :6]
    written = theirs.generate(prompt, max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0)
    with torch.no_grad():
        for _ in range(20):
            prompt = torch.cat([prompt, model(prompt)[:, -1:].argmax(-1)], 1)
    assert prompt.tolist() == written.tolist()


@pytest.mark.parametrize("name", ["plain", "untied", "yarn", "mixed windows"])
def test_their_checkpoint_here(name: str, codec, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    transformers = pytest.importorskip("transformers")
    model = lively(SHAPES[name], seed=5)
    checkpoint.save(tmp_path / "ours", model, codec)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.float32).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    codec.save(tmp_path / "theirs")
    back = checkpoint.load(tmp_path / "theirs")
    assert back.config.blocks == model.config.blocks
    for name_, value in model.state_dict().items():
        assert torch.equal(value, back.model.state_dict()[name_]), name_


def test_tokenizer_and_template_agree(codec, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    transformers = pytest.importorskip("transformers")
    checkpoint.save(tmp_path / "m", lively(SHAPE), codec)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")
    text = "the fox 接龍 123 🙂"
    assert theirs(text)["input_ids"] == codec.encode(text)
    chat = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ho"},
        {"role": "user", "content": "?"},
    ]
    from jielong.units.chat import encode_prompt

    wanted = theirs.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert list(wanted) == encode_prompt(codec, chat)
