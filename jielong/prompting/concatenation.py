"""Several questions in one prompt: the instruction is paid once (Cheng et al. 2023, 2301.08721; Lin et al. 2023).

    answers = await answer_all(lm, problems, size=6)

Questions are numbered, and each answer has to stand behind its number ("A2: ..."). With `repeats` the questions are
mixed anew each time, so that none always stands last, and the repeats vote (BatchPrompt). A number that is missing,
or stands twice with different answers, is no answer, and numbers that were not asked are passed over; a question that
no repeat has answered is asked alone.

If an answer is left out with probability m, wrong with e else, and alone wrong with e', the share right is
(1 - m)(1 - e) + m (1 - e'). An instruction of I tokens and questions of q cost (I / k + q) a question, not I + q.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from jielong.base.errors import UserError
from jielong.lm.prompts import key_of
from jielong.lm.protocol import LM, gather
from jielong.prompting.direct import direct
from jielong.prompting.strategy import Answer, Problem, Strategy, branch, read, say, tongue, user
from jielong.prompting.vote import majority

ASK = {
    "en": "Answer each of the {n} questions. Begin each answer on a new line with its number: A1: ...\n\n{listed}",
    "zh": "請回答下面{n}個問題。每個回答另起一行，開頭寫它的號碼，例如 A1: ……\n\n{listed}",
}
BEGINS = re.compile(r"^[ \t*]*A(\d{1,4})[ \t*]*[:：.][ \t*]*", re.MULTILINE)


async def answer_all(
    lm: LM, problems: Sequence[Problem], size: int = 6, repeats: int = 1, alone: Strategy = direct
) -> list[Answer]:  # fmt: skip
    """An answer to every problem, in their order. UserError for a size or repeats below 1."""
    if min(size, repeats) < 1:
        raise UserError(f"concatenation puts {size} together and repeats {repeats} times: give 1 or more of each")
    rounds = await gather(*(_round(branch(lm, number), problems, order, size)
                            for number, order in enumerate(orders(problems, repeats))))  # fmt: skip
    found = [majority([each[place] for each in rounds]) for place in range(len(problems))]
    missing = [place for place, each in enumerate(found) if each.value is None]
    singly = await gather(*(alone(branch(lm, ("alone", place)), problems[place]) for place in missing))
    for place, each in zip(missing, singly):
        found[place] = each
    return found


async def _round(lm: LM, problems: Sequence[Problem], order: Sequence[int], size: int) -> list[Answer]:
    """Every problem once, `size` together, in this order."""
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    replies = await gather(*(say(lm, user(asked([problems[place] for place in group]))) for group in groups))
    found = [Answer(None)] * len(problems)
    for group, reply in zip(groups, replies):
        for number, text in parts(reply, len(group)).items():
            found[group[number - 1]] = read(problems[group[number - 1]], text)
    return found


def asked(problems: Sequence[Problem]) -> str:
    """The prompt of some questions."""
    listed = "\n".join(f"Q{number}: {each.text}" for number, each in enumerate(problems, 1))
    return ASK[tongue(problems[0].text)].format(n=len(problems), listed=listed)


def parts(reply: str, n: int) -> dict[int, str]:
    """number -> its answer, of the numbers 1 to n that stand there once, or several times with the same answer."""
    marks = list(BEGINS.finditer(reply))
    found: dict[int, set[str]] = {}
    for mark, after in zip(marks, [*marks[1:], None]):
        text = reply[mark.end() : None if after is None else after.start()].strip()
        found.setdefault(int(mark[1]), set()).add(text)
    return {number: texts.pop() for number, texts in sorted(found.items()) if 1 <= number <= n and len(texts) == 1}


def orders(problems: Sequence[Problem], repeats: int) -> list[list[int]]:
    """The order as given, and then mixed ones."""
    from jielong.base import noise

    seed = noise.seed_of("concatenation", key_of([each.id or each.text for each in problems]))
    mixed = [noise.permutation(seed, len(problems), number).tolist() for number in range(1, repeats)]
    return [list(range(len(problems))), *mixed]
