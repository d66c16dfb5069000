"""Whatever knows what an answer is worth, as a judge: a reward, and the world's own judge; and a judge as a reward.

    RewardJudge(from_path("reward.py:right"))      any reward of `rewarding.py`: a function, a reward model
    RewardJudge(TrueReward())                      the world's true reward, for questions of the world
    WorldJudge(position_bias=1.0)                  its judge, whose bias and sharpness are known
    JudgeReward(PointJudge(lm))                    the other way round: AI feedback as a reward of PPO and GRPO
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from jielong.base.errors import UserError, WorkFailed
from jielong.lm.protocol import gather
from jielong.lm.sync import run
from jielong.train.preferences.asked import Asked
from jielong.train.preferences.best_of import distinct
from jielong.train.preferences.judge import Compared, Judge, Judged, by_points, count, settled
from jielong.train.preferences.rewarding import Reward, judged
from jielong.world.text import Origin, Question
from jielong.world.world import World


@dataclass(frozen=True)
class RewardJudge:
    """A reward as a judge: its numbers are the points; an answer without a number is not judged."""

    reward: Reward
    lock: Any = field(default_factory=threading.Lock, repr=False)  # a person's function may not bear two calls at once
    compares: bool = False

    @property
    def name(self) -> str:
        """The reward's."""
        return str(getattr(self.reward, "name", None) or getattr(self.reward, "__name__", "a reward"))

    async def ajudge(self, asked: Asked, answers: Sequence[str]) -> Judged:
        """One call for all answers."""

        def work() -> Judged:
            columns = {name: [value] * len(answers) for name, value in asked.columns.items() if name not in TAKEN}
            with self.lock:
                worths = judged(self.reward, [asked.shown] * len(answers), list(answers), columns)
            return by_points([None if math.isnan(worth) else worth for worth in worths.tolist()])

        return await asyncio.to_thread(work)


TAKEN = ("prompts", "completions")  # names that are not the data's


@dataclass(frozen=True)
class TrueReward:
    """The world's true reward of answers to its own questions (`world/reward.py`)."""

    world: World = field(default_factory=World)
    name: str = "world:reward"

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[str], **columns: Sequence[Any]
    ) -> Sequence[float | None]:
        """In [0, 1]. UserError where the data does not say which question it is."""
        found: list[float | None] = []
        for number, (prompt, text) in enumerate(zip(prompts, completions)):
            asked = Asked(prompt, {name: values[number] for name, values in columns.items()})
            found.append(self.world.reward(question_of(asked), text))
        return found


@dataclass(frozen=True)
class WorldJudge:
    """The world's judge of answers to its own questions, asked in both orders, or `once`, as a person would be."""

    world: World = field(default_factory=World)
    position_bias: float = 0.0
    length_bias: float = 0.0
    seed: int = 0
    once: bool = False
    compares: bool = True

    @property
    def name(self) -> str:
        """With its biases."""
        return f"world {self.position_bias} {self.length_bias} {self.seed}{' once' * self.once}"

    async def ajudge(self, asked: Asked, answers: Sequence[str]) -> Judged:
        """Each two of the answers."""
        question = question_of(asked)

        def prefers(a: str, b: str) -> str:
            return "AB"[self.world.judge(question, a, b, self.position_bias, self.length_bias, self.seed)]

        pairs: list[Compared] = []
        for one, two in combinations(range(len(answers)), 2):
            first = prefers(answers[one], answers[two])
            if self.once:
                pairs.append(Compared(one, two, "first" if first == "A" else "second", led=int(first == "A"), read=1))
            else:
                pairs.append(settled(one, two, (first, prefers(answers[two], answers[one]))))
        return Judged(count(len(answers), pairs), tuple(pairs))


@dataclass(frozen=True)
class JudgeReward:
    """A judge's points as a reward; what it could not judge is None.

    The answers to one prompt are judged together, each once. Of a judge that compares, points are shares of comparisons
    won among the answers at hand: they rank the answers to a prompt (GRPO), and say nothing across prompts; an answer
    with none beside it is not judged.
    """

    judge: Judge
    at_once: int = 16

    @property
    def name(self) -> str:
        """The judge's."""
        return self.judge.name

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[str], **columns: Sequence[Any]
    ) -> Sequence[float | None]:
        """One number an answer; an empty answer is not judged. WorkFailed where the judge answers nothing at all."""
        groups: dict[str, list[int]] = {}
        for number, prompt in enumerate(prompts):
            groups.setdefault(repr(prompt), []).append(number)
        gate = asyncio.Semaphore(self.at_once)

        async def points(numbers: Sequence[int]) -> tuple[dict[str, float | None], Judged | None]:
            first = numbers[0]
            asked = Asked(prompts[first], {name: values[first] for name, values in columns.items()})
            answers = distinct([completions[number] for number in numbers])
            if not answers:
                return {}, None
            async with gate:
                judged = await self.judge.ajudge(asked, answers)
            return dict(zip(answers, judged.points)), judged

        async def every() -> list[tuple[dict[str, float | None], Judged | None]]:
            return await gather(*map(points, groups.values()))

        found: list[float | None] = [None] * len(completions)
        told = run(every())
        _heard(self.name, [judged for _, judged in told if judged is not None])
        for numbers, (known, _) in zip(groups.values(), told):
            for number in numbers:
                found[number] = known.get(completions[number].strip())
        return found


def _heard(name: str, every: Sequence[Judged]) -> None:
    """WorkFailed for a judge that was asked and never answered: its parts of a sum would be missing unnoticed."""
    if every and all(judged.silent for judged in every):
        said = [*every[-1].said, *(text for pair in every[-1].pairs for text in pair.said)]
        why = next((f" ({text})" for text in said if text), "")
        raise WorkFailed(f"{name} has not answered once{why}; mend it, and begin anew, or go on with --resume")


def question_of(asked: Asked) -> Question:
    """The world's question behind a prompt. UserError where its record does not say which."""
    known = asked.columns
    origin = known.get("origin")
    if not isinstance(origin, Mapping) or "kind" not in origin or not isinstance(known.get("accept"), Sequence):
        raise UserError(f"{asked.id or 'a prompt'} is no question of the world, which alone its judge can judge: name "
                        "world:KIND, or a file of `jielong data world --form questions`")  # fmt: skip
    extra = tuple((name, _tuples(value)) for name, value in dict(origin.get("extra", {})).items())
    named = {name: str(origin[name]) for name in ("kind", "lang", "fact", "template", "split", "person")
             if name in origin}  # fmt: skip
    return Question(asked.question, str(known.get("answer", "")), tuple(known["accept"]),
                    Origin(**{"lang": "en", **named, "extra": extra}))  # type: ignore[arg-type]  # fmt: skip


def _tuples(value: Any) -> Any:
    """Lists as the tuples that they were before they were written."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
