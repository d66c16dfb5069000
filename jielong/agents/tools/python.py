"""Python that the model writes, run in a sandbox."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from jielong.agents.sandbox.ran import DEFAULT, Limits, Ran, Sandbox, arun
from jielong.agents.tools.tool import Refused, Tool, tool

WHY = {"time": "it ran out of time", "memory": "it ran out of memory", "output": "it printed too much",
       "disk": "it wrote too much", "killed": "it was killed"}  # fmt: skip


def python(box: Sandbox, limits: Limits = DEFAULT) -> Tool:
    """The tool over a sandbox (`agents.sandbox.choose`). Every call is a program of its own."""

    async def run(code: Annotated[str, Field(max_length=4000)]) -> str:
        """Run a Python program and read what it prints; the value of a last line that is an expression too.

        Parameters
        ----------
        code
            The whole program: nothing is kept from one call to the next.
        """
        ran = await arun(box, code, limits)
        if not ran.ok:
            raise Refused(failure(ran))
        return ran.out.rstrip("\n") or "(nothing was printed)"

    return tool(run, name="python")


def failure(ran: Ran) -> str:
    """Why a program did not come to its end, in a line: what stopped it, or its error."""
    lines = [line for line in ran.err.splitlines() if line.strip()]
    if ran.end != "error" and ran.end in WHY:
        return WHY[ran.end]
    return lines[-1][:500] if lines else "the program failed and said nothing"
