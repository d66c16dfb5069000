"""What a person may name as pictures: a folder, MNIST's files, `hf:NAME[:SPLIT]`, `world:scenes[:N]`,
`world:scene[:N]` (one thing each), `world:faces[:N]`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jielong.base.errors import UserError
from jielong.data import sources
from jielong.data.sources import Hub, Worldly
from jielong.images import folder
from jielong.images.pictures import Bytes, Pictures

WORLD_N, WORDINGS = 40_000, 4  # pictures of the world where no number is said; captions of each, half in Chinese
WORLDS = ("scenes", "scene", "faces")
LEAST = 32  # pixels


def read(spec: str, size: int = 0, seed: int = 0) -> Pictures:
    """The pictures that `spec` names, as squares of `size` pixels (0: 32, the world's and MNIST's own).

    Raises UserError for what is not there, and a size that the world does not have.
    """
    source = spec if Path(spec).expanduser().exists() else sources.find(spec, folder.SUFFIXES)
    if isinstance(source, Worldly):
        return _world(source.kind, WORLD_N if spec.count(":") < 2 else source.n, size, seed)
    if isinstance(source, Hub):
        return _hub(source, size or LEAST)
    place = Path(spec).expanduser()
    return folder.read(place, size if place.is_file() else size or LEAST)


def _world(kind: str, n: int, size: int, seed: int) -> Pictures:
    if kind not in WORLDS:
        raise UserError(f"world:{kind} are no pictures: there are {', '.join(f'world:{each}' for each in WORLDS)}")
    pixels, said = _faces(n, seed) if kind == "faces" else _scenes(n, seed, most=1 if kind == "scene" else 3)
    if size not in (0, pixels.shape[1]):
        raise UserError(f"the world's {kind} are {pixels.shape[1]} pixels wide: leave --size out")
    return Pictures(pixels, said)


def _scenes(n: int, seed: int, most: int) -> tuple[Bytes, list[list[str]]]:
    from jielong.world import scene_pixels, scene_words
    from jielong.world.scenes import Scenes

    drawn = Scenes(seed, most).draw(n)
    said = [[scene_words.caption(scene, lang, draw) for lang in scene_words.LANGS for draw in range(WORDINGS // 2)]
            for scene, _ in drawn]  # fmt: skip
    return scene_pixels.render_many(drawn), said


def _faces(n: int, seed: int) -> tuple[Bytes, list[list[str]]]:
    from jielong.world import face_pixels, face_words
    from jielong.world.faces import Faces

    drawn = Faces(seed).draw(n)
    said = [[face_words.caption(face, lang, draw) for lang in ("en", "zh") for draw in range(WORDINGS // 2)]
            for face, _ in drawn]  # fmt: skip
    return face_pixels.render_many(drawn), said


def _hub(source: Hub, size: int) -> Pictures:
    """Of the extra `hf`: the first column of pictures, and the first of texts or classes."""
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"{source} needs the library datasets: pip install 'jielong[hf]'") from error
    rows = datasets.load_dataset(source.name, source.config, split=source.split)
    column = next((name for name, kind in rows.features.items() if isinstance(kind, datasets.Image)), None)
    if column is None:
        raise UserError(f"{source} has no column of pictures: {', '.join(rows.features)}")
    said = next((name for name in folder.CAPTION if name in rows.features), None)
    label = next((name for name, kind in rows.features.items() if isinstance(kind, datasets.ClassLabel)), None)
    pixels = np.stack([folder.square(folder.flat(row[column]), size) for row in rows])
    texts = [[row[said]] if isinstance(row[said], str) else list(map(str, row[said])) for row in rows] if said else ()
    if label is None or said:
        return Pictures(pixels, texts)
    return Pictures(pixels, (), np.array(rows[label], np.int64), {}, tuple(rows.features[label].names))
