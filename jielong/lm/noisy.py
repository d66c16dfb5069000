"""A model that is right with a known probability: every strategy built on it has a closed form to meet.

    lm = NoisyOracle(lambda prompt: "4", error_rate=0.2, wrong_fn=lambda prompt: ["3", "5"], seed=1)

Draw i of a prompt is decided by the noise at (seed, prompt, i) alone. With `source=` the choice comes from
there, so `noise.enumerate_choices(lambda source: strategy(NoisyOracle(..., source=source)))` gives the exact
law of whatever the strategy does.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.lm.meter import Budget, Meter, count_words
from jielong.lm.prompts import Prompt, canonical, key_of, text_of
from jielong.lm.protocol import LM, Draw, Score, Usage, check_draws, settings


class NoisyOracle(LM):
    """Says `answer_fn(prompt)`, and with probability `error_rate` one of `wrong_fn(prompt)`, each alike.

    `error_rate` may be a function of the prompt. Prompts reach the functions as text (messages as
    "role: content" lines). The temperature is not looked at: the error rate is the whole law, and `score`
    gives it exactly. UserError for a rate outside [0, 1], or for errors without wrong answers to choose from.
    """

    capabilities = frozenset({"sample", "stream", "score", "fork", "seed", "logprobs"})

    def __init__(self, answer_fn: Callable[[str], str], error_rate: float | Callable[[str], float],
                 wrong_fn: Callable[[str], Sequence[str]] = lambda prompt: ("wrong",), seed: int = 0,
                 source: noise.Source | None = None, budget: Budget | None = None,
                 name: str = "noisy") -> None:
        self.name = name
        self.answer_fn, self.error_rate, self.wrong_fn = answer_fn, error_rate, wrong_fn
        self.seed = seed
        self.source = source or noise.RandomSource(noise.seed_of("noisy oracle", seed))
        self.meter = Meter(budget)

    @property
    def usage(self) -> Usage:
        return self.meter.usage

    def law(self, prompt: Prompt) -> dict[str, float]:
        """Every answer and its probability."""
        text = text_of(prompt)
        rate = self.error_rate(text) if callable(self.error_rate) else self.error_rate
        if not 0 <= rate <= 1:
            raise UserError(f"error_rate is {rate}: give 0 to 1")
        wrong = list(self.wrong_fn(text)) if rate > 0 else []
        if rate > 0 and not wrong:
            raise UserError(f"error_rate is {rate} and there is no wrong answer to {text!r}: give one")
        out = {self.answer_fn(text): 1.0 - rate}
        for answer in wrong:
            out[answer] = out.get(answer, 0.0) + rate / len(wrong)
        return {answer: p for answer, p in out.items() if p > 0}

    async def asample(self, prompt: Prompt, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
        check_draws(n, start)
        most = settings(sampling).max_tokens
        request, read = canonical(prompt), count_words(text_of(prompt))
        answers, probs = zip(*self.law(prompt).items())
        with self.meter.call(read + n * max(most, *map(count_words, answers))) as bill:
            bill.add(prompt=read)
            draws = []
            for index in range(start, start + n):
                chosen = self.source.choose(probs, key_of(request), index)
                written = count_words(answers[chosen])
                bill.add(completion=written)
                key = key_of(self.name, self.seed, request, index)
                draws.append(Draw(answers[chosen], logprobs=(math.log(probs[chosen]),), key=key,
                                  usage=Usage(1, read, written)))
        return draws

    async def astream(self, prompt: Prompt, start: int = 0, **sampling: Any) -> AsyncIterator[str]:
        """The whole answer at once."""
        yield (await self.asample(prompt, 1, start, **sampling))[0].text

    async def ascore(self, prompt: Prompt, continuations: Sequence[str]) -> list[Score]:
        law = self.law(prompt)
        read = count_words(text_of(prompt))
        with self.meter.call(sum(read + count_words(c) for c in continuations)) as bill:
            bill.add(prompt=sum(read + count_words(c) for c in continuations))
            return [Score((math.log(law[c]) if c in law else -math.inf,), bytes=len(c.encode()))
                    for c in continuations]
