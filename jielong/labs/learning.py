"""How the labs of alignment learn: DPO, KTO, a reward model, PPO, GRPO and imitation, each as a work of the one loop.

A work moves a copy of a model, `learnt` does it. Beside them: what rewards say of answers, and how far a model has
moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base.talk import Talk
from jielong.labs import aligning, stages
from jielong.labs.aligning import Compared
from jielong.world.text import Question
from jielong.world.world import World

if TYPE_CHECKING:
    from jielong.data.tokens import Tokens
    from jielong.nets.checkpoint import Loaded
    from jielong.nets.reward import RewardModel
    from jielong.nets.transformer import Transformer
    from jielong.train.preferences.pairs import Laid
    from jielong.train.preferences.rollout_plan import Drawing
    from jielong.train.run import Work

BATCH = 16  # comparisons a step
GENTLE = 1 / 120  # of the usual rates, chosen on world 0, which no lab of alignment measures


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
    gentle: float = GENTLE, drawing: Drawing | None = None, reference: Transformer | None = None,
) -> Work:  # fmt: skip
    """A copy of the model is moved by PPO or GRPO (whose `plan` it is); `drawing`: where answers are not drawn as
    `train ppo` and `grpo` do; `reference`: what it is to stay near, where that is not the model as it is."""
    from jielong.train.preferences import grpo, ppo
    from jielong.train.preferences.asked import Asked
    from jielong.train.preferences.rewarding import Model
    from jielong.train.preferences.rollout_plan import Drawing, Grouped, PpoPlan
    from jielong.train.preferences.rollouts import encoded

    prompts = encoded([Asked([{"role": "user", "content": q.prompt}], {}, q.prompt, True) for q in some],
                      loaded.codec, 2 * stages.CONTEXT)  # fmt: skip
    by_value = isinstance(plan, PpoPlan)
    how = drawing or (Drawing if by_value else Grouped)(length=aligning.ANSWER)
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


def exact(work: Work) -> Work:
    """The same in float32: a tiny model gains nothing by less, and the engine that draws has float32 too."""
    return replace(work, settings=replace(work.settings, precision="float32"))


def learnt(work: Work, talk: Talk) -> Any:
    """The model, moved in place; nothing else is kept."""
    return recorded(work, talk)[0]


def recorded(work: Work, talk: Talk, label: str = "") -> tuple[Any, list[dict[str, Any]]]:
    """The model, moved in place, and the lines of its metrics."""
    import tempfile

    from jielong.base.files import read_jsonl
    from jielong.train import run
    from jielong.train.loop import METRICS

    with tempfile.TemporaryDirectory() as folder:
        run.start(work, Path(folder), talk, label or f"{work.info['name']}, seed {work.settings.seed}")
        return work.model.eval(), list(read_jsonl(Path(folder) / METRICS))


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
