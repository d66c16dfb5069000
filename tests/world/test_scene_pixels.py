"""Scenes drawn and read back: every clean picture is read exactly, slightly spoilt ones too, others not at all."""

from __future__ import annotations

import sys
import time
from itertools import combinations, product

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from jielong.world.scene_pixels import (
    NAMES,
    RGB,
    paint,
    palette,
    parse,
    parse_many,
    read_many,
    render,
    render_many,
    shape_mask,
)
from jielong.world.scenes import BACKGROUNDS, CELLS, COLOURS, JITTERS, SHAPES, SIZES, Jitter, Scene, Scenes, Thing

ALONE = [Scene((Thing(*kind, cell),), ground) for kind in product(SHAPES, COLOURS, SIZES) for cell in CELLS
         for ground in BACKGROUNDS]  # fmt: skip


def exact(drawn):
    """Whether each picture gives back its scene and its jitter."""
    found = read_many(render_many(drawn))
    return [each is not None and (each.scene, each.jitter) == pair for each, pair in zip(found, drawn)]


def spoilt(pictures, blur=0.0, noise=0.0):
    """Blurred as if the ground went on outside, then with normal noise of this standard deviation in every channel."""
    ground = np.median(pictures, axis=(1, 2), keepdims=True)
    soft = gaussian_filter(pictures - ground, (0, blur, blur, 0), mode="constant") + ground
    shaken = soft + noise * np.random.default_rng(0).standard_normal(pictures.shape)
    return shaken.clip(0, 255).round().astype(np.uint8)


def read(pictures, drawn):
    """(share read right, share read wrong)."""
    found = parse_many(np.asarray(pictures).clip(0, 255).round().astype(np.uint8))
    right = [scene == truth for scene, (truth, _) in zip(found, drawn)]
    return np.mean(right), np.mean([scene is not None for scene in found]) - np.mean(right)


def test_a_picture_in_numbers():
    """A large red square in the centre of white, dimmed and a pixel up and to the right: rows 10-18, columns 12-20."""
    expected = np.full((32, 32, 3), 215)
    expected[10:19, 12:21] = (200, 0, 40)
    assert (render(Scene((Thing("square", "red", "large", 4),), "white"), Jitter(1, -1, 0)) == expected).all()
    assert ["".join(".#"[int(on)] for on in row) for row in shape_mask("circle", 7)] == [
        "..###..", ".#####.", "#######", "#######", "#######", ".#####.", "..###..",
    ]  # fmt: skip
    assert shape_mask("triangle", 7).sum(1).tolist() == [1, 3, 3, 5, 5, 7, 7]
    assert shape_mask("cross", 7).sum(1).tolist() == [4, 6, 5, 3, 5, 6, 4]


def test_the_palette_is_all_there_is():
    drawn = Scenes().draw(300)
    pictures = render_many(drawn)
    assert {tuple(pixel) for pixel in pictures.reshape(-1, 3)} <= {tuple(colour) for colour in palette()}
    assert (palette()[paint(drawn)] == pictures).all() and len({tuple(colour) for colour in palette()}) == 30
    apart = [np.linalg.norm(np.subtract(RGB[a], RGB[b])) for a, b in combinations(NAMES, 2)]
    assert min(apart) > 100


def test_every_scene_of_one_thing_is_read_exactly():
    """All 1,728, held-out pairs too, each in three of the 27 jitters, in turn."""
    drawn = [(scene, JITTERS[(i + 9 * j + i // 27) % 27]) for i, scene in enumerate(ALONE) for j in range(3)]
    assert all(exact(drawn))


@pytest.mark.slow
def test_every_picture_of_one_thing_is_read_exactly():
    """All 46,656: so no two of them are the same."""
    assert all(exact(list(product(ALONE, JITTERS))))


@pytest.mark.parametrize("split", ["train", "unseen"])
def test_scenes_of_several_things_are_read_exactly(split):
    assert all(exact(Scenes().draw(1200, split, draw=5)))


def test_neighbours_of_one_colour_do_not_melt():
    two, full = (
        [Scene(tuple(Thing("square", "blue", "large", c) for c in cells), "black") for cells in combinations(CELLS, k)]
        for k in (2, 3)
    )
    assert all(exact(list(product(two, JITTERS))))
    pictures = spoilt(render_many([(scene, Jitter()) for scene in full]), blur=0.6, noise=8)
    assert parse_many(pictures) == full


@pytest.mark.parametrize(("blur", "noise", "least"), [
    (0, 5, 1), (0, 10, 1), (0, 14, 0.999), (0.4, 0, 1), (0.5, 10, 1), (0.7, 0, 1), (0.7, 10, 0.995),
])  # fmt: skip
def test_what_is_slightly_spoilt_is_read(blur, noise, least):
    drawn = Scenes().draw(400, draw=2)
    right, wrong = read(spoilt(render_many(drawn), blur, noise), drawn)
    assert right >= least and wrong == 0


def test_casts_and_shifts_of_colour_are_read():
    drawn = Scenes().draw(300, draw=3)
    pictures = render_many(drawn).astype(float)
    assert read(pictures + np.array([15, -15, 0]), drawn) == (1, 0)
    assert read(pictures - 12, drawn) == (1, 0)


@pytest.mark.parametrize(("blur", "noise"), [(1.6, 0), (2, 0), (3, 0), (0, 25), (0, 60)])
def test_what_is_badly_spoilt_is_not(blur, noise):
    drawn = Scenes().draw(400, draw=2)
    right, wrong = read(spoilt(render_many(drawn), blur, noise), drawn)
    assert right <= (0.01 if blur == 1.6 else 0) and wrong == 0


def test_noise_is_no_scene():
    draw = np.random.default_rng(1)
    noise = draw.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
    assert parse_many(noise) == [None] * 200
    assert parse_many(palette()[draw.integers(0, 30, (200, 32, 32))]) == [None] * 200
    assert parse_many(palette()[draw.integers(0, 30, (200, 8, 8))].repeat(4, 1).repeat(4, 2)) == [None] * 200
    assert parse_many(np.broadcast_to(palette()[:, None, None], (30, 32, 32, 3))) == [None] * 30
    assert parse_many(np.zeros((0, 32, 32, 3), np.uint8)) == []


def alone(n=250, **changed):
    """n scenes of one thing and their pictures; `changed`: how far to move a field along its list."""
    drawn = Scenes(most=1).draw(n, draw=7)
    lists = {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "cell": CELLS}
    moved = []
    for scene, jitter in drawn:
        (thing,) = scene.things
        values = {name: getattr(thing, name) for name in lists}
        for name, step in changed.items():
            of = lists[name]
            values[name] = of[(of.index(values[name]) + step) % len(of)]
        moved.append((Scene((Thing(**values),), scene.background), jitter))
    return moved, render_many(moved).astype(float)


def cut(pictures, others, drawn, side):
    """One half of each thing (left, right, top, bottom, its middle row or column aside) taken from other pictures."""
    mixed = pictures.copy()
    for i, (scene, jitter) in enumerate(drawn):
        row, column = divmod(scene.things[0].cell, 3)
        y, x = 5 + 10 * row + jitter.dy, 5 + 10 * column + jitter.dx
        half = [np.s_[:, :x], np.s_[:, x + 1 :], np.s_[:y], np.s_[y + 1 :]][side]
        mixed[i][half] = others[i][half]
    return mixed


@pytest.mark.parametrize("side", range(4))
def test_half_a_thing_is_no_thing(side):
    drawn, pictures = alone()
    ground = np.broadcast_to(np.median(pictures, axis=(1, 2), keepdims=True), pictures.shape)
    assert read(cut(pictures, ground, drawn, side), drawn) == (0, 0)


@pytest.mark.parametrize("side", range(4))
def test_half_of_one_colour_and_half_of_another_is_no_thing(side):
    drawn, pictures = alone()
    for step in range(1, 6):
        assert read(cut(pictures, alone(colour=step)[1], drawn, side), drawn) == (0, 0)


@pytest.mark.parametrize("side", [0, 1])
def test_left_of_one_shape_and_right_of_another_is_no_thing(side):
    """The half left-looking, half right-looking dog. Upper and lower halves of a square and a triangle differ by few
    pixels, and may be read as one of them."""
    drawn, pictures = alone()
    for step in range(1, 4):
        assert read(cut(pictures, alone(shape=step)[1], drawn, side), drawn) == (0, 0)


def test_means_of_two_pictures_are_no_picture():
    drawn, pictures = alone()
    for change in ({"shape": 1}, {"shape": 2}, {"shape": 3}, {"size": 1}, {"cell": 1}):
        assert read((pictures + alone(**change)[1]) / 2, drawn) == (0, 0)
    ground = np.median(pictures, axis=(1, 2), keepdims=True)
    assert read((pictures + ground) / 2, drawn) == (0, 0)


def test_things_out_of_place_and_out_of_shape():
    scene = Scene((Thing("square", "red", "small", 4),), "grey")
    ground, red = RGB["grey"], RGB["red"]

    def with_red(*where):
        picture = np.full((32, 32, 3), ground, dtype=np.uint8)
        for each in where:
            picture[each] = red
        return picture

    assert parse(with_red(np.s_[12:19, 12:19])) == scene
    assert parse(with_red(np.s_[12:19, 9:16])) is None  # three pixels to the left
    assert parse(with_red(np.s_[10:21, 10:21])) is None  # 11 pixels wide
    assert parse(with_red(np.s_[13:18, 13:18])) is None  # 5 pixels wide
    assert parse(with_red(np.s_[12:19, 11:21])) is None  # a bar
    assert parse(with_red(np.s_[12:19, 12:19], np.s_[2:5, 2:5])) is None  # something else besides
    assert parse(with_red(*(np.s_[y : y + 7, x : x + 7] for y in (2, 12) for x in (2, 12)))) is None  # four things
    (drawn,) = read_many(np.stack([with_red(np.s_[2:9, 2:9], np.s_[12:19, 13:20])]))
    assert drawn is not None and drawn.offsets == ((0, 0), (1, 0)) and drawn.jitter is None  # each moved by itself
    assert drawn.scene.things == (Thing("square", "red", "small", 0), Thing("square", "red", "small", 4))


def test_upside_down_triangles_are_none():
    scenes = [Scene((Thing("triangle", colour, size, 4),), "white") for colour, size in product(COLOURS, SIZES)]
    pictures = render_many([(scene, Jitter()) for scene in scenes])
    assert parse_many(pictures[:, ::-1]) == [None] * 12
    assert parse_many(pictures[:, :, ::-1]) == scenes


def test_wrong_input():
    with pytest.raises(ValueError, match=r"uint8 of \(n, 32, 32, 3\)"):
        parse(np.zeros((24, 24, 3), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        parse(np.zeros((32, 32, 3)))


def test_fast_enough():
    """Half of the bars of 10,000 pictures drawn and 1,000 read a second on one core, in seconds of its own."""
    if sys.gettrace() is not None:
        pytest.skip("measured lines are slow lines: not under coverage")
    drawn = Scenes().draw(1000)
    pictures = render_many(drawn)
    parse(pictures[0])
    drawing, reading = [], []
    for _ in range(3):
        for work, given, times in ((render_many, drawn, drawing), (parse_many, pictures, reading)):
            start = time.process_time()
            work(given)
            times.append(time.process_time() - start)
    assert 1000 / min(drawing) > 5000 and 1000 / min(reading) > 500
