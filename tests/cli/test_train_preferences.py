"""`train dpo` and `train kto`: people's files as they are, resuming, and one line for what is wrong."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from jielong.base import files
from jielong.cli.main import main

FEW = ["--steps", "3", "--batch", "2", "--context", "256", "-q"]


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def tuned(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A model that answers, badly: 32 wide, two steps."""
    chats = in_tmp / "chats.jsonl"
    lines = [{"prompt": f"{a} and {b}?", "completion": f"They make {a + b}."} for a in range(20) for b in range(20)]
    chats.write_text("\n".join(map(json.dumps, lines)))
    code, _, err = run(capsys, "train", "sft", chats, "--steps", 2, "--batch", 2, "--width", 32, "--vocab", 300, "-q",
                       "--context", 512)  # fmt: skip
    assert code == 0, err
    return Path("runs/sft")


@pytest.fixture
def pairs(in_tmp: Path) -> Path:
    path = in_tmp / "pairs.jsonl"
    lines = [{"prompt": f"{a} and {b}?", "chosen": f"They make {a + b}.", "rejected": f"They make {a * b + 50}."}
             for a in range(6) for b in range(6)]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("dpo", "rasbt_llm/instruction-data-with-preference.json"),
        ("dpo", "factory_demos/dpo_en_demo.json"),
        ("kto", "factory_demos/kto_en_demo.json"),
        ("kto", "rasbt_llm/instruction-data-with-preference.json"),
    ],
)
def test_peoples_files_train_resume_and_evaluate(
    verb: str, name: str, data: Path, tuned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", verb, data / name, "--model", tuned, *FEW]
    code, out, err = run(capsys, *words, "--json", "--out", "runs/whole")
    assert code == 0, err
    figures = json.loads(out)["metrics"]
    assert 0 < figures["val_loss"] < 2 and figures["val_kl"] >= 0 and 0 <= figures["val_accuracy"] <= 1
    code, out, err = run(capsys, *words, "--json", "--out", "runs/whole", "--resume")
    assert code == 2 and "finished" in err
    info = files.read_json(sorted(Path("runs/whole/checkpoints").glob("step-*"))[-1] / "jielong.json")
    if "rasbt" in name:  # six pairs have equal answers
        assert info["left_out"] == {"equal answers": 6}
    code, out, err = run(capsys, "generate", "hi", "--model", "runs/whole", "--chat", "--max-tokens", 2, "--json")
    assert code == 0, err


def test_what_is_left_out_is_said_and_the_next_command_is_last(
    tuned: Path, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [{"prompt": "x", "chosen": "y", "rejected": "y"}, {"prompt": "x", "chosen": "y", "rejected": " "}]
    pairs.write_text(pairs.read_text() + "\n" + "\n".join(map(json.dumps, more)))
    code, out, err = run(capsys, "train", "dpo", pairs, "--model", tuned, "--batch", 4, "--loss", "ipo")
    assert code == 0, err
    assert "1 of 38 examples are left out: equal answers" in err and "an empty answer" in err
    assert (out + err).strip().splitlines()[-1].endswith("jielong chat runs/dpo")


def test_long_prompts_are_said_without_a_line_of_nothing(
    tuned: Path, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = {"prompt": "so " * 2000, "chosen": "y", "rejected": "n"}
    pairs.write_text(pairs.read_text() + "\n" + json.dumps(long))
    code, _, err = run(capsys, "train", "dpo", pairs, "--model", tuned, "--steps", 1, "--batch", 2)
    assert code == 0 and "1 of 37 examples are left out: a prompt that fills --context" in err, err
    assert "this model takes 512 at most" in err and "lose their end" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "pairs.jsonl", "--overwrite"], "pairs.jsonl exists; choose another name with --out: it is a file"),
        (["--beta", "0"], "--beta must be above 0"),
        (["--flipped", "0.2"], "cdpo and robust"),
        (["--gamma", "1", "--loss", "hinge"], "simpo"),
        (["--context", "4096"], "longer than the model's"),
        (["--context", "8"], "nothing to train on"),
        (["--batch", "0"], "batch"),
        (["--model", "nowhere"], "not there"),
        (["--steps", "2", "--tokens", "5"], "one budget"),
        (["--resume", "--out", "runs/none"], "run.json"),
    ],
)
def test_wrong_uses_are_one_line(
    words: list[str], said: str, tuned: Path, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [] if "--model" in words else ["--model", tuned]
    code, out, err = run(capsys, "train", "dpo", pairs, *given, *words)
    assert code == 2 and said in err.splitlines()[-1] and "Traceback" not in err and not out


def test_a_judge_is_trained_read_back_and_not_taken_for_a_writer(
    data: Path, tuned: Path, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from jielong.base.errors import UserError
    from jielong.nets import reward

    code, out, err = run(capsys, "train", "reward", pairs, "--model", tuned, *FEW[:-1])
    assert code == 0, err
    last = (out + err).strip().splitlines()[-1]
    assert "jielong score" in last and last.endswith("--model runs/reward")
    figures = list(files.read_jsonl("runs/reward/metrics.jsonl"))[-1]
    assert {"val_loss", "val_accuracy", "val_margin"} <= set(figures)
    assert reward.load("runs/reward").model.heads == ("reward",)
    words = ["score", "2 and 3?", "They make 5.", "They make 56.", "--model", "runs/reward", "--json"]
    code, scored, err = run(capsys, *words)
    assert code == 0 and [row["text"][-2] for row in json.loads(scored)["answers"]] == ["5", "6"], err
    for words in (["score", "2 and 3?"], ["score", "hi", "yes " * 600]):
        code, _, err = run(capsys, *words, "--model", "runs/reward")
        assert code == 2 and "reward model" in err
    with pytest.raises(UserError, match="no reward model"):
        reward.load(tuned)
    for words in (["generate", "hi", "--model", "runs/reward"], ["train", "dpo", pairs, "--model", "runs/reward"]):
        code, out, err = run(capsys, *words)
        assert code == 2 and "is a reward model" in err
    more = [{"prompt": f"{n}", "chosen": "a", "rejected": "b", "head": "safe", "margin": 0.5} for n in range(9)]
    pairs.write_text(pairs.read_text() + "\n" + "\n".join(map(json.dumps, more)))
    words = ["train", "reward", pairs, "--model", tuned, *FEW, "--out", "runs/two", "--centre", "0.01"]
    code, _, err = run(capsys, *words)
    assert code == 2 and "--heads reward,safe" in err
    code, _, err = run(capsys, *words, "--heads", "helpful,safe")
    assert code == 0 and reward.load("runs/two").model.heads == ("helpful", "safe"), err
    for wrong in (["--heads", "a,a"], ["--heads", ""], ["--centre", "-1"]):
        code, _, err = run(capsys, *words, "--out", "runs/c", *wrong)
        assert code == 2 and "Traceback" not in err


def test_kto_needs_both_kinds_of_label(tuned: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = in_tmp / "labels.jsonl"
    lines = [{"prompt": f"{a}?", "completion": "yes", "label": True} for a in range(12)]
    path.write_text("\n".join(map(json.dumps, lines)))
    code, _, err = run(capsys, "train", "kto", path, "--model", tuned, *FEW)
    assert code == 2 and "all 1" in err and "labelled true" in err and "add some" in err
    lines += [{"prompt": f"{a}!", "completion": "no", "label": False} for a in range(4)]
    path.write_text("\n".join(map(json.dumps, lines)))
    code, out, err = run(capsys, "train", "kto", path, "--model", tuned, "--batch", 1, "--steps", 3, "--validation", 0)
    assert code == 0 and "--undesirable 3" in err, err
    assert (out + err).strip().splitlines()[-1].endswith("jielong chat runs/kto")


def test_another_reference_is_refused(tuned: Path, pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "dpo", pairs, *FEW, "--out", "runs/a"]
    code, _, err = run(capsys, *words, "--model", tuned)
    assert code == 0, err
    code, _, err = run(capsys, *words[:-1], "runs/b", "--model", "runs/a")
    assert code == 0, err
    told = files.read_json(Path("runs/a/run.json"))
    assert told["objective"]["loss"] == "sigmoid"
    code, _, err = run(capsys, *words, "--model", "runs/b", "--resume", "--beta", 0.5)
    assert code == 2 and "another objective or reference" in err


@pytest.mark.parametrize(
    ("verb", "kind"), [("dpo", "lora"), ("kto", "prompt"), ("reward", "lora"), ("reward", "bitfit")]
)
def test_an_adapter_is_trained_resumed_and_used(
    verb: str, kind: str, tuned: Path, pairs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base is its own reference, and its folder is never written; what is cut short comes out the same."""
    from jielong.train import loop

    words = ["train", verb, pairs, "--model", tuned, *FEW, "--adapter", kind, "--save-every", "0.0001",
             "--precision", "float32"]  # fmt: skip
    newest = sorted((tuned / "checkpoints").glob("step-*"))[-1]
    before = (newest / "model.safetensors").read_bytes()
    code, out, err = run(capsys, *words, "--json", "--out", "runs/whole")
    assert code == 0, err
    first = next(files.read_jsonl("runs/whole/metrics.jsonl"))
    if verb == "dpo":  # at first the model is its reference
        assert first["loss"] == pytest.approx(0.693147, abs=1e-5) and first["margin"] == pytest.approx(0, abs=1e-5)
        assert json.loads(out)["metrics"]["val_kl"] > 0
    append, lines = files.append_jsonl, []

    def stop(path: Path, record: object) -> None:
        append(path, record)
        lines.append(record)
        if len(lines) == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(loop.files, "append_jsonl", stop)
        assert run(capsys, *words, "--out", "runs/cut")[0] == 130
    code, _, err = run(capsys, *words, "--out", "runs/cut", "--resume")
    assert code == 0, err
    kept = [load_file(next(Path(out, "checkpoints").iterdir()) / "adapter_model.safetensors")
            for out in ("runs/whole", "runs/cut")]  # fmt: skip
    assert kept[0].keys() == kept[1].keys() and all(torch.equal(v, kept[1][k]) for k, v in kept[0].items())
    assert (newest / "model.safetensors").read_bytes() == before
    if verb == "reward":
        words = ["score", "2 and 3?", "They make 5.", "They make 56.", "--model", "runs/whole", "--json"]
        code, scored, err = run(capsys, *words)
        assert code == 0 and len(json.loads(scored)["answers"]) == 2, err
        code, _, err = run(capsys, "generate", "hi", "--model", tuned, "--adapter", "runs/whole")
        assert code == 2 and "reward model" in err
    else:
        code, _, err = run(capsys, "generate", "hi", "--model", tuned, "--adapter", "runs/whole", "--max-tokens", 2)
        assert code == 0, err
