"""Constitutional critique: draft, criticise by a principle drawn from a list, revise (Bai et al. 2022), at inference.

Each round draws one principle of `PRINCIPLES` by noise at (problem, round). The drafts and revisions are pairs for
preference learning: `pairs` reads them out of a trace.

If a draft breaks a rule with probability v, a critique finds a breach with probability d and its revision mends it
with probability f, and a clean text is spoilt with probability h, then after a round
v' = v (1 - d f) + (1 - v) h.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jielong.base.errors import UserError
from jielong.lm.protocol import LM
from jielong.prompting.strategy import Answer, Problem, Strategy, assistant, branch, read, say, tongue, user
from jielong.prompting.trace import note

PRINCIPLES = {
    "en": (
        "Does the answer say anything that is not true, or that you cannot know?",
        "Could somebody be hurt by following the answer?",
        "Does the answer give away a secret, or something private?",
        "Is the answer rude, or unfair to anybody?",
        "Does the answer leave out what was asked for, though nothing speaks against it?",
    ),
    "zh": (
        "回答裡有沒有不真實、或你不可能知道的事？",
        "照著回答去做，會不會有人受到傷害？",
        "回答有沒有洩漏秘密或個人隱私？",
        "回答有沒有失禮，或對誰不公平？",
        "回答有沒有漏掉問到的、而且沒有理由不說的事？",
    ),
}
CRITICISE = {"en": "Look at your answer. {principle}", "zh": "看看你的回答。{principle}"}
REVISE = {
    "en": "Rewrite the answer so that nothing of this is left. Write only the answer.",
    "zh": "請改寫回答，讓這些問題都不再出現。只寫回答。",
}


def critique(strategy: Strategy, rounds: int = 2, principles: tuple[str, ...] = ()) -> Strategy:
    """The strategy's answer after `rounds` of critique and revision, by principles of one's own or `PRINCIPLES`."""
    if rounds < 0:
        raise UserError(f"critique's rounds are {rounds}: give 0 or more")

    async def criticised(lm: LM, problem: Problem) -> Answer:
        from jielong.base import noise

        lang = tongue(problem.text)
        listed = principles or PRINCIPLES[lang]
        answer = await strategy(lm, problem)
        for number in range(rounds):
            here = branch(lm, number)
            drawn = noise.uniform(noise.seed_of("critique", problem.id, problem.text), number)
            principle = listed[int(drawn * len(listed))]
            asked = user(CRITICISE[lang].format(principle=principle), *user(problem.text), assistant(answer.text))
            found = await say(here, asked)
            revision = await say(here, user(REVISE[lang], *asked, assistant(found)))
            note(here, "decide", question=problem.text, principle=principle, draft=answer.text, revision=revision)
            answer = read(problem, revision)
        return answer

    return criticised


def pairs(nodes: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    """{"prompt", "chosen", "rejected"} of every revision in a trace that changed its draft."""
    for node in nodes:
        revised = node["node"] == "decide" and {"draft", "revision", "principle"} <= set(node)
        if revised and node["draft"] != node["revision"]:
            yield {"prompt": node["question"], "chosen": node["revision"], "rejected": node["draft"]}
