"""The flags of every verb that lets a model write: how tokens are drawn, and where the model is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from jielong.cli.guessing import Guessing
    from jielong.lm.local import Local

MODEL = Path("runs/demo")


@Parameter(name="*", group="Drawing")
@dataclass(frozen=True)
class Drawing:
    """How tokens are drawn."""

    temperature: float = 0.7
    "0 always takes the most probable token; 1 is the model's own law."
    top_k: int = 0
    "Only the k most probable tokens (0: all)."
    top_p: float = 1.0
    "Only the most probable tokens that together hold this share (1: all)."
    min_p: float = 0.0
    "Only tokens at least this share as probable as the most probable one (0: all)."
    repetition_penalty: float = 1.0
    "Make tokens that were there before less probable (1: off)."
    max_tokens: int = 256
    "At most this many new tokens."
    stop: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    "End the text before this string; may be given several times."
    seed: int = 0
    "Another number, another text; the same number, the same text."

    def settings(self) -> dict[str, Any]:
        """As keyword arguments of `sample`."""
        return asdict(self)


DRAWING = Drawing()


def open_model(path: Path, device: str, guessing: Guessing | None = None, adapter: Path | None = None) -> Local:
    """The model at `path`, on the device of that name; with somebody who guesses ahead, and an adapter."""
    from jielong.base.device import pick
    from jielong.lm.local import load

    lm = load(path, device=pick(device), adapter=adapter)
    if guessing is not None:
        lm.drafting = guessing.drafting(lm.model, lm.codec)
    return lm


def bar(share: float, width: int = 30) -> str:
    """A bar for a share of 1, in eighths of a character."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
