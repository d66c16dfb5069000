"""`train ppo` and `grpo`: from prompts and a reward to an aligned model, resuming, and one line for what is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jielong.base import files
from jielong.base.files import read_jsonl
from jielong.cli.main import main

FEW = ["--steps", "3", "--prompts", "3", "--group", "2", "--length", "6", "-q"]


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def tuned(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A model that answers, badly: 32 wide, two steps; prompts with their answers; rewards."""
    lines = [{"prompt": f"{a} and {b}?", "completion": f"They make {a + b}."} for a in range(20) for b in range(20)]
    Path("chats.jsonl").write_text("\n".join(map(json.dumps, lines)))
    asked = [{"prompt": f"{a} and {b}?", "answer": str(a + b)} for a in range(5) for b in range(5)]
    Path("p.jsonl").write_text("\n".join(map(json.dumps, asked)))
    Path("own.py").write_text("""
def brief(completions, answer):
    assert len(answer) == len(completions)
    return [-len(c) / 10 + (a in c) for c, a in zip(completions, answer)]
def nan(completions, **_):
    return [float("nan")] * len(completions)
def short(completions, **_):
    return [1.0]
def broken(completions, **_):
    return completions[0]["content"]
""")
    code, _, err = run(capsys, "train", "sft", "chats.jsonl", "--steps", 2, "--batch", 2, "--width", 32, "--vocab",
                       300, "-q", "--context", 64)  # fmt: skip
    assert code == 0, err
    return Path("runs/sft")


@pytest.mark.parametrize("verb", ["ppo", "grpo"])
@pytest.mark.parametrize("adapter", [False, True])
def test_from_prompts_to_an_aligned_model(
    verb: str, adapter: bool, tuned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--adapter", "lora", "--rank", "2"] if adapter else []
    words = ["train", verb, "p.jsonl", "--model", tuned, "--reward", "own.py:brief", *more, *FEW]
    code, out, err = run(capsys, *words, "--json")
    assert code == 0, err
    figures = json.loads(out)["metrics"]
    assert {"reward", "kl", "length", "finished", "unjudged", "val_reward", "val_kl"} <= set(figures)
    prefix = "policy." if verb == "ppo" else ""
    assert {f"{prefix}{name}" for name in ("loss", "entropy", "ratio", "clipped", "drift")} <= set(figures)
    if verb == "ppo":
        assert {"critic.loss", "explained", "beta"} <= set(figures)
    clock = next(iter(read_jsonl(Path("runs", verb, "metrics.jsonl"))))["clock"]
    assert {"rollout_seconds", "rollout_tokens_per_second"} <= set(clock)
    assert Path("runs", verb, "report.html").is_file()
    loud = [word for word in words if word != "-q"]
    code, out, err = run(capsys, *loud, "--out", "runs/again")
    assert code == 0 and f"next: jielong chat {f'{tuned} --adapter ' * adapter}runs/again" in out + err
    code, _, err = run(capsys, *words, "--resume")
    assert code == 2 and "has finished" in err
    code, _, err = run(capsys, *words, "--resume", "--beta", "0.3")
    assert code == 2 and "another objective or reference" in err
    written = ["generate", "1 and 1?", "--model", tuned, "--adapter", f"runs/{verb}"] if adapter else [
        "generate", "1 and 1?", "--model", f"runs/{verb}"]  # fmt: skip
    assert run(capsys, *written, "--max-tokens", 2, "-q")[0] == 0


def test_a_judge_rewards_and_several_are_summed(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [{"prompt": f"{a}?", "chosen": "Four.", "rejected": "I will not say."} for a in range(12)]
    Path("pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    code, _, err = run(capsys, "train", "reward", "pairs.jsonl", "--model", tuned, "--steps", 2, "--batch", 2,
                       "--heads", "kind,true", "-q")  # fmt: skip
    assert code == 0, err
    words = ["train", "ppo", "p.jsonl", "--model", tuned, *FEW]
    code, _, err = run(capsys, *words, "--judge", "runs/reward:true", "--reward", "own.py:brief=0.5", "--json")
    assert code == 0, err
    told = files.read_json(Path("runs/ppo/run.json"))["objective"]
    assert told["rewards"] == ["own.py:brief=0.5", "runs/reward:true"]
    code, _, err = run(capsys, *words, "--judge", "runs/reward:safe")
    assert code == 2 and "no head 'safe'" in err
    code, _, err = run(capsys, *words, "--judge", tuned)
    assert code == 2 and "no reward model" in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "no reward: give --reward"),
        (["--reward", "own.py:none"], 2, "has no function 'none'"),
        (["--reward", "own.py"], 2, "name a function"),
        (["--reward", "own.py:short"], 2, "gave 1 rewards for 6 answers"),
        (["--reward", "own.py:broken"], 2, "broke in line 10: TypeError"),
        (["--reward", "own.py:nan"], 1, "judged none of the 6 answers"),
        (["--reward", "own.py:brief=x"], 2, "is not a number"),
        (["--reward", "own.py:brief", "--group", "1"], 2, "needs 2 or more"),
        (["--reward", "own.py:brief", "--beta", "-1"], 2, "--beta must be 0 or more"),
        (["--reward", "own.py:brief", "--context", "5"], 2, "longer than the model's context"),
        (["--reward", "own.py:brief", "--accumulate", "2"], 2, "--accumulate is for other verbs"),
        (["--reward", "own.py:brief", "--minibatches", "9"], 2, "--minibatches 9 of 6 answers"),
    ],
)
def test_what_is_wrong_is_one_line(
    words: list[str], code: int, said: str, tuned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*FEW, *words] if "--group" not in words else [*FEW[:4], *words, "-q"]
    found, _, err = run(capsys, "train", "grpo", "p.jsonl", "--model", tuned, *given)
    assert found == code and said in err and len(err.strip().splitlines()) == 1, err


def test_long_prompts_are_left_out_with_a_count(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{"prompt": "1 and 1?"}, {"prompt": "so " * 400}, {"prompt": "2 and 2?"}]
    Path("long.jsonl").write_text("\n".join(map(json.dumps, lines)))
    Path("own.py").write_text("def one(completions): return [float(len(c)) for c in completions]")
    words = [word for word in FEW if word != "-q"]
    code, out, err = run(capsys, "train", "grpo", "long.jsonl", "--model", tuned, "--reward", "own.py:one", *words)
    assert code == 0 and "1 of 3 prompts are left out: longer than --context" in out + err, err


@pytest.mark.slow
def test_killed_and_resumed_writes_the_lines_of_an_uninterrupted_run(
    tuned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """kill -9 in the middle of a rollout, in a process of its own."""
    words = ["train", "ppo", "p.jsonl", "--model", str(tuned), "--reward", "own.py:brief", "--steps", "40", "--prompts",
             "3", "--group", "2", "--length", "6", "--epochs", "3", "--save-every", "0.0001", "-q"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jielong", *words, "--out"]
    subprocess.run([*command, "runs/whole"], env=environment, check=True)
    killed = subprocess.Popen([*command, "runs/cut"], env=environment)
    lines = Path("runs/cut/metrics.jsonl")
    while killed.poll() is None and (not lines.exists() or lines.read_text().count("\n") < 8):
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert lines.read_text().count("\n") < 40
    subprocess.run([*command, "runs/cut", "--resume"], env=environment, check=True)

    def figures(folder: str) -> list[dict[str, object]]:
        return [{k: v for k, v in line.items() if k != "clock"} for line in read_jsonl(Path(folder, "metrics.jsonl"))]

    assert figures("runs/cut") == figures("runs/whole") and len(figures("runs/cut")) == 40
