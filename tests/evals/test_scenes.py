"""The judge of pictures: the truth is right in all, another scene is not, noise cannot be read."""

from __future__ import annotations

import numpy as np
import pytest

from jielong.evals.scenes import asked, judged
from jielong.world.scene_pixels import render
from jielong.world.scenes import Scenes


@pytest.mark.parametrize("split, most", [("test", 1), ("test", 3), ("unseen", 3)])
def test_the_truth_is_right_and_nothing_else_is(split: str, most: int) -> None:
    some = asked(60, split, most)
    true = np.stack([render(each.scene) for each in some])
    rows = {row.name: row.estimate for row in judged(some, true)}
    assert rows.pop("cannot be read") == 0 and set(rows.values()) == {1.0}
    turned = {row.name: row.estimate for row in judged(some, np.roll(true, 1, 0))}
    assert turned["right in all"] < 0.1
    noise = np.random.default_rng(0).integers(0, 256, true.shape).astype(np.uint8)
    assert {row.name: row.estimate for row in judged(some, noise)}["cannot be read"] == 1


def test_what_is_asked_is_not_what_is_trained_on() -> None:
    assert asked(20)[0].scene != Scenes(0).draw(1)[0][0] or asked(20) != asked(20, seed=1)
    held = set(Scenes(0).held_out)
    assert all(any(t.pair in held for t in each.scene.things) for each in asked(40, "unseen"))
    assert not any(t.pair in held for each in asked(40) for t in each.scene.things)
    assert {each.text.isascii() for each in asked(4)} == {True, False}
