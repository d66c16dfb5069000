"""Reflexion: try, hear whether it was right, put the lesson into words, try again with the lessons (Shinn et al. 2023).

The memory is text in the prompt; the weights stay as they are. What is told decides everything:

- signal="told": an environment says whether the answer is right (`Problem.right`: the tests of a program, the rules of
  a game). Then with errors e_1, e_2, ... of the tries the share right is 1 - e_1 e_2 ... e_T: it can only rise.
- signal="asked": the model judges itself, saying yes to a right answer with probability t and to a wrong one with
  probability f. A try is right with probability a_i; the tries go on after a no. Share right of the answer given:
  sum over i < T of R_i a_i t + R_T a_T, where R_1 = 1 and R_{i+1} = R_i (a_i (1 - t) + (1 - a_i)(1 - f)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from jielong.base.errors import UserError
from jielong.lm.protocol import LM
from jielong.prompting.self_check import approved
from jielong.prompting.strategy import Answer, Problem, Strategy, assistant, branch, say, tongue, user
from jielong.prompting.trace import note

LESSON = {
    "en": "That was not right. In one or two sentences: what went wrong, and what will you do differently?",
    "zh": "這樣不對。請用一兩句話說：哪裡出錯了？下次要怎麼做？",
}
WITH = {
    "en": "{question}\n\nLessons from earlier tries:\n{lessons}",
    "zh": "{question}\n\n之前的教訓：\n{lessons}",
}
MEMORY = 3  # lessons that are kept, as in the paper


def reflexion(strategy: Strategy, tries: int = 3, signal: Literal["told", "asked"] = "asked") -> Strategy:
    """The first answer that the signal accepts, else the last. UserError for another signal, or no try."""
    if tries < 1 or signal not in ("told", "asked"):
        raise UserError(f"reflexion has {tries} tries and the signal {signal!r}: give 1 or more, and told or asked")

    async def reflected(lm: LM, problem: Problem) -> Answer:
        lessons: list[str] = []
        for number in range(tries):
            here = branch(lm, number)
            answer = await strategy(here, replace(problem, text=_asked(problem.text, lessons)))
            if number == tries - 1:
                break
            accepted = problem.right(answer) if signal == "told" else await approved(here, problem, answer)
            note(here, "decide", value=answer.value, accepted=accepted)
            if accepted:
                break
            told = [*user(problem.text), assistant(answer.text)]
            lessons = [*lessons, await say(branch(here, "lesson"), user(LESSON[tongue(problem.text)], *told))][-MEMORY:]
        return answer

    return reflected


def _asked(question: str, lessons: Sequence[str]) -> str:
    listed = "\n".join(f"- {each}" for each in lessons)
    return WITH[tongue(question)].format(question=question, lessons=listed) if lessons else question
