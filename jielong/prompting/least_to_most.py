"""Least to most: break the question into smaller ones and answer them in order (Zhou et al. 2022).

1. One call lists the smaller questions.
2. One call for each, with all earlier questions and answers before it; the question itself comes last, and its answer
   is the answer. With m smaller questions that is 2 + m calls, whose prompts grow.

If the list is right with probability d and each of the m + 1 answers is right with probability 1 - p given that those
before it are, and nothing mends a wrong one, the share right is d (1 - p)^(m + 1).
"""

from __future__ import annotations

import re

from jielong.lm.prompts import Message
from jielong.lm.protocol import LM
from jielong.prompting.cot import concluded
from jielong.prompting.strategy import Answer, Problem, assistant, say, tongue, user
from jielong.prompting.trace import note

SPLIT = {
    "en": "{question}\n\nDo not answer yet. Which smaller questions have to be answered first, one after the other? "
    "Write one on each line, numbered, without the question itself.",
    "zh": "{question}\n\n先不要回答。要先依序回答哪些比較小的問題？每行寫一個，編號，不要寫原來的問題。",
}
NUMBERED = re.compile(r"^\s*(?:\d+\s*[.):、．]|[-*•])\s*(.+?)\s*$", re.MULTILINE)


async def least_to_most(lm: LM, problem: Problem, *, most: int = 8) -> Answer:
    """At most `most` smaller questions are asked; a reply without a list leaves the question alone."""
    listed = await say(lm, user(SPLIT[tongue(problem.text)].format(question=problem.text)))
    smaller = [each for each in NUMBERED.findall(listed) if each != problem.text][:most]
    note(lm, "decide", questions=smaller)
    turns: list[Message] = []
    for question in smaller:
        turns = user(question, *turns)
        turns = [*turns, assistant(await say(lm, turns))]
    return concluded(problem, await say(lm, user(problem.text, *turns)))
