"""A disk that fills up while training: one clear line, exit 1, nothing half-written, and the run goes on afterwards."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from jielong.base import files
from jielong.base.files import read_jsonl
from jielong.cli.main import main
from jielong.nets import checkpoint
from jielong.train.loop import METRICS

STEPS = 4
WORDS = ["train", "lm", "text.txt", "--split-on", "blank", "--steps", str(STEPS), "--width", "32", "--batch", "2",
         "--context", "32", "--save-every", "0.000001", "-q"]  # fmt: skip


@pytest.fixture
def text(in_tmp: Path) -> Path:
    path = in_tmp / "text.txt"
    path.write_text("\n\n".join(f"{a} and {b} make {a + b}." for a in range(15) for b in range(15)), "utf-8")
    return path


def lines(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "clock"} for line in read_jsonl(folder / METRICS)]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with patch.object(sys, "argv", ["jielong", *WORDS, *words]):
        code = main()
    return code, capsys.readouterr().err


@pytest.fixture
def whole(text: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A run that nothing disturbed."""
    assert run(capsys, "--out", "runs/whole") == (0, "")
    return Path("runs/whole")


def goes_on(capsys: pytest.CaptureFixture[str], folder: Path, whole: Path) -> None:
    """What is there opens; nothing else is there; resumed, it ends as it would have."""
    assert not list(folder.glob("**/.*.tmp")) and not list(folder.glob("**/.*.old"))
    for saved in folder.glob("checkpoints/*"):
        assert checkpoint.load(saved).info["step"] == int(saved.name.split("-")[1])
    for path in folder.glob("*.json"):
        json.loads(path.read_text())
    code, err = run(capsys, "--out", str(folder), "--resume")
    assert code == 0, err
    assert lines(folder) == lines(whole) and (folder / "report.html").is_file()
    last = f"checkpoints/step-{STEPS:08d}/model.safetensors"
    assert (folder / last).read_bytes() == (whole / last).read_bytes()


def full(message: str = "") -> OSError:
    return OSError(errno.ENOSPC, message or os.strerror(errno.ENOSPC))


def test_the_disk_is_full_at_any_write(
    whole: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file is brought to the disk before it takes its name: each such moment can be the last one."""
    sync, calls = files._sync, [0]

    def counted(path: Path) -> None:
        calls[0] += 1
        sync(path)

    monkeypatch.setattr(files, "_sync", counted)
    assert run(capsys, "--out", "runs/counted")[0] == 0
    total = calls[0]
    assert total > 50
    for at in (1, 3, total // 4, total // 2, total - 1):

        def fails(path: Path, at: int = at) -> None:
            calls[0] += 1
            if calls[0] >= at:
                raise full()
            sync(path)

        calls[0] = 0
        out = Path(f"runs/at{at}")
        monkeypatch.setattr(files, "_sync", fails)
        code, err = run(capsys, "--out", str(out))
        assert code == 1 and err.startswith("jielong: the disk is full: ") and len(err.splitlines()) == 1, (at, err)
        assert "make room first" in err and f"--out {out} --resume` goes on" in err, (at, err)
        monkeypatch.setattr(files, "_sync", sync)
        goes_on(capsys, out, whole)


@pytest.mark.parametrize("step", [1, 3])
def test_the_disk_is_full_in_the_middle_of_a_line(
    step: int, whole: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def half(handle: int, data: bytes) -> int:
        if data.startswith(b'{"step":') and json.loads(data)["step"] == step:
            return write(handle, data[: len(data) // 2])
        return write(handle, data)

    monkeypatch.setattr(files.os, "write", half)
    code, err = run(capsys, "--out", "runs/cut")
    assert code == 1 and "the disk is full: runs/cut/metrics.jsonl" in err and len(err.splitlines()) == 1
    assert [line["step"] for line in lines(Path("runs/cut"))] == list(range(1, step))
    monkeypatch.setattr(files.os, "write", write)
    goes_on(capsys, Path("runs/cut"), whole)


@pytest.mark.parametrize("save", [1, 3])
def test_the_writer_of_weights_says_so_in_its_own_words(
    save: int, whole: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """safetensors raises no OSError; what it had written by then must go."""
    import safetensors.torch
    from safetensors import SafetensorError

    write, saves = safetensors.torch.save_file, [0]

    def stops(tensors: Any, path: Path, *args: Any, **more: Any) -> None:
        saves[0] += Path(path).name.startswith("model")
        write(tensors, path, *args, **more)
        if saves[0] >= save:
            os.truncate(path, 100)
            raise SafetensorError(
                'Error while serializing: IoError(Os { code: 28, message: "No space left on device" })'
            )

    monkeypatch.setattr(safetensors.torch, "save_file", stops)
    code, err = run(capsys, "--out", "runs/cut")
    assert code == 1 and "the disk is full" in err and len(err.splitlines()) == 1
    assert [path.name for path in Path("runs/cut").glob("checkpoints/*")] == ([] if save == 1 else ["step-00000002"])
    monkeypatch.setattr(safetensors.torch, "save_file", write)
    goes_on(capsys, Path("runs/cut"), whole)


def test_the_run_cannot_even_be_begun(
    text: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "mkdir", lambda *a, **k: (_ for _ in ()).throw(full()))
    code, err = run(capsys, "--out", "runs/never")
    assert code == 1 and "the disk is full" in err and len(err.splitlines()) == 1
    monkeypatch.undo()
    assert not (text.parent / "runs").exists()


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "jielong", *words]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}


@pytest.mark.slow
def test_files_that_may_not_grow(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`ulimit -f`: the kernel itself refuses, in the middle of writing the weights."""
    import resource

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))

    words = command(*WORDS, "--out", "runs/cut")
    found = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, preexec_fn=limited)
    assert found.returncode == 1 and not found.stdout, found.stderr
    assert len(found.stderr.splitlines()) == 1 and "ulimit -f" in found.stderr, found.stderr
    goes_on(capsys, Path("runs/cut"), whole)


SMALL_DISK = """
mkdir disk && mount -t tmpfs -o size={size}k none disk || exit 77
"$@" --out disk/cut; echo "code $?"
find disk -name '.*.tmp'
mount -o remount,size=100m disk
"$@" --out disk/cut --resume; echo "code $?"
cp -r disk/cut kept
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare(1) here")
@pytest.mark.parametrize("size", [pytest.param(8, marks=pytest.mark.slow), 700])
def test_a_small_disk(size: int, whole: Path) -> None:
    """A real file system with no room: for anything but the first lines, and for a second checkpoint."""
    words = ["unshare", "-rm", "sh", "-c", SMALL_DISK.format(size=size), "sh", *command(*WORDS)]
    found = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True)
    if found.returncode == 77 or "unshare" in found.stderr:
        pytest.skip(f"no mount of one's own is allowed here: {found.stderr.strip()}")
    assert found.stdout == "code 1\ncode 0\n", found.stdout + found.stderr
    assert found.stderr.startswith("jielong: the disk is full") and len(found.stderr.splitlines()) == 1, found.stderr
    assert lines(Path("kept")) == lines(whole)


def test_nowhere_to_say_the_answer(text: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as out:
        found = subprocess.run(
            command(*WORDS, "--json"), env=ENVIRONMENT, stdout=out, stderr=subprocess.PIPE, text=True
        )
    assert found.returncode == 1 and len(found.stderr.splitlines()) == 1, found.stderr
    assert "the disk is full" in found.stderr
