"""`jielong lab list|run|report`: the course's claims, what was measured of each, and their pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from jielong.cli.common import Common

if TYPE_CHECKING:
    from jielong.base.result import Result
    from jielong.labs.lab import Lab

RESULTS, OUT, DOCS = Path("docs/results"), Path("runs/labs"), Path("docs")


def list_(*, results: Path = RESULTS, common: Common = Common()) -> None:
    """List the claims with what was measured of each.

    Parameters
    ----------
    results
        The folder of stored results.
    """
    from jielong.base.talk import table_text
    from jielong.labs.lab import find
    from jielong.labs.store import load

    talk = common.talk()
    found = [_state(lab, load(lab.name, results)) for lab in find()]
    keys = ("name", "verdict", "stale", "minutes", "claim")
    rows = [[("stale" if s["stale"] else "") if key == "stale" else s[key] for key in keys] for s in found]
    talk.answer(table_text(("lab", "verdict", "", "minutes", "claim"), rows) if rows else "no labs yet")
    following = next(
        (s["command"] for s in found if s["verdict"] == "not run" or s["stale"]), "jielong lab report"
    )
    talk.document({"labs": found, "next": following})
    talk.next_command(following)


def run(
    *names: str,
    all_: Annotated[bool, Parameter(name="--all", negative=())] = False,
    again: Annotated[bool, Parameter(negative=())] = False,
    minutes: float | None = None,
    tokens: int | None = None,
    seeds: int | None = None,
    out: Path = OUT,
    results: Path = RESULTS,
    resume: bool = True,
    common: Common = Common(),
) -> None:
    """Measure claims and store the results.

    Parameters
    ----------
    names
        The labs to run (see `jielong lab list`).
    all_
        Every lab that has no result of today's sources.
    again
        With --all: also those that have one.
    minutes
        The size of each lab, in minutes (default: the lab's own).
    tokens
        The size of each lab, in tokens (default: the lab's own).
    seeds
        How many seeds to repeat it with (default: the lab's own, 3 mostly).
    out
        Where finished parts and checkpoints shared by labs are kept.
    results
        Where NAME.json is stored.
    resume
        Use the finished parts of an interrupted run.
    """
    from jielong.base.errors import UserError
    from jielong.labs.lab import Budget, find, lab
    from jielong.labs.store import fresh, measure

    talk = common.talk()
    if bool(names) == all_:
        raise UserError("name the labs to run, or say --all; `jielong lab list` shows them")
    if seeds is not None and seeds < 1:
        raise UserError(f"--seeds {seeds}: a lab needs one seed or more")
    chosen = [lab(name) for name in dict.fromkeys(names)] or find()
    done: list[dict[str, Any]] = []
    for number, each in enumerate(chosen, 1):
        if all_ and not again and fresh(each, results):
            talk.say(f"{each.name}: has a result of today's sources (--again measures it anew)")
            continue
        count = each.seeds if seeds is None else seeds
        size = each.minutes if minutes is None and tokens is None else minutes
        budget = Budget(minutes=size, tokens=tokens, seeds=tuple(range(count)), out=out, talk=talk)
        talk.say(f"[{number}/{len(chosen)}] {each.name}: {_english(each.claim)}")
        command = _command(each.name, minutes, tokens, seeds)
        result = measure(each, budget, command=command, folder=results, resume=resume)
        done.append(_state(each, result) | {"result": result})
        _tell(each, result, common)
    talk.document({"labs": done, "next": "jielong lab report"})
    talk.next_command("jielong lab report")


def report(
    *names: str,
    out: Path = OUT / "pages",
    docs: Path = DOCS,
    results: Path | None = None,
    lang: str = "en",
    common: Common = Common(),
) -> None:
    """Write the pages of claims and results: HTML to --out, claims.md and results.md to --docs. What is said in NAME.md
    beside a result's NAME.json, such as why a bar was not reached, stands below its table.

    Parameters
    ----------
    names
        Only the pages of these labs or results (default: all, the list, and the documents).
    out
        The folder of the HTML pages.
    docs
        The folder of claims.md and results.md.
    results
        The folder of stored results (default: `results` in --docs).
    lang
        The language a page shows first: en or zh.
    """
    from jielong.base.errors import UserError
    from jielong.base.files import atomic_write
    from jielong.labs.claims import claims_markdown, results_markdown
    from jielong.labs.lab import find
    from jielong.labs.pages import write_pages
    from jielong.labs.store import load_all

    if lang not in ("en", "zh"):
        raise UserError(f"--lang {lang}: choose en or zh")
    talk, folder = common.talk(), docs / "results" if results is None else results
    stored = {result.name: result for result in load_all(folder)}
    absent = [name for name in names if name not in stored]
    if absent:
        raise UserError(f"no result of {', '.join(absent)} in {folder}; first: jielong lab run {absent[0]}")
    labs = find()
    wanted = {name: stored[name] for name in dict.fromkeys(names)} or stored
    written = write_pages(labs, wanted, out, lang, index=not names)
    if not names:
        remarks = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
        atomic_write(docs / "claims.md", claims_markdown(labs, stored))
        atomic_write(docs / "results.md", results_markdown(list(stored.values()), remarks=remarks))
        written += [docs / "claims.md", docs / "results.md"]
    talk.answer("\n".join(str(path) for path in written))
    talk.document({"written": [str(path) for path in written], "next": "jielong lab list"})
    talk.next_command("jielong lab list")


def _english(prose: Any) -> str:
    from jielong.views.markup import english

    return english(prose)


def _state(lab: Lab, result: Result | None) -> dict[str, Any]:
    """What the list says of a lab, in plain values."""
    from jielong.labs.sources import stale
    from jielong.labs.verdict import verdict

    return {
        "name": lab.name,
        "claim": _english(lab.claim),
        "verdict": verdict(result),
        "stale": [] if result is None else stale(result),
        "minutes": lab.minutes if result is None else result.meta.get("minutes", lab.minutes),
        "command": lab.command,
    }


def _command(name: str, minutes: float | None, tokens: int | None, seeds: int | None) -> str:
    """The line that repeats this run; folders are left out, they are the reader's own."""
    said = ["jielong lab run", name]
    said += [f"--minutes {minutes:g}"] if minutes is not None else []
    said += [f"--tokens {tokens}"] if tokens is not None else []
    said += [f"--seeds {seeds}"] if seeds is not None else []
    return " ".join(said)


def _tell(lab: Lab, result: Result, common: Common) -> None:
    """The rows and the verdict on the terminal."""
    from jielong.base.talk import table_text
    from jielong.labs.verdict import verdict
    from jielong.views.bars import estimate, unit_of
    from jielong.views.markup import number
    from jielong.views.verdicts import CONTROL_FAILED

    talk, rows = common.talk(), []
    for row in result.rows:
        unit = unit_of([row])
        rows.append([row.name, estimate(row, unit), number(row.control, unit), row.n, row.verdict])
    talk.answer(table_text(("measured", "estimate", "control", "n", "verdict"), rows))
    came = verdict(result)
    talk.answer(f"{lab.name}: {came}")
    if came == CONTROL_FAILED:
        talk.warn(f"{lab.name}: a control failed, so nothing is claimed from this run")
