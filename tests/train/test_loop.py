"""The loop's equivalences: accumulation, processes, resuming, packing; and what it does when things go wrong."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jielong.base.errors import UserError, WorkFailed
from jielong.base.files import read_jsonl
from jielong.base.talk import Talk
from jielong.cli.main import main
from jielong.data.pack import Batch, Packer
from jielong.nets import checkpoint
from jielong.train import loop, run
from jielong.train.loop import METRICS, Course, State
from jielong.train.muon import Rates
from jielong.train.next_token import NextToken, nats
from jielong.train.objective import Loss, Phase
from jielong.train.run import Work
from jielong.train.settings import Settings, plan, tokens_for
from tests.train.conftest import make_work

QUIET = Talk(verbosity=-1)
EXACT = Rates(matrices=0.02, others=0.01, precision=torch.float32)


def metrics(folder: Path) -> list[dict[str, float]]:
    """The figures without the clock."""
    return [{k: v for k, v in line.items() if k != "clock"} for line in read_jsonl(folder / METRICS)]


def trained(work: Work, folder: Path, accumulate: int, batch: int, steps: int = 6) -> tuple[list[float], Work]:
    packer = Packer(work.train, 24, batch, 0)
    objective = NextToken(work.model, packer, None, accumulate)
    loop.run(objective, Course(steps, warmup=1, rates=EXACT), folder, QUIET)
    return [line["loss"] for line in metrics(folder)], work


def test_accumulated_small_batches_are_the_big_batch(codec, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name in "ab":
        (tmp_path / name).mkdir()
    one, big = trained(make_work(codec), tmp_path / "a", 1, 8)
    two, small = trained(make_work(codec), tmp_path / "b", 4, 2)
    assert one == pytest.approx(two, abs=2e-5)
    for a, b in zip(big.model.parameters(), small.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-4)


def test_uneven_weights_are_divided_once(codec, work: Work) -> None:  # type: ignore[no-untyped-def]
    """A micro-batch with one target counts as one target, not as much as a full one."""
    batch = Packer(work.train, 24, 4, 0).rows(0)
    few = batch.targets.copy()
    few[:, 1:] = -100
    thin = Batch(batch.ids, few, batch.documents, batch.positions)
    parts = [nats(work.model, part, torch.float32) for part in (batch, thin)]
    whole = sum(float(total.detach()) for total, _, _ in parts) / sum(weight for _, weight, _ in parts)

    class Two(NextToken):
        def batches(self, step: int) -> list[Batch]:
            return [batch, thin]

    driver = loop._Driver(Two(work.model, Packer(work.train, 24, 4, 0)).phases[0], Course(1))
    assert driver.step([batch, thin], 0)["loss"] == pytest.approx(whole, rel=1e-6)


def test_packed_rows_are_the_documents_alone(work: Work) -> None:
    batch = Packer(work.train, 24, 4, 0).rows(0)
    with torch.no_grad():
        _, _, together = nats(work.model, batch, torch.float32)
        alone = []
        for row in range(4):
            for number in range(int(batch.documents[row].max()) + 1):
                here = batch.documents[row] == number
                ids = torch.from_numpy(batch.ids[row][here])[None]
                targets = torch.from_numpy(batch.targets[row][here])
                logs = work.model(ids)[0].log_softmax(-1)
                alone += [-float(logs[i, t]) for i, t in enumerate(targets.tolist()) if t >= 0]
    assert together.tolist() == pytest.approx(alone, abs=1e-5)


def test_the_loss_falls_and_validation_is_measured(work: Work, tmp_path: Path) -> None:
    figures = run.start(replace(work, settings=replace(work.settings, steps=60)), tmp_path, QUIET)
    lines = metrics(tmp_path)
    assert lines[0]["loss"] == pytest.approx(math.log(work.codec.size), rel=0.05)
    assert figures["loss"] < 0.5 * lines[0]["loss"]
    assert sum("val_loss" in line for line in lines) == 2 and figures["val_bits_per_byte"] > 0
    saved = checkpoint.load(tmp_path)
    assert saved.info["done"] and saved.info["step"] == 60
    assert all(torch.equal(a, b) for a, b in zip(saved.model.parameters(), work.model.parameters(), strict=True))


def test_the_same_seed_gives_the_same_metrics(codec, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name in "ab":
        run.start(make_work(codec), tmp_path / name, QUIET) if (tmp_path / name).mkdir() is None else None
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")
    (tmp_path / "c").mkdir()
    run.start(make_work(codec, seed=1), tmp_path / "c", QUIET)
    assert metrics(tmp_path / "a") != metrics(tmp_path / "c")


class Stop(Exception):
    pass


@pytest.mark.parametrize("at", [1, 5, 11])
def test_resumed_equals_uninterrupted(at: int, codec, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = make_work(codec, save_every=1e-9)
    run.start(whole, tmp_path / "whole", QUIET)
    steps = loop._Driver.step

    def fail(self, batches, number):  # type: ignore[no-untyped-def]
        if number == at:
            raise Stop
        return steps(self, batches, number)

    monkeypatch.setattr(loop._Driver, "step", fail)
    with pytest.raises(Stop):
        run.start(make_work(codec, save_every=1e-9), tmp_path / "cut", QUIET)
    monkeypatch.undo()
    with (tmp_path / "cut" / METRICS).open("a") as file:
        file.write('{"step": 99, "los')  # the writer was killed in the middle of a line
    again = make_work(codec, save_every=1e-9)
    run.resume(again, tmp_path / "cut", QUIET)
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")
    clocks = [line["clock"]["seconds"] for line in read_jsonl(tmp_path / "cut" / METRICS)]
    assert clocks == sorted(clocks)  # the second session's clock goes on from the first's
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(UserError, match="finished"):
        run.resume(make_work(codec, save_every=1e-9), tmp_path / "cut", QUIET)


def test_resume_with_other_settings_or_data_is_refused(codec, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run.start(make_work(codec), tmp_path, QUIET)
    with pytest.raises(UserError, match="batch"):
        run.resume(make_work(codec, batch=2), tmp_path, QUIET)
    other = make_work(codec)
    with pytest.raises(UserError, match="other data"):
        run.resume(replace(other, train=other.validation), tmp_path, QUIET)


def test_a_run_that_saved_nothing_yet_resumes_from_its_start(codec, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run.start(make_work(codec), tmp_path, QUIET)
    before = metrics(tmp_path)
    for folder in (tmp_path / "checkpoints").iterdir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    run.resume(make_work(codec), tmp_path, QUIET)
    assert metrics(tmp_path) == before


def test_ctrl_c_saves_and_the_run_goes_on(codec, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    work = make_work(codec, steps=400)
    threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        run.start(work, tmp_path, QUIET)
    step = checkpoint.load(tmp_path).info["step"]
    assert 0 < step < 400 and metrics(tmp_path)[-1]["step"] == step
    run.resume(make_work(codec, steps=400), tmp_path, QUIET)
    assert metrics(tmp_path)[-1]["step"] == 400


class Broken:
    """An objective whose loss is not a number from step `bad` on."""

    def __init__(self, bad: int, weight: float = 1.0) -> None:
        self.model = torch.nn.Linear(2, 2)
        self.bad, self.weight = bad, weight

    @property
    def phases(self) -> list[Phase]:
        return [Phase("only", self.model, self.loss)]

    def batches(self, step: int) -> list[int]:
        return [step]

    def after_step(self, step: int) -> None:
        pass

    def validate(self) -> dict[str, float]:
        return {}

    def loss(self, step: int) -> Loss:
        factor = math.nan if step >= self.bad else 1.0
        return Loss(self.model.weight.square().sum() * factor, self.weight, {"seen": 2.0})


def test_a_gradient_that_is_no_number_is_skipped_then_given_up(tmp_path: Path) -> None:
    objective = Broken(bad=3)
    with pytest.raises(WorkFailed, match="not finite"):
        loop.run(objective, Course(50), tmp_path, QUIET)
    assert bool(torch.isfinite(objective.model.weight).all())
    assert metrics(tmp_path)[0]["seen"] == 2.0


def test_nothing_to_train_on_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="trains on nothing"):
        loop.run(Broken(bad=9, weight=0.0), Course(3), tmp_path, QUIET)
    with pytest.raises(UserError, match="less than one step"):
        Course(0)


def test_several_phases_and_a_tracker(tmp_path: Path) -> None:
    class Two(Broken):
        @property
        def phases(self) -> list[Phase]:
            return [Phase("one", self.model, self.loss), Phase("two", torch.nn.Linear(2, 2), self.loss)]

    seen: list[int] = []
    saved: list[State] = []
    loop.run(
        Two(bad=9),
        Course(3, save_every=0),
        tmp_path,
        QUIET,
        track=lambda r: seen.append(r["step"]),
        save=lambda state, figures: saved.append(state),
        flops_per_token=1.0,
        matrix_rate=1e9,
    )
    assert seen == [1, 2, 3] and [s.step for s in saved] == [3]
    assert {"one.loss", "two.loss"} <= set(metrics(tmp_path)[0])


def test_budgets() -> None:
    assert Settings(tokens=10_000, context=10, batch=10).length == 100
    with pytest.raises(UserError, match="no budget"):
        Settings()
    with pytest.raises(UserError, match="batch"):
        Settings(steps=1, batch=0)
    with pytest.raises(UserError, match="rates"):
        Settings(steps=1, matrix_rate=0.0)
    small, large = plan(1, 1024, 128), plan(30, 1024, 128)
    assert small.width < large.width and small == plan(1, 1024, 128)
    for minutes in (0, -1, math.inf, math.nan):
        with pytest.raises(UserError, match="minutes"):
            plan(minutes, 1024, 128)
    from jielong.nets.config import shape

    assert tokens_for(4, shape(128, 512, 128), 128) == pytest.approx(
        2 * tokens_for(2, shape(128, 512, 128), 128), abs=2
    )


WORKER = """
import sys
from pathlib import Path
import torch
from jielong.train import loop, processes
from tests.train.test_loop import total, trained
from tests.train.conftest import TEXTS, make_work
from jielong.units import bpe
torch.set_num_threads(1)
folder = Path(sys.argv[1])
with processes.group():
    losses, work = trained(make_work(bpe.train(TEXTS, 280, at_most=True)), folder, 2, 4)
    if processes.rank() == 0:
        (folder / "sum").write_text(repr(total(work)))
"""


def total(work: Work) -> float:
    return sum(float(p.detach().double().abs().sum()) for p in work.model.parameters())


def test_two_processes_are_one(codec, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """This process, and two others."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    env = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    launch = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--rdzv-backend=c10d",
              "--rdzv-endpoint=localhost:0"]  # fmt: skip
    words = [sys.executable, *launch, str(script), str(tmp_path / "two")]
    subprocess.run(words, check=True, env=env, capture_output=True)
    losses, work = trained(make_work(codec), tmp_path / "one", 2, 4)
    assert losses == pytest.approx([x["loss"] for x in metrics(tmp_path / "two")], abs=2e-5)
    assert total(work) == pytest.approx(float((tmp_path / "two/sum").read_text()), rel=1e-5)


def test_kill_minus_nine_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command itself: killed three times, resumed three times, the same lines as a run left alone."""
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"{a} and {b} make {a + b}." for a in range(20) for b in range(20)))
    words = ["train", "lm", str(text), "--split-on", "blank", "--steps", "60", "--batch", "2", "--context", "32",
             "--width", "32", "--save-every", "0.01", "-q", "--out"]  # fmt: skip
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert main([*words, str(tmp_path / "whole")]) == 0  # here; the others are to be killed
    cut = [sys.executable, "-m", "jielong", *words, str(tmp_path / "cut")]
    for attempt in range(4):
        process = subprocess.Popen([*cut, *(["--resume"] if attempt else [])], stderr=subprocess.PIPE)
        deadline = time.monotonic() + 120
        while attempt < 3 and process.poll() is None and time.monotonic() < deadline:
            lines = (
                (tmp_path / "cut" / METRICS).read_bytes().count(b"\n") if (tmp_path / "cut" / METRICS).exists() else 0
            )
            if lines >= 12 * (attempt + 1):
                process.kill()
            time.sleep(0.002)
        assert process.wait(120) in (0, -9), process.stderr.read().decode()  # type: ignore[union-attr]
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")
    assert not list((tmp_path / "cut").glob("**/.*.tmp"))
    assert json.loads((tmp_path / "cut/run.json").read_text())["name"] == "lm"
