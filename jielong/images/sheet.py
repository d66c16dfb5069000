"""Pictures for people to look at: a sheet of several, and the way from noise as an animation. Files are written whole,
or not at all."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jielong.base import files
from jielong.images.pictures import Bytes

EDGE, PAPER = 2, 255  # pixels between two pictures, and their grey


def sheet(pictures: Bytes, columns: int = 0, larger: int = 1) -> Bytes:
    """(N, H, W, C) beside and below each other, (H', W', C), each pixel `larger` pixels wide. `columns` 0: a square."""
    n, height, width, channels = pictures.shape
    columns = columns or int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    page = np.full((rows * (height + EDGE) - EDGE, columns * (width + EDGE) - EDGE, channels), PAPER, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (height + EDGE), i % columns * (width + EDGE)
        page[top : top + height, left : left + width] = picture
    return page.repeat(larger, 0).repeat(larger, 1)


def save(path: str | Path, page: Bytes) -> None:
    """One picture (H, W, C) as PNG."""
    files.atomic_write(path, _encoded([page], "PNG"))


def save_film(path: str | Path, pages: Sequence[Bytes], seconds: float = 3.0) -> None:
    """Pictures one after the other as an animated GIF, the last one held for a second more."""
    files.atomic_write(path, _encoded(pages, "GIF", seconds))


def _encoded(pages: Sequence[Bytes], kind: str, seconds: float = 0.0) -> bytes:
    from PIL import Image

    frames = [Image.fromarray(page[..., 0] if page.shape[-1] == 1 else page) for page in pages]
    buffer = io.BytesIO()
    if len(frames) == 1:
        frames[0].save(buffer, kind)
        return buffer.getvalue()
    each = max(20, round(1000 * seconds / len(frames)))
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], loop=0,
                   duration=[each] * (len(frames) - 1) + [each + 1000])  # fmt: skip
    return buffer.getvalue()
