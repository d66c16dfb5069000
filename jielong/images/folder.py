"""A person's own pictures: a folder of them with or without captions, or MNIST's own files.

Captions are in `NAME.txt` beside a picture, or in a `metadata.jsonl` of {"file_name", "text"} lines as Hugging Face's
imagefolder has it; without any, the folders below are classes. What is no picture is named and left out.
"""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jielong.base.errors import UserError
from jielong.base.files import read_jsonl
from jielong.images.pictures import Bytes, Pictures

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff")
TEXTS = (".txt", ".jsonl", ".json", ".csv", ".md")  # beside pictures, and no pictures themselves
METADATA, CAPTION = "metadata.jsonl", ("text", "caption", "captions")
TINY, HUGE = 8, 100_000_000  # pixels of the shorter side, and of the whole: beyond, a few bytes may fill the memory
PAPER = (255, 255, 255)  # what is seen through a picture
MAGIC = {1: "labels", 3: "pictures"}  # dimensions of MNIST's two kinds of files


def read(path: str | Path, size: int, channels: int = 0) -> Pictures:
    """All pictures of a folder as squares of `size` pixels, the middle of each cut out and scaled; of MNIST's files as
    they are, `size` larger by a dark edge. `channels` 0: 1 where none has a colour, else 3.

    Raises UserError where there is no picture; `skipped` names what could not be read.
    """
    place = Path(path)
    if place.is_file() or _idx(place):
        return _mnist(place, size)
    if not place.is_dir():
        raise UserError(f"{place}: no such folder of pictures")
    said, kept, captions, classes = _said(place), [], [], []
    skipped: dict[str, list[str]] = {}
    for file in _files(place):
        found = _picture(file, size)
        if isinstance(found, str):
            skipped.setdefault(found, []).append(str(file.relative_to(place)))
            continue
        kept.append(found)
        captions.append(_caption(file, place, said))
        classes.append(file.parent.relative_to(place).as_posix())
    if not kept:
        raise UserError(f"{place}: no picture in it that can be read{_told(skipped)}")
    pixels = np.stack(kept)
    if channels == 1 or (not channels and not (pixels != pixels[..., :1]).any()):
        pixels = np.rint(pixels @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)[..., None]
    names = sorted(set(classes))
    labels = np.array([names.index(each) for each in classes]) if len(names) > 1 and not any(captions) else None
    told = () if labels is None else tuple(names)
    return Pictures(pixels, captions if any(captions) else (), labels, skipped, told)


def _files(folder: Path) -> list[Path]:
    """All that may be meant as pictures, hidden files left out, in the order of their paths."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() not in TEXTS)
    shown = (path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return sorted(shown, key=lambda path: path.relative_to(folder).parts)


def _picture(file: Path, size: int) -> Bytes | str:
    """(size, size, 3) bytes, or why not."""
    from PIL import Image, UnidentifiedImageError

    if file.suffix.lower() not in SUFFIXES:
        return "no picture"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own about large pictures: ours are left out
            with Image.open(file) as picture:
                if picture.width * picture.height > HUGE:
                    return "too large"
                if min(picture.size) < TINY:
                    return "too small"
                return square(flat(picture), size)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError):
        return "broken"


def flat(picture: Image) -> Image:
    """Its first frame, turned as the camera says, on white paper, in three colours."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(picture)
    if "A" in upright.getbands() or "transparency" in upright.info:
        over = upright.convert("RGBA")
        paper = Image.new("RGBA", over.size, (*PAPER, 255))
        return Image.alpha_composite(paper, over).convert("RGB")
    if upright.mode.startswith(("I", "F")):  # 16 bits or real numbers: by their own range
        values = np.asarray(upright, np.float64)
        span = max(float(values.max() - values.min()), 1e-9)
        return Image.fromarray(np.rint((values - values.min()) / span * 255).astype(np.uint8)).convert("RGB")
    return upright.convert("RGB")


def square(picture: Image, size: int) -> Bytes:
    """The middle, scaled; a picture of this very size stays as it is."""
    from PIL import Image, ImageOps

    if picture.size != (size, size):
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)
    return np.asarray(picture, np.uint8)


def _said(folder: Path) -> Mapping[str, list[str]]:
    """Captions by file name of a `metadata.jsonl`."""
    path = folder / METADATA
    if not path.is_file():
        return {}
    found = {}
    for line in read_jsonl(path):
        key = next((key for key in CAPTION if key in line), None)
        if not isinstance(line.get("file_name"), str):
            raise UserError(f'{path}: every line needs a "file_name"')
        said = line[key] if key else []
        found[line["file_name"]] = [str(each) for each in (said if isinstance(said, list) else [said])]
    return found


def _caption(file: Path, folder: Path, said: Mapping[str, list[str]]) -> list[str]:
    name = file.relative_to(folder).as_posix()
    if name in said:
        return said[name]
    beside = file.with_suffix(".txt")
    if not beside.is_file():
        return []
    lines = beside.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _told(skipped: Mapping[str, list[str]]) -> str:
    return "".join(f"; {len(names)} {reason} ({names[0]})" for reason, names in skipped.items())


def _idx(place: Path) -> list[Path]:
    return sorted(place.glob("*idx3-ubyte*")) if place.is_dir() else []


def _mnist(place: Path, size: int) -> Pictures:
    """Pictures and labels in LeCun's idx format, packed or not."""
    file = place if place.is_file() else _idx(place)[0]
    pixels = _numbers(file, 3)
    side = max(pixels.shape[1:])
    if size and size < side:
        raise UserError(f"{file} holds pictures of {side} pixels: give a --size of {side} or more")
    down, across = ((size or side) - pixels.shape[1], (size or side) - pixels.shape[2])
    edges = ((0, 0), (down // 2, down - down // 2), (across // 2, across - across // 2))
    beside = file.with_name(file.name.replace("images", "labels").replace("idx3", "idx1"))
    labels = _numbers(beside, 1).astype(np.int64) if beside != file and beside.is_file() else None
    if labels is not None and len(labels) != len(pixels):
        raise UserError(f"{beside} has {len(labels):,} labels for {len(pixels):,} pictures")
    return Pictures(np.pad(pixels, edges)[..., None], (), labels)


def _numbers(file: Path, dimensions: int) -> Bytes:
    """The bytes of an idx file: two zeros, 8, the number of dimensions, each as four bytes, then the data."""
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    shape = np.frombuffer(data[4 : 4 + 4 * dimensions], ">u4").astype(np.int64)
    good = data[:4] == bytes((0, 0, 8, dimensions)) and len(data) == 4 + 4 * dimensions + int(shape.prod())
    if not good:
        raise UserError(f"{file} holds no {MAGIC[dimensions]} in the idx format, or not all of them")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def shown(pictures: Pictures) -> Iterator[str]:
    """A line for each reason why files were left out."""
    for reason, names in pictures.skipped.items():
        more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
        yield f"{len(names):,} left out, {reason}: {', '.join(names[:3])}{more}"
