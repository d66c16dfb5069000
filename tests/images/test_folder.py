"""Pictures of one's own: what is read, and what is named and left out."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jielong.base.errors import UserError
from jielong.images import folder

RED = (200, 10, 20)


def save(path: Path, size: tuple[int, int] = (32, 32), colour: object = RED, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def test_a_picture_of_the_size_stays_as_it_is_and_keeps_its_captions(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    for i, each in enumerate(pixels):
        Image.fromarray(each).save(tmp_path / f"{i}.png")
    (tmp_path / "0.txt").write_text("a dog\n\n一隻狗\n", encoding="utf-8")
    lines = [{"file_name": "1.png", "text": "a cat"}]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    read = folder.read(tmp_path, 16)
    assert np.array_equal(read.pixels, pixels) and read.captions == [["a dog", "一隻狗"], ["a cat"]]
    assert read.labels is None and not read.skipped


def test_all_kinds_of_odd_files(tmp_path: Path) -> None:
    save(tmp_path / "wide.png", (64, 40))
    save(tmp_path / "grey.png", colour=77, mode="L")
    save(tmp_path / "deep.png", colour=3000, mode="I;16")
    save(tmp_path / "clear.png", colour=(0, 0, 0, 0), mode="RGBA")
    frames = [Image.new("RGB", (20, 20), colour) for colour in (RED, (0, 0, 255))]
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:])
    save(tmp_path / "tiny.png", (4, 40))
    save(tmp_path / "huge.png", (20_000, 6_000), 1, "1")
    (tmp_path / "broken.png").write_bytes((tmp_path / "wide.png").read_bytes()[:60])
    (tmp_path / "script.py").write_text("print()")
    (tmp_path / ".hidden.png").write_bytes(b"")
    read = folder.read(tmp_path, 8)
    assert read.skipped == {"broken": ["broken.png"], "too large": ["huge.png"], "no picture": ["script.py"],
                            "too small": ["tiny.png"]}  # fmt: skip
    clear, deep, grey, moves, wide = read.pixels
    assert (clear == 255).all() and (grey == 77).all() and (wide == RED).all() and len(read) == 5
    assert np.abs(moves.astype(int) - RED).max() < 20 and (deep == deep[0, 0]).all()
    assert next(folder.shown(read)) == "1 left out, broken: broken.png"


def test_folders_are_classes_where_nothing_is_said_and_grey_stays_grey(tmp_path: Path) -> None:
    save(tmp_path / "b" / "1.png", colour=10, mode="L")
    save(tmp_path / "a" / "2.png", colour=20, mode="L")
    read = folder.read(tmp_path, 8)
    assert read.labels is not None and read.labels.tolist() == [0, 1] and read.channels == 1
    assert read.pixels[:, 0, 0, 0].tolist() == [20, 10]
    assert folder.read(tmp_path, 8, channels=3).channels == 3


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        folder.read(tmp_path / "none", 8)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"no picture in it that can be read; 1 broken \(broken.png\)"):
        folder.read(tmp_path, 8)


def idx(path: Path, values: np.ndarray) -> None:
    head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(gzip.compress(head + values.tobytes()))


def test_files_of_mnist(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)
    idx(tmp_path / "t10k-images-idx3-ubyte.gz", pixels)
    idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.array([3, 1, 4, 1, 5], np.uint8))
    read = folder.read(tmp_path, 32)
    assert read.size == (32, 32) and np.array_equal(read.pixels[:, 2:30, 2:30, 0], pixels)
    assert read.labels is not None and read.labels.tolist() == [3, 1, 4, 1, 5]
    with pytest.raises(UserError, match="pictures of 28 pixels: give a --size of 28 or more"):
        folder.read(tmp_path, 16)
    idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.zeros(4, np.uint8))
    with pytest.raises(UserError, match="4 labels for 5 pictures"):
        folder.read(tmp_path, 28)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x03" + b"\0" * 13))
    with pytest.raises(UserError, match="holds no pictures in the idx format, or not all"):
        folder.read(tmp_path, 28)
