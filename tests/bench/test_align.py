"""`bench align`: examples, what counts as read, ratios, and a step of each of ours; TRL's where it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jielong.base.talk import Talk
from jielong.bench import align, examples
from jielong.bench.align import Contestant
from jielong.bench.examples import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return examples.staged(tmp_path_factory.mktemp("scene"), 32, 2, 300, 64, 2, 3, 2 * (align.STEPS + 1) + 1)


def test_examples_are_of_the_lengths_asked_for(scene: Scene) -> None:
    found = examples.examples(300, 50, (3, 5), (2, 9), 2)
    assert {len(parts) for parts in found} == {3} and all(8 <= i < 300 for parts in found for p in parts for i in p)
    assert {len(parts[0]) for parts in found} == {3, 4, 5} and {len(p) for parts in found for p in parts[1:]} > {2, 9}
    assert len(scene.pairs) >= 3 * (align.STEPS + 1) * 2
    grouped = examples.alike(scene.chats, 8)
    assert len(grouped) % 8 == 0 and {str(chat) for chat in grouped} <= {str(chat) for chat in scene.chats}
    lengths = [len(a) + len(b) for a, b in grouped]
    spread = [max(lengths[i : i + 8]) - min(lengths[i : i + 8]) for i in range(0, len(lengths), 8)]
    assert sum(spread) / len(spread) < (max(lengths) - min(lengths)) / 3


def test_what_counts(scene: Scene) -> None:
    """Useful tokens of our packed rows are those of the chats in them; a pair's prompt counts twice, padding never."""
    one = align.our_sft(scene, torch.float32)
    rows = one.tokens / scene.chat_tokens
    assert 0.7 < one.tokens / (scene.rows * scene.config.context) < 1.1 and rows > scene.rows
    both = align.our_dpo(scene, torch.float32, False)
    read = sum(2 * len(a) + len(b) + len(c) for a, b, c in scene.pairs)
    assert both.tokens == pytest.approx(3 * read / len(scene.pairs))


def test_a_step_of_each_of_ours_learns(scene: Scene) -> None:
    for make in (lambda: align.our_sft(scene, torch.float32), lambda: align.our_sft(scene, torch.float32, 4),
                 lambda: align.our_dpo(scene, torch.float32, False)):  # fmt: skip
        one = make()
        losses = [one.step(i)["loss"] for i in range(3)]  # type: ignore[index]
        assert all(0 < loss < 20 for loss in losses) and len(set(losses)) == 3


def test_ratios_are_of_the_best(scene: Scene) -> None:
    def told(name: str, ours: bool, seconds: float) -> Contestant:
        found = Contestant(name, "sft", ours, lambda i: None, 100.0)
        found.seconds, found.busy, found.read = [seconds] * 3, [2 * seconds] * 3, [300.0] * 3
        return found

    field = [told("mine", True, 1.0), told("mine, slow", True, 9.0), told("peer", False, 3.0), told("late", False, 8.0)]
    result = align._result(scene, field, ("sft",))
    ratio = next(row for row in result.rows if row.unit == "times" and row.bar)
    assert ratio.estimate == 3.0 and ratio.bar == 2.0 and ratio.note == "mine; peer"
    assert next(row for row in result.rows if row.name == "mine").estimate == 300.0
    assert any("processors" in row.name and row.estimate == 3.0 for row in result.rows)


@pytest.mark.referee
@pytest.mark.parametrize("task", ["lora", "dpo"])
def test_beside_trl(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One round of the real trainers, at one setting."""
    pytest.importorskip("trl")
    monkeypatch.setattr(align, "BF16", ())
    ways = align._theirs
    monkeypatch.setattr(align, "_theirs", lambda s, t, how: () if how.eager else list(ways(s, t, how))[-1:])
    result = align.run(Talk(verbosity=-1), 32, 2, 300, 64, 2, 2, 1, (task,))
    ratio = next(row for row in result.rows if row.unit == "times" and row.bar)
    assert ratio.estimate > 0 and "TRL" in ratio.note and "jielong" in ratio.note
