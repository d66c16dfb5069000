"""Chain of thought: worked examples with their steps, so that the model writes steps of its own (Wei et al. 2022).

Where the problem has examples with steps, they are shown as turns of a chat, each ending in "The answer is X."; where
it has none, the question asks for steps and for that ending. The answer is read after the last such phrase; a reply
without it is read as any other.

If each of k steps goes wrong with probability p on its own, and a wrong step is never mended, the share right is
(1 - p)^k: better than direct if that is more than the model guesses at once.
"""

from __future__ import annotations

import re

from jielong.lm.prompts import Message
from jielong.lm.protocol import LM
from jielong.prompting.few_shot import Choice, choose
from jielong.prompting.readers import after
from jielong.prompting.strategy import Answer, Problem, assistant, say, tongue, user, whole

SENTENCE = re.compile(r"[.!?](?:\s|$)|[。！？]")
ENDING = {"en": "The answer is", "zh": "答案是"}
FINISH = {"en": "{steps} The answer is {answer}.", "zh": "{steps}答案是{answer}。"}
ASK = {
    "en": '{question}\nThink step by step, and end with "The answer is" and the answer.',
    "zh": "{question}\n請一步一步想，最後寫「答案是」和答案。",
}


async def cot(lm: LM, problem: Problem, *, k: int = 8, choice: Choice = "fixed") -> Answer:
    """One call: up to k examples with steps and the question; without such examples the question asks for steps."""
    lang = tongue(problem.text)
    worked = [each for each in problem.examples if each.steps]
    turns: list[Message] = []
    for each in await choose(lm, problem, worked, k, choice):
        finished = FINISH[tongue(each.question)].format(steps=each.steps, answer=each.answer)
        turns = [*user(each.question, *turns), assistant(finished)]
    asked = problem.text if turns else ASK[lang].format(question=problem.text)
    return concluded(problem, await say(lm, user(asked, *turns)))


def concluded(problem: Problem, reply: str) -> Answer:
    """The answer in the line after the last "The answer is" (in its first sentence, unless any text may be an answer),
    else anywhere in the reply."""
    for phrase in ENDING.values():
        said = (after(phrase, lambda rest: rest)(reply) or "").strip(" \t:：「」\"'*\n").partition("\n")[0]
        if problem.read is not whole:
            said = SENTENCE.split(said)[0]
        if (value := problem.read(said.rstrip(".。 "))) is not None:
            return Answer(value, reply)
    return Answer(problem.read(reply), reply)
