"""Program-aided answers: the model writes a program, and what the program prints is the answer (Gao et al. 2022, PAL).

The reply must define `solution()`; the value that it returns is printed and read. The program goes to `run`, which has
to hold it in a sandbox, for instance `functools.partial(arun, box)` of `jielong.agents.sandbox` (the command line gives
one by itself): nothing that a model wrote is run in this process. A program that is none, fails or prints nothing
readable is no answer. The paper's majority of 40 is `vote(program_aided(run), n=40)`.

If a reply understands the question with probability 1 - s, and a model working in its head slips with probability a,
the model alone is right with (1 - s)(1 - a), and with a program, which does not slip, with 1 - s.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from jielong.lm.protocol import LM
from jielong.prompting.strategy import Answer, Problem, Strategy, say, tongue, user
from jielong.prompting.trace import once

ASK = {
    "en": "{question}\nWrite a Python function solution() that works out the answer and returns it. "
          "Write only the program.\n\n{example}",
    "zh": "{question}\n請寫一個 Python 函式 solution()，算出答案並傳回。只寫程式。\n\n{example}",
}  # fmt: skip
EXAMPLE = {
    "en": 'For example, for "Ann has 3 boxes of 12 eggs and breaks 5. How many are left?":\n'
          "def solution():\n    eggs = 3 * 12\n    broken = 5\n    return eggs - broken",
    "zh": "例如「小安有3盒蛋，每盒12顆，打破5顆，還剩幾顆？」：\n"
          "def solution():\n    eggs = 3 * 12\n    broken = 5\n    return eggs - broken",
}  # fmt: skip
CALL = "\nprint(solution())\n"
FENCED = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
DEFINES = re.compile(r"^def solution\(\s*\)", re.MULTILINE)


class Ran(Protocol):
    """How a program ended: whether by itself and without an error, and what it printed."""

    @property
    def ok(self) -> bool: ...
    @property
    def out(self) -> str: ...
    @property
    def err(self) -> str: ...


Runner = Callable[[str], Awaitable[Ran]]


@dataclass(frozen=True)
class Ended:
    """A `Ran` as it stands in a trace."""

    ok: bool
    out: str
    err: str

    @property
    def why(self) -> str:
        """The last line of its error."""
        return (self.err.strip().splitlines() or ["it ended without a reason"])[-1][:300]


async def ended(lm: LM, run: Runner, code: str) -> Ended:
    """How the program ends. What a trace holds of it is not run again."""

    async def work() -> dict[str, Any]:
        ran = await run(code)
        return {"ok": ran.ok, "out": ran.out, "err": ran.err}

    return Ended(**await once(lm, work, name="python", code=code))


def program_aided(run: Runner) -> Strategy:
    """One call, one program."""

    async def programmed(lm: LM, problem: Problem) -> Answer:
        lang = tongue(problem.text)
        reply = await say(lm, user(ASK[lang].format(question=problem.text, example=EXAMPLE[lang])))
        code = program(reply)
        if code is None:
            return Answer(None, reply, note="the reply defines no solution()")
        ran = await ended(lm, run, code + CALL)
        if not ran.ok:
            return Answer(None, reply, note=f"the program failed: {ran.why}")
        return Answer(problem.read(ran.out.strip()), reply, note=f"the program printed {ran.out.strip()[:100]!r}")

    return programmed


def program(reply: str, defines: re.Pattern[str] = DEFINES) -> str | None:
    """The last fenced block that defines the function, or the whole reply if it does; None where none does."""
    blocks = [block for block in FENCED.findall(reply) if defines.search(block)]
    if blocks:
        return str(blocks[-1]).rstrip()
    return reply.strip() if defines.search(reply) and "```" not in reply else None
