"""`train lm` and `train sft` from the command line, small: real files, wrong files, and what they leave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jielong.cli.main import main

TINY = ["--steps", "4", "--width", "32", "--batch", "2", "--context", "32", "-q"]


@pytest.fixture
def text(in_tmp: Path) -> Path:
    path = in_tmp / "text.txt"
    path.write_text("\n\n".join(f"{a} and {b} make {a + b}." for a in range(15) for b in range(15)), "utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_from_text_to_chat(text: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "train", "lm", "--data", text, "--split-on", "blank", *TINY, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["metrics"]["val_loss"] > 0 and Path(document["report"]).is_file()
    page = Path("runs/lm/report.html").read_text()
    assert "How it learnt" in page and "它怎麼學會" in page
    chats = in_tmp / "chats.jsonl"
    lines = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "yes"}]} for n in range(40)
    ]
    chats.write_text("\n".join(json.dumps(line) for line in lines))
    code, _, err = run(
        capsys, "train", "sft", "--data", chats, "--model", "runs/lm", "--steps", 4, "--context", 32, "-q"
    )
    assert code == 0, err
    code, out, err = run(capsys, "generate", "1 and", "--model", "runs/sft", "--max-tokens", 3, "--chat", "--json")
    assert code == 0 and json.loads(out), err
    code, _, err = run(capsys, "train", "lm", "--data", text, *TINY)
    assert code == 2 and "runs/lm exists" in err
    code, _, err = run(capsys, "train", "lm", "--data", text, "--split-on", "blank", *TINY, "--overwrite")
    assert code == 0, err


def test_characters_and_a_model_to_go_on_from(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "train", "lm", text, "--tokenizer", "chars", *TINY, "--out", "runs/a")
    assert code == 0, err
    code, _, err = run(capsys, "train", "lm", text, "--model", "runs/a", *TINY, "--out", "runs/b")
    assert code == 0, err
    code, _, err = run(capsys, "train", "lm", text, "--model", "runs/a", "--context", 4096, "--steps", 2)
    assert code == 2 and "4096" in err


def test_sft_from_nothing_on_alpaca_as_it_is(data: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = data / "rasbt_llm/instruction-data.json"
    code, out, err = run(capsys, "train", "sft", "--data", file, *TINY, "--json")
    assert code == 0, err
    assert json.loads(out)["vocabulary"] > 500


def test_shakespeare_by_characters(data: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = data / "tinyshakespeare/input.txt"
    code, out, err = run(capsys, "train", "lm", "--data", file, "--tokenizer", "chars", *TINY, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["vocabulary"] == 259 and document["metrics"]["val_loss"] < 6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--minutes", "0"], "minutes must be above 0"),
        (["--steps", "0"], "no budget"),
        (["--tokens", "0"], "no budget"),
        (["--steps", "2", "--tokens", "5"], "one budget"),
        (["--steps", "2", "--batch", "0"], "batch"),
        (["--steps", "2", "--width", "33"], "multiple of 32"),
        (["--steps", "2", "--vocab", "100"], "too small"),
        (["--steps", "2", "--model", "nowhere"], "not there"),
        (["--steps", "2", "--device", "abacus"], "abacus"),
        (["--steps", "2", "--tokenizer", "nowhere"], "tokenizer"),
        (["--steps", "2", "--resume", "--out", "runs/none"], "run.json"),
    ],
)
def test_wrong_input_is_one_line(words: list[str], said: str, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "train", "lm", "--data", text, *words)
    assert code == 2 and said in err and "Traceback" not in err and not out


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty"), (b"\x00\x01\x02" * 50, "text"), (b"caf\xe9 au lait", "UTF-8"), (None, "not there")],
)
def test_wrong_files_are_one_line(
    content: bytes | None, said: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = in_tmp / "x.txt"
    if content is not None:
        path.write_bytes(content)
    code, _, err = run(capsys, "train", "lm", "--data", path, *TINY)
    assert code == 2 and len(err.strip().splitlines()) == 1
    assert said.lower() in err.lower() or "no such" in err.lower() or "does not exist" in err.lower()


def test_nothing_to_train_on(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = in_tmp / "c.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "hello"}]}\n')
    code, _, err = run(capsys, "train", "sft", "--data", path, *TINY)
    assert code == 2 and "Traceback" not in err


def test_dry_run_leaves_nothing(text: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "train", "lm", "--data", text, "--minutes", "2", "--dry-run", "--json")
    assert code == 0 and json.loads(out)["config"]["dim"] % 32 == 0 and not Path("runs").exists()
