"""``jielong ask``: one question, a strategy, a model, perhaps an index of one's own documents."""

from __future__ import annotations

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

    Standard output gets the answer only. With --index it is looked for in your documents (jielong index FOLDER), and
    none is given where they do not hold one.

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
    from jielong.lm.meter import Budget
    from jielong.prompting import problems, spec
    from jielong.prompting.trace import Run

    talk = common.talk()
    problem = problems.ask(_question(question), read)
    text = spec.canonical(strategy)
    if index is not None:
        who = f", reader={reader!r}" if reader else ""
        inner = repr(text) if spec.OWN.match(text) else text
        text = spec.canonical(f"retrieve({inner}, index={str(index)!r}, k={passages}{who})")
    how, about = spec.parse(text), Run(text, laws(drawing))  # what is wrong is told before a model is loaded
    limit = Budget(tokens(budget)) if budget else None
    lm = open_thinker(model, device, drawing.seed, saving, adapter)
    answer = _answered(talk, lm, problem, how, about, limit, trace)
    _show(talk, answer)
    used = lm.usage
    talk.detail(f"{used.calls} calls, {used.prompt} tokens read, {used.completion} written")
    talk.document({"question": problem.text, "model": lm.name, "strategy": text, "answer": answer.value,
                   "text": answer.text, "votes": dict(answer.votes), "note": answer.note, "sources": _sources(answer),
                   "usage": used, "trace": trace, **money(lm)})  # fmt: skip
    talk.next_command(f"jielong replay {trace}" if trace else
                      f'jielong compare mine.jsonl --model {model} --strategies "direct, vote(cot, n=5)"')  # fmt: skip


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
