"""The maps of the families by themselves: every field and every row has its place, whatever is not honoured is named.
(Parity with transformers stands in test_families_referee.py.)"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from jielong.base.errors import UserError
from jielong.nets import checkpoint, rope, weights
from jielong.nets.cache import KVCache
from jielong.nets.config import Layer, Rope, TransformerConfig, from_json, to_json
from jielong.nets.families import known
from jielong.nets.families.family import differences, plan, read, write
from jielong.nets.transformer import Transformer
from jielong.units import bpe
from jielong.units.codec import Tokenizer
from tests.nets.test_transformer import lively

SMALL: dict[str, Any] = {
    "vocab_size": 280, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
LONG = {"type": "su", "short_factor": [1.0, 1.5], "long_factor": [2.0, 4.0]}
DATA: dict[str, dict[str, Any]] = {
    "qwen3": SMALL | {"head_dim": 8},
    "llama": SMALL | {"attention_bias": True, "mlp_bias": True},
    "qwen2": SMALL | {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "mistral": SMALL | {"sliding_window": 8},
    "phi3": SMALL | {"rope_scaling": LONG, "original_max_position_embeddings": 16, "sliding_window": 8},
    "olmo2": SMALL | {"attention_bias": True},
    "gemma2": SMALL | {"head_dim": 8, "sliding_window": 8},
    "gemma3_text": SMALL | {"head_dim": 8, "sliding_window": 8, "final_logit_softcapping": 5.0, "attention_bias": True},
    "gpt2": {"vocab_size": 280, "n_embd": 16, "n_layer": 3, "n_head": 4, "n_positions": 64},
}  # fmt: skip
NAMES = sorted(DATA)


def config_of(name: str, **changes: Any) -> TransformerConfig:
    return known.read_known({"model_type": name, **DATA[name], **changes})[1]


@pytest.fixture(scope="module")
def codec() -> Tokenizer:
    return bpe.train(["a model reads what it is given, 接龍接龍"] * 4, 280, at_most=True)


def folder_of(name: str, codec: Tokenizer, path: Path, **changes: Any) -> Path:
    """A folder as another program would have written it, of lively weights."""
    data = {"model_type": name, **DATA[name], **changes}
    family, config = known.read_known(data)
    state = lively(config).state_dict()
    path.mkdir()
    tensors = {part.theirs: weights.take(state, part) for part in plan(family, config, state.keys())}
    weights.write(path, tensors)
    (path / "config.json").write_text(json.dumps(data))
    codec.save(path)
    return path


def test_every_family_has_a_case() -> None:
    assert set(NAMES) == {family.name for family in known.FAMILIES}


@pytest.mark.parametrize("name", NAMES)
def test_written_and_read_again_is_the_same(name: str) -> None:
    config = config_of(name)
    family = known.named(name)
    assert family is not None
    assert read(family, write(family, config)) == config
    assert known.fitting(config, preferred=name) == (family, "")
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_ours_is_one_of_theirs(name: str) -> None:
    config = config_of(name, tie_word_embeddings=False)
    state = Transformer(config).state_dict()
    covered: Counter[str] = Counter()
    family = known.named(name)
    assert family is not None
    for part in plan(family, config, state.keys()):
        covered[part.ours] += part.rows or state[part.ours].shape[0]
    assert covered == {key: value.shape[0] for key, value in state.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_field_that_is_not_honoured_is_named(name: str) -> None:
    with pytest.raises(UserError, match="wings=2"):
        config_of(name, wings=2)
    assert config_of(name, wings=None, transformers_version="4.1", auto_map={"AutoModel": "x.Y"}) == config_of(name)


@pytest.mark.parametrize(
    ("name", "changes", "word"),
    [
        ("llama", {"hidden_act": "gelu"}, "hidden_act"),
        ("llama", {"hidden_size": None}, "lacks hidden_size"),
        ("llama", {"hidden_size": 16.5}, "hidden_size=16.5"),
        ("llama", {"num_hidden_layers": 10**9}, "blocks"),
        ("llama", {"num_hidden_layers": True}, "num_hidden_layers=True"),
        ("llama", {"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ("llama", {"num_attention_heads": 0}, "heads"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("llama", {"sliding_window": 4}, "sliding_window"),
        ("llama", {"rope_interleaved": True}, "rope_interleaved"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("llama", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor"),
        ("llama", {"rope_scaling": {"type": "linear"}}, "factor"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0, "beta_fast": 3}}, "beta_fast"),
        ("llama", {"rope_scaling": {"type": "yarn", "factor": 2.0, "truncate": False}}, "truncate"),
        ("llama", {"rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [1]}}, "longrope wants 2"),
        ("mistral", {"attention_bias": True}, "attention_bias"),
        ("mistral", {"layer_types": ["full_attention"]}, "layer_types"),
        ("qwen2", {"layer_types": ["full_attention", "chunked", "chunked"]}, "chunked"),
        ("qwen2", {"layer_types": ["full_attention"]}, "1 layer_types for 3"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "bidirectional"),
        ("gemma3_text", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ("gemma2", {"sliding_window": None}, "sliding_window"),
        ("gemma2", {"hidden_activation": "gelu"}, "hidden_activation"),
        ("gpt2", {"activation_function": "tanh"}, "activation_function"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "inverse_layer"),
        ("phi3", {"lm_head_bias": True}, "lm_head_bias"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_said(name: str, changes: dict[str, Any], word: str) -> None:
    with pytest.raises(UserError, match=word):
        config_of(name, **changes)


def test_a_picture_model_says_which_part_is_read() -> None:
    with pytest.raises(UserError, match="gemma3_text"):
        known.read_known({"model_type": "gemma3", "text_config": {}})


def test_old_and_new_ways_of_saying_a_rotation_are_one() -> None:
    old = config_of("llama", rope_theta=5e5, rope_scaling={"type": "linear", "factor": 2.0})
    new = config_of("llama", rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5})
    assert old == new and old.layer.rope == Rope(base=5e5, scaling="linear", factor=2.0)
    old = config_of(
        "gemma3_text", rope_theta=1e5, rope_local_base_freq=5e3, rope_scaling={"type": "linear", "factor": 8.0}
    )
    new = config_of("gemma3_text", rope_parameters={
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e5},
        "sliding_attention": {"rope_type": "default", "rope_theta": 5e3},
    })  # fmt: skip
    assert old == new and old.blocks[0].rope == Rope(base=5e3)


def test_which_blocks_have_windows() -> None:
    def windows(name: str, **changes: Any) -> list[int | None]:
        return [layer.window for layer in config_of(name, **changes).blocks]

    assert windows("mistral") == [8] * 3 and windows("mistral", sliding_window=None) == [None] * 3
    assert windows("qwen2") == [None, 8, 8] and windows("qwen2", use_sliding_window=False) == [None] * 3
    assert windows("gemma2") == [8, None, 8]
    assert windows("gemma3_text", num_hidden_layers=7) == [8, 8, 8, 8, 8, None, 8]
    kinds = ["full_attention", "sliding_attention", "full_attention"]
    assert windows("gemma2", layer_types=kinds) == [None, 8, None]


def test_the_nearest_family_says_what_it_lacks() -> None:
    config = replace(config_of("llama"), softcap=3.0)
    family, reason = known.fitting(config)
    assert family is None and reason == "softcap=3.0 (no llama has that)"
    gemma = config_of("gemma2")
    odd = replace(gemma, layer_list=(replace(gemma.blocks[0], window=5), *gemma.blocks[1:]))
    assert differences(known.GEMMA2, odd) == ["layer.window=8"]
    assert known.fitting(replace(config_of("llama"), heads=3, kv_heads=1))[0] is not known.LLAMA  # 16 / 3 heads


def test_dropout_does_not_make_a_shape_anybody_elses() -> None:
    assert known.fitting(replace(config_of("llama"), dropout=0.1)) == (known.LLAMA, "")


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_comes_back_bit_for_bit(name: str, codec: Tokenizer, tmp_path: Path) -> None:
    folder = folder_of(name, codec, tmp_path / "a")
    tensors = load_file(folder / "model.safetensors")
    mixed = {key: value.to((torch.bfloat16, torch.float16)[i % 2]) for i, (key, value) in enumerate(tensors.items())}
    save_file(mixed, folder / "model.safetensors")
    checkpoint.copy(checkpoint.load(folder), tmp_path / "b")
    back = load_file(tmp_path / "b/model.safetensors")
    assert back.keys() == mixed.keys()
    assert all(back[key].dtype == value.dtype and torch.equal(back[key], value) for key, value in mixed.items())
    assert (tmp_path / "b/config.json").read_bytes() == (folder / "config.json").read_bytes()


def test_copies_of_another_type_and_in_shards(codec: Tokenizer, tmp_path: Path) -> None:
    folder = folder_of("llama", codec, tmp_path / "a", torch_dtype="float32")
    loaded = checkpoint.load(folder)
    checkpoint.copy(loaded, tmp_path / "b", "bf16", shard=8000)
    again = checkpoint.load(tmp_path / "b")
    assert set(again.stored.types.values()) == {"BF16"} and again.said["torch_dtype"] == "bfloat16"
    files = set(again.stored.files.values())
    assert len(files) > 2 and all((tmp_path / "b" / name).stat().st_size < 12_000 for name in files)
    index = json.loads((tmp_path / "b/model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 2 * sum(value.numel() for value in loaded.model.state_dict().values())
    for key, value in loaded.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[key], value.bfloat16().float())
    with pytest.raises(UserError, match="f32, f16, bf16"):
        checkpoint.copy(loaded, tmp_path / "c", "q4")


def test_a_shape_of_nobody_cannot_be_copied_for_others(codec: Tokenizer, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "m", lively(replace(config_of("llama"), softcap=3.0)), codec)
    with pytest.raises(UserError, match=r"softcap=3\.0"):
        checkpoint.copy(checkpoint.load(tmp_path / "m"), tmp_path / "out")


def test_gpt2_as_its_makers_wrote_it(codec: Tokenizer, tmp_path: Path) -> None:
    """Without the prefix, and with masks among the tensors."""
    folder = folder_of("gpt2", codec, tmp_path / "a", n_ctx=64, resid_pdrop=0.1, summary_type="cls_index")
    tensors = load_file(folder / "model.safetensors")
    bare = {key.removeprefix("transformer."): value for key, value in tensors.items()}
    masks = {f"h.{i}.attn.bias": torch.ones(64, 64, dtype=torch.uint8).tril() for i in range(3)}
    save_file({**bare, **masks}, folder / "model.safetensors")
    loaded = checkpoint.load(folder)
    for key, value in lively(loaded.config).state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value)
    checkpoint.copy(loaded, tmp_path / "b")
    assert load_file(tmp_path / "b/model.safetensors").keys() == bare.keys()


def test_a_copied_head_must_be_the_table(codec: Tokenizer, tmp_path: Path) -> None:
    folder = folder_of("llama", codec, tmp_path / "a", tie_word_embeddings=True)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / "model.safetensors")
    checkpoint.copy(checkpoint.load(folder), tmp_path / "b")
    assert torch.equal(load_file(tmp_path / "b/model.safetensors")["lm_head.weight"], tensors["lm_head.weight"])
    tensors["lm_head.weight"][0] += 1
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UserError, match="tie_word_embeddings"):
        checkpoint.load(folder)


@pytest.mark.parametrize(
    ("harm", "word"),
    [
        ("shard gone", "not there"), ("shard cut", "half-written"), ("index lies", "speaks of"),
        ("index odd", "no weight_map"), ("integers", r"model\.norm\.weight \(I32\)"), ("shape", r"has shape \[5\]"),
        ("extra", "that this shape has not"), ("missing", "lacks model"), ("not an object", "not an object"),
    ],
)  # fmt: skip
def test_broken_folders(harm: str, word: str, codec: Tokenizer, tmp_path: Path) -> None:
    checkpoint.copy(checkpoint.load(folder_of("llama", codec, tmp_path / "a")), tmp_path / "b", shard=8000)
    folder = tmp_path / "b"
    shard = sorted(folder.glob("*.safetensors"))[1]
    index = folder / "model.safetensors.index.json"
    norm = folder / json.loads(index.read_text())["weight_map"]["model.norm.weight"]
    if harm == "shard gone":
        shard.unlink()
    elif harm == "shard cut":
        shard.write_bytes(shard.read_bytes()[:-100])
    elif harm == "index lies":
        data = json.loads(index.read_text())
        data["weight_map"]["model.layers.7.wing"] = shard.name
        index.write_text(json.dumps(data))
    elif harm == "index odd":
        index.write_text("[]")
    elif harm == "not an object":
        (folder / "config.json").write_text("[]")
    else:
        tensors = load_file(norm)
        value = tensors.pop("model.norm.weight")
        new = {"integers": value.int(), "shape": torch.ones(5), "extra": value, "missing": value}[harm]
        if harm == "extra":
            tensors["model.wing"] = torch.ones(2)
        tensors["model.norm.weight"] = new
        if harm == "missing":
            del tensors["model.norm.weight"]
            data = json.loads(index.read_text())
            del data["weight_map"]["model.norm.weight"]
            index.write_text(json.dumps(data))
        save_file(tensors, norm)
    with pytest.raises(UserError, match=word) as caught:
        checkpoint.load(folder)
    assert "\n" not in str(caught.value)


ABSURD = (10**9, 10**30, -1, 1e300, float("nan"), True, "x" * 5000, [1.0] * 2000)


@pytest.mark.parametrize("name", NAMES)
def test_absurd_numbers_are_refused_by_name_and_nothing_is_built_of_them(
    name: str, codec: Tokenizer, tmp_path: Path
) -> None:
    """A field that asks for terabytes, or that makes every logit NaN, is one line; what is read can be run."""
    folder = folder_of(name, codec, tmp_path / "a")
    data = json.loads((folder / "config.json").read_text())
    more = {"rms_norm_eps": 1e-6, "layer_norm_epsilon": 1e-5, "rope_theta": 1e4, "n_inner": 64}
    for field in {**data, **more}:
        for value in ABSURD:
            (folder / "config.json").write_text(json.dumps({**data, field: value}))
            said = "read"
            try:
                model = checkpoint.load(folder).model
            except UserError as error:
                said = str(error)
            assert "\n" not in said and len(said) < 600, said
            assert said != "read" or model(torch.tensor([[1, 2, 3]])).isfinite().all(), (field, value)


@pytest.mark.parametrize(("field", "word"), [("num_attention_heads", "holds"), ("hidden_size", "holds"),
                                             ("max_position_embeddings", "context must be")])  # fmt: skip
def test_an_absurd_size_is_named(field: str, word: str, codec: Tokenizer, tmp_path: Path) -> None:
    folder = folder_of("qwen3", codec, tmp_path / "a")
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**data, field: 10**9}))
    with pytest.raises(UserError, match=word):
        checkpoint.load(folder)


def test_rotations_that_depend_on_length() -> None:
    """Closed forms, and that a cached text is read with one rotation from its first token to its last."""
    long = Rope(scaling="longrope", factor=4.0, original=16, short=(1.0, 2.0), long=(3.0, 8.0))
    for length, factors in ((16, long.short), (17, long.long)):
        found, scale = rope.frequencies(rope.settled(long, 64, length), 4, 64)
        torch.testing.assert_close(found, torch.tensor([1.0, 0.01]) / torch.tensor(factors))
        assert scale == pytest.approx((1 + torch.log(torch.tensor(4.0)) / torch.log(torch.tensor(16.0))).sqrt().item())
    dynamic = Rope(scaling="dynamic", factor=2.0, original=16)
    assert torch.equal(rope.frequencies(rope.settled(dynamic, 16, 9), 4, 16)[0], rope.frequencies(Rope(), 4, 16)[0])
    grown = rope.frequencies(rope.settled(dynamic, 16, 32), 4, 16)[0]
    torch.testing.assert_close(grown, rope.frequencies(Rope(base=10_000 * 3.0**2), 4, 16)[0])
    shape = TransformerConfig(vocab=37, dim=16, layers=2, heads=4, kv_heads=2, head_dim=4, hidden=24, context=64,
                              layer=Layer(rope=long, qk_norm=None))  # fmt: skip
    ids = torch.randint(0, 37, (1, 24), generator=torch.Generator().manual_seed(1))
    for context in (64, 16):  # as long as the model reads, and set to texts within `original`
        model = lively(shape)
        model.config = replace(shape, context=context)
        cache = KVCache(model.config, 1, length=64)
        with torch.no_grad():
            parts = [model(part, cache=cache) for part in ids[:, :context].split(7, 1)]
            whole = model(ids[:, :context])
        torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-5)
