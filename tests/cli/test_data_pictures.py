"""`jielong data world --part`: an imagefolder whose pictures, captions and truth agree."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from jielong.base.files import read_jsonl
from jielong.cli.main import main
from jielong.world import face_words, scene_words
from jielong.world.face_measure import parse as parse_face
from jielong.world.faces import Faces
from jielong.world.faces import as_record as face_record
from jielong.world.scene_pixels import parse
from jielong.world.scenes import Scenes
from jielong.world.scenes import as_record as scene_record


def run(*words: str) -> int:
    return main(["data", "world", *words])


def test_scenes(in_tmp, capsys):
    assert run("--part", "scenes", "--n", "12", "--split", "unseen", "--seed", "4", "--out", "s", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pictures"] == 12 and told["split"] == "unseen" and told["most"] == 3
    lines = list(read_jsonl("s/metadata.jsonl"))
    assert [line["file_name"] for line in lines] == sorted(path.name for path in (in_tmp / "s").glob("*.png"))
    for i, (line, (scene, jitter)) in enumerate(zip(lines, Scenes(4).draw(12, "unseen"))):
        assert parse(np.asarray(Image.open(in_tmp / "s" / line["file_name"]))) == scene
        assert line["scene"] == scene_record(scene, jitter)
        assert line["lang"] == ("zh" if i % 2 else "en")
        meaning = scene_words.understand(line["text"])
        assert meaning is not None and all(scene_words.fits(meaning, scene).values())


def test_faces(in_tmp, capsys):
    assert run("--part", "faces", "--n", "5", "--lang", "zh", "--draw", "1") == 0
    assert "next: jielong train image --data faces" in capsys.readouterr().err
    for line, (face, jitter) in zip(read_jsonl("faces/metadata.jsonl"), Faces().draw(5, draw=1), strict=True):
        assert parse_face(np.asarray(Image.open(in_tmp / "faces" / line["file_name"]))) == face
        assert line["face"] == face_record(face, jitter) and line["lang"] == "zh"
        meaning = face_words.understand(line["text"])
        assert meaning is not None and all(face_words.fits(meaning, face).values())
    assert run("--part", "faces", "--n", "2") == 2
    assert "exists" in capsys.readouterr().err
    assert run("--part", "faces", "--n", "2", "--overwrite") == 0
    assert len(list(in_tmp.rglob("*.png"))) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--part", "faces", "--split", "unseen"), "train or test"),
        (("--part", "scenes", "--split", "asked"), "split must be one of"),
        (("--part", "scenes", "--most", "5"), "1 to 3 things"),
        (("--part", "scenes", "--kind", "facts"), "not both"),
        (("--part", "scenes", "--n", "0"), "--n must be 1 or more"),
        (("--kind", "facts", "--split", "unseen"), "split must be one of"),
    ],
)
def test_wrong_input_is_told_in_one_line(in_tmp, capsys, words, message):
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert not list(in_tmp.iterdir())


@pytest.mark.referee
def test_imagefolder_reads_it(in_tmp, capsys):
    """Hugging Face's own reader finds the pictures and their captions."""
    datasets = pytest.importorskip("datasets")
    assert run("--part", "scenes", "--n", "4", "--lang", "en") == 0
    found = datasets.load_dataset("imagefolder", data_dir="scenes", split="train", cache_dir=str(in_tmp / "cache"))
    for row, (scene, _) in zip(found, Scenes().draw(4), strict=True):
        assert parse(np.asarray(row["image"])) == scene
        assert all(scene_words.fits(scene_words.understand(row["text"]), scene).values())
