"""``jielong ask``: one question, a strategy, a model, perhaps an index of one's own documents."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jielong.cli.common import Common
from jielong.cli.drawing import DRAWING, Drawing
from jielong.cli.thinking import DEFAULT, SAVING, Saving, laws, money, open_thinker, tokens

if TYPE_CHECKING:
    from jielong.base.talk import Talk
    from jielong.lm.meter import Budget
    from jielong.lm.protocol import LM
    from jielong.prompting.strategy import Answer, Problem, Strategy
    from jielong.prompting.trace import Run


def ask(
    question: str | None = None,
    *,
    model: str = DEFAULT,
    strategy: str = "direct",
    index: Path | None = None,
    passages: Annotated[int, Parameter(alias="-k")] = 5,
    reader: str = "",
    table: Path | None = None,
    tools: str = "",
    sandbox: str = "",
    out: Path | None = None,
    read: str = "whole",
    budget: str = "",
    trace: Path | None = None,
    adapter: Path | None = None,
    device: str = "auto",
    saving: Saving = SAVING,
    drawing: Drawing = DRAWING,
    common: Common = Common(),
) -> None:
    """Answer a question with a strategy, given as an argument or on standard input.

    Standard output gets the answer only. With --index it is looked for in your documents (jielong index FOLDER), its
    sources are told, and none is given where they do not hold one. With --table the model writes a program that works
    it out, and a chart of it (--out).

    Parameters
    ----------
    question
        What is asked; "-" or nothing reads standard input.
    model
        A checkpoint folder, a run, or URL#MODEL of a server that speaks OpenAI's API (key in $JIELONG_REMOTE_KEY).
    strategy
        How: direct, cot, "vote(cot, n=5)", "refine(cot)", FILE.py:FUNCTION. The page docs/prompting.md lists them.
    index
        Answer from this index of documents.
    passages
        With --index: how many passages are shown to the model.
    reader
        With --index: who asks; what this reader may not see is as if it were not there.
    table
        Answer from this table (CSV, TSV, JSONL, Parquet) or the lines of this document by a program.
    tools
        What the model may call: "calculator, clock, python, search=STORE, FILE.py:FUNCTION".
    sandbox
        Where programs that the model writes are run: monty, sandlock, bubblewrap, docker (default: what works here).
    out
        With --table: a new folder for the page, the chart and the program.
    read
        What an answer looks like: whole, number, last_line, "one_of('yes', 'no')".
    budget
        At most so many tokens, read and written: 200000, 200k.
    trace
        Write down every call and decision here; one that is there is gone on with.
    adapter
        The folder of an adapter that was trained on this model.
    device
        cpu, cuda, mps or auto.
    """
    from jielong.cli import charting
    from jielong.cli.acting import hands
    from jielong.lm.meter import Budget
    from jielong.prompting import problems, spec
    from jielong.prompting.trace import Run

    talk = common.talk()
    problem = problems.ask(_question(question), read)
    text = _text(strategy, model, index, passages, reader, table, tools)
    charting.check(out, table)
    with hands(sandbox) as given:
        how, about = spec.parse(text, given), Run(text, laws(drawing))  # what is wrong is told before a model is loaded
        limit = Budget(tokens(budget)) if budget else None
        lm = open_thinker(model, device, drawing.seed, saving, adapter)
        answer = _answered(talk, lm, problem, how, about, limit, trace)
    _show(talk, answer)
    made = charting.told(talk, answer, problem, table, out) if table else {}
    used = lm.usage
    talk.detail(f"{used.calls} calls, {used.prompt} tokens read, {used.completion} written")
    talk.document({"question": problem.text, "model": lm.name, "strategy": text, "answer": answer.value,
                   "text": answer.text, "votes": dict(answer.votes), "note": answer.note, "sources": _sources(answer),
                   "usage": used, "trace": trace, **made, **money(lm)})  # fmt: skip
    if answer.value is None and index is not None:
        talk.next_command(shlex.join(["jielong", "index", "--out", str(index), "--find", problem.text[:200]]))
        return
    talk.next_command(f"jielong replay {trace}" if trace else
                      f'jielong compare mine.jsonl --model {model} --strategies "direct, vote(cot, n=5)"')  # fmt: skip


def _text(
    strategy: str, model: str, index: Path | None, passages: int, reader: str, table: Path | None, tools: str
) -> str:  # fmt: skip
    """The strategy with what the flags put around it, in its text form: a replay has no flags."""
    from jielong.base.errors import UserError
    from jielong.cli.feedback import address
    from jielong.prompting import spec

    if table is not None:
        if index is not None or tools or strategy != "direct":
            raise UserError("--table is answered by a program: leave out --strategy, --index and --tools")
        return spec.canonical(f"chart({str(table)!r})")
    text = spec.canonical(strategy)
    if tools:
        loose = ", constrained=False" if address(model) else ""  # OpenAI's API takes no grammar of calls
        text = spec.canonical(f"with_tools({_inner(text)}, {tools!r}{loose})")
    if index is not None:
        who = f", reader={reader!r}" if reader else ""
        text = spec.canonical(f"retrieve({_inner(text)}, index={str(index)!r}, k={passages}{who})")
    return text


def _inner(text: str) -> str:
    """A strategy's text inside another's."""
    from jielong.prompting import spec

    return repr(text) if spec.OWN.match(text) else text


def _answered(
    talk: Talk, lm: LM, problem: Problem, strategy: Strategy, about: Run, budget: Budget | None, path: Path | None
) -> Answer:  # fmt: skip
    """The strategy's answer, with a line that says what was used while it thinks."""
    import asyncio

    from jielong.lm.sync import run
    from jielong.prompting.trace import Trace

    async def watched() -> Answer:
        thinking = asyncio.ensure_future(Trace(path).run(strategy, lm, problem, about, budget))
        with talk.progress(None, "thinking", "calls") as bar:
            while not thinking.done():
                await asyncio.wait([thinking], timeout=0.1)
                bar.update(lm.usage.calls, tokens=lm.usage.tokens, **money(lm))
        return await thinking

    return run(watched())


def _show(talk: Talk, answer: Answer) -> None:
    if answer.votes:
        rows = [(value, int(count)) for value, count in sorted(answer.votes.items(), key=lambda item: -item[1])]
        talk.table(("answer", "votes"), rows)
    if answer.value is None:
        talk.warn(f"no answer{': ' * bool(answer.note)}{answer.note}")
        return
    talk.answer(answer.value)
    for each in _sources(answer):
        talk.say(each)
    if answer.note:
        talk.say(answer.note)


def _sources(answer: Answer) -> list[str]:
    """Where it stands, if it was looked up."""
    return list(getattr(answer, "sources", ()))


def _question(question: str | None) -> str:
    from jielong.base.errors import UserError

    if question is not None and question != "-":
        return question
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError('no question: jielong ask "What is 2 + 3?", or pipe it into standard input')
    try:
        return sys.stdin.read().strip()
    except UnicodeDecodeError as error:
        raise UserError(f"standard input is not UTF-8 (byte {error.start}): convert it first") from error
