"""Documents of all plants, one of each in turn (of those that are finite, while they last)."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

from jielong.world.text import Text

if TYPE_CHECKING:
    from jielong.world.world import World

PLANTS = ("pronouns", "canaries", "leaks", "triggers", "injections", "needles", "shortcut", "cipher",
          "duplicates", "html", "junk")  # fmt: skip


def texts(
    world: World, kind: str, n: int, draw: int = 0, split: str = "train", lang: str | None = None
) -> Iterator[Text]:
    """The plants take turns; each gives its own stream, so every plant is known as if it stood alone."""
    streams = []
    for plant in PLANTS:
        module = import_module(f"jielong.world.plants.{plant}")
        streams.append(module.texts(world, plant, n, draw, split, lang))
    count = 0
    while streams and count < n:
        for stream in list(streams):
            text = next(stream, None)
            if text is None:
                streams.remove(stream)
                continue
            yield text
            count += 1
            if count == n:
                return
