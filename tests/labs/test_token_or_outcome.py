"""The lab on tokens and outcomes: the game and its players by hand and by enumeration, a small run, its verdicts."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from jielong.labs import playing
from jielong.labs import token_or_outcome as lab
from jielong.labs.lab import Budget
from jielong.labs.verdict import verdict
from jielong.views.verdicts import CONTROL_FAILED, HELD, ONE_SEED, PART

TRAP = lab.Pyramid((2, 0), (1, 3, 8))  # sums 3, 5, 3, 8: the larger digit leads away from the 8
PLAIN = lab.Pyramid((2, 1), (4, 3, 0))  # 6, 5, 4, 1


def test_a_pyramid_by_hand() -> None:
    assert TRAP.text == "20/138:"
    assert [TRAP.sum(path) for path in lab.PATHS] == [3, 5, 3, 8]
    assert [TRAP.wins(path) for path in (*lab.PATHS, "", ">", ">>>", "x")] == [0, 0, 0, 1, 0, 0, 0, 0]
    assert [TRAP.near(path) for path in lab.PATHS] == pytest.approx([0.09, 0.81, 0.01, 0.09])
    assert lab.Pyramid((1, 1), (0, 0, 5)).near("<<") == 0.25
    assert TRAP.misleading and not PLAIN.misleading and not lab.Pyramid((1, 1), (0, 0, 5)).misleading


def test_half_of_the_pyramids_mislead() -> None:
    every = lab.pyramids()
    assert len(set(every)) == len(every) and sum(one.misleading for one in every) * 2 == len(every)
    digits = product(range(lab.UPPER), range(lab.UPPER), *[range(lab.LOWER)] * 3)
    traps = 0
    for a, b, c, d, e in digits:
        left, right = a + max(c, d), b + max(d, e)
        traps += (a > b and right > left) or (b > a and left > right)
    assert traps * 2 == len(every)
    train, kept = lab.split(3)
    assert len(train) + len(kept) == len(every) and not set(train) & set(kept)


def test_the_players_go_as_their_law_says() -> None:
    games = lab.demonstrations([TRAP, PLAIN], 8000, 1)
    for one in (TRAP, PLAIN):
        taken = [path for each, path in games if each == one]
        assert len(taken) == 4000
        for path in lab.PATHS:
            assert taken.count(path) / 4000 == pytest.approx(one.near(path), abs=0.025)


def test_figures_by_hand() -> None:
    """One law that always goes to the right, beside the players' own."""
    always = lab.told(np.array([[0.0, 0.0, 0.0, 1.0]] * 2), [TRAP, PLAIN])
    assert (always["won"], always["won, likeliest"], always["won, misleading"]) == (0.5, 0.5, 1.0)
    # Of first steps 0.1 each are foretold; of second ones those of paths << (no law there: the first counts) and >>
    assert always["accuracy"] == pytest.approx((0.1 + (0.09 + 0.09) + 0.1 + (0.81 + 0.01)) / 4)
    players = lab.told(np.array([[one.near(path) for path in lab.PATHS] for one in (TRAP, PLAIN)]), [TRAP, PLAIN])
    assert players["won"] == pytest.approx((0.09 + 0.81) / 2)
    assert players["accuracy"] == pytest.approx(0.9)
    assert players["loss"] == pytest.approx(-(0.9 * math.log(0.9) + 0.1 * math.log(0.1)))


def test_paths_of_a_model_are_products_of_its_steps() -> None:
    codec = playing.codec_of("0123456789/:<>")
    model = playing.fresh(codec, 1)
    found = lab.paths_of(model, codec, [TRAP, PLAIN])
    first = playing.law(model, codec, [PLAIN.text], ["<", ">"])[0]
    second = playing.law(model, codec, [PLAIN.text + ">"], ["<", ">"])[0]
    assert found.shape == (2, 4) and found[1, 2:] == pytest.approx(first[1] * second)


def test_the_lab_runs_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"WIDTH": 32, "LAYERS": 1}.items():
        monkeypatch.setattr(playing, name, value)
    result = lab.run(Budget(tokens=1024, seeds=(0,), out=tmp_path, lab="token_or_outcome"))
    assert verdict(result) in (ONE_SEED, CONTROL_FAILED)
    assert len(result.rows) == 7 + 6 * 5 and all(math.isfinite(row.estimate) for row in result.rows)
    assert len(result.series["both"]["lines"]) == 4


def columns(seed: int, won: float, foretold: float) -> dict[str, dict[str, float]]:
    def one(won: float, foretold: float) -> dict[str, float]:
        return {"won": won, "won, likeliest": won, "won, misleading": won, "accuracy": foretold, "loss": 0.4}

    return {lab.START: one(0.46, 0.87), lab.MORE: one(0.46, 0.87), lab.WON: one(0.6, 0.8), lab.MIXED: one(0.45, 0.86),
            lab.GRPO: one(won + 0.01 * seed, foretold), lab.PLAYERS: one(0.46, 0.87)}  # fmt: skip


@pytest.mark.parametrize("won, foretold, told", [
    (0.8, 0.7, HELD),
    (0.45, 0.7, PART),
    (0.8, 0.87, PART),
])  # fmt: skip
def test_verdicts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, won: float, foretold: float, told: str
) -> None:
    monkeypatch.setattr(lab, "measure", lambda budget, seed: columns(seed, won, foretold))
    assert verdict(lab.run(Budget(seeds=(0, 1, 2), out=tmp_path, lab="token_or_outcome"))) == told
