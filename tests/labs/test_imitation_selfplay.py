"""The lab on self-play: Nim and its players by theorem and by enumeration, a small run, its verdicts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jielong.labs import imitation_selfplay as lab
from jielong.labs import playing
from jielong.labs.lab import Budget
from jielong.labs.verdict import verdict
from jielong.views.verdicts import CONTROL_FAILED, HELD, ONE_SEED, PART


def test_minimax_is_the_theorem() -> None:
    """Bouton 1901: who is to move loses where the heaps' binary digits cancel."""
    for heaps, wins in lab.solved().items():
        assert wins == ((heaps[0] ^ heaps[1] ^ heaps[2]) != 0)
    assert len(lab.solved()) == (lab.MOST + 1) ** 3 == len(lab.positions()) + 1


def test_moves_by_hand() -> None:
    assert lab.text((3, 0, 5)) == "305:"
    assert lab.after((3, 0, 5), "c4") == (3, 0, 1) and lab.after((3, 0, 5), "a3") == (0, 0, 5)
    assert all(lab.after((3, 0, 5), move) is None for move in ("a4", "b1", "d1", "", "c", "c44"))
    assert set(lab.rules((1, 0, 2))) == {"a1", "c1", "c2"}
    assert set(lab.perfect((1, 0, 2))) == {"c1"} and set(lab.perfect((1, 2, 3))) == set(lab.rules((1, 2, 3)))
    assert set(lab.mediocre((1, 0, 2))) == {"c1"} and set(lab.mediocre((1, 1, 2))) == {"a1", "b1", "c1", "c2"}


def test_shares_of_perfect_moves() -> None:
    assert lab.perfect_share(lab.table(lab.perfect)) == pytest.approx(1.0)
    chances = []
    for heaps in lab.positions():
        good, all_of = len(lab.perfect(heaps)), len(lab.rules(heaps))
        if lab.solved()[heaps] and good < all_of:
            chances.append(good / all_of)
    assert lab.perfect_share(lab.table(lab.rules)) == pytest.approx(sum(chances) / len(chances))


def test_games_won_against_played_ones() -> None:
    random, perfect, mediocre = (lab.table(player) for player in (lab.rules, lab.perfect, lab.mediocre))
    for law in (random, perfect, mediocre):
        assert lab.games_won(law, law) == pytest.approx(0.5)
    assert lab.games_won(perfect, mediocre) == pytest.approx(1 - lab.games_won(mediocre, perfect))
    assert lab.games_won(perfect, mediocre) > 0.9 and lab.games_won(mediocre, random) > 0.8
    assert lab.games_won(np.zeros_like(random), random) == pytest.approx(0.0)  # breaks the rules at once
    full = [heaps for heaps in lab.positions() if all(heaps)]
    won = np.mean([lab.played_out(random, full, seed) for seed in range(200)])
    own: dict[Any, float] = {(0, 0, 0): 0.0}
    for heaps in lab.positions():
        left = [1 - own[to] for _, to in lab.allowed(heaps)]
        own[heaps] = sum(left) / len(left)
    assert won == pytest.approx(np.mean([own[heaps] for heaps in full]), abs=0.015)


def test_played_out_keeps_the_rules() -> None:
    perfect = lab.table(lab.perfect)
    assert lab.played_out(perfect, list(lab.positions()), 1) == [lab.solved()[heaps] for heaps in lab.positions()]
    assert lab.played_out(perfect, [(0, 0, 0)], 1) == [False]
    assert lab.played_out(np.zeros_like(perfect), [(1, 0, 0)], 1) == [False]


def test_the_lab_runs_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"WIDTH": 32, "LAYERS": 1}.items():
        monkeypatch.setattr(playing, name, value)
    result = lab.run(Budget(tokens=1024, seeds=(0,), out=tmp_path, lab="imitation_selfplay"))
    assert verdict(result) in (ONE_SEED, CONTROL_FAILED)
    assert all(math.isfinite(row.estimate) for row in result.rows)
    assert len(result.series["course"]["lines"]) == 4


def columns(seed: int, **changes: float) -> dict[str, Any]:
    def one(perfect: float, won: float) -> dict[str, float]:
        return {"perfect": perfect, "perfect, likeliest": perfect, lab.IMITATED: won, "against the perfect": 0.1}

    wobble = 0.01 * seed
    players = {lab.IMITATION: one(0.47, 0.48), lab.MORE: one(0.48, 0.49), lab.PLAYED: one(0.9 + wobble, 0.8 + wobble),
               lab.RULES: one(0.5, 0.5), lab.NOTHING: one(0.3, 0.2), lab.MIXED: one(0.46, 0.45)}  # fmt: skip
    for name, value in changes.items():
        players[name][lab.IMITATED] = value
    course = [[0.0, 0.4, 0.5], [512.0, 0.5, 0.61]]
    return {"players": players, "course": dict.fromkeys((lab.PLAYED, lab.RULES, lab.NOTHING, lab.MIXED), course)}


@pytest.mark.parametrize("changes, told", [
    ({}, HELD),
    ({lab.RULES: 0.95}, PART),
    ({lab.MIXED: 0.6}, CONTROL_FAILED),
])  # fmt: skip
def test_verdicts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changes: dict[str, float], told: str) -> None:
    monkeypatch.setattr(lab, "measure", lambda budget, seed: columns(seed, **changes))
    assert verdict(lab.run(Budget(seeds=(0, 1, 2), out=tmp_path, lab="imitation_selfplay"))) == told
