"""Tokenizers as llama.cpp wants them: which are known, what stands in every row, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from jielong.base.errors import UserError
from jielong.units import bpe, chars
from jielong.units.codec import Tokenizer, check_fits, load, new_config
from jielong.units.ggml import BYTE, CONTROL, LLAMA3, NORMAL, UNKNOWN, UNUSED, vocabulary

TEXTS = ["the cat sat on the mat, 玉山 is high; the cat sat"] * 3


@pytest.fixture(scope="module")
def ours() -> Tokenizer:
    return bpe.train(TEXTS, 280, at_most=True)


def pieces() -> Tokenizer:
    """A tokenizer of Llama 2's kind: SentencePiece pairs as transformers converts them."""
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False)
    backend.train_from_iterator([text.replace(" ", " \u2581") for text in TEXTS], trainer)
    whole = json.loads(backend.to_str())
    whole["added_tokens"] = whole["added_tokens"][:3]  # bytes are pieces, not added tokens
    backend = tokenizers.Tokenizer.from_str(json.dumps(whole))
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return Tokenizer(backend, {**new_config(), **names, "pad_token": None})


def test_ours(ours: Tokenizer) -> None:
    made = vocabulary(ours, 300)
    assert (made.model, made.pre, made.add_bos) == ("gpt2", "qwen2", False)
    assert len(made.tokens) == len(made.types) == 300
    assert (
        made.types[:3] == (CONTROL,) * 3 and made.types[3:280] == (NORMAL,) * 277 and set(made.types[280:]) == {UNUSED}
    )
    assert [tuple(pair.split(" ")) for pair in made.merges] == bpe.merges_of(ours)
    assert made.ids == {"eos": ours.end, "bos": ours.end, "eot": ours.turn_end, "pad": ours.end}
    assert made.template == ours.template
    assert len(vocabulary(ours, 270).tokens) == 270


CUTS = [
    ("gpt-2", [pre_tokenizers.ByteLevel(add_prefix_space=False)], False),
    ("smollm", [pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False)], False),
    ("llama-bpe", [pre_tokenizers.Split(tokenizers.Regex(LLAMA3), "isolated"),
                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)], True),
]  # fmt: skip


def cut_otherwise(codec: Tokenizer, steps: list[Any], ignore: bool) -> Tokenizer:
    """The same merges after another way to cut."""
    whole = json.loads(codec.backend.to_str())
    whole["model"]["ignore_merges"] = ignore
    backend = tokenizers.Tokenizer.from_str(json.dumps(whole))
    backend.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(steps)
    return Tokenizer(backend, new_config())


@pytest.mark.parametrize(("name", "steps", "ignore"), CUTS)
def test_other_ways_to_cut(ours: Tokenizer, name: str, steps: list[Any], ignore: bool) -> None:
    codec = cut_otherwise(ours, steps, ignore)
    assert vocabulary(codec, 280).pre == name
    backend = codec.backend
    backend.normalizer = normalizers.Lowercase()
    with pytest.raises(UserError, match="cuts text"):
        vocabulary(Tokenizer(backend, new_config()), 280)


def test_what_llama_cpp_would_read_otherwise_is_refused(ours: Tokenizer) -> None:
    for before in (pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=True)):
        backend = tokenizers.Tokenizer.from_str(ours.backend.to_str())
        backend.pre_tokenizer = before
        with pytest.raises(UserError, match="cuts text"):
            vocabulary(Tokenizer(backend, new_config()), 280)
    with pytest.raises(UserError, match=r"llama\.cpp"):
        vocabulary(chars.train(TEXTS), 280)


def test_sentencepiece_pairs(tmp_path: Path) -> None:
    codec = pieces()
    made = vocabulary(codec, codec.size)
    assert (made.model, made.pre, made.add_bos, made.add_space) == ("llama", "default", True, True)
    assert made.types[:3] == (UNKNOWN, CONTROL, CONTROL) and made.types[3:259] == (BYTE,) * 256
    assert made.ids is not None and (made.ids["bos"], made.ids["eos"], made.ids["unk"]) == (1, 2, 0)
    ranks = {"".join(pair): -made.scores[made.tokens.index("".join(pair))] for pair in bpe.merges_of(codec)}
    assert sorted(ranks.values()) == list(ranks.values()) and ranks  # the earlier a merge, the higher its score


def test_what_stands_before_every_text(ours: Tokenizer, tmp_path: Path) -> None:
    assert ours.opening == ()
    codec = pieces()
    assert codec.opening == (1,)
    codec.save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "add_bos_token": False}))
    assert load(tmp_path).opening == ()


def test_control_tokens_beyond_the_rows_are_let_be(ours: Tokenizer) -> None:
    backend = tokenizers.Tokenizer.from_str(ours.backend.to_str())
    backend.add_special_tokens(["<image>"])
    codec = Tokenizer(backend, new_config())
    check_fits(codec, ours.size)
    assert vocabulary(codec, ours.size).tokens == vocabulary(ours, ours.size).tokens
    with pytest.raises(UserError, match="model only"):
        check_fits(codec, ours.size - 1)
