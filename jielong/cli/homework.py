"""``jielong homework 4``: write a prompt for word problems, and see how good it is on problems it has not seen."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from jielong.cli.common import Common
from jielong.cli.thinking import DEFAULT, SAVING, Saving, money, open_thinker

if TYPE_CHECKING:
    from jielong.base.result import Result
    from jielong.base.talk import Talk
    from jielong.evals.homework4 import Sheet
    from jielong.lm.protocol import LM
    from jielong.prompting.instructed import Found
    from jielong.prompting.strategy import Problem

BARE = "{{question}}"


def four(
    *prompts: Path,
    model: str = DEFAULT,
    problems: str = "world:sums_words",
    public: int = 30,
    private: int = 100,
    draw: int = 1,
    lang: str = "both",
    search: str = "",
    instructions: int = 10,
    max_tokens: int = 256,
    seed: int = 0,
    device: str = "auto",
    out: Path = Path("runs/homework4"),
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    saving: Saving = SAVING,
    common: Common = Common(),
) -> None:
    """Homework 4: two prompts on word problems, each problem asked three times, right where two of three are.

    The bare question is asked beside them as the control. The public problems choose the prompt, the private ones say
    how good it is; each --draw is another private set. Writes report.html, result.json and answers.jsonl.

    Parameters
    ----------
    prompts
        Text files with {{question}} where the question stands, at most 1,024 tokens each; two count in the homework.
        Without any: "step by step".
    model
        A checkpoint folder, a run, or URL#MODEL of a server that speaks OpenAI's API.
    problems
        world:sums_words, world:sums_chain and other sums; world:errands (stories of several steps, for larger models);
        or a JSONL file of {"question", "answer"}, GSM8K's included.
    public
        How many problems choose.
    private
        How many problems report.
    draw
        Which private set: 1, 2, 3, ...
    lang
        en, zh or both.
    search
        Look for an instruction: sentences (a list people wrote), random, ape or opro.
    instructions
        About how many of them the search tries on the public problems.
    max_tokens
        At most so many for the reasoning.
    seed
        Of the model's draws and of the world.
    device
        cpu, cuda, mps or auto.
    out
        The folder of what is written.
    overwrite
        Replace an earlier one of that name.
    """
    from jielong.base.errors import UserError
    from jielong.base.files import append_jsonl, run_dir, write_json
    from jielong.base.plain import loads
    from jielong.evals import homework4
    from jielong.evals.homework4_problems import problem_sets

    talk = common.talk()
    if len(prompts) > 2:
        raise UserError(f"{len(prompts)} prompts: the homework allows two")
    listed = [_read(path) for path in prompts] or [homework4.USUAL["zh" if lang == "zh" else "en"]]
    sets = problem_sets(problems, public, private, draw=draw, lang=lang, seed=seed)
    searched = homework4.searching(search, instructions) if search else None
    lm = open_thinker(model, device, seed, saving)
    for prompt in listed:
        homework4.checked(lm, prompt)
    run_dir(out.parent, out.name, overwrite)
    found = None
    if searched is not None:
        found = _found(talk, lm, sets[0], searched, max_tokens)
        listed.append(homework4.under(found.instruction, BARE))
    sheets = _sat(talk, lm, list(dict.fromkeys([BARE, *listed])), sets, max_tokens)
    for sheet in sheets:
        for name, part in (("public", sheet.public), ("private", sheet.private)):
            for each in part:
                append_jsonl(out / "answers.jsonl", {"prompt": sheet.prompt, "set": name, "id": each.problem.id,
                             "question": each.problem.text, "gold": each.problem.gold, "right": each.right,
                             "tries": each.tries})  # fmt: skip
    made = _result(sheets, found, {
        "command": shlex.join(["jielong", *sys.argv[1:]]), "model": lm.name, "problems": problems, "draw": draw,
        "seed": seed, "usage": lm.usage, "prompts": [sheet.prompt for sheet in sheets],
    })  # fmt: skip
    write_json(out / "result.json", loads(made.to_json()))
    _report(out / "report.html", made, lang)
    _tell(talk, made, sheets)
    talk.say(f"report {out / 'report.html'}")
    talk.document(loads(made.to_json()))
    talk.next_command(f"jielong homework 4 --model {model} --draw {draw + 1} --out {out}-{draw + 1}")


def _read(path: Path) -> str:
    from jielong.base.errors import UserError

    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the prompt {path}: {error}") from error


def _found(talk: Talk, lm: LM, public: list[Problem], searched: Any, max_tokens: int) -> Found:
    """The instruction that a search finds on the public problems."""
    from jielong.evals.homework4 import scoring
    from jielong.lm.sync import run

    with talk.progress(None, "search", "instructions") as bar:
        inner, done = scoring(max_tokens), [0]

        async def score(model: LM, instruction: str, problems: Any) -> float:
            value = await inner(model, instruction, problems)
            done[0] += 1
            bar.update(done[0], tokens=lm.usage.tokens, **money(lm))
            return value

        async def search() -> Found:
            return await searched(lm, public, score)

        found = run(search())
    talk.say(f"found on the public problems ({found.dev:.0%} of {len(public)}): {found.instruction}")
    return found


def _sat(talk: Talk, lm: LM, prompts: list[str], sets: tuple[list[Problem], list[Problem]],
         max_tokens: int) -> list[Sheet]:  # fmt: skip
    from jielong.evals.homework4 import sat
    from jielong.lm.sync import run

    done = [0]
    with talk.progress(len(prompts) * sum(map(len, sets)), "homework 4", "problems") as bar:

        def tell() -> None:
            done[0] += 1
            bar.update(done[0], tokens=lm.usage.tokens, **money(lm))

        return run(sat(lm, prompts, *sets, max_tokens, tell))


def _result(sheets: list[Sheet], found: Found | None, meta: dict[str, Any]) -> Result:
    """Rows: of every prompt both sets, the vote and the single draw; the chosen one's overfit; prompts in pairs."""
    from itertools import combinations

    from jielong.base.result import Result, Row
    from jielong.base.stats import wilson
    from jielong.evals import homework4 as hw

    names = {sheet.prompt: f"prompt {number}" if number else "the bare question" for number, sheet in enumerate(sheets)}
    rows = []
    for group, table in (("public", hw.PUBLIC_POINTS), ("private", hw.PRIVATE_POINTS)):
        control = hw.share(getattr(sheets[0], group))
        for sheet in sheets:
            part = getattr(sheet, group)
            right, p = sum(each.right for each in part), hw.single(part)
            given = hw.points(hw.share(part), table)
            alike = f"{hw.voted(p):.1%} voted, were all problems alike"
            note = f"a single draw {p:.1%} ({alike}); no number in {hw.unread(part):.1%}"
            rows.append(Row(names[sheet.prompt], hw.share(part), wilson(right, len(part)), len(part),
                            control=None if sheet is sheets[0] else control, control_name="the bare question",
                            bar=table[-1][0], unit="share", group=group, note=f"{note}; {given} points"))  # fmt: skip
    best = hw.best(sheets[1:] or sheets)
    gap, inside = hw.overfit(best.public, best.private)
    rows.append(Row(f"overfit of {names[best.prompt]}: public less private", gap, inside, len(best.private),
                    control=0.0, control_name="no overfit", unit="difference", group="differences",
                    note="not told from 0" if 0 in inside else "told from 0"))  # fmt: skip
    for a, b in combinations(sheets, 2):
        value, between, p_value = hw.compared(b.private, a.private)
        rows.append(Row(f"{names[b.prompt]} less {names[a.prompt]}, private", value, between, len(a.private),
                        control=0.0, control_name="alike", unit="difference", group="differences",
                        note=f"McNemar's exact p {p_value:.3g}"))  # fmt: skip
    searched = {"instruction": found.instruction, "evaluations": found.evaluations,
                "tried": [[t.score, t.instruction] for t in found.tried]} if found else {}  # fmt: skip
    return Result("homework4", "Homework 4", tuple(rows), {}, {**meta, "best": best.prompt, "search": searched})


def _report(path: Path, made: Result, lang: str) -> None:
    from jielong.base.files import atomic_write
    from jielong.views.markup import Words
    from jielong.views.report import result_report

    claim = Words("A prompt that was chosen on few problems is as good on others.",
                  "在少數題目上選出的提示，在其他題目上一樣好。")  # fmt: skip
    expect = Words("Two of three draws right; the public problems choose, the private ones report.",
                   "三次作答對兩次才算；公開題用來選，私有題用來報告。")  # fmt: skip
    names = {"public": Words("public problems", "公開題"), "private": Words("private problems", "私有題"),
             "differences": Words("differences", "差異"), "the bare question": Words("the bare question", "只有題目"),
             "prompt 1": Words("prompt 1", "提示一"), "prompt 2": Words("prompt 2", "提示二"),
             "prompt 3": Words("prompt 3", "提示三")}  # fmt: skip
    page = result_report(made, claim=claim, source=Words("Homework 4", "作業四"), expect=expect, names=names,
                         lang="zh" if lang == "zh" else "en")  # fmt: skip
    atomic_write(path, page)


def _tell(talk: Talk, made: Result, sheets: list[Sheet]) -> None:
    for number, sheet in enumerate(sheets):
        talk.say(f"{f'prompt {number}' if number else 'the bare question'}: {' '.join(sheet.prompt.split())[:100]}")
    lines = [[row.group, row.name, row.estimate, row.interval.low, row.interval.high, row.note]
             for row in made.rows if row.interval is not None]  # fmt: skip
    talk.table(["set", "what", "share", "low", "high", "note"], lines)
