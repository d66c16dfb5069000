"""Zero-shot chain of thought in its two calls (Kojima et al. 2022, "Large language models are zero-shot reasoners").

1. The question and "Let's think step by step": the model reasons.
2. Question, reasoning and "Therefore, the answer is": the model answers, and the first answer of that is read. (For
   numbers the paper's phrase says "(arabic numerals)" and its first number counts.)

Many copies leave out the second call and read any number of the first reply. If the reasoning is right with
probability a and the second call copies its result with probability 1 - e (from wrong reasoning nothing right comes),
the share right is a (1 - e).
"""

from __future__ import annotations

from jielong.lm.protocol import LM
from jielong.prompting.readers import first_number, number
from jielong.prompting.strategy import Answer, Problem, assistant, say, tongue, user

THINK = {"en": "{question}\nLet's think step by step.", "zh": "{question}\n我們一步一步來想。"}
EXTRACT = {"en": "Therefore, the answer is", "zh": "所以，答案是"}
EXTRACT_NUMBER = {"en": "Therefore, the answer (arabic numerals) is", "zh": "所以，答案（阿拉伯數字）是"}


async def zero_shot_cot(lm: LM, problem: Problem) -> Answer:
    """Two calls; `text` of the answer holds both replies."""
    lang, numeric = tongue(problem.text), problem.read is number
    asked = user(THINK[lang].format(question=problem.text))
    thought = await say(lm, asked)
    extract = (EXTRACT_NUMBER if numeric else EXTRACT)[lang]
    said = await say(lm, user(extract, *asked, assistant(thought)))
    return Answer((first_number if numeric else problem.read)(said), f"{thought}\n{said}")
