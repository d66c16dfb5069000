"""Pictures on request: the place where a generator of pictures becomes a tool."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from jielong.agents.tools.tool import Tool, tool
from jielong.base.files import atomic_write

Draw = Callable[[str, int], bytes]  # (what is to be seen, seed) -> the picture as PNG


def drawing(draw: Draw, folder: str | Path) -> Tool:
    """The tool over a generator. Pictures become files in `folder`, numbered; the model is told their names."""
    place = Path(folder)

    def picture(prompt: Annotated[str, Field(max_length=300)], seed: Annotated[int, Field(ge=0, le=9999)] = 0) -> str:
        """Draw a picture of what a text says, and save it as a file.

        Parameters
        ----------
        prompt
            What is to be seen.
        seed
            Another number gives another picture of the same.
        """
        content = draw(prompt, seed)
        place.mkdir(parents=True, exist_ok=True)
        number = 1
        while (path := place / f"picture-{number}.png").exists():
            number += 1
        atomic_write(path, content)
        return f"{path.name} ({len(content):,} bytes)"

    return tool(picture, name="draw")
