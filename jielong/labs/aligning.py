"""What the labs of alignment share: a model that imitates a crowd, questions, draws, comparisons, and the true reward.

The crowd answers well, rudely, endlessly, wrongly or not at all (`world/crowd.py`), so the model that imitates it knows
more than it says. Comparisons are between draws of that model, judged as a person would with the world's judge; what
comes of learning from them is measured by the world's true reward on questions in wordings that no training used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base.talk import Talk
from jielong.labs import stages
from jielong.labs.lab import Budget, shared
from jielong.world.crowd import CROWD
from jielong.world.text import Question
from jielong.world.world import World

if TYPE_CHECKING:
    from jielong.data.tokens import Tokens
    from jielong.nets.checkpoint import Loaded
    from jielong.nets.reward import RewardModel
    from jielong.nets.transformer import Transformer
    from jielong.train.curriculum import Curriculum
    from jielong.train.preferences.data import Example
    from jielong.train.preferences.pairs import Laid
    from jielong.train.run import Work

PEOPLE, READ = 30, 2_500_000  # who is known, and tokens of pretraining: facts are to be known, not guessed
KINDS = {"facts": 0.5, "sums": 0.25, "unknown": 0.25}  # what is asked, by share
TUNED, CHATS = 3_200_000, 10_000  # tokens and chats of fine-tuning
BATCH = 16  # comparisons a step
ANSWER = 64  # tokens that an answer may have
QUESTIONS = 800  # to learn from
ASKED, DRAWN = 240, 4  # questions to be measured by, and answers drawn to each
GROUPS = {"group": 8, "epochs": 1, "minibatches": 1}  # as `train grpo` draws
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


def dpo(
    loaded: Loaded, pairs: Sequence[Compared], seed: int, epochs: float = 2.0, gentle: float = GENTLE, **plan: Any
) -> Work:
    """A copy of the model learns from these pairs."""
    from jielong.train.preferences.dpo import of_work
    from jielong.train.preferences.plan import plan_of

    given = {"loss": "sigmoid", "beta": None, "flipped": None, "gamma": None, **plan}
    objective = partial(of_work, reference=deepcopy(loaded.model), plan=plan_of(**given))
    ready = made(loaded.codec, [pair.example() for pair in pairs])
    return work("dpo", deepcopy(loaded.model), loaded.codec, ready.answers.tokens, objective, seed,
                times(ready, epochs), gentle)  # fmt: skip


def kto(loaded: Loaded, pairs: Sequence[Compared], seed: int, epochs: float = 2.0, gentle: float = GENTLE) -> Work:
    """A copy of the model learns from the answers of these pairs, each wanted or not."""
    from jielong.train.preferences.data import Example
    from jielong.train.preferences.kto import of_work
    from jielong.train.preferences.plan import Weights

    examples = [Example(e.prompt, (answer,), e.id, label) for pair in pairs for e in [pair.example()]
                for answer, label in zip(e.answers, (True, False))]  # fmt: skip
    ready = made(loaded.codec, examples)
    objective = partial(of_work, reference=deepcopy(loaded.model), weights=Weights(), labels=ready.answers.labels,
                        held=None)  # fmt: skip
    return work("kto", deepcopy(loaded.model), loaded.codec, ready.answers.tokens, objective, seed,
                times(ready, epochs), gentle)  # fmt: skip


def judge(
    loaded: Loaded, pairs: Sequence[Compared], seed: int, epochs: float = 1.0, gentle: float = 1 / 40,
    centre: float = 0.01, heads: Sequence[str] = (),
) -> Work:  # fmt: skip
    """A reward model, whose body begins as the model's copy, learns from these pairs."""
    from jielong.nets.reward import HEADS, RewardModel
    from jielong.train.preferences.reward import of_work

    ready = made(loaded.codec, [pair.example() for pair in pairs])
    objective = partial(of_work, train=ready.answers, held=None, centre=centre)
    model = RewardModel(deepcopy(loaded.model), heads or HEADS)
    return work("judge", model, loaded.codec, ready.answers.tokens, objective, seed, times(ready, epochs), gentle)


def crowd_says(world: World, n: int) -> list[tuple[str, str]]:
    """What the crowd answers to about `n` questions of training."""
    from jielong.world import crowd as people

    chats = [chat for kind, share in KINDS.items() for chat in people.chats(world, kind, round(n * share), draw=1)]
    return [(chat.messages[0].content, chat.messages[1].content) for chat in chats]


def imitated(
    loaded: Loaded, chats: Sequence[tuple[str, str]], seed: int, answers: float, gentle: float = 0.05
) -> Work:
    """A copy of the model learns to give these answers, in all so many of them."""
    from jielong.data.chats import ChatRecord
    from jielong.data.tokenise import tokenise_chats
    from jielong.train.run import next_token
    from jielong.units.chat import encode_chat

    records = (ChatRecord([{"role": "user", "content": asked}, {"role": "assistant", "content": said}], f"lab:{i}")
               for i, (asked, said) in enumerate(chats))  # fmt: skip
    tokens = tokenise_chats(records, lambda messages: encode_chat(loaded.codec, messages))
    steps = max(1, round(answers * len(tokens) / len(chats) / (2 * stages.CONTEXT * BATCH)))
    return work("imitate", deepcopy(loaded.model), loaded.codec, tokens, next_token, seed, steps, gentle)


def reward_of(judge: RewardModel, codec: Any, head: int = 0) -> Any:
    """A reward model's head as rewards are given."""
    from jielong.nets.reward import Loaded as Judge
    from jielong.train.preferences.rewarding import Model

    return Model(Judge(judge.requires_grad_(False), codec), head, "the judge")


def true_of(world: World, some: Sequence[Question]) -> Any:
    """The true reward as rewards are given: what a checker would say."""
    asked = {question.prompt: question for question in some}

    def reward(prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float]:
        return [world.reward(asked[prompt], answer) for prompt, answer in zip(prompts, completions, strict=True)]

    return reward


def reinforced(
    loaded: Loaded, some: Sequence[Question], reward: Any, plan: Any, seed: int, steps: int,
    gentle: float = GENTLE, drawing: Mapping[str, Any] | None = None, reference: Transformer | None = None,
) -> Work:  # fmt: skip
    """A copy of the model is moved by PPO or GRPO (whose `plan` it is); `reference`: what it is to stay near, where
    that is not the model as it is."""
    from jielong.train.preferences import grpo, ppo
    from jielong.train.preferences.asked import Asked
    from jielong.train.preferences.rewarding import Model
    from jielong.train.preferences.rollout_plan import Drawing, PpoPlan
    from jielong.train.preferences.rollouts import encoded

    prompts = encoded([Asked([{"role": "user", "content": q.prompt}], {}, q.prompt, True) for q in some],
                      loaded.codec, 2 * stages.CONTEXT)  # fmt: skip
    by_value = isinstance(plan, PpoPlan)
    how = Drawing(**{"length": ANSWER, **({} if by_value else GROUPS), **(drawing or {})})
    more = {"judge": reward if isinstance(reward, Model) else None} if by_value else {}
    make = partial((ppo if by_value else grpo).of_work, reference=deepcopy(reference or loaded.model), prompts=prompts,
                   reward=reward, drawing=how, plan=plan, **more)  # fmt: skip
    return work("ppo" if by_value else "grpo", deepcopy(loaded.model), loaded.codec, prompts.tokens()[0], make, seed,
                steps, gentle, 32)  # fmt: skip


def made(codec: Any, examples: list[Any]) -> Any:
    """Examples in tokens, none kept apart."""
    from jielong.train.preferences.prepare import preferences

    return preferences(["labs"], lambda _: examples, codec, 2 * stages.CONTEXT, 0.0, 0)


def work(
    name: str, model: Any, codec: Any, tokens: Tokens, objective: Any, seed: int, steps: int,
    gentle: float = GENTLE, batch: int = BATCH,
) -> Work:  # fmt: skip
    """So many steps of the one loop."""
    from jielong.train import run
    from jielong.train.settings import Settings

    plain = Settings(steps=steps, context=2 * stages.CONTEXT, batch=batch, seed=seed, validate=0, save_every=0,
                     compile=False, weight_decay=0.0)  # fmt: skip
    settings = replace(plain, matrix_rate=plain.matrix_rate * gentle, other_rate=plain.other_rate * gentle)
    return run.Work(model, codec, tokens, None, settings, {"name": name}, objective=objective)


def learnt(work: Work, talk: Talk) -> Any:
    """The model, moved in place; nothing else is kept."""
    import tempfile

    from jielong.train import run

    with tempfile.TemporaryDirectory() as folder:
        run.start(work, Path(folder), talk, f"{work.info['name']}, seed {work.settings.seed}")
    return work.model.eval()


def times(ready: Any, epochs: float) -> int:
    """Steps that go so many times through the examples."""
    return max(1, round(len(ready.answers) * epochs / BATCH))


def by_question(reward: Any, some: Sequence[Question], said: Sequence[Sequence[str]]) -> list[list[float]]:
    """What a reward says of each answer."""
    from jielong.train.preferences.rewarding import judged

    flat = [(q.prompt, answer) for q, answers in zip(some, said, strict=True) for answer in answers]
    asked, texts = zip(*flat)
    found = iter(judged(reward, asked, texts, {}).tolist())
    return [[next(found) for _ in answers] for answers in said]


def worths(
    model: RewardModel, codec: Any, some: Sequence[Question], said: Sequence[Sequence[str]]
) -> list[list[float]]:
    """What a reward model's first head says of each answer."""
    return by_question(reward_of(model, codec), some, said)


def kl(
    model: Transformer, reference: Transformer, codec: Any, some: Sequence[Question], said: Sequence[Sequence[str]]
) -> float:
    """KL(model || reference) in nats an answer, as the answers that the model drew say (whose ends are counted)."""
    import torch

    from jielong.train.preferences.pairs import told_by

    flat = [(q, answer) for q, answers in zip(some, said, strict=True) for answer in answers if answer]
    total = 0.0
    for rows in laid(codec, [question for question, _ in flat], [answer for _, answer in flat]):
        own, other = (told_by(each, rows, torch.float32).sums for each in (model, reference))
        total += float((own - other).sum())
    return total / len(flat)


def laid(codec: Any, asked: Sequence[Question], answers: Sequence[str], batch: int = 64) -> Iterator[Laid]:
    """Each answer behind its question, in rows for one pass after the other."""
    import numpy as np

    from jielong.train.preferences.pairs import lay
    from jielong.train.preferences.prepare import encode

    encoded = [encode(codec, [{"role": "user", "content": q.prompt}], [{"role": "assistant", "content": answer}])
               for q, answer in zip(asked, answers, strict=True)]  # fmt: skip
    documents = [(np.array(ids, dtype=np.int64), np.array(marks)) for ids, marks in encoded]
    for i in range(0, len(documents), batch):
        yield lay(documents[i : i + batch], np.arange(len(documents[i : i + batch])))
