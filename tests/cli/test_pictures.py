"""`jielong train image` and `jielong draw`, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from jielong.cli.main import main

SMALL = ["--steps", "2", "--width", "32", "--layers", "1", "--batch", "8", "-q"]


def run(*words: str) -> int:
    try:
        return main(list(words)) or 0
    except SystemExit as stop:
        return int(stop.code or 0)


def test_from_a_folder_of_ones_own_to_a_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for i in range(12):
        colour = "red" if i % 2 else "blue"
        Image.new("RGB", (20, 16), colour).save(tmp_path / f"{i}.png")
        (tmp_path / f"{i}.txt").write_text(f"all {colour}")
    (tmp_path / "note.pdf").write_bytes(b"%PDF")
    assert run("train", "image", ".", "--size", "8", "--out", "runs/mine", *SMALL[:-1]) == 0
    told = capsys.readouterr()
    assert "1 left out, no picture: note.pdf" in told.err + told.out
    assert Image.open("runs/mine/sample.png").size[0] > 8
    assert run("draw", "all red", "--model", "runs/mine", "--n", "2", "--film", "--steps", "3", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["words"] == "all red" and said["out"] == ["drawn.png", "drawn.gif", "drawn-steps.png"]
    film = Image.open("drawn.gif")
    assert film.is_animated and film.n_frames == 3 and Image.open("drawn.png").size == (144, 64)
    assert run("draw", "all red", "--model", "runs/mine") == 2
    assert "drawn.png is there already" in capsys.readouterr().err
    assert run("train", "image", ".", "--size", "8", "--out", "runs/mine", *SMALL) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run("draw", "x", "--model", "nowhere", "--out", "a.png") == 2
    assert "holds no picture model" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["gan", "maskgit"])
def test_scenes_of_the_world(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                             capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run("train", "image", "world:scene:64", "--kind", kind, *SMALL) == 0
    assert run("draw", "a red circle", "--n", "1", "--film", "-q") == 0
    capsys.readouterr()
    assert run("draw", "score", "--n", "3", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["group"] for row in rows} == {"one thing", "up to three", "never seen together"}
    assert all(row["estimate"] == 0 for row in rows if row["name"] == "right in all")
    code = run("draw", "a red circle", "--n", "1", "--guidance", "3", "--out", "b.png", "-q")
    assert code == (2 if kind == "gan" else 0)
    capsys.readouterr()
    assert run("train", "image", "world:boats", "-q") == 2
    assert "are no pictures: there are world:scenes" in capsys.readouterr().err
    assert run("train", "image", "world:scene:64", "--size", "16", "--out", "c", *SMALL) == 2
    assert "leave --size out" in capsys.readouterr().err
