"""Texts of a form from the command line and through the common face."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from jielong.base.errors import UserError
from jielong.cli.main import main
from jielong.lm.local import load
from jielong.lm.replay import Recorder, Replay
from jielong.nets import checkpoint
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.units import bpe

TEXT = "the cat sat on the mat. 玉山很高。\nsystem user assistant ? yes no"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    codec = bpe.train([TEXT] * 3, 280, at_most=True)
    config = TransformerConfig(vocab=codec.size, dim=32, layers=1, heads=1, kv_heads=1, head_dim=32, context=160)
    model = Transformer(config)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.2, generator=generator)
    path = tmp_path_factory.mktemp("models") / "small"
    checkpoint.save(path, model, codec)
    return path


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    code = main([str(w) for w in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_regular_expression(folder: Path, capsys: Any) -> None:
    flags = ("--model", folder, "-q", "--regex", "(yes|no), (玉山|cat)")
    code, out, _ = run(capsys, "generate", "the cat", *flags)
    assert code == 0 and re.fullmatch("(yes|no), (玉山|cat)\n", out)
    lines = run(capsys, "generate", "the cat", "-n", 4, *flags)[1].splitlines()
    assert len(lines) == 4 and lines[0] + "\n" == out
    assert all(re.fullmatch("(yes|no), (玉山|cat)", line) for line in lines)


def test_a_schema_and_a_grammar_from_a_file_or_as_such(folder: Path, capsys: Any, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"high": {"type": "boolean"}, "name": {"enum": ["玉山", "mat"]}},
              "required": ["high", "name"], "additionalProperties": False}  # fmt: skip
    (tmp_path / "schema.json").write_text(json.dumps(schema), encoding="utf-8")
    said = [
        run(capsys, "generate", "the", "--model", folder, "-q", "--schema", given)[1]
        for given in (tmp_path / "schema.json", json.dumps(schema))
    ]
    assert said[0] == said[1] and json.loads(said[0])["name"] in ("玉山", "mat")
    lark = 'start: "(" start ")" | "cat"'
    (tmp_path / "g.lark").write_text(lark)
    asked = ("generate", "the", "--model", folder, "-q", "--max-tokens", 90)
    said = [run(capsys, *asked, "--grammar", given)[1] for given in (tmp_path / "g.lark", lark)]
    assert said[0] == said[1] and re.fullmatch(r"\(*(cat\)*)?\n", said[0])


def test_faithful_draws(folder: Path, capsys: Any) -> None:
    flags = ("--model", folder, "--regex", "(yes|no)", "--faithful", "--temperature", 1, "--max-tokens", 8)
    code, out, err = run(capsys, "generate", "the cat", "-n", 3, *flags)
    assert code == 0 and all(line in ("yes", "no") for line in out.splitlines()) and "attempts" in err
    told = json.loads(run(capsys, "generate", "the cat", "-n", 5, "--json", *flags)[1])
    assert [d["text"] for d in told["draws"]][:3] == out.splitlines()
    assert 0 < told["mass_at_most"] < 0.1 and told["grammar"] == ["regex", "(yes|no)"]


@pytest.mark.parametrize(
    "words, told",
    [
        (("--regex", "a", "--schema", "{}"), "one of"),
        (("--faithful",), "--regex"),
        (("--schema", "nowhere.json"), "nowhere.json"),
        (("--schema", "{"), "not JSON"),
        (("--grammar", 'start: "a" start'), "never ends"),
        (("--regex", "("), "unclosed"),
        (("--regex", "[^\\s\\S]"), "cannot be met"),
        (("--regex", "a", "--faithful", "--stop", "b"), "--stop"),
        (("--regex", "a", "--faithful", "--temperature", "0"), "temperature"),
        (("--regex", "a", "--faithful", "--repetition-penalty", "2"), "repetition_penalty"),
        (("--regex", "a", "--faithful", "-n", "0"), "n is 0"),
    ],
)
def test_wrong_flags(folder: Path, capsys: Any, words: tuple[str, ...], told: str) -> None:
    code, out, err = run(capsys, "generate", "the", "--model", folder, *words)
    assert code == 2 and not out and told in err and len(err.strip().splitlines()) == 1


def test_the_common_face(folder: Path, tmp_path: Path) -> None:
    lm = load(folder)
    form = ("regex", "[ab]{4}")
    draws = lm.sample("the", 3, grammar=form)
    assert all(re.fullmatch("[ab]{4}", d.text) and d.reason == "stop" for d in draws)
    assert draws[0].key != lm.sample("the", 1)[0].key != lm.sample("the", 1, grammar=("regex", "[ab]{5}"))[0].key
    assert "".join(lm.stream("the", grammar=form)) == draws[0].text
    with pytest.raises(UserError, match="no kind of grammar"):
        lm.sample("the", grammar=("magic", "x"))
    recorder = Recorder(lm, tmp_path / "trace.jsonl")
    assert (
        recorder.sample("the", 3, grammar=form)
        == draws
        == Replay(tmp_path / "trace.jsonl").sample("the", 3, grammar=form)
    )


def test_help_names_the_flags(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    code, out, _ = run(capsys, "generate", "--help")
    assert code == 0 and all(flag in out for flag in ("--regex", "--schema", "--grammar", "--faithful"))
