"""`jielong train draft`: a small network that guesses what a model will write, trained beside it in minutes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from jielong.cli.common import Common
from jielong.cli.train import Budget, Rows, fits, load, made_settings
from jielong.cli.train_run import Place, talk_of, train

if TYPE_CHECKING:
    from jielong.base.talk import Talk
    from jielong.data.tokens import Tokens
    from jielong.nets.checkpoint import Loaded
    from jielong.train.settings import Settings

Kind = Literal["medusa", "eagle", "block", "small", "diffusion"]
WRITING = 0.25  # of the minutes: the model's own texts
MOST = 1_000_000  # tokens of them
KEPT_UP = 0.3  # of the reference rate: the laws of many guesses are no matrix products


@Parameter(name="*", group="Rows and rates")
@dataclass(frozen=True)
class Few(Rows):
    """How steps are made and how fast they move."""

    batch: int = 8
    "Rows in a micro-batch."


BUDGET, FEW = Budget(), Few()


@Parameter(name="*", group="Models of their own")
@dataclass(frozen=True)
class Whole:
    """For --kind small and diffusion, which are no heads but models."""

    width: int = 0
    "Width, a multiple of 32 (default about half the model's, for diffusion two thirds)."
    layers: int = 0
    "Number of blocks (default half the model's)."
    window: int = 24
    "diffusion: how many of the latest tokens are read."
    hard: Annotated[bool, Parameter(negative=())] = False
    "small: learn the text alone, not what the model thinks of it."


def draft(
    model: Path,
    data: list[str] | None = None,
    *,
    kind: Kind = "medusa",
    reach: int = 4,
    chats: Annotated[bool, Parameter(negative=())] = False,
    split_on: str | None = None,
    whole: Whole = Whole(),
    budget: Budget = BUDGET,
    rows: Few = FEW,
    place: Place = Place(),
    common: Common = Common(),
) -> None:
    """Train a drafter for a model: what it guesses ahead, the model keeps or refuses (--draft).

    Parameters
    ----------
    model
        The model to guess for: a checkpoint or a run. It stays as it is.
    data
        Texts like those to be written, as for `train lm` (with --chats as for `train sft`); without any, the model
        writes its own for a quarter of the time.
    kind
        Beside the model's stream: medusa guesses several tokens from one place of it, block from the latest places;
        eagle goes on with it by itself. Models of their own: small, distilled from the model; diffusion fills blocks.
    reach
        How many tokens ahead are guessed.
    chats
        The data are chats: only what the assistant says is guessed.
    split_on
        Cut text files into documents at this string, or at "blank" lines, or at every "line".
    """
    from jielong.base.errors import UserError
    from jielong.train import prepare
    from jielong.train.draft import parted
    from jielong.train.guessers import Plan, guesser
    from jielong.train.settings import tokens_at

    talk = talk_of(common)
    if chats and not data:
        raise UserError("--chats says what DATA is: give the chats too")
    loaded = load(model, place)
    assert loaded is not None
    fits(rows, loaded.config)
    plan = Plan(reach, whole.width, whole.layers, whole.window, whole.hard, rows.seed)
    made_for = guesser(kind, loaded.model, loaded.codec.size, plan, rows.context)
    minutes = budget.minutes if budget.given else 2.0
    writing = 0.0 if data or minutes is None else WRITING * minutes
    tokens = 0 if minutes is None else int(tokens_at(minutes - writing, made_for.flops) * KEPT_UP)
    settings = made_settings(rows, budget, tokens)
    texts = None
    if not data:
        texts = _own(loaded, settings, writing, place, talk)
        made = parted(texts, loaded.codec, rows.validation)
    elif chats:
        made = prepare.chats(data, rows.validation, rows.seed, loaded.codec)
    else:
        made = prepare.texts(data, rows.validation, rows.seed, str(loaded.path), 0, split_on)
    place = replace(place, out=_out(place))
    info = {"model": str(model), **made_for.info}
    train(
        "draft", made_for.model, made, made_for.settings(settings), list(data or []), place, talk, info,
        made_for.objective, made_for.beside, texts,
    )  # fmt: skip


def _out(place: Place) -> Path:
    return place.out or Path("runs/draft")


def _own(loaded: Loaded, settings: Settings, minutes: float, place: Place, talk: Talk) -> Tokens:
    """What the model writes by itself, for so many minutes (0: as much as is trained on); of a run that goes on, what
    it wrote at first."""
    from jielong.base.errors import UserError
    from jielong.data.tokens import Tokens
    from jielong.train.draft import own_texts
    from jielong.train.run import TEXTS

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("of several processes each would write texts of its own: give DATA")
    kept = _out(place) / TEXTS
    if place.resume and kept.is_dir():
        return Tokens.load(kept, memmap=False)
    most = min(MOST, settings.length * settings.step_tokens)
    began = time.monotonic()
    with talk.progress(most, "the model writes", "tokens") as progress:

        def going(written: int) -> bool:
            progress.update(min(written, most))
            return not minutes or time.monotonic() - began < 60 * minutes

        return own_texts(loaded.model, loaded.codec, most, settings.context + 1, settings.seed, going)
