"""`jielong train image` and `jielong draw`: from pictures to a model of them, and from words to pictures."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from jielong.cli.common import Common, going_on_with

if TYPE_CHECKING:
    from jielong.base.talk import Talk
    from jielong.images.pictures import Pictures
    from jielong.images.recipe import Plan

Kind = Literal["latent", "matching", "ddpm", "pixels", "codes", "maskgit", "vae", "flow", "gan", "stable"]
LARGER = 8  # times as wide as it is, so that a small picture can be seen
ROWS = 10  # of a film that is shown at once


@Parameter(name="*", group="Where")
@dataclass(frozen=True)
class Place:
    """Where the run stands."""

    out: Path = Path("runs/image")
    "The run's folder."
    overwrite: Annotated[bool, Parameter(negative=())] = False
    "Replace an earlier run of that name."
    resume: Annotated[bool, Parameter(negative=())] = False
    "Go on with an interrupted run; give the same flags as before."


@Parameter(name="*", group="Budget and shape")
@dataclass(frozen=True)
class Size:
    """How long to train, and what."""

    minutes: float = 6.0
    "Choose numbers of steps for so many minutes of two cores."
    steps: int | None = None
    "So many steps of what draws instead, and a quarter of them of its autoencoder."
    width: int | None = None
    "Width of what draws (default 128)."
    layers: int | None = None
    "Its blocks (default 6)."
    batch: int | None = None
    "Pictures in a step (default 128)."
    seed: int = 0
    "Of everything that is drawn by lot."


def image(
    data: str = "world:scenes",
    *,
    kind: Kind = "latent",
    size: int = 0,
    budget: Size = Size(),
    place: Place = Place(),
    common: Common = Common(),
) -> None:
    """Train a model of pictures, and from words to pictures where they have captions, from nothing.

    Parameters
    ----------
    data
        A folder of pictures (captions in .txt beside each, or in metadata.jsonl; else folders are classes), MNIST's
        files, hf:NAME, world:scenes, world:scene (one thing each) or world:faces, with :N for so many.
    kind
        How pictures are made: latent (flow matching in an autoencoder's grid), matching or ddpm on pixels, pixels or
        codes one after the other, maskgit (codes, the surest first), vae, flow, gan, or stable: a folder in
        Stable Diffusion's form, that diffusers loads.
    size
        Pixels of a side (default 32); pictures are cut to squares.
    """
    from jielong.base import files
    from jielong.images import folder, sheet, sources
    from jielong.images.recipe import planned, train

    talk = common.talk()
    pictures = sources.read(data, size, budget.seed)
    for line in folder.shown(pictures):
        talk.warn(line)
    plan = _shaped(planned(budget.minutes, kind, pictures, budget.seed), budget)
    _announce(plan, pictures, talk)
    again = shlex.join(["jielong", *sys.argv[1:], *(() if place.resume else ("--resume",))])
    with going_on_with(again):
        if not place.resume:
            files.run_dir(place.out.parent, place.out.name, place.overwrite)
        model = train(plan, pictures, place.out, talk, place.resume)
    texts = [each[0] for each in pictures.captions[:16]] or list(getattr(model, "classes", ()))[:16] or [""] * 16
    drawn = place.out / "sample.png"
    sheet.save(drawn, sheet.sheet(model.draw(texts, budget.seed), larger=LARGER))
    talk.answer(f"{drawn}: what it draws of {len(texts)} texts")
    talk.document({"out": str(place.out), "kind": kind, "pictures": len(pictures), "sample": str(drawn)})
    talk.next_command(f"jielong draw {shlex.quote(texts[0])} --model {place.out}")


def _shaped(plan: Plan, budget: Size) -> Plan:
    """With what was said of its shape."""
    said = {name: value for name in ("width", "layers", "batch") if (value := getattr(budget, name)) is not None}
    if budget.steps is not None:
        said |= {"steps": budget.steps, "first": -(-budget.steps // 4) if plan.first else 0}
    return replace(plan, **said)


def _announce(plan: Plan, pictures: Pictures, talk: Talk) -> None:
    height, width = pictures.size
    first = f"{plan.first:,} steps of its autoencoder, then " if plan.first else ""
    told = "captions" if pictures.captions else "classes" if pictures.labels is not None else "no words"
    talk.say(f"{len(pictures):,} pictures of {width} x {height}, {told}; {first}{plan.steps:,} steps of what draws "
             f"({plan.kind}, width {plan.width}, {plan.layers} blocks, {plan.batch} pictures a step)")  # fmt: skip


def picture(
    words: str,
    /,
    *,
    model: Path = Path("runs/image"),
    n: int = 4,
    seed: int = 0,
    steps: int = 0,
    guidance: float | None = None,
    film: Annotated[bool, Parameter(negative=())] = False,
    out: Path = Path("drawn.png"),
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    common: Common = Common(),
) -> None:
    """Draw what the words say, as pictures side by side.

    Parameters
    ----------
    words
        What is to be seen, in the words (or the classes) that the model was trained with.
    model
        A run of `train image`, or its model's folder.
    n
        How many pictures, side by side.
    seed
        Of the noise they begin with.
    steps
        How many steps from noise to a picture (default the model's own).
    guidance
        How much the words count: 1 is the model's own law, more is sharper and less varied.
    film
        Save the steps from noise to the pictures too: an animated GIF, and all of them below each other as PNG.
    out
        The PNG to write.
    overwrite
        Replace files of these names.
    """
    import numpy as np

    from jielong.base.errors import UserError
    from jielong.images import sheet
    from jielong.images.model import load

    talk = common.talk()
    moving, still = out.with_suffix(".gif"), out.with_name(f"{out.stem}-steps.png")
    made = [out, moving, still] if film else [out]
    there = next((path for path in made if path.exists()), None)
    if n < 1:
        raise UserError("--n must be 1 or more")
    if there is not None and not overwrite:
        raise UserError(f"{there} is there already: give another --out, or --overwrite")
    loaded = load(model)
    if guidance is not None:
        loaded = loaded.guide(guidance)
    seen = list(loaded.film([words] * n, seed, steps)) if film else [loaded.draw([words] * n, seed, steps)]
    sheet.save(out, sheet.sheet(seen[-1], n, LARGER))
    if film:
        sheet.save_film(moving, [sheet.sheet(each, n, LARGER) for each in seen])
        sheet.save(still, sheet.sheet(np.concatenate(seen[:: max(1, len(seen) // ROWS)]), n, LARGER // 2))
    talk.answer(f"{out}: {words}")
    talk.document({"out": [str(path) for path in made], "words": words, "n": n, "seed": seed})
    if not film:
        talk.next_command(f"jielong draw {shlex.quote(words)} --model {model} --film --overwrite")


def score(
    *,
    model: Path = Path("runs/image"),
    n: int = 1024,
    seed: int = 0,
    steps: int = 0,
    guidance: float | None = None,
    common: Common = Common(),
) -> None:
    """Draw captions of the world's scenes and let its parser judge: of one thing, of up to three, and of shapes in
    colours that training never showed.

    Parameters
    ----------
    model
        A run of `train image` on world:scenes, or its model's folder.
    n
        How many captions of each.
    seed
        Of the noise that pictures begin with; the captions are the same.
    steps
        How many steps from noise to a picture (default the model's own).
    guidance
        How much the words count.
    """
    from jielong.base.errors import UserError
    from jielong.base.talk import table_text
    from jielong.evals.scenes import asked, judged
    from jielong.images.model import load
    from jielong.views.bars import estimate

    if n < 1:
        raise UserError("--n must be 1 or more")
    talk, loaded = common.talk(), load(model)
    if loaded.size != (32, 32) or loaded.channels != 3 or loaded.codec is None:
        raise UserError(f"{model} does not draw the world's scenes from words: train it on world:scenes")
    if guidance is not None:
        loaded = loaded.guide(guidance)
    rows, world = [], int(getattr(loaded, "info", {}).get("seed", 0))
    kinds = (("one thing", "test", 1), ("up to three", "test", 3), ("never seen together", "unseen", 3))
    with talk.progress(len(kinds) * n, "drawing", "pictures") as progress:
        for i, (name, split, most) in enumerate(kinds):
            some = asked(n, split, most, world)
            rows += judged(some, loaded.draw([each.text for each in some], seed, steps), name)
            progress.update((i + 1) * n)
    talk.answer(table_text(("asked", "right", "share", "n"),
                           [(row.group, row.name, estimate(row, "share"), row.n) for row in rows]))  # fmt: skip
    talk.document([asdict(row) for row in rows])
