"""GGUF files read again with the gguf package: every tensor within its rounding, every field, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jielong.base.errors import UserError
from jielong.nets import checkpoint, gguf, rope
from jielong.nets.checkpoint import Loaded
from jielong.nets.config import Layer, Rope
from jielong.units import bpe
from jielong.units.codec import Tokenizer
from tests.nets.test_families import config_of
from tests.nets.test_transformer import lively
from tests.units.test_ggml import CUTS, cut_otherwise, pieces

package = pytest.importorskip("gguf")
ODD = (
    "don't  STOP\n\n 1234567 🙂",
    " <|endoftext|> is text",
    "ＡＢＣ\tx\r\ny   ",
    "naïve café — 玉山3952公尺",
    "",
    "the cat sat",
)


@pytest.fixture(scope="module")
def codec() -> Tokenizer:
    return bpe.train(["a model reads what it is given, 接龍接龍"] * 4, 280, at_most=True)


def loaded(name: str, codec: Tokenizer, **changes: Any) -> Loaded:
    return Loaded(lively(config_of(name, **changes)), codec, said={"model_type": name})


def read(path: Path) -> tuple[dict[str, Any], dict[str, tuple[np.ndarray, str]]]:
    """Fields, and tensors as float32 with their types."""
    reader = package.GGUFReader(path)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    tensors = {}
    for one in reader.tensors:
        data = package.quants.dequantize(one.data, one.tensor_type)
        tensors[one.name] = (data.reshape(tuple(int(n) for n in reversed(one.shape))), one.tensor_type.name)
    return fields, tensors


@pytest.mark.parametrize(("kind", "error"), [("f32", 0.0), ("f16", 1e-3), ("bf16", 8e-3), ("q8_0", 8e-3)])
def test_every_tensor_within_its_rounding(kind: str, error: float, codec: Tokenizer, tmp_path: Path) -> None:
    model = loaded("qwen3", codec, head_dim=32, hidden_size=32, intermediate_size=64)
    gguf.write(model, tmp_path / "m.gguf", kind)
    fields, tensors = read(tmp_path / "m.gguf")
    state = model.model.state_dict()
    assert len(tensors) == 3 + 3 * 11 and fields["general.architecture"] == "qwen3"
    q, k, v = state["blocks.1.attention.qkv"].split([128, 64, 64])
    gate, up = state["blocks.1.feed.up"].chunk(2)
    wanted = {
        "token_embd.weight": state["embed"], "output.weight": state["head"], "output_norm.weight": state["norm.weight"],
        "blk.1.attn_q.weight": q, "blk.1.attn_k.weight": k, "blk.1.attn_v.weight": v, "blk.1.ffn_gate.weight": gate,
        "blk.1.ffn_up.weight": up, "blk.1.ffn_down.weight": state["blocks.1.feed.down"],
        "blk.1.attn_q_norm.weight": state["blocks.1.attention.q_norm"],
    }  # fmt: skip
    for name, value in wanted.items():
        data, type_ = tensors[name]
        flat = value.numpy()
        assert type_ == ("F32" if value.ndim == 1 else kind.upper()), name
        assert np.abs(data - flat).max() <= (0 if value.ndim == 1 else error) * np.abs(flat).max(), name
    assert fields["tokenizer.ggml.pre"] == "qwen2" and len(fields["tokenizer.ggml.tokens"]) == 280
    assert fields["qwen3.attention.key_length"] == 32 and fields["qwen3.rope.freq_base"] == 10_000.0
    assert fields["tokenizer.chat_template"] == codec.template


def test_what_each_family_does_otherwise(codec: Tokenizer, tmp_path: Path) -> None:
    model = loaded("llama", codec, num_key_value_heads=4)
    gguf.write(model, tmp_path / "l.gguf", "f32")
    q = model.model.state_dict()["blocks.0.attention.qkv"][:16].numpy()
    order = [0, 2, 1, 3]  # halves (0, 1 | 2, 3) of each head of 4 become neighbours
    theirs = read(tmp_path / "l.gguf")[1]["blk.0.attn_q.weight"][0]
    assert np.array_equal(theirs[:4], q[:4][order]) and np.array_equal(theirs[12:], q[12:][order])
    model = loaded("gemma2", codec, tie_word_embeddings=True, query_pre_attn_scalar=8)
    gguf.write(model, tmp_path / "g.gguf", "f32")
    fields, tensors = read(tmp_path / "g.gguf")
    state = model.model.state_dict()
    places = {"blk.0.attn_norm": "blocks.0.attention_norm", "blk.0.post_attention_norm": "blocks.0.attention_after",
              "blk.2.ffn_norm": "blocks.2.feed_norm", "blk.2.post_ffw_norm": "blocks.2.feed_after",
              "output_norm": "norm"}  # fmt: skip
    for theirs_, ours in places.items():
        assert np.array_equal(tensors[f"{theirs_}.weight"][0], state[f"{ours}.weight"].numpy() + 1)
    assert fields["gemma2.attention.sliding_window"] == 8
    assert fields["gemma2.attention.sliding_window_pattern"] == [True, False, True]
    model = loaded("gpt2", codec)
    gguf.write(model, tmp_path / "t.gguf", "q8_0")
    tensors = read(tmp_path / "t.gguf")[1]
    assert tensors["position_embd.weight"][1] == "F32" and tensors["blk.0.attn_qkv.bias"][1] == "F32"
    assert tensors["blk.0.ffn_up.weight"][1] == "F16"  # rows of 16: no multiple of 32
    assert tensors["blk.0.ffn_up.weight"][0].shape == (64, 16)


def test_rotations(codec: Tokenizer, tmp_path: Path) -> None:
    three = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 16, "low_freq_factor": 1.0,
             "high_freq_factor": 4.0, "rope_theta": 1e4}  # fmt: skip
    model = loaded("llama", codec, rope_parameters=three, head_dim=8)
    gguf.write(model, tmp_path / "l.gguf", "f32")
    factors = torch.tensor(read(tmp_path / "l.gguf")[1]["rope_freqs.weight"][0])
    plain = rope.frequencies(Rope(), 8, 64)[0]
    turning = model.config.layer.rope
    assert turning is not None
    torch.testing.assert_close(plain / factors, rope.frequencies(turning, 8, 64)[0])
    model = loaded("phi3", codec, sliding_window=None)
    gguf.write(model, tmp_path / "p.gguf", "f32")
    fields, tensors = read(tmp_path / "p.gguf")
    assert tensors["rope_factors_long.weight"][0].tolist() == [2.0, 4.0]
    assert fields["phi3.rope.scaling.original_context_length"] == 16 and "phi3.rope.scaling.factor" not in fields
    assert fields["phi3.rope.scaling.attn_factor"] == pytest.approx((1 + np.log(4) / np.log(16)) ** 0.5)


@pytest.mark.parametrize(
    ("name", "changes", "word"),
    [
        ("mistral", {"sliding_window": 8}, "window=8"), ("olmo2", {"attention_bias": True}, "qkv_bias"),
        ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "dynamic"),
        ("gemma2", {"query_pre_attn_scalar": 24}, "attention_scale"), ("gpt2", {"activation_function": "relu"}, "relu"),
        ("gpt2", {"scale_attn_weights": False}, "attention_scale"),
        ("gemma2", {"query_pre_attn_scalar": 8, "final_logit_softcapping": None}, "softcap"),
    ],
)  # fmt: skip
def test_what_llama_cpp_cannot_say_is_named(
    name: str, changes: dict[str, Any], word: str, codec: Tokenizer, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=word):
        gguf.write(loaded(name, codec, **changes), tmp_path / "m.gguf")
    assert not list(tmp_path.iterdir())


def test_wrong_requests(codec: Tokenizer, tmp_path: Path) -> None:
    model = loaded("qwen3", codec)
    with pytest.raises(UserError, match="q8_0"):
        gguf.write(model, tmp_path / "m.gguf", "q4")
    odd = Loaded(lively(replace(model.config, softcap=2.0)), codec, path=Path("mine"))
    with pytest.raises(UserError, match=r"softcap=2\.0"):
        gguf.write(odd, tmp_path / "m.gguf")
    with torch.no_grad():
        model.model.embed[0, 0] = 1e6
    with pytest.raises(UserError, match="beyond float16"):
        gguf.write(model, tmp_path / "m.gguf", "f16")
    assert not list(tmp_path.iterdir())
    gguf.write(model, tmp_path / "m.gguf", "f32")
    with pytest.raises(UserError, match="exists"):
        gguf.write(model, tmp_path / "m.gguf", "f32")


def test_a_model_of_our_own_is_read_from_its_folder(codec: Tokenizer, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "m", lively(config_of("qwen3")), codec)
    about = gguf.write(checkpoint.load(tmp_path / "m"), tmp_path / "m.gguf", "f16", name="mine")
    fields, tensors = read(tmp_path / "m.gguf")
    assert fields["general.name"] == "mine" and about["tensors"] == len(tensors)
    gguf.write(checkpoint.load(tmp_path / "m"), tmp_path / "phi3.gguf", "f16", name="my-phi3")
    assert "general.name" not in read(tmp_path / "phi3.gguf")[0]  # llama.cpp would look for Phi-3's tokens
    assert Layer().qk_norm == "head" and "blk.0.attn_k_norm.weight" in tensors


@pytest.mark.parametrize("kind", ["ours", "pieces", *(name for name, *_ in CUTS)])
def test_llama_cpp_cuts_text_alike(kind: str, tmp_path: Path) -> None:
    """Where llama.cpp is at hand: see scripts/check_gguf.py for how."""
    llama_cpp = pytest.importorskip("llama_cpp")
    words = bpe.train([*ODD, "a model reads what it is given, 接龍接龍 12 345"] * 4, 330, at_most=True)
    how = {name: rest for name, *rest in CUTS}
    codec = pieces() if kind == "pieces" else cut_otherwise(words, *how[kind]) if kind in how else words
    small = loaded("llama", codec, hidden_size=32, vocab_size=codec.size)
    gguf.write(small, tmp_path / "m.gguf", "f32")
    llama = llama_cpp.Llama(str(tmp_path / "m.gguf"), n_ctx=64, n_threads=1, n_threads_batch=1, verbose=False)
    for text in ODD:
        mine = [*codec.opening, *codec.encode(text)]
        assert llama.tokenize(text.encode(), add_bos=bool(codec.opening), special=False) == mine, text
