"""Slow work on many prompts, written down prompt by prompt: killed at any moment, it goes on where it stood.

The trace is JSONL: first what decides the result, then one line a prompt, in the order of the prompts, each with all
that was written and said about it. A later line of the same prompt replaces an earlier one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jielong.base import files
from jielong.base.errors import UserError, WorkFailed
from jielong.base.plain import plain
from jielong.base.talk import Talk
from jielong.lm.sync import run
from jielong.train.preferences.asked import Asked

Entry = dict[str, Any]  # one prompt's line
Work = Callable[[int, Asked, Entry | None], Awaitable[Entry]]  # number, prompt, what an earlier run left of it
SILENT = "silent"
PATIENCE = 8  # prompts in a row without any answer of a judge before the run is given up
HEAD = "about"


def write(
    asked: Sequence[Asked], work: Work, about: Mapping[str, Any], path: Path, talk: Talk, label: str,
    resume: bool = False, window: int = 16,
) -> list[Entry]:  # fmt: skip
    """What `work` makes of each prompt, `window` of them under way at once; all lines of the trace at `path`.

    Entries with "again" are worked on again when resumed. WorkFailed after `PATIENCE` in a row with "why": "silent";
    UserError for a trace that was begun with other prompts or settings.
    """
    told = plain(about)
    known = _known(path, told) if resume else {}
    if not path.exists() or not resume:
        files.append_jsonl(path, {HEAD: told})
    todo = [number for number in range(len(asked)) if number not in known or known[number].get("again")]
    first = len(asked) - len(todo)

    async def all_of_them() -> None:
        silent = 0
        with talk.progress(len(asked), label, "prompts", start=first) as progress:
            async for done, entry in _in_order(todo, lambda n: work(n, asked[n], known.get(n)), window):
                files.append_jsonl(path, entry)
                known[entry["number"]] = entry
                progress.update(first + done)
                silent = silent + 1 if entry.get("why") == SILENT else 0
                if silent >= min(PATIENCE, len(todo)):
                    raise WorkFailed(f"the judge has not answered {silent} times in a row{_last(entry)}; mend it, and "
                                     "--resume asks it again")

    run(all_of_them())
    return [known[number] for number in range(len(asked))]


def entries(path: Path) -> list[Entry]:
    """The prompts' lines of a trace, each prompt's last, in order."""
    found = {line["number"]: line for line in files.read_jsonl(path, tolerate_tail=True) if "number" in line}
    return [found[number] for number in sorted(found)]


def _known(path: Path, told: Any) -> dict[int, Entry]:
    """What an earlier run has written. UserError where it was another run."""
    if not path.exists():
        return {}
    lines = list(files.read_jsonl(path, tolerate_tail=True))
    if not lines:
        path.unlink()  # killed before its first line was whole
        return {}
    if HEAD not in lines[0]:
        raise UserError(f"{path} is not a trace of this verb; choose another --out")
    if changed := [name for name in told if lines[0][HEAD].get(name) != told[name]]:
        raise UserError(f"{path} was begun with other settings ({', '.join(changed)}); resume it with the same, or "
                        "give --overwrite")  # fmt: skip
    return {line["number"]: line for line in lines if "number" in line}


async def _in_order(
    todo: Sequence[int], start: Callable[[int], Awaitable[Entry]], window: int
) -> AsyncIterator[tuple[int, Entry]]:
    """(how many are done, the entry), in the order of `todo`, the next ones already under way."""
    waiting: deque[asyncio.Future[Entry]] = deque()
    coming, done = iter(todo), 0
    try:
        while True:
            while len(waiting) < window and (number := next(coming, None)) is not None:
                waiting.append(asyncio.ensure_future(start(number)))
            if not waiting:
                return
            entry = await waiting[0]
            waiting.popleft()
            done += 1
            yield done, entry
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _last(entry: Entry) -> str:
    """What the judge's line said last, where it said something."""
    pairs = (entry.get("judged") or {}).get("pairs") or [{}]
    said = next((text for text in pairs[-1].get("said") or () if text), "") or entry.get("told", "")
    return f" ({said})" if said else ""
