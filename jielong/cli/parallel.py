"""`jielong train parallel`, and `jielong generate` of what it made: all places of a text at once, or in passes."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from jielong.cli.common import Common
from jielong.cli.train import Budget, Rows, settle
from jielong.cli.train_run import Place, talk_of, train

if TYPE_CHECKING:
    from jielong.base.talk import Talk
    from jielong.cli.drawing import Drawing
    from jielong.infer.parallel import Passes
    from jielong.infer.slots import Marks

OBJECTIVE = Literal["at-once", "mask-predict", "diffusion"]
PASSES = 8  # where nothing is said
BUDGET, ROWS = Budget(), Rows()


@Parameter(name="*", group="Passes")
@dataclass(frozen=True)
class Parallel:
    """Only for a model of `jielong train parallel`."""

    passes: int = 0
    "Write all places in so many readings (default 8; 1 for a model trained at once)."
    way: Literal["mask-predict", "confident", "ancestral", ""] = ""
    "How passes are spent (default ancestral for masked diffusion, else mask-predict)."


SLOTS = Parallel()


def parallel(
    data: list[str],
    *,
    objective: OBJECTIVE = "diffusion",
    length: Literal["end", "predicted"] = "end",
    slots: int = 32,
    text: Annotated[bool, Parameter(negative=())] = False,
    tokenizer: str = "bpe",
    vocab: int = 0,
    width: int = 0,
    layers: int = 0,
    split_on: str | None = None,
    budget: Budget = BUDGET,
    rows: Rows = ROWS,
    place: Place = Place(),
    common: Common = Common(),
) -> None:
    """Train a model that writes all places of an answer at once, or in a few passes.

    Parameters
    ----------
    data
        Chats as for `train sft`, whose answers are what is written; with --text, documents as for `train lm`.
    objective
        at-once predicts every place from the source alone; mask-predict and diffusion also from places that are known.
    length
        A text ends at its end token, all slots being written, or its length is predicted beforehand.
    slots
        The most places that are written together; longer texts are learnt in pieces.
    text
        Learn to go on with documents instead of answering.
    tokenizer
        bpe or chars to learn one from the data, or a folder with a tokenizer.
    vocab
        Size of the byte-pair vocabulary (default by the size of the data, 512 to 4096).
    width
        Width of the model, a multiple of 32 (default by --minutes).
    layers
        Number of blocks (default one for each 32 of width).
    split_on
        With --text: cut files into documents at this string, or at "blank" lines, or at every "line".
    """
    from jielong.infer.slots import INFO, Marks
    from jielong.nets.transformer import Transformer
    from jielong.train import prepare
    from jielong.train.parallel import of_work

    talk = talk_of(common)
    specs = list(data)
    vocab = vocab or prepare.default_vocab(prepare.bytes_of(specs))
    if text:
        made = prepare.texts(specs, rows.validation, rows.seed, tokenizer, vocab, split_on)
    else:
        codec = prepare.find_codec(tokenizer, vocab, prepare.chat_texts(specs))
        made = prepare.chats(specs, rows.validation, rows.seed, codec)
    marks = Marks(made.codec.size, slots, length)
    shaped, settings = settle(None, made, budget, rows, width, layers)
    config = replace(shaped.config, causal=False, vocab=marks.vocab)
    settings = replace(settings, compile=bool(rows.compile))  # every batch has another width: nothing to compile for
    info = {INFO: {**marks.info(objective), "chats": not text}}
    train(
        "parallel", Transformer(config, seed=rows.seed), made, settings, specs, place, talk,
        info, partial(of_work, marks=marks, method=objective),
    )  # fmt: skip


def slots_of(model: Path) -> dict[str, Any] | None:
    """What `jielong.json` says of slots; None for a model that writes one token after another."""
    from jielong.base import files
    from jielong.infer.slots import INFO
    from jielong.nets import checkpoint

    info = checkpoint.resolve(model) / checkpoint.INFO
    found = files.read_json(info).get(INFO) if info.is_file() else None
    return found if isinstance(found, dict) else None


def generate(
    talk: Talk, model: Path, device: str, asked: Any, n: int, drawing: Drawing, given: Parallel, said: dict[str, Any]
) -> None:
    """Write `n` answers and print them."""
    from jielong.base.device import pick
    from jielong.base.errors import UserError
    from jielong.infer.parallel import seeded, write
    from jielong.infer.sampling import Sampling
    from jielong.infer.slots import marks_of
    from jielong.lm.tokens import prompt_ids
    from jielong.nets import checkpoint

    if n < 1:
        raise UserError(f"n is {n}: give 1 or more")
    loaded = checkpoint.load(model, device=pick(device))
    marks = marks_of(loaded.info, loaded.codec.size, loaded.config.vocab)
    assert marks is not None
    passes, codec = _passes(talk, given, said, marks), loaded.codec
    ends = tuple(dict.fromkeys((codec.end, codec.turn_end)))
    sampling = Sampling(**{**drawing.settings(), "stop_ids": ends})
    began = time.perf_counter()
    found = write(loaded.model, marks, [prompt_ids(codec, asked)] * n, passes, seeded(sampling, n))
    seconds = time.perf_counter() - began
    draws = []
    for number, each in enumerate(found, 1):
        text = codec.decode(each.ids, skip_special=True)
        talk.say(talk.paint(f"--- {number} ({each.reason}, {len(each.ids)} tokens in {each.reads} readings)", "dim"))
        talk.answer(text)
        draws.append({"text": text, "ids": each.ids, "logprobs": each.logprobs, "reason": each.reason,
                      "slots": each.slots, "reads": each.reads})  # fmt: skip
    about = {"model": str(model), "prompt": asked, "sampling": sampling.changes(), "passes": passes}
    talk.document({**about, "draws": draws, "seconds": seconds})


def _passes(talk: Talk, given: Parallel, said: dict[str, Any], marks: Marks) -> Passes:
    from jielong.infer.parallel import Passes

    learnt = said.get("objective")
    if learnt == "at-once" and given.passes > 1:
        talk.warn("this model was trained to write all at once: further passes show it what it has never seen")
    number = given.passes or (1 if learnt == "at-once" else min(PASSES, marks.longest))
    return Passes(given.way or ("ancestral" if learnt == "diffusion" else "mask-predict"), number)


def refuse(given: Parallel) -> None:
    """UserError for flags that only a model of slots takes."""
    from jielong.base.errors import UserError

    if given.passes or given.way:
        raise UserError("--passes and --way are for a model of `jielong train parallel`: leave them out")
