"""Palettes: exact where there are few colours, nearest where there are many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jielong.base.errors import UserError
from jielong.units import pixels
from jielong.units.pixels import Palette


def test_few_colours_come_back_exactly(tmp_path: Path) -> None:
    colours = np.array([[0, 0, 0], [255, 0, 0], [250, 250, 250], [0, 0, 255]], np.uint8)
    pictures = colours[np.random.default_rng(0).integers(0, 4, (5, 8, 6))]
    palette = pixels.learn(pictures, 16)
    assert palette.size == 4 and np.array_equal(palette.decode(palette.encode(pictures)), pictures)
    palette.save(tmp_path)
    assert np.array_equal(pixels.load(tmp_path).colours, palette.colours)


def test_many_colours_go_to_the_nearest_and_more_are_nearer() -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)
    errors = []
    for size in (4, 32, 128):
        palette = pixels.learn(pictures, size)
        ids = palette.encode(pictures)
        far = ((pictures[..., None, :].astype(int) - palette.colours.astype(int)) ** 2).sum(-1)
        assert palette.size <= size and np.array_equal(far.min(-1), np.take_along_axis(far, ids[..., None], -1)[..., 0])
        errors.append(float(far.min(-1).mean()))
    assert errors[0] > 2 * errors[1] > 2 * errors[2]


def test_what_is_no_palette_or_no_colour(tmp_path: Path) -> None:
    (tmp_path / pixels.FILE).write_text('{"colours": [[1, 2, 300]]}')
    with pytest.raises(UserError, match="is no palette"):
        pixels.load(tmp_path)
    with pytest.raises(UserError, match="numbered 0 to 1"):
        Palette(np.zeros((2, 3), np.uint8)).decode(np.array([2]))
