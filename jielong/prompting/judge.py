"""A judge among answers: n are given, and the model says which is right (the judge of Liang et al. 2023, 2305.19118).

The judge sees each different answer once, with the reply that first gave it, under a number. With several `looks` the
order turns by one each time, so that who prefers a place does not decide. A look that names no number, or several,
names nobody; without any that does there is no answer. Where all answers agree nobody is asked.

For n answers right with probability p, all wrong ones alike, and a judge that takes the right one with probability
1 - e: p^n + (1 - p^n - (1 - p)^n)(1 - e). Better than their vote only if the judge is better than the vote is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from jielong.base.errors import UserError
from jielong.lm.protocol import LM, gather
from jielong.prompting.strategy import Answer, Problem, Strategy, branch, say, tongue, user
from jielong.prompting.trace import note

ASK = {
    "en": "{question}\n\n{answers}\n\nWhich of these answers is right? Write only its number.",
    "zh": "{question}\n\n{answers}\n\n哪一個回答是對的？只寫它的號碼。",
}


def judge(strategy: Strategy, n: int = 3, looks: int = 1) -> Strategy:
    """The one of n answers of the strategy that the judge takes."""
    if min(n, looks) < 1:
        raise UserError(f"judge has {n} answers and {looks} looks: give 1 or more of each")

    async def judged(lm: LM, problem: Problem) -> Answer:
        answers = await gather(*(strategy(branch(lm, run), problem) for run in range(n)))
        return await pick(branch(lm, "judge"), problem, answers, looks)

    return judged


async def pick(lm: LM, asked: Problem, answers: Sequence[Answer], looks: int = 1) -> Answer:
    """The judge's choice among answers; `votes`: how often each was named."""
    distinct = {each.value: each for each in reversed(answers) if each.value is not None}
    candidates = [each for each in answers if each.value is not None and distinct[each.value] is each]
    if len(candidates) < 2:
        return candidates[0] if candidates else Answer(None, note="no answer to judge")
    orders = [[(place + look) % len(candidates) for place in range(len(candidates))] for look in range(looks)]
    said = await gather(*(say(branch(lm, look), user(question(asked, [candidates[i] for i in order])))
                          for look, order in enumerate(orders)))  # fmt: skip
    places = [placed(reply, len(candidates)) for reply in said]
    named = [candidates[order[place]].value for order, place in zip(orders, places) if place is not None]
    votes = {str(value): float(named.count(value)) for value in dict.fromkeys(named)}
    note(lm, "vote", candidates=[each.value for each in candidates], votes=votes)
    if not votes:
        return Answer(None, said[0], note="the judge named no answer")
    best = max(votes.values())
    chosen = next(each for each in candidates if votes.get(str(each.value)) == best)
    return replace(chosen, votes=votes)


def question(problem: Problem, answers: Sequence[Answer]) -> str:
    """What the judge is asked."""
    listed = "\n\n".join(f"{number}. {each.text or each.value}" for number, each in enumerate(answers, 1))
    return ASK[tongue(problem.text)].format(question=problem.text, answers=listed)


def placed(reply: str, among: int) -> int | None:
    """The place (from 0) of the only number in a reply; None where there is none, several, or one too high."""
    named = set(map(int, re.findall(r"[0-9]{1,9}", reply)))
    return min(named) - 1 if len(named) == 1 and 1 <= min(named) <= among else None
