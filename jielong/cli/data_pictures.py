"""What ``jielong data world --part`` writes: pictures of the world with their captions, in a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jielong.base.talk import Talk

if TYPE_CHECKING:
    from jielong.world.scene_pixels import Bytes

Part = Literal["scenes", "faces"]
STEP = 512


def write(
    part: Part, n: int, out: Path, split: str, lang: str | None, seed: int, draw: int, most: int, overwrite: bool,
    talk: Talk,
) -> None:  # fmt: skip
    """A folder of PNG files and metadata.jsonl, one line each: file_name, text, lang, and the truth of the picture.

    It is what Hugging Face's imagefolder reads. Without `lang` the captions are English and Chinese in turn.
    """
    from PIL import Image

    from jielong.base.files import atomic_dir, digest

    written = 0
    with atomic_dir(out, overwrite) as folder, talk.progress(n, part, "pictures") as bar:
        with (folder / "metadata.jsonl").open("w", encoding="utf-8", newline="\n") as file:
            for picture, line in _pictures(part, n, split, lang, seed, draw, most):
                name = f"{written:06d}.png"
                Image.fromarray(picture).save(folder / name)
                record = {"file_name": name, **line}
                file.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")
                written += 1
                if written % STEP == 0:
                    bar.update(written)
        bar.update(written)
    talk.say(f"{written} pictures and metadata.jsonl in {out}")
    about: dict[str, Any] = {"part": part, "split": split, "lang": lang, "seed": seed, "draw": draw}
    if part == "scenes":
        about["most"] = most
    talk.document({"out": str(out), "pictures": written, **about, "digest": digest(out / "metadata.jsonl")})
    talk.next_command(f"jielong train image --data {out}")


def _pictures(
    part: Part, n: int, split: str, lang: str | None, seed: int, draw: int, most: int
) -> Iterator[tuple[Bytes, dict[str, Any]]]:
    """(picture, the rest of its line)."""
    from jielong.world import face_pixels, face_words, faces, scene_pixels, scene_words, scenes

    langs = [lang] if lang else ["en", "zh"]
    if part == "scenes":
        drawn = scenes.Scenes(seed, most).draw(n, split, draw)
        for start in range(0, n, STEP):
            block = drawn[start : start + STEP]
            for i, (picture, (scene, jitter)) in enumerate(zip(scene_pixels.render_many(block), block), start):
                tongue = langs[i % len(langs)]
                text = scene_words.caption(scene, tongue, i)
                yield picture, {"text": text, "lang": tongue, "scene": scenes.as_record(scene, jitter)}
        return
    people = faces.Faces(seed).draw(n, split, draw)
    for start in range(0, n, STEP):
        some = people[start : start + STEP]
        for i, (picture, (face, jitter)) in enumerate(zip(face_pixels.render_many(some), some), start):
            tongue = langs[i % len(langs)]
            text = face_words.caption(face, tongue, i)
            yield picture, {"text": text, "lang": tongue, "face": faces.as_record(face, jitter)}
