"""``jielong compare``: strategies on the same problems with the same budget of tokens."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from jielong.cli.common import Common, going_on_with
from jielong.cli.drawing import DRAWING, Drawing
from jielong.cli.thinking import DEFAULT, SAVING, Saving, laws, money, open_thinker, tokens

if TYPE_CHECKING:
    from jielong.base.result import Result
    from jielong.base.talk import Talk
    from jielong.prompting.compare import Compared, Course

USUAL = "direct, cot, zero_shot_cot"


def compare(
    data: str = "world:sums",
    *,
    strategies: str = USUAL,
    model: str = DEFAULT,
    budget: str = "200k",
    n: Annotated[int, Parameter(alias="-n")] = 100,
    once: Annotated[bool, Parameter(negative=())] = False,
    examples: str = "",
    read: str = "",
    sandbox: str = "",
    out: Path = Path("runs/compare"),
    resume: Annotated[bool, Parameter(negative=())] = False,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    at_once: int = 16,
    adapter: Path | None = None,
    device: str = "auto",
    saving: Saving = SAVING,
    drawing: Drawing = DRAWING,
    common: Common = Common(),
) -> None:
    """Compare strategies at equal budget: how often each is right, against the tokens that it may use.

    Every strategy has the same number of tokens for each problem. It is run again until they are used up, and the
    majority of its runs is its answer. Differences are paired by problem; what cannot be told apart is not ranked.

    Parameters
    ----------
    data
        world:KIND (world:sums, world:facts), or a JSONL file of {"question", "answer"}, GSM8K's included.
    strategies
        Apart by commas: "direct, cot, vote(cot, n=5)".
    model
        A checkpoint folder, a run, or URL#MODEL of a server that speaks OpenAI's API.
    budget
        Tokens, read and written, of each strategy: 200000, 200k, 1.5M.
    n
        How many problems.
    once
        Run each strategy once a problem; the budget is only a limit.
    examples
        A file (or world:KIND) of questions that few-shot strategies show.
    read
        What an answer looks like: number, last_line, "one_of('yes', 'no')"; else seen from the answers.
    sandbox
        Where programs that the model writes are run: monty, sandlock, bubblewrap, docker (default: what works here).
    out
        The folder of the report, the result and the trace.
    resume
        Go on with an interrupted comparison: what its trace holds is not asked again.
    overwrite
        Replace an earlier one of that name.
    at_once
        How many problems are worked on together.
    adapter
        The folder of an adapter that was trained on this model.
    device
        cpu, cuda, mps or auto.
    """
    from jielong.base.errors import UserError
    from jielong.base.files import RUN_MARK, run_dir, write_json
    from jielong.base.plain import loads
    from jielong.cli.acting import hands
    from jielong.prompting import problems, spec
    from jielong.prompting.compare import share
    from jielong.prompting.trace import Trace

    talk, total = common.talk(), tokens(budget)
    with hands(sandbox) as given:
        made = spec.parse_many(strategies, given)
        asked = problems.load(data, n, read=read, examples=examples)
        share(total, asked)  # what is wrong is told before a model is loaded
        if at_once < 1:
            raise UserError(f"--at-once is {at_once}: give 1 or more")
        lm = open_thinker(model, device, drawing.seed, saving, adapter)
        if not (resume and (out / RUN_MARK).is_file()):
            run_dir(out.parent, out.name, overwrite)
        trace = Trace(out / "trace.jsonl")
        with going_on_with(_again()):
            found = _watched(talk, trace, lm, made, asked, total, laws(drawing), once, at_once)
    meta = {"command": shlex.join(["jielong", *sys.argv[1:]]), "model": lm.name, "data": data, "budget": total,
            "problems": len(asked), "settings": laws(drawing), "seed": drawing.seed, "trace": trace.hash,
            "usage": lm.usage}  # fmt: skip
    result = _drawn(found, meta)
    write_json(out / "result.json", loads(result.to_json()))
    _report(out, result)
    _tell(talk, found, result)
    talk.say(f"trace {trace.hash[:16]}, report {out / 'report.html'}")
    talk.document(loads(result.to_json()))
    talk.next_command(f"jielong cost {out / 'trace.jsonl'}")


def _again() -> str:
    """The command that goes on."""
    given = [each for each in sys.argv[1:] if each not in ("--resume", "--overwrite")]
    return shlex.join(["jielong", *given, "--resume"])


def _watched(
    talk: Talk, trace: Any, lm: Any, made: Any, asked: Any, total: int, settings: Any, once: bool, at_once: int
) -> Compared:  # fmt: skip
    from jielong.lm.sync import run
    from jielong.prompting import compare as comparing

    done = [0]
    with talk.progress(len(made) * len(asked), "compare", "problems") as bar:

        def tell(name: str, course: Course) -> None:
            done[0] += 1
            bar.update(done[0], tokens=lm.usage.tokens, **money(lm))

        return run(comparing.run(trace, lm, made, asked, total, settings=settings, once=once, at_once=at_once,
                                 tell=tell))  # fmt: skip


def _drawn(found: Compared, meta: dict[str, Any]) -> Result:
    """The result with its picture: accuracy against tokens."""
    from dataclasses import replace

    from jielong.prompting.compare import result
    from jielong.views.charts import Axes, Series
    from jielong.views.markup import Words
    from jielong.views.pictures import lines

    plain = result(found, meta)
    series = [Series(name, c["tokens"], c["right"], c["low"], c["high"], dots=True)
              for name, c in plain.meta["curves"].items()]  # fmt: skip
    axes = Axes(Words("tokens for a problem", "每題的 token 數"), Words("share right", "答對比例"), log_x=True,
                y_range=(0.0, 1.0))  # fmt: skip
    title = Words("Right answers at equal budget", "同樣預算下的答對比例")
    note = Words("majority of as many runs as the tokens allow; 95 % bands", "以 token 容許的次數投票；95 % 區間")
    picture = lines(title, series, axes=axes, note=note)
    return replace(plain, series={"frontier": picture})


def _report(out: Path, result: Result) -> None:
    """The page, and its picture by itself."""
    from dataclasses import replace

    from jielong.base.files import atomic_write
    from jielong.views.drawing import standalone
    from jielong.views.pictures import svg_of
    from jielong.views.report import result_report

    shown = {key: value for key, value in result.meta.items() if key != "curves"}
    atomic_write(out / "report.html", result_report(replace(result, meta=shown)))
    if (picture := svg_of("frontier", result.series["frontier"])) is not None:
        atomic_write(out / "frontier.svg", standalone(str(picture)))


def _tell(talk: Talk, found: Compared, result: Result) -> None:
    """The table, and who is better than whom, as far as that can be said."""
    from jielong.prompting.compare import AT_BUDGET, ONE_RUN

    rows = []
    for row in result.rows:
        if row.group == AT_BUDGET and row.interval is not None:
            one = result.row(row.name, ONE_RUN)
            told = row.note.split(";")[0]
            rows.append((row.name, f"{row.estimate:.1%}", f"{row.interval.low:.1%} to {row.interval.high:.1%}",
                         f"{one.estimate:.1%}", told))  # fmt: skip
    talk.say(f"{found.allowance} tokens for each problem, {len(next(iter(found.courses.values())))} problems")
    talk.table(("strategy", "right", "95 %", "one run", "used"), rows)
    tiers = found.tiers()
    if len(tiers) == 1 and len(found.courses) > 1:
        talk.say("no ranking: the strategies cannot be told apart on these problems")
    for place, names in enumerate(tiers, 1):
        if len(tiers) > 1:
            talk.say(f"{place}. {' / '.join(names)}")
