"""Homework 4 of the course: write a prompt that makes a model solve word problems, and find out how good it really is.

The protocol. A prompt holds {{question}} and has at most 1,024 tokens. Each problem is asked three times at
temperature 1, in two stages: the model reasons, then it is asked for the number alone. A problem counts where two of
the three are right. Of two prompts the better one counts. Share right p of a single draw becomes

    P = p^3 + 3 p^2 (1 - p):    .4 -> .352,  .6 -> .648,  .7 -> .784,  .8 -> .896,

so the vote widens gaps, it does not mend a prompt.

What is added. A draw is right only if the second reply holds one number and it is the right one (not if the right one
stands anywhere in it). The public set chooses among prompts, the private one, fresh draws of the world as often as one
likes, reports; the difference is the overfit meter. Shares have Wilson's interval, two prompts are compared problem by
problem.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import comb, sqrt
from typing import TYPE_CHECKING, Any

from jielong.base.errors import UserError
from jielong.lm.meter import count_words
from jielong.lm.protocol import LM, gather
from jielong.prompting import readers
from jielong.prompting.instructed import Found, chosen, scored, under
from jielong.prompting.strategy import Problem, assistant, tongue, user

if TYPE_CHECKING:
    from jielong.base.result import Interval

FILL = "{{question}}"
CAP, DRAWS, NEEDED = 1024, 3, 2
EXTRACT = {
    "en": "The answer to the original question is (a number only):",
    "zh": "原本問題的答案是（只寫一個數字）：",
}
USUAL = {
    "en": "{{question}}\n\nWork it out step by step, then check each step.",
    "zh": "{{question}}\n\n請一步一步算，再檢查每一步。",
}
SENTENCES = {
    "en": (
        "Work step by step.",
        "First write down what is known, then what is asked, then calculate.",
        "Write one equation for each sentence of the question.",
        "Take a deep breath and work on this problem step by step.",
        "This is very important to me. Be careful.",
        "You are a patient teacher of mathematics. Explain your solution.",
        "Keep a running total after every event.",
        "Solve it in two different ways and compare.",
        "Answer at once, without thinking.",
        "Break the problem into smaller questions and answer each.",
    ),
    "zh": (
        "請一步一步計算。",
        "先寫出已知的，再寫出要求的，最後計算。",
        "題目的每一句話寫一個算式。",
        "深呼吸，然後一步一步解這一題。",
        "這對我非常重要，請小心。",
        "你是有耐心的數學老師，請說明你的解法。",
        "每件事發生之後，記下目前的總數。",
        "用兩種方法解，再比較答案。",
        "不要想，直接回答。",
        "把問題分成幾個小問題，逐一回答。",
    ),
}
PUBLIC_POINTS = ((0.60, 5),)
PRIVATE_POINTS = ((0.62, 1), (0.67, 3), (0.72, 5))


@dataclass(frozen=True)
class Try:
    """One of the three: what the model reasoned, what it then said, and the number in that."""

    thought: str
    said: str
    value: str | None
    right: bool


@dataclass(frozen=True)
class Marked:
    """A problem under a prompt, and its three tries."""

    problem: Problem
    tries: tuple[Try, ...]

    @property
    def right(self) -> bool:
        """Two of three."""
        return sum(each.right for each in self.tries) >= NEEDED


@dataclass(frozen=True)
class Sheet:
    """A prompt, and its problems of both sets."""

    prompt: str
    public: tuple[Marked, ...]
    private: tuple[Marked, ...]


Search = Callable[[LM, Sequence[Problem], "Score"], Awaitable[Found]]
Score = Callable[[LM, str, Sequence[Problem]], Awaitable[float]]


def voted(p: float, n: int = DRAWS, needed: int = NEEDED) -> float:
    """The share of problems that count, where a draw is right with probability p."""
    return sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(needed, n + 1))


def checked(lm: LM, prompt: str) -> str:
    """The prompt. UserError without {{question}}, or longer than the cap (by the model's tokenizer, else in words)."""
    if FILL not in prompt:
        raise UserError(f"the prompt has no {FILL}: write it where the question is to stand")
    own = getattr(lm, "tokens", None)
    size = len(own(prompt)) if callable(own) else count_words(prompt)
    if size > CAP:
        raise UserError(f"the prompt has {size} tokens and the homework allows {CAP}: shorten it")
    return prompt


def number_only(reply: str) -> str | None:
    """The one number of a reply; None without a number, or with several different ones: which of them was meant?"""
    import unicodedata

    found = readers.NUMBER.findall(unicodedata.normalize("NFKC", reply).translate(readers.MINUS))
    values = {readers.plain(each) for each in found}
    return values.pop() if len(values) == 1 else None


async def marked(lm: LM, prompt: str, problem: Problem, max_tokens: int = 256) -> Marked:
    """One problem: three draws of the reasoning, and after each its own draw of the answer."""
    asked = user(prompt.replace(FILL, problem.text))
    thoughts = await lm.asample(asked, DRAWS, temperature=1.0, max_tokens=max_tokens)
    extract = EXTRACT[tongue(problem.text)]

    async def answered(index: int, thought: str) -> Try:
        turns = [*asked, assistant(thought)]
        # the index once more: two draws that reasoned alike still answer independently
        (draw,) = await lm.asample(user(extract, *turns), 1, index, temperature=1.0, max_tokens=32)
        value = number_only(draw.text)
        return Try(thought, draw.text, value, value is not None and value == readers.number(problem.gold or ""))

    return Marked(problem, tuple(await gather(*(answered(i, draw.text) for i, draw in enumerate(thoughts)))))


async def mark(lm: LM, prompt: str, problems: Sequence[Problem], max_tokens: int = 256,
               tell: Callable[[], object] | None = None) -> tuple[Marked, ...]:  # fmt: skip
    """All problems under one prompt. UserError for a prompt that is not allowed."""
    checked(lm, prompt)

    async def one(problem: Problem) -> Marked:
        found = await marked(lm, prompt, problem, max_tokens)
        if tell is not None:
            tell()
        return found

    return tuple(await gather(*map(one, problems)))


def share(sheet: Sequence[Marked]) -> float:
    """Of the problems those that count."""
    return sum(each.right for each in sheet) / len(sheet)


def single(sheet: Sequence[Marked]) -> float:
    """Of all draws those that are right."""
    return sum(t.right for each in sheet for t in each.tries) / (len(sheet) * DRAWS)


def unread(sheet: Sequence[Marked]) -> float:
    """Of all draws those whose second reply was no single number."""
    return sum(t.value is None for each in sheet for t in each.tries) / (len(sheet) * DRAWS)


def points(reached: float, table: Sequence[tuple[float, int]]) -> int:
    """What the course gave for a share."""
    return max((given for needed, given in table if reached >= needed - 1e-12), default=0)


def overfit(public: Sequence[Marked], private: Sequence[Marked], level: float = 0.95) -> tuple[float, Interval]:
    """Public minus private: how much better a prompt looks on the problems that chose it. Interval of two independent
    shares by Newcombe's hybrid score (1998, method 10), from Wilson's."""
    from jielong.base.result import Interval
    from jielong.base.stats import wilson

    (p, a), (q, b) = ((share(each), wilson(sum(m.right for m in each), len(each), level)) for each in (public, private))
    low = p - q - sqrt((p - a.low) ** 2 + (b.high - q) ** 2)
    high = p - q + sqrt((a.high - p) ** 2 + (q - b.low) ** 2)
    return p - q, Interval(low, high, level, "newcombe")


def compared(first: Sequence[Marked], second: Sequence[Marked]) -> tuple[float, Interval, float]:
    """First less second on the same problems: the difference, its interval, and McNemar's exact p."""
    from jielong.base.stats import mcnemar_exact, paired_bootstrap

    a, b = ([float(each.right) for each in sheet] for sheet in (first, second))
    return share(first) - share(second), paired_bootstrap(a, b), mcnemar_exact(a, b)


async def sat(lm: LM, prompts: Sequence[str], public: Sequence[Problem], private: Sequence[Problem],
              max_tokens: int = 256, tell: Callable[[], object] | None = None) -> list[Sheet]:  # fmt: skip
    """Each prompt on both sets."""
    for prompt in prompts:
        checked(lm, prompt)
    sheets = []
    for prompt in prompts:
        first = await mark(lm, prompt, public, max_tokens, tell)
        sheets.append(Sheet(prompt, first, await mark(lm, prompt, private, max_tokens, tell)))
    return sheets


def best(sheets: Sequence[Sheet]) -> Sheet:
    """The better prompt on the public set, the earlier of equals: the private one never chooses."""
    return max(sheets, key=lambda each: share(each.public))


def scoring(max_tokens: int = 256) -> Score:
    """The homework's own share as the score of a search for instructions."""

    async def score(lm: LM, instruction: str, problems: Sequence[Problem]) -> float:
        return share(await mark(lm, under(instruction, FILL), problems, max_tokens))

    return score


def searching(name: str, evaluations: int) -> Search:
    """A search by its name, with about so many instructions: `sentences` (a list that people wrote, drawn at random),
    `random` (drawn from the model), `ape`, `opro`. UserError for another."""
    if evaluations < 1:
        raise UserError(f"{evaluations} instructions: try 1 or more")

    async def sentences(lm: LM, public: Sequence[Problem], score: Score) -> Found:
        from jielong.base import noise

        listed = [each for lang in sorted({tongue(p.text) for p in public}) for each in SENTENCES[lang]]
        order = noise.permutation(noise.seed_of("homework 4"), len(listed)).tolist()[:evaluations]
        return await chosen(lm, await scored(lm, [listed[i] for i in order], public, score), (), score)

    async def random(lm: LM, public: Sequence[Problem], score: Score) -> Found:
        from jielong.prompting import random_search

        return await random_search.search(lm, _shown(public), public, candidates=evaluations, score=score)

    async def ape(lm: LM, public: Sequence[Problem], score: Score) -> Found:
        from jielong.prompting import ape

        half = max(1, evaluations // 2)
        return await ape.search(lm, _shown(public), public, candidates=half, rounds=1, score=score)

    async def opro(lm: LM, public: Sequence[Problem], score: Score) -> Found:
        from jielong.prompting import opro

        each = min(8, evaluations)
        return await opro.search(lm, _shown(public), public, steps=max(1, evaluations // each), each=each, score=score)

    known: dict[str, Search] = {"sentences": sentences, "random": random, "ape": ape, "opro": opro}
    if name not in known:
        raise UserError(f"no search {name!r}: there are {', '.join(known)}")
    return known[name]


def _shown(problems: Sequence[Problem]) -> list[Any]:
    """Some of the public problems with their answers, from which an instruction is guessed."""
    from jielong.prompting.strategy import Example

    return [Example(each.text, each.gold or "") for each in problems[:4]]
