"""Ask, and read the reply: what every other way is measured against.

A model that answers rightly with probability a is right with probability a.
"""

from __future__ import annotations

from jielong.lm.protocol import LM
from jielong.prompting.strategy import Answer, Problem, read, say, user


async def direct(lm: LM, problem: Problem) -> Answer:
    """One call: the question alone."""
    return read(problem, await say(lm, user(problem.text)))
