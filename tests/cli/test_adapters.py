"""`jielong train lm|sft --adapter` and `--adapter FOLDER` of what writes: end to end, and wrong uses in one line."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from jielong.base import files
from jielong.lm.local import load
from jielong.nets import checkpoint
from jielong.serve.load import open_service
from jielong.train import loop

from .test_lm_verbs import folder, run

__all__ = ["folder"]

LINES = [f"{a} sat on {b} and {c}." for a in ("the cat", "the mat") for b in "aeot" for c in "chmns"]
TINY = ("--steps", 8, "--batch", 4, "--context", 40, "--precision", "float32", "-q")


@pytest.fixture
def text(in_tmp: Path) -> Path:
    (in_tmp / "text.txt").write_text("\n".join(LINES))
    return in_tmp / "text.txt"


@pytest.fixture
def chats(in_tmp: Path) -> Path:
    rows = [{"messages": [{"role": "user", "content": words[:4] + "?"}, {"role": "assistant", "content": words}]}
            for words in LINES]  # fmt: skip
    (in_tmp / "chats.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return in_tmp / "chats.jsonl"


def losses(out: str) -> list[float]:
    return [line["loss"] for line in files.read_jsonl(Path(out) / "metrics.jsonl")]


@pytest.mark.parametrize("kind", ["ia3", "bottleneck", "prefix", "bitfit", "prompt"])
def test_other_kinds(kind: str, folder: Path, text: Path, capsys: Any) -> None:
    words = ("train", "lm", text, "--split-on", "line", "--model", folder, "--adapter", kind, "--other-rate", 0.05)
    code, out, err = run(capsys, *words, *TINY, "--out", "runs/a", "--json")
    assert code == 0 and json.loads(out)["metrics"]["val_loss"] > 0, err
    plain, adapted = load(folder), load(folder, adapter="runs/a")
    prompt, settings = "the cat", {"temperature": 0, "max_tokens": 20}
    assert plain.sample(prompt, **settings)[0].text != adapted.sample(prompt, **settings)[0].text
    assert plain.fingerprint != adapted.fingerprint
    code, _, err = run(capsys, *words, "--rank", 3, *TINY, "--out", "runs/b")
    assert code == 2 and f"--adapter {kind} takes no --rank" in err


@pytest.mark.parametrize("flags", [(), ("--dora",), ("--pissa", "--rslora"), ("--targets", "q_proj,v_proj")])
def test_trained_kept_and_used(flags: tuple[str, ...], folder: Path, text: Path, capsys: Any) -> None:
    words = ("train", "lm", text, "--split-on", "line", "--model", folder, "--adapter", "lora", "--rank", 2, *flags)
    before = (folder / "model.safetensors").read_bytes()
    code, out, err = run(capsys, *words, *TINY, "--out", "runs/a", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["config"]["rank"] == 2 and told["metrics"]["val_loss"] > 0
    saved = next(Path("runs/a/checkpoints").iterdir())
    assert sorted(p.name for p in saved.iterdir()) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "jielong.json"]  # fmt: skip
    assert (folder / "model.safetensors").read_bytes() == before and Path("runs/a/report.html").is_file()
    plain, adapted = load(folder), load(folder, adapter="runs/a")
    assert plain.fingerprint != adapted.fingerprint
    assert not adapted.model.blocks[0].attention.changes  # merged: at full speed
    wanted = adapted.sample("the cat", temperature=0, max_tokens=20)[0].text
    assert wanted != plain.sample("the cat", temperature=0, max_tokens=20)[0].text
    flags_ = ("--model", folder, "--adapter", "runs/a", "--max-tokens", 20, "--temperature", 0)
    code, out, err = run(capsys, "generate", "the cat", *flags_, "--json")
    assert code == 0 and json.loads(out)["draws"][0]["text"] == wanted, err
    assert open_service(folder, adapter="runs/a").fingerprint.removeprefix("fp_") == adapted.fingerprint[:12]


def test_of_chats_and_resumed(folder: Path, chats: Path, capsys: Any, monkeypatch: Any) -> None:
    words = ("train", "sft", chats, "--model", folder, "--adapter", "lora", *TINY, "--save-every", 0.0001)
    assert run(capsys, *words, "--out", "whole")[0] == 0
    saved = next(Path("whole/checkpoints").iterdir())
    first = load_file(saved / "adapter_model.safetensors")
    append, lines = files.append_jsonl, 0

    def stop(path: Path, record: Any) -> None:
        nonlocal lines
        append(path, record)
        lines += 1
        if lines == 4:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(loop.files, "append_jsonl", stop)
        code, _, err = run(capsys, *words, "--out", "cut")
    assert code == 130 and "--resume" in err
    state = next(Path("cut/checkpoints").iterdir()) / "state.safetensors"
    with safe_open(state, framework="pt") as file:
        kept = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (not a mapping)
    base = {tuple(p.shape) for p in checkpoint.load(folder).model.parameters()}
    moments = [tuple(shape) for name, shape in kept.items() if "exp_avg" in name]
    assert len(moments) == 2 * len(first) and not set(moments) & (base - {(32, 32)})
    code, _, err = run(capsys, *words, "--out", "cut", "--rank", 4, "--resume")
    assert code == 2 and "another drafter, adapter or base" in err
    assert run(capsys, *words, "--out", "cut", "--resume")[0] == 0
    again = load_file(next(Path("cut/checkpoints").iterdir()) / "adapter_model.safetensors")
    assert losses("cut") == losses("whole") and first.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    code, _, err = run(capsys, *words, "--out", "cut", "--resume")
    assert code == 2 and "finished" in err


def test_another_base_is_refused(folder: Path, text: Path, in_tmp: Path, capsys: Any) -> None:
    assert run(capsys, "train", "lm", text, "--model", folder, "--adapter", "lora", *TINY, "--out", "runs/a")[0] == 0
    code, _, err = run(capsys, "train", "lm", text, "--model", "runs/a", *TINY, "--out", "runs/b")
    assert code == 2 and "runs/a holds an adapter and no model" in err
    loaded = checkpoint.load(folder)
    with torch.no_grad():
        loaded.model.blocks[0].feed.down.add_(0.01)
    checkpoint.save("other", loaded.model, loaded.codec)
    code, _, err = run(capsys, "generate", "x", "--model", "other", "--adapter", "runs/a")
    assert code == 2 and "another base" in err and str(folder) in err and len(err.strip().splitlines()) == 1
    shutil.copytree(next(Path("runs/a/checkpoints").iterdir()), "foreign")
    Path("foreign/jielong.json").unlink()  # as PEFT writes it: only names and shapes can be compared
    assert run(capsys, "generate", "x", "--model", "other", "--adapter", "foreign", "--max-tokens", 2)[0] == 0
    tensors = Path("foreign/adapter_model.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-7])
    code, _, err = run(capsys, "chat", folder, "--adapter", "foreign")
    assert code == 2 and "half-written" in err


@pytest.mark.parametrize(
    "flags, told",
    [
        (("--adapter", "lora"), "--model"), (("--rank", 3), "give --adapter"),
        (("--adapter", "lora", "--rank", 0), "rank"),
        (("--adapter", "lora", "--targets", "query"), "no module query; it has q_proj"),
        (("--adapter", "lora", "--alpha", -1), "alpha"), (("--adapter", "lora", "--context", 999), "longer than"),
    ],
)  # fmt: skip
def test_wrong_uses(flags: Any, told: str, folder: Path, text: Path, capsys: Any) -> None:
    model = () if told in ("--model", "give --adapter") else ("--model", folder)
    code, _, err = run(capsys, "train", "lm", text, *model, *flags, "--steps", 2)
    assert code == 2 and told in err and "Traceback" not in err and not Path("runs").exists()
    code, _, err = run(capsys, "generate", "x", "--model", folder, "--adapter", "nowhere")
    assert code == 2 and "holds no adapter" in err


@pytest.mark.parametrize("bits", [8, 4])
def test_beside_integers(bits: int, folder: Path, text: Path, capsys: Any, monkeypatch: Any) -> None:
    """QLoRA: a quantised base keeps no floats of its blocks in training, and is written with afterwards."""
    from jielong.nets import quant

    lean, found = quant.lean, []
    monkeypatch.setattr(quant, "lean", lambda model: (lean(model), found.append(model)))
    code, _, err = run(capsys, "quantize", folder, "--bits", bits, "--out", "small")
    assert code == 0, err
    words = ("train", "lm", text, "--split-on", "line", "--model", "small", "--adapter", "lora", *TINY)
    code, out, err = run(capsys, *words, "--out", "runs/a", "--json")
    assert code == 0 and json.loads(out)["metrics"]["val_loss"] > 0, err
    block = found[0].blocks[0]
    assert block.attention.qkv is None and set(block.feed.integers) == {"up", "down"}
    code, out, err = run(capsys, "generate", "x", "--model", "small", "--adapter", "runs/a", "--max-tokens", 3)
    assert code == 0, err
    code, _, err = run(capsys, "generate", "x", "--model", folder, "--adapter", "runs/a")
    assert code == 2 and "another base" in err


def test_learns_beside_a_control(folder: Path, text: Path, capsys: Any) -> None:
    """The loss falls; with a rate of next to nothing, the control, it stays."""
    found = {}
    for rate in (0.01, 1e-9):
        words = ("train", "lm", text, "--split-on", "line", "--model", folder, "--adapter", "lora", "--steps", 40)
        out = run(capsys, *words, *TINY[2:], "--other-rate", rate, "--out", f"r{rate}", "--json")[1]
        found[rate] = json.loads(out)["metrics"]["val_loss"]
    assert found[0.01] < found[1e-9] - 0.5
