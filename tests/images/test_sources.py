"""What may be named as pictures."""

from __future__ import annotations

import pytest

from jielong.base.errors import UserError
from jielong.images import sources


@pytest.mark.parametrize("spec, side", [("world:scenes:12", 32), ("world:scene:12", 32), ("world:faces:12", 24)])
def test_the_world_shows_and_tells_in_two_languages(spec: str, side: int) -> None:
    read = sources.read(spec)
    assert read.pixels.shape == (12, side, side, 3) and len(read.captions) == 12
    for texts in read.captions:
        assert len(texts) == 4 and {text.isascii() for text in texts} == {True, False}
    assert sources.read(spec, side).fingerprint == read.fingerprint != sources.read(spec, seed=1).fingerprint


def test_what_is_no_picture() -> None:
    with pytest.raises(UserError, match="there are world:scenes, world:scene, world:faces"):
        sources.read("world:bios")
    with pytest.raises(UserError, match="leave --size out"):
        sources.read("world:faces:3", 32)
    with pytest.raises(UserError, match="no such file or folder"):
        sources.read("nowhere")
