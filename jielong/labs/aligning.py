"""What the labs of alignment share: a model that imitates a crowd, questions, draws, comparisons, and the true reward.

The crowd answers well, rudely, endlessly, wrongly or not at all (`world/crowd.py`), so the model that imitates it knows
more than it says. Comparisons are between draws of that model, judged as a person would with the world's judge; what
comes of learning from them is measured by the world's true reward on questions in wordings that no training used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base.talk import Talk
from jielong.labs import stages
from jielong.labs.lab import Budget, shared
from jielong.world.crowd import CROWD
from jielong.world.text import Question
from jielong.world.world import World

if TYPE_CHECKING:
    from jielong.nets.checkpoint import Loaded
    from jielong.nets.reward import RewardModel
    from jielong.nets.transformer import Transformer
    from jielong.train.objective import Objective
    from jielong.train.preferences.data import Example
    from jielong.train.run import Work

PEOPLE, READ = 30, 2_500_000  # who is known, and tokens of pretraining: facts are to be known, not guessed
KINDS = {"facts": 0.5, "sums": 0.25, "unknown": 0.25}  # what is asked, by share
TUNED, CHATS = 1_400_000, 10_000  # tokens and chats of fine-tuning
ANSWER = 64  # tokens that an answer may have
QUESTIONS = 600  # to learn from
ASKED = 240  # to be measured by
GENTLE = 1 / 120  # of the usual rates, chosen on world 0, which no lab of alignment measures
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
        from jielong.data.tokens import Tokens
        from jielong.nets import checkpoint
        from jielong.train import curriculum as plans
        from jielong.train import run
        from jielong.world import crowd as people

        loaded, plan = checkpoint.load(self.start), stages.curriculum(self.seed, PEOPLE)
        said = [chat for kind, share in KINDS.items()
                for chat in people.chats(plan.world, kind, round(CHATS * share), crowd=self.shares)]  # fmt: skip
        talk = plans.chat_tokens(said, loaded.codec)
        read, _ = plans.pretraining(plan, loaded.codec)
        last = int((read.starts < len(talk)).sum())  # as much text again, lest it be forgotten
        beside = Tokens.from_documents(read.document(i) for i in range(min(last, read.documents)))
        settings = replace(stages.settings(TUNED, self.seed, 0.5), validate=0)
        work = run.Work(loaded.model, loaded.codec, Tokens.concat([talk, beside]), None, settings, {"name": "crowd"})
        run.start(work, folder, self.talk, f"crowd, seed {self.seed}")


def questions(seed: int, n: int = QUESTIONS, split: str = "train", draw: int = 1) -> list[Question]:
    """About `n` questions of all kinds: of training, or (`asked`) in wordings that no training used."""
    world = stages.curriculum(seed, PEOPLE).world
    return [q for kind, share in KINDS.items()
            for q in world.questions(kind, round(n * share), draw=draw, split="test" if kind == "sums" and
                                     split == "asked" else split)]  # fmt: skip


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


def rewards(seed: int, some: Sequence[Question], said: Sequence[Sequence[str]]) -> list[list[float]]:
    """The true reward of each answer."""
    world = stages.curriculum(seed, PEOPLE).world
    return [[world.reward(q, answer) for answer in answers] for q, answers in zip(some, said, strict=True)]


def true_reward(model: Transformer, codec: Any, seed: int, n: int = 2) -> list[float]:
    """Of each question of the test: the mean true reward of `n` answers drawn at temperature 1."""
    some = questions(seed, ASKED, "asked", 2)
    found = rewards(seed, some, draws(model, codec, some, n, seed))
    return [sum(each) / len(each) for each in found]


def human(world: World, question: Question, a: str, b: str, seed: int) -> int:
    """A person's choice: 0 for `a`, 1 for `b`."""
    return world.judge(question, a, b, seed=seed)


@dataclass(frozen=True)
class Start:
    """Where the labs begin: a world's number, the model that imitates its crowd, questions to learn from, and answers
    that it draws to them."""

    seed: int
    loaded: Loaded
    questions: list[Question]
    said: list[list[str]]

    @property
    def world(self) -> World:
        """Whose truth is known."""
        return stages.curriculum(self.seed, PEOPLE).world


def start(budget: Budget, seed: int, n: int = QUESTIONS, answers: int = 4) -> Start:
    """`n` questions with so many answers each, in the world after that of the same number."""
    from jielong.nets import checkpoint

    loaded, some = checkpoint.load(crowd(budget, seed + 1)), questions(seed + 1, n)
    return Start(seed + 1, loaded, some, draws(loaded.model, loaded.codec, some, answers, seed))


@dataclass(frozen=True)
class Compared:
    """Two different answers to a question and which is better (0 or 1)."""

    question: Question
    answers: tuple[str, str]
    better: int

    def example(self) -> Example:
        """As `train dpo` reads it."""
        from jielong.train.preferences.data import Example

        sides = tuple([{"role": "assistant", "content": self.answers[i]}] for i in (self.better, 1 - self.better))
        prompt = [{"role": "user", "content": self.question.prompt}]
        return Example(prompt, sides, self.question.prompt)


def compared(
    seed: int, some: Sequence[Question], said: Sequence[Sequence[str]], say: Say = human, most: int = 0
) -> list[Compared]:
    """The first two different answers to each question, judged by `say`; `most` of them (0: all)."""
    world, found = stages.curriculum(seed, PEOPLE).world, []
    for i, (question, answers) in enumerate(zip(some, said, strict=True)):
        other = next((each for each in answers[1:] if each != answers[0] and each.strip()), None)
        if other is not None and answers[0].strip():
            found.append(Compared(question, (answers[0], other), say(world, question, answers[0], other, i)))
    return found[: most or None]


def dpo(
    loaded: Loaded, pairs: Sequence[Compared], budget: Budget, seed: int, epochs: float = 2.0, gentle: float = GENTLE,
    **plan: Any,
) -> Any:  # fmt: skip
    """A copy of the model, aligned with these pairs."""
    from jielong.train.preferences.dpo import of_work
    from jielong.train.preferences.plan import plan_of

    given = {"loss": "sigmoid", "beta": None, "flipped": None, "gamma": None, **plan}
    objective = partial(of_work, reference=deepcopy(loaded.model), plan=plan_of(**given))
    model = deepcopy(loaded.model)
    return learn(model, loaded.codec, made(loaded.codec, [p.example() for p in pairs]), objective, budget, seed,
                 epochs, f"dpo {given['loss']}, seed {seed}", gentle)  # fmt: skip


def kto(
    loaded: Loaded, pairs: Sequence[Compared], budget: Budget, seed: int, epochs: float = 2.0, gentle: float = GENTLE
) -> Any:
    """A copy of the model, aligned with the answers of these pairs, each wanted or not."""
    from jielong.train.preferences.data import Example
    from jielong.train.preferences.kto import of_work
    from jielong.train.preferences.plan import Weights

    examples = [Example(e.prompt, (answer,), e.id, label) for p in pairs for e in [p.example()]
                for answer, label in zip(e.answers, (True, False))]  # fmt: skip
    ready = made(loaded.codec, examples)
    objective = partial(of_work, reference=deepcopy(loaded.model), weights=Weights(), labels=ready.answers.labels,
                        held=None)  # fmt: skip
    return learn(deepcopy(loaded.model), loaded.codec, ready, objective, budget, seed, epochs, f"kto, seed {seed}",
                 gentle)


def judge(
    loaded: Loaded, pairs: Sequence[Compared], budget: Budget, seed: int, epochs: float = 2.0, centre: float = 0.01
) -> RewardModel:
    """A reward model from these pairs, whose body begins as the model's copy."""
    from jielong.nets.reward import RewardModel
    from jielong.train.preferences.reward import of_work

    model = RewardModel(deepcopy(loaded.model))
    ready = made(loaded.codec, [p.example() for p in pairs])
    objective = partial(of_work, train=ready.answers, held=None, centre=centre)
    found: RewardModel = learn(model, loaded.codec, ready, objective, budget, seed, epochs, f"reward, seed {seed}", 0.1)
    return found


def made(codec: Any, examples: list[Any]) -> Any:
    """Examples in tokens, none kept apart."""
    from jielong.train.preferences.prepare import preferences

    return preferences(["labs"], lambda _: examples, codec, 2 * stages.CONTEXT, 0.0, 0)


def learn(
    model: Any, codec: Any, ready: Any, objective: Callable[[Work, Any], Objective], budget: Budget, seed: int,
    epochs: float, label: str, gentle: float = GENTLE, batch: int = 16,
) -> Any:  # fmt: skip
    """`epochs` times through the examples; the model, moved in place."""
    import tempfile

    from jielong.train import run
    from jielong.train.settings import Settings

    steps = max(1, round(len(ready.answers) * epochs / batch))
    plain = Settings(steps=steps, context=2 * stages.CONTEXT, batch=batch, seed=seed, validate=0, save_every=0,
                     compile=False, weight_decay=0.0)  # fmt: skip
    settings = replace(plain, matrix_rate=plain.matrix_rate * gentle, other_rate=plain.other_rate * gentle)
    with tempfile.TemporaryDirectory() as folder:
        work = run.Work(model, codec, ready.answers.tokens, None, settings, {"name": label}, objective=objective)
        run.start(work, Path(folder), budget.talk, label)
    return model.eval()
