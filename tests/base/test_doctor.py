"""doctor: the table, the one document, and advice that says how to mend it."""

import json
from importlib import metadata

import pytest

from jielong.base import device
from jielong.cli import doctor as module
from jielong.cli.common import Common
from jielong.cli.doctor import GB, advice, doctor, missing_packages

GOOD = {"torch": "2.13.0", "memory": 16 * GB, "disk_free": 50 * GB, "encoding": "utf-8"}


def test_a_table_for_people(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"float32": 5e9, "bfloat16": 7e9}
    monkeypatch.setattr(device, "matmul_rate", lambda shapes, kind, where: rates[kind])
    monkeypatch.setattr(module, "missing_packages", lambda: {"hf": ["datasets"], "quant": []})
    doctor(common=Common(verbose=1))
    out, err = capsys.readouterr()
    rows = dict(line.split(None, 1) for line in out.splitlines())
    assert rows["float32"] == "matrices   5 GFLOP/s" and rows["bfloat16"] == "matrices  7 GFLOP/s"
    assert "extras installed   quant" in out and "extras missing     hf" in out
    assert "extra hf lacks datasets" in err and "pip install 'jielong[NAME]'" in err
    assert err.splitlines()[-1] == "next: jielong demo"


def test_one_document_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    doctor(measure=False, common=Common(json=True))
    out, _ = capsys.readouterr()
    document = json.loads(out)
    assert document["next"] == "jielong demo" and document["matmul_float32"] is None
    assert document["memory"] == device.memory() and document["disk_free"] > 0


def test_without_torch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "version", lambda name: None)
    doctor(common=Common(quiet=True))
    out, err = capsys.readouterr()
    assert "missing" in out and "not measured" in out
    assert err == "warning: torch is missing, nothing can be trained or run: pip install torch\n"


def test_advice() -> None:
    assert advice(GOOD) == [] and advice({**GOOD, "memory": 0}) == []
    for change, words in (
        ({"torch": None}, "pip install torch"),
        ({"memory": GB}, "1.0 GB of memory"),
        ({"disk_free": GB}, "make room"),
        ({"encoding": "ascii"}, "PYTHONUTF8=1"),
    ):
        (note,) = advice({**GOOD, **change})
        assert words in note and "\n" not in note


def test_extras_are_read_from_what_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = ["numpy>=2", 'scipy>=1; extra == "full"', "no-such-thing-a>=1 ; extra == 'hf'"]
    declared.append('ruff; extra == "dev"')
    monkeypatch.setattr(metadata, "requires", lambda _: declared)
    assert missing_packages() == {"full": [], "hf": ["no-such-thing-a"]}

    def absent(_: str) -> None:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "requires", absent)
    assert missing_packages() == {}
