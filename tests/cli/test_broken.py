"""Every verb that reads a model, on folders that are broken in every way: one line, exit code 2, nothing written."""

from __future__ import annotations

import io
import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jielong.base.errors import UserError
from jielong.cli.main import main
from jielong.nets import checkpoint
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.units import bpe
from jielong.units.codec import Tokenizer

TEXT = "the cat sat on the mat. 玉山很高。"
WEIGHTS, CONFIG, TOKENS = "model.safetensors", "config.json", "tokenizer.json"


@pytest.fixture(scope="module")
def codec() -> Tokenizer:
    return bpe.train([TEXT] * 4, 280, at_most=True)


@pytest.fixture(scope="module")
def whole(codec: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = {"dim": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16, "hidden": 32}
    path = tmp_path_factory.mktemp("models") / "whole"
    checkpoint.save(path, Transformer(TransformerConfig(vocab=codec.size, context=64, **shape)), codec)
    return path


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "model")


def config(**changes: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        said = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({**said, **changes}))

    return change


def data(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def cut(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:5000])


def circle(folder: Path) -> None:
    (folder / CONFIG).unlink()
    (folder / CONFIG).symlink_to(CONFIG)


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (cut, "half-written"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "safetensors files only"),
    "no bytes": (data(WEIGHTS, b""), "half-written"),
    "other bytes": (data(WEIGHTS, b"\xff" * 4000), "half-written"),
    "a header of terabytes": (data(WEIGHTS, b"\xff" * 7 + b"\x7f{}"), "half-written"),
    "another shape": (config(intermediate_size=64), "config.json says"),
    "more layers": (config(num_hidden_layers=3, layer_types=["full_attention"] * 3), "lacks"),
    "an unknown family": (config(model_type="mamba"), "'mamba' is not read here"),
    "no family": (data(CONFIG, b"{}"), "is not read here"),
    "a field that is not honoured": (config(wings=2), "wings"),
    "no JSON": (data(CONFIG, b"{"), "JSON"),
    "JSON without an end": (data(CONFIG, b"[" * 100_000), "nested"),
    "no Unicode": (data(CONFIG, b'{"a": "\xe9"}'), "JSON"),
    "half a tokenizer": (data(TOKENS, b'{"model":'), "tokenizer"),
    "a circle of links": (circle, "no checkpoint"),
    "a file for a folder": (lambda f: (shutil.rmtree(f), f.write_text("x")), "no checkpoint"),
    "nothing": (shutil.rmtree, "is not there"),
}
VERBS = {
    "generate": ("generate", "x", "--model", "MODEL"), "score": ("score", "x", "--model", "MODEL"),
    "chat": ("chat", "--model", "MODEL"), "serve": ("serve", "MODEL", "--port", "0"),
    "export gguf": ("export", "MODEL", "--to", "gguf", "--out", "OUT"),
    "export hf": ("export", "MODEL", "--to", "hf", "--out", "OUT"), "quantize": ("quantize", "MODEL", "--out", "OUT"),
}  # fmt: skip


@pytest.mark.parametrize("how", SPOILT)
def test_one_line_from_every_verb(how: str, folder: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    spoil, told = SPOILT[how]
    spoil(folder)
    monkeypatch.setattr(sys, "stdin", io.StringIO("hi\n"))
    for words in VERBS.values():
        places = {"MODEL": str(folder), "OUT": str(tmp_path / "out")}
        assert main([*(places.get(word, word) for word in words), "-q"]) == 2, words
        out, err = capsys.readouterr()
        assert told in err and len(err.strip().splitlines()) == 1 and len(err) < 600 and not out.strip(), (words, err)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flags", [("--temperature", "nan"), ("--temperature", "inf"), ("--top-p", "nan"),
                                   ("--min-p", "nan"), ("--max-tokens", "-1"), ("--stop", ""), ("--regex", "("),
                                   ("--schema", '{"type": "nothing"}'), ("--schema", '{"enum": []}')])  # fmt: skip
def test_settings_that_make_no_sense_are_one_line(whole: Path, capsys: Any, flags: tuple[str, str]) -> None:
    assert main(["generate", "the cat", "--model", str(whole), "-q", *flags]) == 2
    out, err = capsys.readouterr()
    assert len(err.strip().splitlines()) == 1 and not out.strip()


SCALARS = [None, True, 0, -1, 10**9, 10**30, 1.5, float("nan"), float("inf"), "", "x" * 3000, [], {}, [[[]]], "../../x"]


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Cut short, some bytes changed, others put in their place, or one value of the JSON another."""
    kind = chance.randrange(5)
    if kind == 0:
        return content[: chance.randrange(len(content) + 1)]
    if kind == 1:
        changed = bytearray(content)
        for _ in range(chance.randint(1, 3)):
            changed[chance.randrange(min(len(changed), 4000))] = chance.randrange(256)
        return bytes(changed)
    if kind == 2:
        return chance.randbytes(50)
    size = int.from_bytes(content[:8], "little") if content[:1] != b"{" else 0
    start, rest = (8, content[8 + size :]) if size else (0, b"")
    said = json.loads(content[start : start + size] if size else content)
    node, key = said, chance.choice(list(said))
    while isinstance(node[key], (dict, list)) and node[key] and chance.random() < 0.7:
        node = node[key]
        key = chance.choice(list(node)) if isinstance(node, dict) else chance.randrange(len(node))
    node[key] = chance.choice(SCALARS)
    made = json.dumps(said).encode()
    return len(made).to_bytes(8, "little") + made + rest if size else made


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, TOKENS, "tokenizer_config.json", "jielong.json"])
def test_whatever_is_changed_in_a_file_it_is_read_or_one_line(name: str, folder: Path) -> None:
    content, refused = (folder / name).read_bytes(), 0
    for seed in range(120):
        (folder / name).write_bytes(mutated(content, random.Random(seed)))
        said = ""
        try:
            checkpoint.load(folder)
        except UserError as error:
            said = str(error)
        refused += bool(said)
        assert "\n" not in said and len(said) < 800, (seed, said)
    assert refused > 20
