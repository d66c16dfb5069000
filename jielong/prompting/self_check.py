"""Answer, look at the answer again, and keep it only if the model itself finds it right; else try anew, or abstain.

The course's "please check your answer". Whether it helps depends on the judge alone: if an answer is right with
probability a, and the model says yes to a right one with probability t and to a wrong one with probability f, a try is
kept with probability q = a t + (1 - a) f. Of T tries, then, one is kept with probability 1 - (1 - q)^T, and what is
kept is right with probability a t / q: better than a only if t > f (Huang et al. 2023, "Large language models cannot
self-correct reasoning yet"). With several `checks` a majority of them decides, and t and f are binomial tails.
"""

from __future__ import annotations

from jielong.base.errors import UserError
from jielong.lm.protocol import LM, gather
from jielong.prompting.readers import one_of
from jielong.prompting.strategy import Answer, Problem, Strategy, branch, say, tongue, user
from jielong.prompting.trace import note

CHECK = {
    "en": "Question: {question}\nAnswer: {answer}\n\nIs this answer right? Say yes or no.",
    "zh": "問題：{question}\n回答：{answer}\n\n這個回答對嗎？請說「對」或「錯」。",
}
SAYS = {"en": one_of(("yes", "no")), "zh": one_of(("對", "錯"))}
YES = ("yes", "對")


def self_check(strategy: Strategy, tries: int = 3, checks: int = 1) -> Strategy:
    """The first of `tries` answers that a majority of `checks` finds right; no answer if none is."""
    if min(tries, checks) < 1:
        raise UserError(f"self_check's tries are {tries} and its checks {checks}: give 1 or more of each")

    async def checked(lm: LM, problem: Problem) -> Answer:
        answer = Answer(None)
        for number in range(tries):
            here = branch(lm, number)
            answer = await strategy(here, problem)
            kept = answer.value is not None and await approved(here, problem, answer, checks)
            note(here, "decide", value=answer.value, kept=kept)
            if kept:
                return answer
        return Answer(None, answer.text, note=f"none of {tries} answers passed the check")

    return checked


async def approved(lm: LM, problem: Problem, answer: Answer, checks: int = 1) -> bool:
    """Whether more than half of `checks` calls find the answer right. What is neither yes nor no is no."""
    lang = tongue(problem.text)
    asked = user(CHECK[lang].format(question=problem.text, answer=answer.text or answer.value))
    said = await gather(*(say(branch(lm, ("check", i)), asked) for i in range(checks)))
    return sum(SAYS[lang](each) in YES for each in said) * 2 > checks
