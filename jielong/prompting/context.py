"""Say what the model cannot know: who asks, what for, what the words mean, what was agreed before.

What helps here is information, not form. An oracle that is right with probability a where its prompt holds what is
needed, and with probability b where it does not, is right with a share of a with the context and b without.
"""

from __future__ import annotations

from dataclasses import replace

from jielong.lm.protocol import LM
from jielong.prompting.strategy import Answer, Problem, Strategy, tongue

KNOWN = {"en": "What you should know:\n{text}\n\n{question}", "zh": "你應該知道：\n{text}\n\n{question}"}


def context(strategy: Strategy, text: str) -> Strategy:
    """The strategy on the question with `text` before it."""

    async def told(lm: LM, problem: Problem) -> Answer:
        asked = KNOWN[tongue(problem.text)].format(text=text.strip(), question=problem.text)
        return await strategy(lm, replace(problem, text=asked))

    return told
