"""Sentences that are said to help, each beside a neutral one of the same length: a list to measure, not to believe.

Emotional stimuli (Li et al. 2023, "Large language models understand and can be enhanced by emotional stimuli"), "take a
deep breath" (found by OPRO, Yang et al. 2023), tips, penalties and politeness (Bsharat et al. 2023, "Principled
instructions are all you need"; Yin et al. 2024, "Should we respect LLMs?"). The effect of a spell is the share right
with it less the share right with its neutral twin, on the same problems: length alone must not count as magic.

An oracle whose error rate falls by d where a spell stands and by 0 where its twin does shows exactly d.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from jielong.base.errors import UserError
from jielong.lm.protocol import LM
from jielong.prompting.strategy import Answer, Problem, Strategy, tongue


@dataclass(frozen=True)
class Spell:
    """`kind`: what it works on; `en` and `zh`: what is said; `neutral` ones say nothing, at equal length."""

    kind: str
    en: str
    zh: str
    neutral_en: str
    neutral_zh: str


SPELLS = {
    "career": Spell(
        "emotion", "This is very important to my career.", "這對我的工作非常重要。",
        "This was written on a usual Tuesday.", "這是星期二上午寫下的。",
    ),
    "sure": Spell(
        "emotion", "You had better be sure of your answer.", "你最好確定你的答案。",
        "The page before this one was left empty.", "前面的一頁是空白的。",
    ),
    "pride": Spell(
        "emotion", "Take pride in your work and do your very best.", "請以你的工作為榮，盡你全力。",
        "There are several sheets of paper on my brown desk.", "我的棕色書桌上，放著幾張紙。",
    ),
    "believe": Spell(
        "emotion", "I believe in you, you can do this.", "我相信你，你做得到。",
        "I went by train, it left at noon.", "我坐火車，中午開的。",
    ),
    "breath": Spell(
        "calm", "Take a deep breath and work on this step by step.", "深深吸一口氣，一步一步做。",
        "This is a line of text that has just eleven words.", "這裡有一行字，一共十個字。",
    ),
    "tip": Spell(
        "reward", "I will give you a tip of 200 dollars.", "我會給你兩百元的小費。",
        "I have seen a list of 200 streets there.", "我看過兩百條街的名單。",
    ),
    "punish": Spell(
        "threat", "You will be punished if you are wrong.", "答錯的話你會受罰。",
        "It was raining when they came home again.", "回家的時候下著雨。",
    ),
    "please": Spell(
        "manners", "Please, and thank you.", "拜託你了，謝謝。",
        "Pages, and some ink.", "有幾頁紙，墨水。",
    ),
    "rude": Spell(
        "manners", "Answer, you stupid useless machine.", "快回答，你這笨機器。",
        "Outside, a small brown bicycle.", "門外面，有一台單車。",
    ),
    "explain": Spell(
        "demand", "Explain your answer to a child.", "請向小孩解釋你的答案。",
        "Monday is followed by a Tuesday.", "星期一的後面是星期二。",
    ),
}  # fmt: skip


def spells(strategy: Strategy, cast: str = "career", neutral: bool = False) -> Strategy:
    """The strategy on the question with the spell (`neutral`: its twin) behind it. UserError for an unknown one."""
    if cast not in SPELLS:
        raise UserError(f"no spell {cast!r}: there are {', '.join(SPELLS)}")
    spell = SPELLS[cast]
    said = {"en": spell.neutral_en, "zh": spell.neutral_zh} if neutral else {"en": spell.en, "zh": spell.zh}

    async def spelled(lm: LM, problem: Problem) -> Answer:
        return await strategy(lm, replace(problem, text=f"{problem.text}\n{said[tongue(problem.text)]}"))

    return spelled
