"""Show worked examples before the question (Brown et al. 2020, "Language models are few-shot learners").

The model's weights stay as they are. Which examples are shown, and in which order, may matter as much as how many: the
first ones, drawn at random for each question, or the nearest to it, the very nearest last (Liu et al. 2021, "What makes
good in-context examples for GPT-3?"), by the model's embeddings or by shared words.

Of an oracle whose error rate is e(k) with k examples in its prompt, the share right is 1 - e(k).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from jielong.base.errors import UserError
from jielong.lm.prompts import Message
from jielong.lm.protocol import LM
from jielong.prompting.strategy import Answer, Example, Problem, assistant, read, say, user

Choice = Literal["fixed", "random", "nearest", "words"]


async def few_shot(lm: LM, problem: Problem, *, k: int = 4, choice: Choice = "fixed") -> Answer:
    """One call: k of the problem's examples as turns of a chat, then the question. UserError without examples."""
    shown = await choose(lm, problem, problem.examples, k, choice)
    if not shown:
        raise UserError("few_shot has no examples to show: give the problems some, as --examples FILE.jsonl")
    turns: list[Message] = []
    for each in shown:
        turns = [*user(each.question, *turns), assistant(each.answer)]
    return read(problem, await say(lm, user(problem.text, *turns)))


async def choose(lm: LM, problem: Problem, examples: Sequence[Example], k: int, choice: Choice) -> list[Example]:
    """`k` of the examples, in the order in which they are to be shown. UserError for another choice or a negative k."""
    if k < 0:
        raise UserError(f"k is {k}: show 0 examples or more")
    if choice == "fixed" or not examples:
        return list(examples[:k])
    if choice == "random":
        from jielong.base import noise

        order = noise.permutation(noise.seed_of("few-shot", problem.id, problem.text), len(examples))
        return [examples[i] for i in order[:k].tolist()]
    if choice == "nearest":
        vectors = (await lm.aembed([problem.text, *(each.question for each in examples)])).astype("float64")
        vectors /= (vectors**2).sum(1, keepdims=True) ** 0.5 + 1e-12
        near = (vectors[1:] @ vectors[0]).tolist()
    elif choice == "words":
        asked = _words(problem.text)
        near = [len(asked & _words(each.question)) / len(asked | _words(each.question)) for each in examples]
    else:
        raise UserError(f"choice is {choice!r}: give fixed, random, nearest or words")
    best = sorted(range(len(examples)), key=lambda i: (-near[i], i))[:k]
    return [examples[i] for i in reversed(best)]


def _words(text: str) -> set[str]:
    """Words in lower case, and single Chinese characters; never none."""
    spaced = "".join(f" {c} " if "\u3400" <= c <= "\u9fff" else c if c.isalnum() else " " for c in text.lower())
    return set(spaced.split()) or {""}
