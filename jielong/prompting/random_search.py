"""Instruction search at random: draw instructions, score each, keep the best. What cleverer searches have to beat.

    found = await search(lm, shown, dev, test, candidates=20)

The model sees some questions with their answers and is asked for the instruction behind them, once for each candidate
and each time anew; nothing is learnt from the scores. `ape` and `opro` are compared with it at the same number of
`evaluations`.

If a drawn instruction is good with probability g, one of m is with 1 - (1 - g)^m.
"""

from __future__ import annotations

from collections.abc import Sequence

from jielong.base.errors import UserError
from jielong.lm.protocol import LM
from jielong.prompting.instructed import Found, Score, accuracy, chosen, scored
from jielong.prompting.strategy import Example, Problem, tongue, user

PROPOSE = {
    "en": "I gave a friend an instruction. Following it, my friend answered these questions:\n\n{shown}\n\n"
          "What was the instruction? Write only the instruction, on one line.",
    "zh": "我給了朋友一個指示，朋友照著回答了這些問題：\n\n{shown}\n\n這個指示是什麼？只寫指示，寫在一行裡。",
}  # fmt: skip
FEWER = 4  # draws for a candidate, at most, where the same ones come again


async def search(
    lm: LM, shown: Sequence[Example], dev: Sequence[Problem], test: Sequence[Problem] = (), *, candidates: int = 20,
    score: Score = accuracy,
) -> Found:  # fmt: skip
    """The best of `candidates` different instructions on `dev`; what it is worth on `test`."""
    return await chosen(lm, await scored(lm, await proposed(lm, shown, candidates), dev, score), test, score)


async def proposed(lm: LM, shown: Sequence[Example], candidates: int) -> list[str]:
    """Up to so many different instructions, in the order in which they were drawn. UserError without examples."""
    if candidates < 1 or not shown:
        raise UserError(f"{candidates} candidates from {len(shown)} examples: give 1 or more of each")
    listed = "\n\n".join(f"Q: {each.question}\nA: {each.answer}" for each in shown)
    prompt = user(PROPOSE[tongue(shown[0].question)].format(shown=listed))
    found: dict[str, None] = {}
    for start in range(0, FEWER * candidates, candidates):
        for draw in await lm.asample(prompt, candidates, start):
            if (text := line(draw.text)) is not None and len(found) < candidates:
                found[text] = None
        if len(found) == candidates:
            break
    return list(found)


def line(reply: str) -> str | None:
    """The first line that says something, without quotation marks around it; None where there is none."""
    lines = [each.strip().strip("\"'“”「」").strip() for each in reply.splitlines()]
    return next((each for each in lines if each), None)
