"""From pictures to a model in a folder, by every kind; stopped and gone on with, it is the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jielong.base.errors import UserError
from jielong.base.talk import Talk
from jielong.images.model import load
from jielong.images.pictures import Pictures
from jielong.images.recipe import KINDS, Plan, planned, train
from jielong.images.stable import Stable
from jielong.train import loop

from .toys import blocks

QUIET = Talk(verbosity=-1)
CORNERS = ("top left", "top right", "bottom left", "bottom right")
COLOURS = ("red", "blue", "green", "black")


def told(n: int = 96) -> Pictures:
    pixels, words = blocks(n)
    return Pictures(pixels, [[f"a {COLOURS[c - 4]} square at the {CORNERS[p]}", f"{COLOURS[c - 4]}, {CORNERS[p]}"]
                             for p, c in words.tolist()])  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_makes_a_model_that_draws(kind: str, tmp_path: Path) -> None:
    model = train(Plan(kind, 32, 1, 16, 1, 2, 2), told(), tmp_path, QUIET)
    texts = ["a red square at the top left", "blue"]
    drawn = model.draw(texts, 1, 2)
    assert drawn.shape == (2, 8, 8, 3) and np.array_equal(load(tmp_path).draw(texts, 1, 2), drawn)
    assert isinstance(model, Stable) if kind == "stable" else model.info["kind"] == kind
    with pytest.raises(UserError, match="has finished"):
        train(Plan(kind, 32, 1, 16, 1, 2, 2), told(), tmp_path, QUIET, resume=True)


def test_stopped_in_any_stage_and_gone_on_with_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan("latent", 32, 1, 16, 0, 6, 6)
    whole = train(plan, told(), tmp_path / "whole", QUIET)
    made = []
    for stop in (3, 8):  # steps over both stages
        place, steps = tmp_path / str(stop), iter([False] * (stop - 1) + [True] + [False] * 99)
        monkeypatch.setattr(loop, "anywhere", lambda asked, steps=steps: next(steps))
        with pytest.raises(KeyboardInterrupt):
            train(plan, told(), place, QUIET)
        monkeypatch.undo()
        again = train(plan, told(), place, QUIET, resume=True)
        made.append(again.draw(["a red square at the top left"], 0, 3))
    for drawn in made:
        assert np.array_equal(drawn, whole.draw(["a red square at the top left"], 0, 3))


def test_classes_and_pictures_without_words(tmp_path: Path) -> None:
    pixels, words = blocks(64)
    classes = Pictures(pixels, (), words[:, 1] - 4, {}, COLOURS)
    model = train(Plan("matching", 32, 1, 16, 0, 0, 2), classes, tmp_path / "classes", QUIET)
    assert model.draw(["red", "black"], 0, 2).shape == (2, 8, 8, 3)
    plain = train(Plan("flow", 32, 1, 16, 0, 0, 2), Pictures(pixels), tmp_path / "plain", QUIET)
    assert plain.draw(["", ""], 0).shape == (2, 8, 8, 3) and plain.words(["x"]) is None


def test_minutes_become_steps(tmp_path: Path) -> None:
    few, many = planned(1, "latent", told()), planned(4, "latent", told())
    assert 3.9 < many.steps / few.steps < 4.1 and 3.9 < many.first / few.first < 4.1
    assert planned(1, "gan", told()).first == 0 < planned(1, "stable", told()).zeroth
    with pytest.raises(UserError, match="reads captions and draws in colour"):
        train(Plan("stable"), Pictures(blocks(8)[0]), tmp_path, QUIET)
    for minutes in (0.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="must be above 0"):
            planned(minutes, "latent", told())
    with pytest.raises(UserError, match="no kind 'oil'"):
        replace(few, kind="oil")
    with pytest.raises(UserError, match="one picture is too few"):
        train(few, Pictures(blocks(1)[0]), tmp_path, QUIET)
