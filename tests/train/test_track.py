"""Trackers: what the loop writes arrives in the library's own files. Each runs in a process of its own, offline."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jielong.base.errors import UserError
from jielong.base.files import read_jsonl
from jielong.train import track
from jielong.train.loop import METRICS

WORDS = ["--steps", "6", "--width", "32", "--batch", "2", "--context", "32", "--split-on", "blank", "--json"]


def train(folder: Path, kind: str, *more: str) -> list[dict[str, float]]:
    """A run of six steps in `folder/runs/tracked`, and its lines without the words."""
    text = folder / "text.txt"
    text.write_text("\n\n".join(f"{a} and {b} make {a + b}." for a in range(15) for b in range(15)), "utf-8")
    words = ["train", "lm", str(text), *WORDS, "--out", "runs/tracked", "--track", kind, *more]
    env = {
        **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd(), "HOME": str(folder),
        "TRACKIO_DIR": str(folder / "trackio"), "WANDB_MODE": "offline",
    }  # fmt: skip
    found = subprocess.run(
        [sys.executable, "-m", "jielong", *words], cwd=folder, env=env, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["metrics"]  # one document and nothing else, whatever the library has to say
    assert sorted(p.name for p in folder.iterdir() if p.name in ("runs", "wandb", "tensorboard")) == ["runs"]
    return [track.flat(line) | {"step": line["step"]} for line in read_jsonl(folder / "runs/tracked" / METRICS)]


def need(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed here (extra `track`)")


def wandb_records(path: Path) -> list[Any]:
    """The records of wandb's file: LevelDB's log format (blocks of 32 KiB, parts of 7 bytes and data) over protobuf."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, found, part = path.read_bytes(), 7, list[Any](), b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # no head fits in what is left of the block
            at += 32768 - at % 32768
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        part += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            found.append(Record.FromString(part))
            part = b""
    return found


@pytest.mark.referee
def test_tensorboard_reads_what_was_trained(tmp_path: Path) -> None:
    need("tensorboard")
    lines = train(tmp_path, "tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "runs/tracked/tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) >= {"loss", "grad_norm", "val_loss", "clock/tokens_per_second"}
    for name in ("loss", "val_loss"):
        seen = [(event.step, event.value) for event in events.Scalars(name)]
        wanted = [(line["step"], line[name]) for line in lines if name in line]
        assert [step for step, _ in seen] == [step for step, _ in wanted]
        assert [value for _, value in seen] == pytest.approx([value for _, value in wanted], rel=1e-6)


@pytest.mark.referee
def test_tensorboard_forgets_what_a_killed_run_will_write_again(tmp_path: Path) -> None:
    need("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first in (1, 4):
        with track.open_tracker("tensorboard", tmp_path, resumed=first > 1) as log:
            assert log is not None
            for step in range(first, 7):
                log({"step": step, "loss": 10.0 * first + step})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 11), (2, 12), (3, 13), (4, 44), (5, 45), (6, 46)]


@pytest.mark.referee
def test_wandb_writes_offline_what_was_trained(tmp_path: Path) -> None:
    need("wandb")
    lines = train(tmp_path, "wandb")
    found = list((tmp_path / "runs/tracked/wandb").glob("offline-run-*/run-*.wandb"))
    assert len(found) == 1
    records = wandb_records(found[0])
    (begun,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert (begun.project, begun.display_name) == ("jielong", "tracked")
    items = [record.history.item for record in records if record.WhichOneof("record_type") == "history"]
    history = [{i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in some} for some in items]
    assert [line["_step"] for line in history] == [line["step"] for line in lines]
    for name in ("loss", "clock/tokens_per_second"):
        assert [line[name] for line in history] == pytest.approx([line[name] for line in lines])


@pytest.mark.referee
def test_trackio_reads_what_was_trained(tmp_path: Path) -> None:
    need("trackio")
    lines = train(tmp_path, "trackio")
    script = (
        "import json; from trackio.api import Api; from trackio.sqlite_storage import SQLiteStorage as S; "
        "print(json.dumps([[r.name, S.get_logs('jielong', r.name, run_id=r.id)] for r in Api().runs('jielong')]))"
    )
    env = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "HOME": str(tmp_path)}
    out = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True).stdout
    ((name, history),) = json.loads(out.strip().splitlines()[-1])
    assert name == "tracked" and [line["step"] for line in history] == [line["step"] for line in lines]
    assert [line["loss"] for line in history] == pytest.approx([line["loss"] for line in lines])


def test_a_tracker_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track.importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    for kind in ("tensorboard", "trackio", "wandb"):
        with pytest.raises(UserError, match=r"jielong\[track\]"), track.open_tracker(kind, tmp_path):
            raise AssertionError("opened")
    with track.open_tracker(None, tmp_path) as log:
        assert log is None


def test_figures_are_laid_flat() -> None:
    record = {"step": 3, "loss": 2.5, "clock": {"seconds": 1.0}, "note": "words"}
    assert track.flat(record) == {"loss": 2.5, "clock/seconds": 1.0}
