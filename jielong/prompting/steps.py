"""The task of any question: an answer written step by step, for `tree_of_thoughts` and `depth_first`.

A state is the steps so far, a line each; a thought is the next one, drawn `draws` times ("sample"). A state that says
"The answer is" is whole. A state is worth 20 for each judgement "sure", 1 for "likely", 0.001 for "impossible".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jielong.lm.prompts import Prompt
from jielong.prompting.cot import ENDING, concluded
from jielong.prompting.judge import placed
from jielong.prompting.readers import one_of
from jielong.prompting.strategy import Answer, Problem, tongue, user

THINK = {
    "en": "{question}\nWrite one step at a time. The steps so far:\n{state}\n"
          'Write only the next step, on one line. If nothing is left to do, write "The answer is" and the answer.',
    "zh": "{question}\n一次只寫一步。目前的步驟：\n{state}\n"
          "只寫下一步，寫在一行裡。如果已經做完，就寫「答案是」和答案。",
}  # fmt: skip
JUDGE = {
    "en": "{question}\nThe steps so far:\n{state}\nWill they lead to the right answer? Write one word: sure, likely or "
          "impossible.",
    "zh": "{question}\n目前的步驟：\n{state}\n這樣做會得到正確答案嗎？只寫一個詞：會、也許、不會。",
}  # fmt: skip
BALLOT = {
    "en": "{question}\nWhich of these beginnings is the best?\n{choices}\nWrite only its number.",
    "zh": "{question}\n下面哪一個開頭最好？\n{choices}\n只寫它的號碼。",
}
WORTH = {"sure": 20.0, "likely": 1.0, "impossible": 0.001, "會": 20.0, "也許": 1.0, "不會": 0.001}
SAYS = one_of(tuple(WORTH))


@dataclass(frozen=True)
class Steps:
    """The task: see `tree_of_thoughts.Task`."""

    steps: int = 5
    draws: int = 5

    def think(self, problem: Problem, state: str) -> Prompt | None:
        if whole(state):
            return None
        return user(THINK[tongue(problem.text)].format(question=problem.text, state=state))

    def thoughts(self, problem: Problem, state: str, reply: str) -> list[str]:
        """The first line that says something."""
        lines = [line.strip() for line in reply.splitlines() if line.strip()]
        return [f"{state}\n{lines[0]}".lstrip("\n")] if lines else []

    def judge(self, problem: Problem, state: str) -> Prompt:
        return user(JUDGE[tongue(problem.text)].format(question=problem.text, state=state))

    def worth(self, replies: Sequence[str]) -> float:
        """A judgement that says none of the three words, or two of them, counts for nothing."""
        return sum(WORTH.get(SAYS(reply) or "", 0.0) for reply in replies)

    def ballot(self, problem: Problem, states: Sequence[str]) -> Prompt:
        choices = "\n".join(f"{i}. {' / '.join(state.splitlines())}" for i, state in enumerate(states, 1))
        return user(BALLOT[tongue(problem.text)].format(question=problem.text, choices=choices))

    def choice(self, reply: str, among: int) -> int | None:
        return placed(reply, among)

    def answer(self, problem: Problem, state: str) -> Answer:
        return concluded(problem, state) if whole(state) else Answer(None, state, note="the steps have no end")


def whole(state: str) -> bool:
    """Whether the steps have come to an answer."""
    return any(phrase.lower() in state.lower() for phrase in ENDING.values())
