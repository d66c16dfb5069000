"""Debate: several answer, see what the others said, and answer anew (Du et al. 2023, 2305.14325; Liang et al. 2023).

In the first round each of `agents` answers by itself, on its own branch of the model. In every other round each sees
what the others said in the round before, in the chat that holds all of its own, and answers again. It ends after
`rounds`, or when all have given one and the same answer; then the majority of the last round decides, or a judge. What
could not be read as an answer is shown to the others and votes for nothing.

What theory says (Choi et al. 2025, "Debate or vote"; 2601.19921): an agent that takes over one of the n answers it
sees, each alike, is right as often after any round as before the first, so debate adds nothing to a vote; agents that
follow the majority end in the vote of the first round, whatever comes. A gain needs agents that err differently and
know a right answer when they see it: of two that are right with p and q, and take over right answers but no wrong ones,
one is right in the end with 1 - (1 - p)(1 - q).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from jielong.base.errors import UserError
from jielong.lm.prompts import Message
from jielong.lm.protocol import LM, gather
from jielong.prompting.cot import concluded
from jielong.prompting.judge import pick
from jielong.prompting.strategy import Answer, Problem, Strategy, assistant, branch, say, tongue, user
from jielong.prompting.trace import beside, note
from jielong.prompting.vote import majority

Attitude = Literal["open", "agreeable", "contrary"]

OTHERS = {
    "en": "These are the answers of the others:\n\n{said}\n\n{attitude} Give your answer to the question again.",
    "zh": "其他人的回答是：\n\n{said}\n\n{attitude}請再回答一次這個問題。",
}
ATTITUDES = {
    "open": {"en": "Take them as advice, with care.", "zh": "請謹慎地參考。"},
    "agreeable": {
        "en": "They have thought about it as well as you: if they do not agree with you, you are probably wrong.",
        "zh": "他們和你一樣仔細想過：如果他們和你不同，多半是你錯了。",
    },
    "contrary": {
        "en": "You do not have to agree with anybody: look for the mistakes in what they say.",
        "zh": "你不必同意任何人：請找出他們說法裡的錯誤。",
    },
}


def debate(
    strategy: Strategy, agents: int = 3, rounds: int = 2, *, attitude: Attitude = "open", judged: bool = False,
    members: Sequence[LM] = (),
) -> Strategy:  # fmt: skip
    """`agents` of one model, or `members`, who may be others; `rounds` counts the first. `judged`: a judge decides."""
    if min(agents, rounds) < 1:
        raise UserError(f"debate has {agents} agents and {rounds} rounds: give 1 or more of each")
    if attitude not in ATTITUDES:
        raise UserError(f"debate's attitude is {attitude!r}: give {', '.join(ATTITUDES)}")

    async def debated(lm: LM, problem: Problem) -> Answer:
        last = (await held(lm, problem, strategy, agents, rounds, attitude, members))[-1]
        found = await pick(branch(lm, "judge"), problem, last) if judged else majority(last)
        note(lm, "vote", votes=found.votes, value=found.value, unread=sum(each.value is None for each in last))
        return found

    return debated


async def held(
    lm: LM, problem: Problem, strategy: Strategy, agents: int = 3, rounds: int = 2, attitude: Attitude = "open",
    members: Sequence[LM] = (),
) -> list[list[Answer]]:  # fmt: skip
    """Everybody's answers, round by round, until the last round or consensus."""
    who = [branch(beside(lm, each), number) for number, each in enumerate(members)] or [
        branch(lm, number) for number in range(agents)
    ]
    said: list[list[Answer]] = [await gather(*(strategy(each, problem) for each in who))]
    chats: list[list[Message]] = [[*user(problem.text), assistant(answer.text)] for answer in said[0]]
    while len(said) < rounds and not agreed(said[-1]):
        asked = [user(heard(problem, said[-1], number, attitude), *chat) for number, chat in enumerate(chats)]
        replies = await gather(*(say(each, prompt) for each, prompt in zip(who, asked)))
        chats = [[*prompt, assistant(reply)] for prompt, reply in zip(asked, replies)]
        said.append([concluded(problem, reply) for reply in replies])
    return said


def agreed(answers: Sequence[Answer]) -> bool:
    """Whether all have given an answer, and the same."""
    return answers[0].value is not None and len({each.value for each in answers}) == 1


def heard(problem: Problem, answers: Sequence[Answer], own: int, attitude: Attitude) -> str:
    """What agent `own` is told of the others."""
    lang = tongue(problem.text)
    said = "\n\n".join(f"- {each.text}" for number, each in enumerate(answers) if number != own)
    return OTHERS[lang].format(said=said, attitude=ATTITUDES[attitude][lang])
