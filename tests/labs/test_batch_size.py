"""The lab on batch sizes: its figures by hand, a small run, and its verdicts."""

from __future__ import annotations

from typing import Any

import pytest

from jielong.labs import batch_size as lab
from jielong.labs.lab import Budget
from jielong.labs.verdict import verdict
from jielong.views.verdicts import CONTROL_FAILED, HELD, PART


def test_figures_by_hand() -> None:
    found = lab.figures(10.0, [[10.1, 10.2, 10.3], [10.3, 10.4, 10.7]])
    assert found["speed"] == pytest.approx(6 / 0.7)
    assert found["first"] == pytest.approx(200) and found["between"] == pytest.approx((100 + 200) / 2)


def test_the_lab_runs_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    small = {"COUNTS": (1, 2, 4), "QUEUED": 4, "PROMPT": 4, "WRITTEN": 3, "WIDTH": 32, "LAYERS": 1, "VOCAB": 300}
    for name, value in small.items():
        monkeypatch.setattr(lab, name, value)
    result = lab.run(Budget(minutes=0.01, seeds=(0,), out=tmp_path, lab="batch_size"))
    assert verdict(result) != ""
    speeds = [row for row in result.rows if row.unit == "tokens/s"]
    assert len(speeds) == 4 and all(row.estimate > 0 and row.interval is not None for row in result.rows)
    assert [len(result.series[name]["lines"]) for name in ("speed", "delay")] == [1, 2]
    assert result.row("time to the first token", group="4 one after another").estimate > 0


def parts(**changes: float) -> dict[str, list[dict[str, float]]]:
    found = {}
    for count in lab.COUNTS:
        speed = 100 * count**0.5 * changes.get(str(count), 1.0)
        found[str(count)] = [{"speed": speed, "first": 5.0 * count, "between": 3.0 * count**0.5}] * 6
    queue = {"speed": 100.0 * changes.get("queue", 1.0), "first": 400.0, "between": 3.0}
    return {**found, "queue": [queue] * 6}


@pytest.mark.parametrize(
    "changes, told",
    [({}, HELD), ({"32": 0.69}, PART), ({"8": 0.5}, PART), ({"queue": 0.5}, CONTROL_FAILED)],
)
def test_verdicts(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, changes: dict[str, float], told: str) -> None:
    monkeypatch.setattr(lab, "measure", lambda budget, seed: parts(**changes))
    assert verdict(lab.run(Budget(seeds=(0, 1, 2), out=tmp_path, lab="batch_size"))) == told
