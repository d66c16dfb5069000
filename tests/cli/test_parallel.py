"""`train parallel` and `generate` of its checkpoints, small; wrong uses are one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jielong.cli.main import main

TINY = ["--steps", "4", "--width", "32", "--batch", "4", "--context", "48", "--slots", "8", "-q"]


@pytest.fixture
def chats(in_tmp: Path) -> Path:
    path = in_tmp / "chats.jsonl"
    rows = [{"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n} or {n + 1}"}]}
            for n in range(60)]  # fmt: skip
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("objective", ["at-once", "mask-predict", "diffusion"])
def test_chats_answered_in_passes(objective: str, chats: Path, capsys: pytest.CaptureFixture[str]) -> None:
    length = "end" if objective == "diffusion" else "predicted"
    code, out, err = run(
        capsys, "train", "parallel", chats, "--objective", objective, "--length", length, *TINY, "--json"
    )
    assert code == 0, err
    assert json.loads(out)["metrics"]["val_loss"] > 0
    saved = next(Path("runs/parallel/checkpoints").iterdir())
    told = json.loads((saved / "jielong.json").read_text())["parallel"]
    assert told == {"objective": objective, "slots": 8, "length": length, "chats": True}
    assert json.loads((saved / "config.json").read_text())["model_type"] == "jielong"
    ask = ["generate", "7?", "--chat", "--model", "runs/parallel", "--json", "-q", "--seed", "3"]
    code, out, err = run(capsys, *ask, "-n", "3", "--passes", "2")
    assert code == 0, err
    draws = json.loads(out)["draws"]
    assert len(draws) == 3 and all(1 <= len(d["ids"]) <= 8 and d["reads"] <= 3 for d in draws)
    code, out, _ = run(capsys, *ask, "--passes", "2")
    assert [d["ids"] for d in json.loads(out)["draws"]] == [draws[0]["ids"]]  # however many are asked for
    for way in ("mask-predict", "confident", "ancestral"):
        code, out, err = run(capsys, *ask, "--passes", "5", "--way", way)
        assert code == 0 and json.loads(out)["passes"] == {"way": way, "number": 5}, err
    code, out, err = run(capsys, *ask)
    assert json.loads(out)["passes"]["number"] == (1 if objective == "at-once" else 8)


def test_text_and_wrong_uses(in_tmp: Path, chats: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = in_tmp / "text.txt"
    text.write_text("\n\n".join(f"{a} and {b} make {a + b}." for a in range(12) for b in range(12)))
    code, _, err = run(capsys, "train", "parallel", text, "--text", "--split-on", "blank", *TINY)
    assert code == 0, err
    code, out, err = run(capsys, "generate", "3 and", "--model", "runs/parallel", "-q")
    assert code == 0 and out.endswith("\n"), err
    for words, said in (
        (["generate", "3", "--model", "runs/parallel", "--passes", "-1"], "number of passes"),
        (["generate", "3", "--model", "runs/parallel", "--logprobs", "2"], "leave out"),
        (["generate", "3", "--model", "runs/parallel", "--regex", "a"], "leave out"),
        (["generate", "3", "--model", "runs/parallel", "--repetition-penalty", "1.5"], "repetition_penalty"),
        (["generate", "3", "--model", "runs/parallel", "-n", "0"], "n is 0"),
        (["generate", "1 " * 300, "--model", "runs/parallel"], "no room"),
        (["score", "3", " and", "--model", "runs/parallel"], "jielong generate"),
        (["chat", "runs/parallel", "-q"], "jielong generate"),
        (["serve", "runs/parallel"], "jielong generate"),
        (["train", "lm", text, "--model", "runs/parallel", "--steps", "2", "--out", "runs/d"], "jielong generate"),
        (["train", "parallel", text, "--text", *TINY[:-3], "--slots", "60", "--out", "runs/b"], "fewer --slots"),
        (["train", "parallel", text, "--text", *TINY[:-3], "--slots", "0", "--out", "runs/c"], "slots"),
        (["train", "parallel", text, "--text", *TINY], "runs/parallel exists"),
    ):
        code, out, err = run(capsys, *words)
        assert code == 2 and said in err and "Traceback" not in err, (words, err)
    code, _, err = run(capsys, "train", "lm", text, *TINY[:-3], "--out", "runs/lm", "-q")
    assert code == 0, err
    code, _, err = run(capsys, "generate", "3", "--model", "runs/lm", "--passes", "2")
    assert code == 2 and "--passes" in err
