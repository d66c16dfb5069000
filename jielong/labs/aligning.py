"""What the labs of alignment share: a model that imitates a crowd, questions, draws, comparisons, and the true reward.

The crowd answers well, rudely, endlessly, wrongly or not at all (`world/crowd.py`), so the model that imitates it knows
more than it says. Comparisons are between draws of that model, judged as a person would with the world's judge; what
comes of learning from them is measured by the world's true reward on questions in wordings that no training used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jielong.base.talk import Talk
from jielong.labs import stages
from jielong.labs.lab import Budget, shared
from jielong.world.crowd import CROWD
from jielong.world.text import Question
from jielong.world.world import World

if TYPE_CHECKING:
    from jielong.data.tokens import Tokens
    from jielong.nets.checkpoint import Loaded
    from jielong.nets.transformer import Transformer
    from jielong.train.curriculum import Curriculum
    from jielong.train.preferences.data import Example
    from jielong.train.run import Work

PEOPLE, READ = 30, 2_500_000  # who is known, and tokens of pretraining: facts are to be known, not guessed
KINDS = {"facts": 0.5, "sums": 0.25, "unknown": 0.25}  # what is asked, by share
TUNED, CHATS = 3_200_000, 10_000  # tokens and chats of fine-tuning
ANSWER = 64  # tokens that an answer may have
QUESTIONS = 800  # to learn from
ASKED, DRAWN = 240, 4  # questions to be measured by, and answers drawn to each
T = TypeVar("T")
Say = Callable[[World, Question, str, str, int], int]


def crowd(budget: Budget, seed: int, shares: Mapping[str, float] = CROWD) -> Path:
    """The run of a model that has read the world and imitates the crowd."""
    start = stages.base(budget, seed, PEOPLE, READ)
    key = ("crowd", seed, PEOPLE, READ, TUNED, CHATS, sorted(shares.items()), sorted(KINDS.items()))
    return shared(budget, key, _Crowd(seed, start, shares, budget.talk))


class _Crowd:
    def __init__(self, seed: int, start: Path, shares: Mapping[str, float], talk: Talk) -> None:
        self.seed, self.start, self.shares, self.talk = seed, start, shares, talk

    def __call__(self, folder: Path) -> None:
        from jielong.nets import checkpoint
        from jielong.train import run

        work = imitation(checkpoint.load(self.start), stages.curriculum(self.seed, PEOPLE), TUNED, self.shares)
        run.start(work, folder, self.talk, f"crowd, seed {self.seed}")


def imitation(loaded: Loaded, plan: Curriculum, tokens: int, shares: Mapping[str, float] = CROWD) -> Work:
    """The model, moved in place, learns to answer as the crowd does."""
    from jielong.train import run

    settings = replace(stages.settings(tokens, plan.seed, 0.5), validate=0)
    return run.Work(loaded.model, loaded.codec, spoken(loaded, plan, shares), None, settings, {"name": "crowd"})


def spoken(loaded: Loaded, plan: Curriculum, shares: Mapping[str, float] = CROWD) -> Tokens:
    """The crowd's chats, and as much text again, lest it be forgotten."""
    from jielong.data.tokens import Tokens
    from jielong.train import curriculum as plans
    from jielong.world import crowd as people

    said = [chat for kind, share in KINDS.items()
            for chat in people.chats(plan.world, kind, round(CHATS * share), crowd=shares)]  # fmt: skip
    chats = plans.chat_tokens(said, loaded.codec)
    read, _ = plans.pretraining(plan, loaded.codec)
    last = int((read.starts < len(chats)).sum())
    return Tokens.concat([chats, Tokens.from_documents(read.document(i) for i in range(min(last, read.documents)))])


def known(seed: int) -> World:
    """The part of a world that the labs' models have read about."""
    return stages.curriculum(seed, PEOPLE).world


def questions(world: World, n: int = 0, split: str = "train", draw: int = 1) -> list[Question]:
    """About `n` questions of all kinds (0: `QUESTIONS`): of training, or (`asked`) in wordings that none used."""
    other = {"sums": "test"} if split == "asked" else {}
    return [q for kind, share in KINDS.items()
            for q in world.questions(kind, round((n or QUESTIONS) * share), draw=draw, split=other.get(kind, split))
            ]  # fmt: skip


def draws(
    model: Transformer, codec: Any, some: Sequence[Question], n: int = 1, seed: int = 0, heat: float = 1.0
) -> list[list[str]]:
    """`n` answers to each question."""
    from jielong.infer.generate import generate
    from jielong.infer.sampling import Sampling
    from jielong.units.chat import encode_prompt

    model.eval()
    prompts = [encode_prompt(codec, [{"role": "user", "content": q.prompt}]) for q in some for _ in range(n)]
    first = 1_000_003 * (seed + 1)
    how = [Sampling(max_tokens=ANSWER, temperature=heat, seed=first + i, stop_ids=(codec.end, codec.turn_end))
           for i in range(len(prompts))]  # fmt: skip
    said = [codec.decode(list(one.answer), skip_special=True).strip() for one in generate(model, prompts, how)]
    return [said[i : i + n] for i in range(0, len(said), n)]


def rewards(world: World, some: Sequence[Question], said: Sequence[Sequence[str]]) -> list[list[float]]:
    """The true reward of each answer."""
    return [[world.reward(q, answer) for answer in answers] for q, answers in zip(some, said, strict=True)]


def true_reward(model: Transformer, codec: Any, world: World) -> list[float]:
    """Of each question of the test: the mean true reward of `DRAWN` answers drawn at temperature 1."""
    some = questions(world, ASKED, "asked", 2)
    found = rewards(world, some, draws(model, codec, some, DRAWN, world.seed))
    return [sum(each) / len(each) for each in found]


def human(world: World, question: Question, a: str, b: str, seed: int) -> int:
    """A person's choice: 0 for `a`, 1 for `b`."""
    return world.judge(question, a, b, seed=seed)


@dataclass(frozen=True)
class Start:
    """Where the labs begin: a world, the model that imitates its crowd, questions to learn from, and answers that it
    draws to them."""

    world: World
    loaded: Loaded
    questions: list[Question]
    said: list[list[str]]

    @property
    def seed(self) -> int:
        """The world's."""
        return self.world.seed


def start(budget: Budget, seed: int, n: int = 0, answers: int = 4) -> Start:
    """`n` questions with so many answers each, in the world after that of the same number."""
    from jielong.nets import checkpoint

    world, loaded = known(seed + 1), checkpoint.load(crowd(budget, seed + 1))
    some = questions(world, n)
    return Start(world, loaded, some, draws(loaded.model, loaded.codec, some, answers, seed))


@dataclass(frozen=True)
class Compared:
    """Two different answers to a question and which is better (0 or 1), in the respect of `head`."""

    question: Question
    answers: tuple[str, str]
    better: int
    head: str = ""

    def example(self) -> Example:
        """As `train dpo` reads it."""
        from jielong.train.preferences.data import Example

        sides = tuple([{"role": "assistant", "content": self.answers[i]}] for i in (self.better, 1 - self.better))
        prompt = [{"role": "user", "content": self.question.prompt}]
        return Example(prompt, sides, self.question.prompt, head=self.head)


def compared(
    world: World, some: Sequence[Question], said: Sequence[Sequence[str]], say: Say = human, each: int = 1
) -> list[Compared]:
    """The first `each` pairs of different answers to each question (0: all pairs), judged by `say`."""
    found: list[Compared] = []
    for i, (question, answers) in enumerate(zip(some, said, strict=True)):
        different = list(dict.fromkeys(answer for answer in answers if answer.strip()))
        for j, (a, b) in enumerate(list(combinations(different, 2))[: each or None]):
            found.append(Compared(question, (a, b), say(world, question, a, b, 100 * i + j)))
    return found


def evenly(some: Sequence[T], n: int) -> list[T]:
    """`n` of these, evenly from all."""
    return [some[i * len(some) // n] for i in range(min(n, len(some)))]


def crowd_says(world: World, n: int) -> list[tuple[str, str]]:
    """What the crowd answers to about `n` questions of training."""
    from jielong.world import crowd as people

    chats = [chat for kind, share in KINDS.items() for chat in people.chats(world, kind, round(n * share), draw=1)]
    return [(chat.messages[0].content, chat.messages[1].content) for chat in chats]
