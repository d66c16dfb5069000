"""`jielong train draft` and `--draft` with what it made: end to end on a tiny model, and wrong uses in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from jielong.base import files
from jielong.data.tokens import Tokens
from jielong.nets import checkpoint

from .test_lm_verbs import folder, run

__all__ = ["folder"]

TEXT = "\n\n".join(f"{a} sat on {b} and {c}." for a in ("the cat", "the mat") for b in "aeot" for c in "chmns")
TINY = ("--steps", 6, "--batch", 4, "--context", 40, "-q")


@pytest.fixture
def chats(in_tmp: Path) -> Path:
    path = in_tmp / "chats.jsonl"
    rows = [{"messages": [{"role": "user", "content": words[:4] + "?"}, {"role": "assistant", "content": words}]}
            for words in TEXT.split("\n\n")]  # fmt: skip
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.mark.parametrize("kind", ["medusa", "eagle", "block"])
def test_trained_and_used(kind: str, folder: Path, in_tmp: Path, capsys: Any) -> None:
    code, out, err = run(capsys, "train", "draft", folder, "--kind", kind, "--reach", 3, *TINY, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["metrics"]["val_loss"] > 0 and 0 < told["metrics"]["val_kept_1"] <= 1
    saved = next(Path("runs/draft/checkpoints").iterdir())
    assert sorted(p.name for p in saved.iterdir()) == ["jielong.json", "model.safetensors"]
    info = files.read_json(saved / "jielong.json")
    assert info["drafter"]["kind"] == kind and info["drafter"]["config"]["reach"] == 3 and info["done"]
    assert Path("runs/draft/report.html").is_file()
    for temperature in (0, 0.8):
        words = ("generate", "the cat", "--model", folder, "--max-tokens", 30, "--temperature", temperature, "--json")
        plain = json.loads(run(capsys, *words)[1])
        code, out, err = run(capsys, *words, "--draft", "runs/draft", "--guess", 3)
        found = json.loads(out)
        assert code == 0 and [d["text"] for d in found["draws"]] == [d["text"] for d in plain["draws"]], err
        assert found["guesses"]["drafts"] > 0 and not found["guesses"]["reasons"]


@pytest.mark.parametrize("kind", ["small", "diffusion"])
def test_models_of_their_own(kind: str, folder: Path, in_tmp: Path, capsys: Any) -> None:
    """Ordinary checkpoints: another command may use them too."""
    code, out, err = run(capsys, "train", "draft", folder, "--kind", kind, "--reach", 3, *TINY, "--json")
    assert code == 0, err
    told = json.loads(out)["metrics"]
    assert told["val_loss"] > 0 and ("val_overlap" in told) == (kind == "small")
    loaded = checkpoint.load("runs/draft")
    assert loaded.config.causal == (kind == "small") and loaded.info["done"]
    for temperature in (0, 0.8):
        words = ("generate", "the cat", "--model", folder, "--max-tokens", 30, "--temperature", temperature, "--json")
        plain = json.loads(run(capsys, *words)[1])
        code, out, err = run(capsys, *words, "--draft", "runs/draft", "--guess", 3)
        found = json.loads(out)
        assert code == 0 and [d["text"] for d in found["draws"]] == [d["text"] for d in plain["draws"]], err
        assert found["guesses"]["drafts"] > 0 and not found["guesses"]["reasons"]
    assert run(capsys, "generate", "the cat", "--model", "runs/draft", "--max-tokens", 3)[0] == 0


def test_merely_small(folder: Path, in_tmp: Path, capsys: Any) -> None:
    """The same shape, rows and steps, and nothing of the model's laws."""
    found = {}
    for flags in ((), ("--hard",)):
        words = ("train", "draft", folder, "--kind", "small", *flags, *TINY, "--overwrite", "--json")
        code, out, err = run(capsys, *words)
        assert code == 0, err
        found[flags] = json.loads(out)
    told, merely = found.values()
    assert told["config"] == merely["config"] and told["settings"] == merely["settings"]
    assert told["train_tokens"] == merely["train_tokens"] and "val_kl" not in merely["metrics"]
    assert told["metrics"]["val_loss"] != merely["metrics"]["val_loss"]
    assert files.read_json(Path("runs/draft/run.json"))["objective"] == "text"


def test_from_texts_and_chats(folder: Path, in_tmp: Path, chats: Path, capsys: Any) -> None:
    text = in_tmp / "text.txt"
    text.write_text(TEXT)
    code, _, err = run(capsys, "train", "draft", folder, text, "--split-on", "blank", *TINY)
    assert code == 0 and not Path("runs/draft/texts").exists(), err
    code, out, err = run(capsys, "train", "draft", folder, chats, "--chats", *TINY, "--out", "of_chats", "--json")
    assert code == 0 and json.loads(out)["train_tokens"] > 0, err


def test_resumed_with_the_texts_it_wrote(folder: Path, in_tmp: Path, capsys: Any) -> None:
    words = ("train", "draft", folder, *TINY)
    assert run(capsys, *words)[0] == 0
    first = [line["loss"] for line in files.read_jsonl(Path("runs/draft/metrics.jsonl"))]
    written = Tokens.load("runs/draft/texts", memmap=False)
    shutil.rmtree("runs/draft/checkpoints")  # as if it had been stopped before it saved
    code, out, err = run(capsys, *words, "--resume")
    assert code == 0 and [line["loss"] for line in files.read_jsonl(Path("runs/draft/metrics.jsonl"))] == first, err
    assert (Tokens.load("runs/draft/texts").ids == written.ids).all()
    code, _, err = run(capsys, *words, "--resume")
    assert code == 2 and "finished" in err
    code, out, _ = run(capsys, *words)
    assert code == 2
    assert run(capsys, *words, "--overwrite", "--seed", 3)[0] == 0
    code, out, _ = run(capsys, *words, "--dry-run", "--out", "elsewhere", "--json")
    assert code == 0 and json.loads(out)["config"]["reach"] == 4 and not Path("elsewhere").exists()


@pytest.mark.parametrize(
    "flags, told",
    [
        (("--reach", 0), "0 tokens ahead"), (("--context", 500), "longer than the model's 160"), (("--chats",), "DATA"),
        (("--hard",), "--kind medusa takes no --hard"), (("--kind", "small", "--window", 9), "takes no --window"),
        (("--kind", "diffusion", "--window", 0), "--window 0"), (("--kind", "diffusion", "--reach", 0), "1 to"),
        (("--kind", "small", "--width", 33), "multiple of 32"), (("--steps", 3, "--minutes", 1), "one budget"),
        (("--minutes", -1), "--minutes"), (("nowhere.txt",), "nowhere"),
    ],
)  # fmt: skip
def test_wrong_uses(folder: Path, in_tmp: Path, capsys: Any, flags: tuple[Any, ...], told: str) -> None:
    code, _, err = run(capsys, "train", "draft", folder, *flags, "-q")
    assert code == 2 and told in err and len(err.strip().splitlines()) == 1


def test_a_drafter_of_another_model(folder: Path, in_tmp: Path, capsys: Any) -> None:
    assert run(capsys, "train", "draft", folder, *TINY)[0] == 0
    other = in_tmp / "text.txt"
    other.write_text(TEXT)
    flags = ("--width", 32, "--steps", 2, "--context", 32, "--batch", 2, "-q")
    assert run(capsys, "train", "lm", other, "--split-on", "blank", *flags)[0] == 0
    code, _, err = run(capsys, "generate", "the", "--model", "runs/lm", "--draft", "runs/draft")
    assert code == 2 and "another" in err and len(err.strip().splitlines()) == 1


def test_several_processes_want_data(folder: Path, in_tmp: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = run(capsys, "train", "draft", folder, *TINY)
    assert code == 2 and "give DATA" in err and len(err.strip().splitlines()) == 1
