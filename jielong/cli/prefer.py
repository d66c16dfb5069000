"""``jielong data prefer``: draw answers, have them judged, write preferences."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from jielong.cli.common import Common, going_on_with
from jielong.cli.drawing import Drawing
from jielong.cli.feedback import JUDGING, SELF, Judging, open_judge, open_lm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jielong.base.talk import Talk
    from jielong.lm.protocol import LM
    from jielong.train.preferences.asked import Asked
    from jielong.train.preferences.journal import Entry, Work
    from jielong.train.preferences.make import Harvest

AT_ONCE = 128  # draws under way together: about what the engine writes in one batch
VERBS = {"pairs": "dpo", "every": "dpo", "best": "sft", "labelled": "kto"}


@Parameter(name="*", group="Constitution")
@dataclass(frozen=True)
class Constitution:
    """Instead of a judge: each answer is criticised by written principles and revised."""

    constitution: str = ""
    "A file with a principle a line, or `default`; the revised answer is then preferred to the first one."
    rounds: int = 1
    "How often an answer is criticised and revised."
    critic: str = SELF
    "Who criticises and revises: self, a folder or URL#MODEL."
    language: Literal["en", "zh"] = "en"
    "Of the requests, and of the default principles."


@Parameter(name="*", group="Drawing")
@dataclass(frozen=True)
class Varied(Drawing):
    """How answers are drawn: as different as the model itself has them."""

    temperature: float = 1.0
    "0 always takes the most probable token; 1 is the model's own law."


CONSTITUTION, DRAWING = Constitution(), Varied()


def prefer(
    prompts: list[str],
    *,
    model: str,
    out: Path,
    n: Annotated[int, Parameter(alias="-n")] = 4,
    keep: Literal["pairs", "every", "best", "labelled"] = "pairs",
    threshold: float | None = None,
    limit: int | None = None,
    text: Annotated[bool, Parameter(negative=())] = False,
    adapter: Path | None = None,
    device: str = "auto",
    resume: Annotated[bool, Parameter(negative=())] = False,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    judging: Judging = JUDGING,
    principled: Constitution = CONSTITUTION,
    drawing: Varied = DRAWING,
    common: Common = Common(),
) -> None:
    """Make preferences: draw answers to prompts, have them judged, and write what was decided in TRL's formats.

    Three files: --out; beside it .left.jsonl, the prompts that gave nothing and why (equal answers, ties, verdicts that
    cannot be read, no answer); and .trace.jsonl, all answers and all that the judge said. Stopped at any moment,
    --resume goes on; with another --keep it makes the other form of the same trace, without asking anybody again.

    Parameters
    ----------
    prompts
        JSON, JSONL or Parquet of {"prompt"}, {"question"}, {"text"} or chats, whose last answer is left out; .txt, a
        line each; world:KIND[:N].
    model
        Who answers: a folder or run, or URL#MODEL of a server that speaks OpenAI's API.
    out
        The file to write.
    n
        Answers to each prompt.
    keep
        pairs: of each prompt the best against the worst; every: all pairs; best: a chat of the best answer, for `train
        sft`; labelled: single answers, wanted or not, for `train kto`.
    threshold
        labelled: points above which an answer is wanted, and below which it is not (of a judge that compares: half of
        the comparisons); best: points that it must have.
    limit
        Only the first so many prompts.
    text
        Prompts are plain text that the model goes on with, not what a user says.
    adapter
        The folder of an adapter that was trained on this model.
    device
        cpu, cuda, mps or auto.
    resume
        Go on with an interrupted run; give the same flags as before.
    overwrite
        Replace an earlier run.
    """
    from jielong.base.errors import UserError
    from jielong.train.preferences.asked import read_asked

    talk = common.talk()
    if n < 1 or (keep in ("pairs", "every") and n < 2 and not principled.constitution):
        raise UserError(f"-n {n}: give 2 or more answers to be compared")
    asked = [each for spec in prompts for each in read_asked(spec, text)][:limit]
    if not asked:
        raise UserError(f"--limit {limit} leaves no prompt: give 1 or more")
    _make_room(out, resume, overwrite)
    policy = open_lm(model, device, adapter=adapter)
    if principled.constitution:
        work, about = _by_principles(policy, principled, judging, keep, drawing, device)
    else:
        work, about = _by_judge(policy, judging, n, keep, threshold, drawing, device)
    about |= {"model": _named(policy), "prompts": _digest(asked), "drawing": drawing.settings()}
    with going_on_with(_again()):
        found = _write(asked, work, about, out, keep, threshold, max(4, AT_ONCE // n), resume, talk)
    talk.document({"out": str(out), "left_in": str(_beside(out, "left")), "trace": str(_beside(out, "trace")),
                   **found.counts, "usage": policy.usage})  # fmt: skip
    if found.kept and Path(model).is_dir():
        talk.next_command(f"jielong train {VERBS[keep]} {out} --model {model}")


def _by_judge(
    policy: LM, judging: Judging, n: int, keep: str, threshold: float | None, drawing: Drawing, device: str
) -> tuple[Work, dict[str, Any]]:
    from jielong.base.errors import UserError
    from jielong.train.preferences import make

    judge = open_judge(judging, policy, device)
    if keep == "labelled" and threshold is None and not judge.compares:
        raise UserError("these points are the judge's own: say above which an answer is wanted with --threshold")
    return make.judging(policy, judge, n, **drawing.settings()), {"judge": judge.name, "n": n}


def _by_principles(
    policy: LM, principled: Constitution, judging: Judging, keep: str, drawing: Drawing, device: str
) -> tuple[Work, dict[str, Any]]:
    from jielong.base.errors import UserError
    from jielong.train.preferences import constitution

    if judging != JUDGING or keep not in ("pairs", "best"):
        raise UserError("--constitution needs no --judge, and keeps pairs or best: leave the others out")
    if principled.rounds < 1:
        raise UserError(f"--rounds {principled.rounds}: give 1 or more")
    principles = constitution.read_principles(principled.constitution, principled.language)
    critic = policy if principled.critic == SELF else open_lm(principled.critic, device)
    work = constitution.revising(policy, critic, principles, principled.rounds, principled.language,
                                 **drawing.settings())  # fmt: skip
    about = {"principles": principles, "rounds": principled.rounds, "language": principled.language}
    return work, {**about, "critic": _named(critic)}


def _write(
    asked: Sequence[Asked], work: Work, about: dict[str, Any], out: Path, keep: Any, threshold: float | None,
    window: int, resume: bool, talk: Talk,
) -> Harvest:  # fmt: skip
    """Work on all prompts; what was made stands in the files also where that was stopped."""
    from jielong.train.preferences import journal

    trace = _beside(out, "trace")
    try:
        entries = journal.write(asked, work, about, trace, talk, "prefer", resume, window)
    except BaseException:
        if trace.exists() and (some := journal.entries(trace)):
            _files(some, out, keep, threshold, "principles" in about)
        raise
    found = _files(entries, out, keep, threshold, "principles" in about)
    counts = found.counts
    talk.table(("what", "count"), list(_shown(counts)))
    for why, some in counts["left"].items():
        first = next(line for line in found.left if line["why"] == why)
        talk.warn(f"{some:,} of {len(entries):,} prompts gave nothing: {first['reason']} (the first: {_id(first)})")
    talk.say(f"{len(found.kept):,} lines in {out}; all that was said is in {trace}")
    return found


def _files(entries: Sequence[Entry], out: Path, keep: Any, threshold: float | None, principled: bool) -> Harvest:
    """Write --out and the file of what was left."""
    from jielong.train.preferences import constitution, make

    found = constitution.harvest(entries, keep) if principled else make.harvest(entries, keep, threshold)
    make.write_lines(out, found.kept)
    make.write_lines(_beside(out, "left"), found.left)
    return found


def _shown(counts: dict[str, Any]) -> Any:
    for name, value in counts.items():
        if name == "comparisons":
            yield from ((f"comparisons {each}", count) for each, count in value.items())
        elif name == "first_place":
            if value is not None:
                yield "the judge took the first place", f"{value:.0%}"
        elif name != "left":
            yield name.replace("_", " "), value


def _make_room(out: Path, resume: bool, overwrite: bool) -> None:
    """UserError where an earlier run would be lost."""
    from jielong.base.errors import UserError

    if resume and overwrite:
        raise UserError("--resume goes on, --overwrite begins anew: give one of them")
    there = [path for path in (out, _beside(out, "trace")) if path.exists()]
    if there and not resume:
        if not overwrite:
            raise UserError(f"{there[0]} exists; go on with it (--resume), replace it (--overwrite), or choose another")
        for path in (*there, _beside(out, "left")):
            path.unlink(missing_ok=True)


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f"{out.name.removesuffix('.jsonl')}.{what}.jsonl")


def _named(lm: LM) -> str:
    from jielong.train.preferences.judge import named

    return named(lm)


def _digest(asked: Sequence[Asked]) -> str:
    """Of the prompts, in order: a trace is of these."""
    from jielong.base.files import digest
    from jielong.base.plain import dumps

    return digest(dumps([each.prompt for each in asked]).encode("utf-8", "surrogatepass"))


def _again() -> str:
    """The command that goes on."""
    return shlex.join(["jielong", *(w for w in sys.argv[1:] if w not in ("--overwrite", "--resume")), "--resume"])


def _id(line: dict[str, Any]) -> str:
    return str(line.get("id") or "without a name")
