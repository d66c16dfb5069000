"""Algorithm of thoughts: a whole search in one reply (Sel et al. 2023, arXiv 2308.10379).

Where `tree_of_thoughts` asks for each step, here the examples show how somebody searches (tries, goes back, comes to
the end), and the model writes such a search of its own in one call. Examples are those of the problem with steps, for
the Game of 24 `game24_search.example`; without them the question says how to search. The answer is read after "The
answer is".

One call, so the share right is that of the one reply: 1 - e of an oracle with error rate e. Against a tree it saves the
calls: a search that looks at m states costs one prompt and one reply, not m of each.
"""

from __future__ import annotations

from jielong.lm.prompts import Message
from jielong.lm.protocol import LM
from jielong.prompting.cot import FINISH, concluded
from jielong.prompting.strategy import Answer, Problem, assistant, say, tongue, user

ASK = {
    "en": "{question}\nSearch for the answer: write down what you try first and what follows from it; where it leads "
          'nowhere, write "back" and try the next; go on until you have it. End with "The answer is" and the answer.',
    "zh": "{question}\n請用搜尋的方式找答案：寫下先試什麼、得到什麼；行不通就寫「回頭」，再試下一個；直到找到為止。"
          "最後寫「答案是」和答案。",
}  # fmt: skip


async def algorithm_of_thoughts(lm: LM, problem: Problem, *, k: int = 3) -> Answer:
    """One call: up to k examples with their searches, and the question."""
    turns: list[Message] = []
    for each in [each for each in problem.examples if each.steps][:k]:
        ended = FINISH[tongue(each.question)].format(steps=f"{each.steps}\n", answer=each.answer)
        turns = [*user(each.question, *turns), assistant(ended)]
    asked = problem.text if turns else ASK[tongue(problem.text)].format(question=problem.text)
    return concluded(problem, await say(lm, user(asked, *turns)))
