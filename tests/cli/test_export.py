"""`jielong export`, whole: files, what is said, wrong input."""

from __future__ import annotations

import json

import pytest

from jielong.cli.main import main
from jielong.nets import checkpoint
from jielong.nets.config import TransformerConfig
from jielong.units import bpe
from tests.nets.test_transformer import lively

SHAPE = TransformerConfig(vocab=280, dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, hidden=64, context=32)


@pytest.fixture
def model(in_tmp):
    codec = bpe.train(["a model reads what it is given, 接龍接龍"] * 4, 280, at_most=True)
    checkpoint.save(in_tmp / "runs/mine/checkpoints/step-1", lively(SHAPE), codec)
    return in_tmp


def test_gguf(model, capsys):
    pytest.importorskip("gguf")
    assert main("export runs/mine --to gguf --type q8_0 --json".split()) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["out"] == "mine-q8_0.gguf" and told["architecture"] == "qwen3" and told["pre"] == "qwen2"
    assert (model / "mine-q8_0.gguf").read_bytes()[:4] == b"GGUF"
    assert main("export runs/mine --to gguf --type q8_0".split()) == 2
    assert "exists" in capsys.readouterr().err
    assert main("export runs/mine --to gguf --out a.gguf".split()) == 0
    assert "next: llama-cli --model a.gguf" in capsys.readouterr().err


def test_hf(model, capsys):
    assert main("export runs/mine --to hf".split()) == 0
    assert "next: jielong chat mine-hf" in capsys.readouterr().err
    before = (model / "runs/mine/checkpoints/step-1/config.json").read_bytes()
    assert (model / "mine-hf/config.json").read_bytes() == before
    assert main("export runs/mine --to hf --type bf16 --shard-gb 0.00002 --out small --json".split()) == 0
    told = json.loads(capsys.readouterr().out)
    assert "model.safetensors.index.json" in told["files"] and told["type"] == "bf16"
    assert set(checkpoint.load("small").stored.types.values()) == {"BF16"}


@pytest.mark.parametrize(
    "words, said",
    [
        ("runs/mine --to hf --type q8_0", "is for --to gguf"),
        ("runs/mine --to gguf --shard-gb 1", "is for --to hf"),
        ("runs/mine --to hf --shard-gb 0", "above 0"),
        ("runs/none --to hf", "not there"),
        ("runs/mine --to onnx", "onnx"),
    ],
)
def test_wrong_input(model, capsys, words, said):
    assert main(["export", *words.split()]) == 2
    captured = capsys.readouterr().err
    assert said in captured and captured.count("\n") == 1
