"""`train lm` compiled, and by several processes: the figures are those of one process running plain code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import pytest

from jielong.base.files import read_jsonl
from jielong.cli.main import main
from jielong.nets import checkpoint
from jielong.train.loop import METRICS

PROCESSES = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
READY = shutil.which("g++") is not None and (Path(sysconfig.get_path("include")) / "Python.h").is_file()


@pytest.fixture
def text(in_tmp: Path) -> Path:
    path = in_tmp / "text.txt"
    path.write_text("\n\n".join(f"{a} and {b} make {a + b}." for a in range(15) for b in range(15)), "utf-8")
    return path


def words(out: str, steps: int, *more: str) -> list[str]:
    """A run in exact arithmetic: its micro-batches can be shared out."""
    tiny = ["--width", "32", "--batch", "2", "--accumulate", "2", "--context", "32", "--precision", "float32"]
    return ["-m", "jielong", "train", "lm", "text.txt", "--split-on", "blank", "--steps", str(steps), *tiny,
            "--out", out, *more]  # fmt: skip


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    found = subprocess.run([sys.executable, *arguments], env=ENVIRONMENT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found


def here(*arguments: str) -> None:
    """The same in this process, which has all it needs imported."""
    assert main(list(arguments[2:])) == 0


def lines(out: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "clock"} for line in read_jsonl(Path(out) / METRICS)]


def alike(one: str, two: str) -> None:
    """To rounding. Muon's own is bf16's: the last digit of a gradient shows in the third of the next."""
    assert [line["step"] for line in lines(one)] == [line["step"] for line in lines(two)]
    for a, b in zip(lines(one), lines(two)):
        assert a.keys() == b.keys()
        for name in a:
            near = 1e-5 if a["step"] == 1 else 0.02 if name == "grad_norm" else 3e-3
            assert a[name] == pytest.approx(b[name], rel=near), (a["step"], name)


def test_two_processes_of_the_command_are_one(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the micro-batches each; what is said and written is said and written once."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    here(*words("runs/one", 8, "-q"))
    found = run(*PROCESSES, *words("runs/two", 8, "--json", "-v"))
    assert json.loads(found.stdout)["metrics"]["loss"] > 0 and found.stdout.count('"metrics"') == 1
    alike("runs/one", "runs/two")
    one, two = (checkpoint.load(out) for out in ("runs/one", "runs/two"))
    for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True):
        assert float((a - b).detach().norm() / b.detach().norm()) < 0.02
    here(*words("runs/other", 8, "-q", "--seed", "1"))  # the control: another order of the data is not so near
    with pytest.raises(AssertionError):
        alike("runs/one", "runs/other")
    shown = subprocess.run(
        [sys.executable, *PROCESSES, *words("runs/two", 8)], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert shown.returncode and "runs/two exists" in shown.stderr


@pytest.mark.slow
def test_two_processes_stopped_together_and_gone_on_with_by_one(text: Path) -> None:
    run(*words("runs/one", 400, "-q"))
    started = subprocess.Popen(
        [sys.executable, *PROCESSES, *words("runs/two", 400, "-q")], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    metrics = Path("runs/two") / METRICS
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") > 20) and time.monotonic() < deadline:
        time.sleep(0.05)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=120)
    assert "goes on where it stopped" in said, said
    step = checkpoint.load("runs/two").info["step"]
    assert 20 <= step < 400 and lines("runs/two")[-1]["step"] == step
    run(*words("runs/two", 400, "-q", "--resume"))
    assert [line["step"] for line in lines("runs/two")] == list(range(1, 401))
    last, other = lines("runs/one")[-1], lines("runs/two")[-1]
    assert other["val_loss"] == pytest.approx(last["val_loss"], rel=0.03)


@pytest.mark.slow
@pytest.mark.skipif(not READY, reason="torch compiles with g++ and Python.h, which are not here")
def test_compiled_is_plain_and_resumes(text: Path) -> None:
    run(*words("runs/plain", 8, "--no-compile", "-q"))
    found = run(*words("runs/compiled", 8, "--compile"))
    assert "compiler" in found.stderr
    alike("runs/plain", "runs/compiled")
    assert checkpoint.load("runs/compiled").info["settings"]["compile"] is True
    again = run("-m", "jielong", "generate", "3 and", "--model", "runs/compiled", "--max-tokens", "4", "--json")
    assert json.loads(again.stdout)["draws"]
    started = subprocess.Popen([sys.executable, *words("runs/cut", 400, "--compile", "-q")], env=ENVIRONMENT)
    metrics = Path("runs/cut") / METRICS
    deadline = time.monotonic() + 300
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") > 5) and time.monotonic() < deadline:
        time.sleep(0.05)
    started.send_signal(signal.SIGINT)
    assert started.wait(120) == 130
    at = lines("runs/cut")[-1]["step"]
    run(*words("runs/cut", 400, "--compile", "-q", "--resume"))
    run(*words("runs/whole", 400, "--compile", "-q"))
    assert 5 <= at < 400 and lines("runs/cut") == lines("runs/whole")
