"""``jielong generate``: continue a text, or answer a message."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from jielong.cli.common import Common
from jielong.cli.drawing import DRAWING, MODEL, Drawing, open_model
from jielong.cli.feedback import JUDGING, Judging, open_judge
from jielong.cli.form import Form, faithful
from jielong.cli.guessing import GUESSING, Guessing, told
from jielong.cli.parallel import SLOTS, Parallel, refuse, slots_of
from jielong.cli.parallel import generate as in_passes

if TYPE_CHECKING:
    from jielong.base.talk import Talk
    from jielong.lm.local import Local

FORM = Form()


def generate(
    prompt: str | None = None,
    *,
    model: Path = MODEL,
    adapter: Path | None = None,
    n: Annotated[int, Parameter(alias="-n")] = 1,
    chat: Annotated[bool, Parameter(negative=())] = False,
    system: str = "",
    logprobs: int = 0,
    best_of: int = 0,
    device: str = "auto",
    judging: Judging = JUDGING,
    form: Form = FORM,
    guessing: Guessing = GUESSING,
    slots: Parallel = SLOTS,
    drawing: Drawing = DRAWING,
    common: Common = Common(),
) -> None:
    """Continue a text, given as an argument or on standard input.

    Standard output gets the continuation only; the text of a single draw appears as it is written. With --regex,
    --schema or --grammar it has that form, if --max-tokens leaves room for all of it.

    Parameters
    ----------
    prompt
        The text to continue; "-" or nothing reads standard input.
    model
        A checkpoint folder or a run.
    adapter
        The folder of an adapter that was trained on this model, here or with PEFT: its run, or its checkpoint.
    n
        How many continuations; the first ones are the same however many are asked for.
    chat
        The text is what a user says, and the model answers as an assistant.
    system
        With --chat: what the assistant is told before.
    logprobs
        With --json: this many most probable alternatives for each token.
    best_of
        Draw so many, and give the one that --judge finds best.
    device
        cpu, cuda, mps or auto.
    """
    from jielong.base.errors import UserError

    talk = common.talk()
    text = _read(prompt)
    if system and not chat:
        raise UserError("--system is for --chat: add it, or leave --system out")
    asked: Any = text
    if chat:
        asked = [{"role": "system", "content": system}] if system else []
        asked.append({"role": "user", "content": text})
    settings = {**drawing.settings(), "logprobs": logprobs}
    rule = form.rule()
    if (best_of and (n > 1 or form.faithful)) or (judging != JUDGING and not best_of):
        raise UserError("--judge is for --best-of N, which gives one text: leave out -n and --faithful")
    said = slots_of(model)
    if said is not None:
        if rule is not None or logprobs or adapter or guessing != GUESSING or best_of:
            raise UserError("all places are written at once here: leave out --logprobs, --draft, --adapter, --best-of "
                            "and forms")  # fmt: skip
        in_passes(talk, model, device, asked, n, drawing, slots, said)
        return
    refuse(slots)
    lm = open_model(model, device, guessing, adapter)
    if rule is not None and not form.faithful:
        settings["grammar"] = rule
    if rule is not None and form.faithful:
        faithful(talk, lm, asked, n, settings, rule)
    elif best_of:
        _best(talk, lm, asked, best_of, settings, judging, device)
    elif n == 1 and not talk.json:
        _stream(lm, asked, settings)
    else:
        _draws(talk, lm, asked, n, settings)
    following = f"jielong {'chat ' if chat else 'score --model '}{model}"
    talk.next_command(following if chat else f"{following} TEXT")


def _read(prompt: str | None) -> str:
    from jielong.base.errors import UserError

    if prompt is not None and prompt != "-":
        return prompt
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError('no text: jielong generate "Once upon a time", or pipe it into standard input')
    try:
        return sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"standard input is not UTF-8 (byte {error.start}): convert it first") from error


def _stream(lm: Local, asked: Any, settings: dict[str, Any]) -> None:
    for piece in lm.stream(asked, **settings):
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


def _best(
    talk: Talk, lm: Local, asked: Any, n: int, settings: dict[str, Any], judging: Judging, device: str
) -> None:  # fmt: skip
    """The best of `n` draws. WorkFailed where nothing was decided: what was drawn is told, and none is guessed."""
    from jielong.base.errors import WorkFailed
    from jielong.lm.sync import run
    from jielong.train.preferences.asked import Asked
    from jielong.train.preferences.best_of import achoose, kl_bound

    judge = open_judge(judging, lm, device)
    found = run(achoose(lm, judge, Asked(asked), n, **settings))
    points = dict(zip(found.answers, found.judged.points))
    for number, draw in enumerate(found.draws, 1):
        worth = points.get(draw.text.strip())
        talk.detail(f"--- {number} ({'not judged' if worth is None else f'{worth:.3g} points'}): {draw.text.strip()}")
    if found.text is None:
        why = "the verdicts cannot be read" if found.answers else "all are empty"
        raise WorkFailed(f"none of the {n} draws was found best: {why}; -v shows all")
    said = "no two differ" if len(found.answers) < 2 else f"the best of {len(found.answers)} different ones"
    talk.say(f"{said}, by {judge.name}; at most {kl_bound(n):.2f} nats from a single draw")
    talk.answer(found.text)
    about = {"model": lm.name, "fingerprint": lm.fingerprint, "prompt": asked, "sampling": settings}
    talk.document({**about, "best": found.text, "judge": judge.name, "draws": found.draws, "answers": found.answers,
                   "judged": found.judged, "kl_bound": kl_bound(n), "usage": lm.usage})  # fmt: skip


def _draws(talk: Talk, lm: Local, asked: Any, n: int, settings: dict[str, Any]) -> None:
    began = time.perf_counter()
    draws = lm.sample(asked, n, **settings)
    seconds = time.perf_counter() - began
    for number, draw in enumerate(draws, 1):
        talk.say(talk.paint(f"--- {number} ({draw.reason}, {len(draw.ids)} tokens)", "dim"))
        talk.answer(draw.text)
    written = lm.usage.completion
    talk.detail(f"{written} tokens in {seconds:.2f} s: {written / seconds:.0f} a second")
    about = {"model": lm.name, "fingerprint": lm.fingerprint, "prompt": asked, "sampling": settings}
    guesses = {"guesses": told(lm.drafting)} if lm.drafting else {}
    talk.document({**about, "draws": draws, "usage": lm.usage, "seconds": seconds, **guesses})
