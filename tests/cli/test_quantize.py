"""`jielong quantize`, whole: the folder, what is said, wrong input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jielong.cli.main import main
from jielong.nets import checkpoint, quant
from jielong.nets.config import TransformerConfig
from jielong.units import bpe
from tests.nets.test_transformer import lively

SHAPE = TransformerConfig(vocab=280, dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, hidden=64, context=32)


@pytest.fixture
def model(in_tmp: Path) -> Path:
    codec = bpe.train(["a model reads what it is given, 接龍接龍"] * 4, 280, at_most=True)
    checkpoint.save(in_tmp / "runs/mine/checkpoints/step-1", lively(SHAPE), codec)
    return in_tmp


@pytest.mark.parametrize("bits", [8, 4])
def test_the_folder_is_a_model_for_every_verb(model: Path, capsys: Any, bits: int) -> None:
    assert main(f"quantize runs/mine --bits {bits} --json".split()) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["out"] == f"mine-int{bits}"
    assert told["bytes"] < told["bytes_before"] / 2
    assert len(quant.kept(checkpoint.load(told["out"]).model)) == 9
    assert main(["generate", "a model", "--model", told["out"], "--max-tokens", "4"]) == 0
    assert f"next: jielong chat mine-int{bits}" not in capsys.readouterr().out
    assert main(["score", "a model", "--model", told["out"], "--json"]) == 0
    assert main(f"quantize runs/mine --bits {bits}".split()) == 2  # it is there
    assert main(f"quantize runs/mine --bits {bits} --overwrite".split()) == 0


@pytest.mark.parametrize(
    "words, said",
    [("runs/mine --bits 5", "give 8 or 4"), ("runs/none", "not there"), ("mine-int8", "quantised already")],
)
def test_wrong_input(model: Path, capsys: Any, words: str, said: str) -> None:
    assert main("quantize runs/mine".split()) == 0
    assert main(["quantize", *words.split()]) == 2
    assert said in capsys.readouterr().err
