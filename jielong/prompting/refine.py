"""Self-Refine: draft, say what is wrong with it, mend it, until nothing is found or the rounds are over (Madaan 2023).

All by one model and without any signal from outside. A Markov chain: a right draft is let be with probability t, else
rewritten, and stays right with probability s; a wrong one is let be with probability f, else rewritten, and becomes
right with probability r. With x the share right among those still open and c those closed as right,

    x' = x (1 - t) s + (1 - x) (1 - f) r      (not divided by what stays open),    c' = c + x t.

Where s < 1 and f is high, more is lost than mended: the chain then falls below the draft.
"""

from __future__ import annotations

from jielong.base.errors import UserError
from jielong.lm.protocol import LM
from jielong.prompting.strategy import Answer, Problem, Strategy, assistant, branch, read, say, tongue, user
from jielong.prompting.trace import note

FEEDBACK = {
    "en": 'What is wrong with your answer? If nothing is, say only "Nothing to mend."',
    "zh": "你的回答哪裡不對？如果沒有不對的地方，只要說「不用改」。",
}
REVISE = {"en": "Now answer the question again, mended.", "zh": "現在請改好，再回答一次。"}
FINE = ("nothing to mend", "不用改")


def refine(strategy: Strategy, rounds: int = 3) -> Strategy:
    """The strategy's answer after at most `rounds` of feedback and revision. UserError for negative rounds."""
    if rounds < 0:
        raise UserError(f"refine's rounds are {rounds}: give 0 or more")

    async def refined(lm: LM, problem: Problem) -> Answer:
        lang = tongue(problem.text)
        answer = await strategy(lm, problem)
        for number in range(rounds):
            here = branch(lm, number)
            drafted = [*user(problem.text), assistant(answer.text)]
            criticised = user(FEEDBACK[lang], *drafted)
            found = await say(here, criticised)
            fine = any(phrase in found.lower() for phrase in FINE)
            note(here, "decide", feedback=found, fine=fine)
            if fine:
                break
            answer = read(problem, await say(here, user(REVISE[lang], *criticised, assistant(found))))
        return answer

    return refined
