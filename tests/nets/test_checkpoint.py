"""Checkpoints come back bit for bit; whatever is wrong with a folder is one line that names it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from jielong.base.errors import UserError
from jielong.nets import checkpoint
from jielong.nets.config import Layer, Rope, TransformerConfig
from jielong.nets.families import known
from jielong.nets.transformer import Transformer
from jielong.units import bpe
from jielong.units.codec import Tokenizer
from tests.nets.test_transformer import VARIANTS, lively

SHAPE = TransformerConfig(vocab=280, dim=16, layers=2, heads=2, kv_heads=1, head_dim=8, hidden=24, context=32)


KINDS = {"qwen3": "qwen3", "window": "qwen3", "plain": "llama", "olmo": "olmo2"}  # the rest is nobody's


@pytest.fixture(scope="module")
def codec() -> Tokenizer:
    return bpe.train(["a model reads what it is given, 接龍接龍"] * 4, 280, at_most=True)


@pytest.fixture
def folder(codec: Tokenizer, tmp_path: Path) -> Path:
    checkpoint.save(tmp_path / "m", lively(SHAPE), codec, {"name": "tiny", "metrics": {"loss": 1.5}})
    return tmp_path / "m"


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_every_shape_comes_back(name: str, codec: Tokenizer, tmp_path: Path) -> None:
    model = lively(replace(VARIANTS[name], vocab=280))
    reason = checkpoint.save(tmp_path / "m", model, codec, {"step": 3})
    back = checkpoint.load(tmp_path / "m")
    assert back.config == model.config and back.info["step"] == 3
    kind = json.loads((tmp_path / "m/config.json").read_text())["model_type"]
    assert kind == KINDS.get(name, "jielong")
    assert (kind == "jielong") == bool(reason)
    for key, value in model.state_dict().items():
        assert torch.equal(value, back.model.state_dict()[key])


@pytest.mark.parametrize(
    ("change", "word"),
    [({"softcap": 3.0}, "softcap"), ({"activation": "gelu"}, "activation"), ({"position": "alibi"}, "position"),
     ({"layer": Layer(norm="out")}, "layer.norm"), ({"layer": Layer(rope=Rope(scaling="ntk"))}, "rope"),
     ({"qkv_bias": True}, "out_bias"), ({"layer_list": (Layer(window=2), Layer(window=3))}, "window")],
)  # fmt: skip
def test_the_option_that_no_family_has_is_named(change: dict[str, object], word: str) -> None:
    family, reason = known.fitting(replace(SHAPE, **change))
    assert family is None and word in reason and reason.endswith("(no qwen3 has that)")


def test_a_run_means_its_newest_checkpoint(codec: Tokenizer, tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path / f"run/checkpoints/step-{step:08d}", lively(SHAPE, step), codec, {"step": step})
    assert checkpoint.load(tmp_path / "run").info["step"] == 2
    with pytest.raises(UserError, match="not there"):
        checkpoint.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no checkpoint"):
        checkpoint.load(tmp_path / "empty")


def test_the_card_says_how_it_was_made(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert "tiny" in card and "| loss | 1.5 |" in card


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    data = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"wings": 2}, "wings"), ({"hidden_act": "gelu"}, "hidden_act"), ({"model_type": "bloom"}, "bloom"),
     ({"num_attention_heads": 3}, "shape"), ({"hidden_size": "wide"}, "sense"), ({"vocab_size": 100}, "tokens"),
     ({"rope_parameters": {"rope_type": "spiral"}}, "spiral"), ({"head_dim": -8}, "head_dim"),
     ({"rope_parameters": {"rope_type": "yarn", "wobble": 1}}, "wobble"),
     ({"layer_types": ["full_attention"]}, "layer")],
)  # fmt: skip
def test_wrong_configurations(folder: Path, changes: dict[str, object], word: str) -> None:
    edit(folder, **changes)
    with pytest.raises(UserError, match=word):
        checkpoint.load(folder)


def test_missing_fields_are_named(folder: Path) -> None:
    path = folder / "config.json"
    data = json.loads(path.read_text())
    del data["hidden_size"]
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match="hidden_size"):
        checkpoint.load(folder)


def test_wrong_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(UserError, match="half-written"):
        checkpoint.load(folder)
    path.write_bytes(good)
    weights = load_file(path)
    save_file({**weights, "model.wing": torch.ones(2)}, path)
    with pytest.raises(UserError, match=r"model\.wing"):
        checkpoint.load(folder)
    short = {k: v for k, v in weights.items() if "norm.weight" not in k}
    save_file(short, path)
    with pytest.raises(UserError, match=r"lacks .* more"):
        checkpoint.load(folder)
    save_file({**weights, "model.norm.weight": torch.ones(3)}, path)
    with pytest.raises(UserError, match=r"\[3\]"):
        checkpoint.load(folder)
    path.unlink()
    with pytest.raises(UserError, match="safetensors"):
        checkpoint.load(folder)


def test_sharded_weights_and_a_copied_head_are_read(folder: Path) -> None:
    before = checkpoint.load(folder).model.state_dict()
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    names = sorted(weights)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for shard, keys in shards.items():
        save_file({k: weights[k] for k in keys}, folder / shard)
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {k: shard for shard, keys in shards.items() for k in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    after = checkpoint.load(folder).model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    index["weight_map"][names[0]] = "../escape.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="escape"):
        checkpoint.load(folder)


def test_another_tokenizer_is_refused(folder: Path) -> None:
    other = bpe.train(["completely different words are here, wholly other"] * 4, 275, at_most=True)
    other.save(folder)
    with pytest.raises(UserError, match="tokenizer"):
        checkpoint.load(folder)


def test_an_existing_folder_is_kept(folder: Path, codec: Tokenizer) -> None:
    with pytest.raises(UserError, match="exists"):
        checkpoint.save(folder, Transformer(SHAPE), codec)
    checkpoint.save(folder, Transformer(SHAPE), codec, overwrite=True)
