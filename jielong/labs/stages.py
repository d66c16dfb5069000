"""Small models shared by the labs: pretrained on the world, and fine-tuned from there or from nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base.talk import Talk
from jielong.labs.lab import Budget, shared

if TYPE_CHECKING:
    from jielong.nets.checkpoint import Loaded
    from jielong.train.curriculum import Curriculum
    from jielong.train.settings import Settings

PEOPLE = 60
READ, TUNED = 2_000_000, 800_000  # tokens of pretraining and of fine-tuning
WIDTH, LAYERS, CONTEXT, BATCH = 96, 4, 128, 32


def curriculum(seed: int, people: int = PEOPLE) -> Curriculum:
    """What the labs' models are taught."""
    from jielong.train.curriculum import Curriculum

    return Curriculum(seed=seed, people=people, vocab=1024, texts=40_000, chats=16_000)


def settings(tokens: int, seed: int, gentle: float = 1.0) -> Settings:
    """A run of so many tokens; `gentle` scales the learning rates."""
    from jielong.train.settings import Settings

    plain = Settings(tokens=tokens, context=CONTEXT, batch=BATCH, seed=seed, validate=1, save_every=0)
    return replace(plain, matrix_rate=plain.matrix_rate * gentle, other_rate=plain.other_rate * gentle)


def base(
    budget: Budget, seed: int, people: int = PEOPLE, read: int = READ, width: int = 0, layers: int = 0
) -> Path:
    """A run that has only read: `read` tokens about so many people. Its shape: 0 is the labs' own."""
    shape = (width or WIDTH, layers or LAYERS)
    return shared(budget, ("base", seed, people, read, *shape), _Base(seed, people, read, shape, budget.talk))


def assistant(budget: Budget, seed: int) -> Path:
    """The same weights, fine-tuned on chats."""
    start = base(budget, seed)
    return shared(
        budget, ("assistant", seed, PEOPLE, READ, TUNED, WIDTH, LAYERS), _Assistant(seed, start, budget.talk)
    )


class _Base:
    def __init__(self, seed: int, people: int, read: int, shape: tuple[int, int], talk: Talk) -> None:
        self.seed, self.people, self.read, self.shape, self.talk = seed, people, read, shape, talk

    def __call__(self, folder: Path) -> None:
        from jielong.nets.config import shape
        from jielong.nets.transformer import Transformer
        from jielong.train import curriculum as plans
        from jielong.train import run

        plan = curriculum(self.seed, self.people)
        codec = plans.codec(plan)
        train, held = plans.pretraining(plan, codec)
        width, layers = self.shape
        model = Transformer(shape(width, codec.size, 2 * CONTEXT, layers), seed=self.seed)
        work = run.Work(model, codec, train, held, settings(self.read, self.seed), {"name": "base"})
        run.start(work, folder, self.talk, f"base, seed {self.seed}")


class _Assistant:
    def __init__(self, seed: int, start: Path, talk: Talk) -> None:
        self.seed, self.start, self.talk = seed, start, talk

    def __call__(self, folder: Path) -> None:
        from jielong.nets import checkpoint

        tune(checkpoint.load(self.start), self.seed, folder, self.talk, f"assistant, seed {self.seed}")


def tune(
    loaded: Loaded, seed: int, folder: Path, talk: Talk, label: str, chats: int = 0, tokens: int = TUNED
) -> Any:
    """Fine-tune `loaded.model` in place on `chats` chats (0: the curriculum's number); returns the model."""
    from jielong.train import curriculum as plans
    from jielong.train import run

    plan = curriculum(seed)
    plan = plan if not chats else replace(plan, again=0.0)
    made, fresh = plans.fine_tuning(plan, loaded.codec, chats)
    work = run.Work(
        loaded.model, loaded.codec, made, fresh, settings(tokens, seed, 0.5), {"name": "assistant"}
    )
    run.start(work, folder, talk, label)
    return loaded.model
