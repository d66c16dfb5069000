"""Optimisation by prompting: the model reads what was tried, with scores, and writes better ones (Yang et al. 2023).

    found = await search(lm, shown, dev, test, steps=10, each=8)

At each step the model sees the best `shows` instructions so far with their scores, the best last, and some questions
with answers, and writes `each` new instructions in square brackets, at temperature 1. Those not tried before are
scored. What is not in brackets is no instruction. Selection is on the development problems, the report on others (the
paper searches on 3.5 % of GSM8K's training set); `random_search` at the same number of evaluations is the control.

Oracle: if the model mends the best instruction it is shown by one grade with probability q, and else writes one of
grade 0, with one candidate a step, the grade after T steps is binomial (T, q), where drawing anew never gets beyond 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from jielong.base.errors import UserError
from jielong.lm.protocol import LM
from jielong.prompting.instructed import Found, Score, Tried, accuracy, chosen, scored
from jielong.prompting.strategy import Example, Problem, branch, tongue, user

META = {
    "en": "Here are some instructions with their scores, from 0 to 100; higher is better.\n\n{tried}\n\n"
          "They stand above questions like these:\n\n{shown}\n\n"
          "Write a new instruction that differs from all of these and scores higher. Write it in [square brackets].",
    "zh": "下面是一些指示和它們的分數（0到100，越高越好）。\n\n{tried}\n\n這些指示寫在這樣的問題前面：\n\n{shown}\n\n"
          "請寫一個和上面都不同、分數更高的新指示，寫在[方括號]裡。",
}  # fmt: skip
START = {"en": "Answer the question.", "zh": "請回答問題。"}


async def search(
    lm: LM, shown: Sequence[Example], dev: Sequence[Problem], test: Sequence[Problem] = (), *, steps: int = 10,
    each: int = 8, shows: int = 20, start: Sequence[str] = (), score: Score = accuracy,
) -> Found:  # fmt: skip
    """The best instruction on `dev` after so many steps from `start` (one plain instruction); its worth on `test`."""
    if min(steps, each, shows) < 1 or not shown:
        raise UserError(f"opro has {steps} steps of {each}, shows {shows} and {len(shown)} examples: give 1 or more")
    tried = await scored(lm, list(start) or [START[tongue(shown[0].question)]], dev, score)
    for number in range(steps):
        prompt = user(meta(tried, shown, shows))
        draws = await branch(lm, number).asample(prompt, each, temperature=1.0)
        known = {one.instruction for one in tried}
        new = dict.fromkeys(text for draw in draws if (text := bracketed(draw.text)) is not None)
        tried += await scored(lm, [text for text in new if text not in known], dev, score)
    return await chosen(lm, tried, test, score)


def meta(tried: Sequence[Tried], shown: Sequence[Example], shows: int) -> str:
    """The prompt: the best instructions so far, rising; of equal ones the later tried stands later."""
    best = sorted(tried, key=lambda one: one.score)[-shows:]
    listed = "\n\n".join(f"{one.instruction}\nscore: {100 * one.score:.0f}" for one in best)
    questions = "\n\n".join(f"Q: {one.question}\nA: {one.answer}" for one in shown)
    return META[tongue(shown[0].question)].format(tried=listed, shown=questions)


def bracketed(reply: str) -> str | None:
    """What stands in the last square brackets; None where there are none."""
    found = [each.strip() for each in re.findall(r"\[([^\[\]]+)\]", reply) if each.strip()]
    return found[-1] if found else None
