"""`jielong demo`, in seconds: what it leaves, and that stopping it anywhere and going on changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from jielong.base.files import read_jsonl
from jielong.cli.main import main
from jielong.train import curriculum, loop
from jielong.train.loop import METRICS
from jielong.units import bpe
from jielong.units.codec import Tokenizer

CURRICULUM = curriculum.curriculum
SMALL = curriculum.Curriculum(people=12, vocab=600, texts=900, chats=500)
WORDS = ["demo", "--minutes", "0.008", "--questions", "4"]


@pytest.fixture(scope="module")
def patched() -> Iterator[None]:
    """A world of twelve people, and one tokenizer for all demos of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curriculum, "curriculum", lambda minutes, seed=0: SMALL)
        patch.setattr(curriculum, "codec", lambda plan: codec())
        yield


@pytest.fixture
def small(patched: None, in_tmp: Path) -> Path:
    return in_tmp


@pytest.fixture(scope="module")
def whole(patched: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A demo that nothing disturbed: where it stands, and the document it printed."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out:
        patch.chdir(folder)
        assert main([*WORDS, "--json"]) == 0
    return folder / "runs/demo", json.loads(out.getvalue())


@cache
def codec() -> Tokenizer:
    chats = [message.content for chat in curriculum.chats(SMALL, 500) for message in chat.messages]
    return bpe.train(curriculum.documents(SMALL, 900) + chats, SMALL.vocab, at_most=True)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    out, err = capsys.readouterr()
    return code, out, err


def lines(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "clock"} for line in read_jsonl(folder / METRICS)]


def outcome(out: Path) -> dict[str, Any]:
    """All that must not depend on how often the demo was stopped."""
    document = json.loads((out / "scorecard.json").read_text())
    return {
        "base": document["base"]["rows"], "assistant": document["assistant"]["rows"],
        "curves": [lines(out / name) for name in ("base", "assistant")],
        "weights": [(next(out.glob(f"{name}/checkpoints/step-*")) / "model.safetensors").read_bytes()
                    for name in ("base", "assistant")],
    }  # fmt: skip


def test_what_a_demo_leaves(
    whole: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out_, document = whole
    monkeypatch.chdir(out_.parents[1])
    assert {row["name"] for row in document["assistant"]["rows"]} >= {"only stated, English", "only stated, Chinese"}
    assert list(document["stages"]) == ["world and tokenizer", "pretraining", "fine-tuning", "scorecard"]
    # the rest is drawing the page: seconds, on a busy machine
    assert 0 <= document["minutes"] - sum(document["stages"].values()) < 0.2
    page = Path("runs/demo/report.html").read_text()
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    for part in ("Scorecard", "成績單", "Next token", "jielong chat", "Above the exact entropy", "高出精確熵多少"):
        assert part in page, part
    assert f"predicted {document['predicted_minutes']:.1f}" in page and document["predicted_minutes"] > 0
    for kind in ("facts", "sums", "guilds"):  # validated alone, and never better than is possible
        floor = SMALL.world.entropy(kind).bits_per_byte
        measured = [line[f"val_{kind}_bits_per_byte"] for line in lines(Path("runs/demo/base")) if "val_loss" in line]
        assert measured and min(measured) > 0.9 * floor
    code, _, err = run(capsys, *WORDS)
    assert code == 2 and "exists and is finished" in err
    code, out, err = run(capsys, "generate", "Who", "--max-tokens", "2", "--json")
    assert code == 0, err  # the demo's assistant is the default model
    code, _, err = run(capsys, "demo", "--resume")
    assert code == 0 and "is finished" in err and "jielong chat runs/demo" in err and "--overwrite" in err
    assert len(err.strip().splitlines()) == 1
    code, out, _ = run(capsys, "demo", "--resume", "--json")
    assert code == 0 and json.loads(out) == document
    code, _, err = run(capsys, "demo", "--resume", "--store", "kept")
    assert code == 2 and "--overwrite" in err and not Path("kept").exists()


def test_stopped_in_every_stage_and_gone_on_with(
    small: Path,
    whole: tuple[Path, dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = [len(lines(whole[0] / name)) for name in ("base", "assistant")]
    assert min(steps) > 2, "too short to be stopped inside"
    step, at = loop._Driver.step, [-1]

    def interrupted(self: Any, batches: Any, number: int) -> Any:
        if number == at[0]:
            os.kill(os.getpid(), signal.SIGINT)  # a person's Ctrl-C
            at[0] = -1
        return step(self, batches, number)

    monkeypatch.setattr(loop._Driver, "step", interrupted)
    words = [*WORDS, "--out", "runs/cut", "-q"]
    for stage, last in (("base", steps[0]), ("assistant", steps[1])):
        at[0] = last // 2
        code, _, err = run(capsys, *words)
        assert code == 130 and "`jielong demo --resume --out runs/cut` goes on where it stopped" in err, err
        assert len(lines(Path("runs/cut") / stage)) == last // 2 + 1
        words = ["demo", "--resume", "--out", "runs/cut", "-q"]  # everything else is remembered
    code, _, err = run(capsys, *WORDS, "--out", "runs/cut")
    assert code == 2 and "unfinished: `jielong demo --resume --out runs/cut` goes on with it" in err
    with monkeypatch.context() as patch:
        patch.setattr("jielong.evals.scorecard.scorecard", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        code, _, err = run(capsys, *words)
        assert code == 130 and not Path("runs/cut/scorecard.json").exists()
        patch.setattr(curriculum, "pretraining", lambda *a: pytest.fail("read again for a model that is trained"))
        patch.setattr(curriculum, "fine_tuning", lambda *a: pytest.fail("read again for a model that is trained"))
        code, _, err = run(capsys, *words)
        assert code == 130, err
    code, _, err = run(capsys, *words)
    assert code == 0, err
    assert outcome(Path("runs/cut")) == outcome(whole[0])
    document = json.loads(Path("runs/cut/scorecard.json").read_text())
    assert list(document["stages"]) == ["world and tokenizer", "pretraining", "fine-tuning", "scorecard"]


def test_flags_that_contradict_what_was_begun(
    small: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(curriculum, "codec", lambda plan: (_ for _ in ()).throw(KeyboardInterrupt))
        code, _, err = run(capsys, "demo", "--resume", "--minutes", "0.008")  # nothing there: begun
        assert code == 130 and "`jielong demo --resume` goes on" in err
    told = json.loads(Path("runs/demo/demo.json").read_text())
    assert told["asked"] == {"minutes": 0.008, "seed": 0, "questions": 300, "align": False}
    for words, said in (
        (["--resume", "--minutes", "7"], "begun with --minutes 0.008"),
        (["--resume", "--seed", "1"], "begun with --seed 0"),
        (["--resume", "--overwrite"], "one of the two"),
        (["--minutes", "0", "--overwrite"], "above 0"),
        (["--questions", "0"], "1 or more"),
    ):
        if "0" in words:  # a wrong dial, where the real curriculum looks at it
            monkeypatch.setattr(curriculum, "curriculum", CURRICULUM)
        code, _, err = run(capsys, "demo", *words)
        assert code == 2 and said in err and len(err.strip().splitlines()) == 1, err
    Path("runs/other").mkdir()
    Path("runs/other/mine.txt").write_text("not a demo")
    for words in (["--resume"], ["--resume", "--minutes", "1"], []):
        code, _, err = run(capsys, "demo", "--out", "runs/other", *words)
        assert code == 2 and "exists" in err and Path("runs/other/mine.txt").is_file()


def test_make_demo_goes_on_by_itself() -> None:
    root = Path(__file__).resolve().parents[2]
    # a make above this one would hand its own ARGS down
    env = {name: value for name, value in os.environ.items() if "MAKE" not in name and name not in ("MFLAGS", "ARGS")}
    words = ["make", "-n", "-o", ".venv/.core", "demo"]
    for more, end in (([], "jielong demo --resume"), (["ARGS=--minutes 3"], "jielong demo --minutes 3")):
        shown = subprocess.run([*words, *more], cwd=root, env=env, capture_output=True, text=True).stdout
        assert shown.strip().endswith(end)


KILLED = """
import sys
from jielong.cli.main import main
from jielong.train import curriculum
from tests.cli.test_demo import SMALL, codec
curriculum.curriculum = lambda minutes, seed=0: SMALL
curriculum.codec = lambda plan: codec()
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_killed_at_any_moment(small: Path, whole: tuple[Path, dict[str, Any]]) -> None:
    """kill -9 when something first appears, then --resume, five times over: the end is that of a demo left alone."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}
    appear = ["demo.json", "base/run.json", "base/metrics.jsonl", "base/checkpoints", "assistant/metrics.jsonl"]
    words = [sys.executable, "-c", KILLED, *WORDS, "--out", "runs/cut", "-q"]
    for name in appear:
        process = subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 300
        while not (Path("runs/cut") / name).exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.kill()
        assert process.wait() in (0, -9), process.stderr.read()  # type: ignore[union-attr]
        words = [sys.executable, "-c", KILLED, "demo", "--resume", "--out", "runs/cut", "-q"]
    subprocess.run(words, env=env, check=True)
    assert outcome(Path("runs/cut")) == outcome(whole[0])
    assert not list(Path("runs/cut").glob("**/.*.tmp"))


def test_aligned_beside_imitating_and_gone_on_with(
    small: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jielong.cli.demo_align.IMITATED", 40_000)
    monkeypatch.setattr("jielong.cli.demo_align.STEPS", 4)
    for name, value in {"CHATS": 300, "QUESTIONS": 24, "ASKED": 16, "DRAWN": 2, "ANSWER": 24}.items():
        monkeypatch.setattr(f"jielong.labs.aligning.{name}", value)
    code, out, err = run(capsys, *WORDS, "--align", "--json")
    assert code == 0, err
    document = json.loads(out)
    names = [row["name"] for row in document["aligned"]["rows"]]
    assert names == ["imitates the crowd", "after PPO", "after DPO", "after KTO"]
    assert all(0 <= row["estimate"] <= 1 and row["n"] == 2 * 16 for row in document["aligned"]["rows"])
    assert list(document["stages"])[-5:] == ["imitating a crowd", "reward model", "PPO", "DPO", "KTO"]
    page = Path("runs/demo/report.html").read_text()
    assert "What it was taught to prefer" in page and "after DPO" in page and "獎勵模型" in page
    weights = {name: (next(Path("runs/demo").glob(f"{name}/checkpoints/step-*")) / "model.safetensors").read_bytes()
               for name in ("crowd", "judge", "ppo", "dpo", "kto")}  # fmt: skip
    assert weights["crowd"] != weights["dpo"] != weights["kto"]
    Path("runs/demo/scorecard.json").unlink()
    shutil.rmtree("runs/demo/dpo")
    code, _, err = run(capsys, "demo", "--resume")
    assert code == 0 and "ppo: trained before" in err and "dpo: trained before" not in err, err
    again = json.loads(Path("runs/demo/scorecard.json").read_text())
    assert again["aligned"]["rows"] == document["aligned"]["rows"]
    code, out, err = run(capsys, "generate", "Who", "--model", "runs/demo/dpo", "--max-tokens", "2", "--json")
    assert code == 0, err
    code, _, err = run(capsys, "demo", "--resume", "--align", "--minutes", "9")
    assert code == 2 and "--minutes" in err
