"""Models shared by the labs on guessing ahead: one large enough that a step takes a while, and what is trained to guess
for it. It has read the same curriculum as `stages.base`, whose tokenizer is its own, so that one can guess too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jielong.base.talk import Talk
from jielong.labs import stages
from jielong.labs.lab import Budget, shared

if TYPE_CHECKING:
    from jielong.data.tokens import Tokens
    from jielong.nets.checkpoint import Loaded
    from jielong.train.guessers import Kind

WIDTH, LAYERS = 256, 6
READ = 250_000  # tokens of the large model's training
TAUGHT, BATCH = 40_000, 8  # tokens from which each guesser learns, rows in a step
REACH = 4  # guesses ahead
KINDS: tuple[Kind, ...] = ("medusa", "eagle", "block", "diffusion", "small")
OWN = {"small": (64, 2), "diffusion": (96, 2)}  # width and layers of those that are models of their own
PARALLEL = 4.0  # times as many tokens for what reads no long rows: they cost it less


def large(budget: Budget, seed: int) -> Path:
    """A run that has read, eight or nine times the size of `stages.base`."""
    key = ("large", seed, stages.PEOPLE, READ, WIDTH, LAYERS)
    return shared(budget, key, _Large(seed, budget.talk))


def guesser(budget: Budget, kind: Kind, seed: int) -> Path:
    """What guesses for `large`, of the kinds of `jielong train draft`."""
    start = large(budget, seed)
    key = (kind, "for large", seed, stages.PEOPLE, READ, WIDTH, LAYERS, TAUGHT, REACH, OWN.get(kind))
    return shared(budget, key, _Guesser(kind, seed, start, budget.talk))


class _Large:
    def __init__(self, seed: int, talk: Talk) -> None:
        self.seed, self.talk = seed, talk

    def __call__(self, folder: Path) -> None:
        from jielong.nets.config import shape
        from jielong.nets.transformer import Transformer
        from jielong.train import curriculum as plans
        from jielong.train import run

        plan = stages.curriculum(self.seed)
        codec = plans.codec(plan)
        train, held = plans.pretraining(plan, codec)
        model = Transformer(shape(WIDTH, codec.size, 2 * stages.CONTEXT, LAYERS), seed=self.seed)
        settings = replace(stages.settings(READ, self.seed), batch=BATCH)
        work = run.Work(model, codec, train, held, settings, {"name": "large"})
        run.start(work, folder, self.talk, f"large, seed {self.seed}")


class _Guesser:
    def __init__(self, kind: Kind, seed: int, start: Path, talk: Talk) -> None:
        self.kind, self.seed, self.start, self.talk = kind, seed, start, talk

    def __call__(self, folder: Path) -> None:
        from jielong.nets import checkpoint
        from jielong.train import curriculum as plans

        loaded = checkpoint.load(self.start)
        train, _ = plans.pretraining(stages.curriculum(self.seed), loaded.codec)
        teach(self.kind, loaded, train, self.seed, folder, self.talk)


def teach(kind: Kind, loaded: Loaded, tokens: Tokens, seed: int, folder: Path, talk: Talk) -> None:
    """What `jielong train draft` does, for so many tokens."""
    from jielong.train import run
    from jielong.train.guessers import Plan, guesser

    width, layers = OWN.get(kind, (0, 0))
    made = guesser(kind, loaded.model, loaded.codec.size, Plan(REACH, width, layers, seed=seed), stages.CONTEXT)
    count = round(TAUGHT * (PARALLEL if kind == "diffusion" else 1))
    settings = replace(stages.settings(count, seed), batch=BATCH, validate=0, compile=False)
    work = run.Work(
        made.model, loaded.codec, tokens, None, made.settings(settings), {"name": kind, **made.info},
        objective=made.objective, beside=made.beside,
    )  # fmt: skip
    run.start(work, folder, talk, f"{kind}, seed {seed}")
