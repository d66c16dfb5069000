"""How well a frozen model answers when some words stand before the question: what a discrete prompt is rewarded for.

    answer     the mean log-probability of a token of the right answer
    gap        P(right) - max P(other) among an item's options, times 200 where that is above 0 and 180 where it is not
               (RLPrompt, arXiv 2205.12548, section 3.1: right by a little is worth more than wrong by a little)
    a reward   of the answers that the model writes, greedily (`preferences/rewarding.py`)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from jielong.base.errors import UserError
from jielong.lm.protocol import LM
from jielong.train.preferences.asked import Asked, read_asked
from jielong.train.preferences.rewarding import Reward, judged

Floats = np.ndarray[Any, np.dtype[np.float64]]
Place = Literal["system", "user"]
ANSWERS = ("answer", "completion", "output", "chosen")  # columns that hold the right answer
OPTIONS = ("options", "choices")
RIGHT, WRONG = 200.0, 180.0


@dataclass(frozen=True, slots=True)
class Item:
    """A question, its right answer ("" where none is known), and all answers to choose from."""

    asked: Asked
    answer: str = ""
    options: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """By which equal questions are recognised: they stay on one side of a split."""
        return self.asked.question


def read_items(spec: str, text: bool = False) -> list[Item]:
    """The questions of a file (`read_asked`), with what their records say of answers."""
    return [Item(asked, _answer(asked.columns), _options(asked)) for asked in read_asked(spec, text)]


def _answer(columns: Mapping[str, Any]) -> str:
    found: Any = next((columns[name] for name in ANSWERS if isinstance(columns.get(name), str | list)), "")
    return found if isinstance(found, str) else "".join(str(turn.get("content", "")) for turn in found)


def _options(asked: Asked) -> tuple[str, ...]:
    found: list[Any] = next((asked.columns[name] for name in OPTIONS if isinstance(asked.columns.get(name), list)), [])
    return tuple(str(each) for each in found)


@dataclass(frozen=True)
class Answers:
    """`kind` as above; `place`: a chat's prompt stands in a system message, or before what the user says."""

    lm: LM
    kind: Literal["answer", "gap"] = "answer"
    place: Place = "system"

    def __call__(self, prompts: Sequence[str], items: Sequence[Item]) -> Floats:
        """(M, B); NaN where nothing is scored."""
        scores = self.lm.score_many([(before(prompt, item.asked, self.place), _scored(item, self.kind))
                                     for prompt in prompts for item in items])  # fmt: skip
        worth = [_gap([s.total for s in found], item) if self.kind == "gap" else found[0].mean
                 for found, item in zip(scores, list(items) * len(prompts))]  # fmt: skip
        return np.array(worth, dtype=np.float64).reshape(len(prompts), len(items))


@dataclass(frozen=True)
class Written:
    """What a reward says of answers written greedily."""

    lm: LM
    reward: Reward
    place: Place = "system"
    sampling: Mapping[str, Any] = field(default_factory=lambda: {"temperature": 0.0, "max_tokens": 64})

    def __call__(self, prompts: Sequence[str], items: Sequence[Item]) -> Floats:
        """(M, B); the reward sees the question as it stands in the data, without the prompt."""
        asks = [before(prompt, item.asked, self.place) for prompt in prompts for item in items]
        texts = [draws[0].text for draws in self.lm.sample_many(asks, **self.sampling)]
        every = [item.asked for item in items] * len(prompts)
        names = dict.fromkeys(name for asked in every for name in asked.columns)
        columns = {name: [asked.columns.get(name) for asked in every] for name in names
                   if name not in ("prompts", "completions")}  # fmt: skip
        worths = judged(self.reward, [asked.shown for asked in every], texts, columns)
        return worths.reshape(len(prompts), len(items))


def before(prompt: str, asked: Asked, place: Place) -> Any:
    """The question with a prompt before it, as a model is given it; an empty prompt changes nothing."""
    if not prompt:
        return asked.prompt
    if isinstance(asked.prompt, str):
        return f"{prompt} {asked.prompt}"
    turns = list(asked.prompt)
    system = place == "system" or turns[0]["role"] != "user"
    role = "system" if system else "user"
    if turns[0]["role"] != role:
        return [{"role": role, "content": prompt}, *turns]
    between = "\n\n" if system else " "
    return [{"role": role, "content": f"{prompt}{between}{turns[0]['content']}"}, *turns[1:]]


def check(items: Sequence[Item], kind: str) -> None:
    """UserError where items lack what the reward looks at."""
    for item in items:
        if not item.answer.strip():
            raise UserError(f'{item.asked.id} has no right answer ("answer", "completion" or "output"): add it, or '
                            "give --reward FILE.py:FUNCTION")  # fmt: skip
        if kind == "gap" and (item.answer not in item.options or len(set(item.options)) < 2):
            raise UserError(f'{item.asked.id}: --reward gap needs "options", the right answer and another among them')


def _scored(item: Item, kind: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.options)) if kind == "gap" else (item.answer,)


def _gap(totals: Sequence[float], item: Item) -> float:
    """From log-probabilities of the options, as a law among them."""
    each = np.exp(np.array(totals) - max(totals))
    law = dict(zip(dict.fromkeys(item.options), each / each.sum()))
    gap = float(law[item.answer] - max(p for option, p in law.items() if option != item.answer))
    return gap * (RIGHT if gap > 0 else WRONG)
