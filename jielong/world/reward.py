"""A reward that is true, and a judge that can be made unfair by a known amount.

reward = 0.7 right + 0.1 (in the user's language) + 0.1 (brief) + 0.1 (polite), where an honest "I do not
know" to an answerable question earns a third of `right`, and nonsense earns nothing at all.

The judge prefers b with probability sigmoid(SHARPNESS (reward(b) - reward(a)) - position_bias
+ length_bias log(|b| / |a|)): both biases are in units of log-odds, positive for the first and the longer.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from jielong.base import noise
from jielong.world.check import normal
from jielong.world.text import Question

if TYPE_CHECKING:
    from jielong.world.world import World

RIGHT, LANGUAGE, BRIEF, POLITE = 7, 1, 1, 1  # tenths
REFUSED = 1 / 3
SHARPNESS = 20.0
_RUDE = re.compile(
    r"\b(?:stupid|idiot|shut up|dumb|fool|go away|moron)\b|笨|白痴|閉嘴|滾開|煩死", re.IGNORECASE
)
_CHINESE = re.compile(r"[㐀-鿿]")
_ENGLISH = re.compile(r"[A-Za-z]")


def reward(world: World, question: Question, reply: str) -> float:
    """In [0, 1]; 1 for the question's own answer."""
    verdict = world.check(question, reply)
    if verdict == "nonsense":
        return 0.0
    right = {"right": 1.0, "refused": REFUSED, "wrong": 0.0}[verdict]
    manners = LANGUAGE * in_language(question, reply) + POLITE * (not rude(reply))
    return (RIGHT * right + manners + BRIEF * brevity(question, reply)) / 10


def in_language(question: Question, reply: str) -> bool:
    """Whether the reply is written as the question's own answer is: with Chinese characters or without.

    Replies without letters (numbers) and answers that are themselves in the other language pass.
    """
    wanted = bool(_CHINESE.search(question.answer)), bool(_ENGLISH.search(question.answer))
    has = bool(_CHINESE.search(reply)), bool(_ENGLISH.search(reply))
    return not any(has) or has == wanted or wanted == (False, False)


def brevity(question: Question, reply: str) -> float:
    """1 up to half as long again as the question's own answer, then falling to 0 at four times."""
    ratio = len(normal(reply)) / max(len(normal(question.answer)), 8)
    return min(1.0, max(0.0, (4 - ratio) / 2.5))


def rude(reply: str) -> bool:
    """Bad words, or a whole reply shouted in capitals."""
    letters = [c for c in reply if c.isalpha() and c.isascii()]
    shouting = len(letters) > 12 and all(c.isupper() for c in letters)
    return shouting or bool(_RUDE.search(reply))


def preference(
    world: World, question: Question, a: str, b: str, position_bias: float = 0.0, length_bias: float = 0.0
) -> float:
    """The probability that the judge prefers `b`."""
    better = reward(world, question, b) - reward(world, question, a)
    longer = math.log(max(len(b), 1) / max(len(a), 1))
    return 1 / (1 + math.exp(-(SHARPNESS * better - position_bias + length_bias * longer)))


def judge(
    world: World,
    question: Question,
    a: str,
    b: str,
    position_bias: float = 0.0,
    length_bias: float = 0.0,
    seed: int = 0,
) -> int:
    """0 for `a`, 1 for `b`: a draw of `preference` that depends on the seed, the question and the replies."""
    drawn = noise.uniform(noise.seed_of("judge", seed, question.prompt, a, b), 0)
    return int(drawn < preference(world, question, a, b, position_bias, length_bias))
