"""What the labs of thinking share: small models that were taught to answer the strategies' own prompts, and problems
whose answers are known.

A model of a million numbers cannot be talked into anything, so it is taught what a large one brings along: to answer at
once when it is only asked, in steps when it is asked for steps, by a program, by smaller questions, from passages, and
anew when others have answered too (`thinking_chats`). English only, to be small. All that is measured was held out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base import noise
from jielong.base.talk import Talk
from jielong.labs.lab import Budget, shared
from jielong.labs.thinking_chats import (
    ANYWAY,
    COUNTS,
    READS,
    Lot,
    Page,
    asked,
    asked_product,
    chats,
    known,
    learnt,
    operands,
    product,
    row,
)
from jielong.lm.protocol import LM, gather
from jielong.lm.sync import run
from jielong.prompting.readers import number, one_of
from jielong.prompting.strategy import Answer, Problem, Strategy, having
from jielong.world.values import FIELDS

if TYPE_CHECKING:
    from jielong.lm.local import Local

WIDTH, LAYERS, CONTEXT, BATCH = 96, 4, 512, 8
VOCAB, CHATS = 1024, 40_000
PAGED = 20_000  # chats about pages, which are longer
TAUGHT, PAGES = 4_000_000, 6_000_000  # tokens: of chats that count, and of those about pages
REPLY = 96  # tokens


def counts(budget: Budget, seed: int, width: int = WIDTH, taught: int = TAUGHT) -> Path:
    """The run of a model that was taught to count, in all ways."""
    return _taught(budget, "counts", COUNTS, seed, width, taught)


def steps_anyway(budget: Budget, seed: int, width: int = WIDTH, taught: int = TAUGHT) -> Path:
    """One that adds in steps, asked for them or not."""
    return _taught(budget, "steps anyway", ANYWAY, seed, width, taught)


def reads(budget: Budget, seed: int, width: int = WIDTH, taught: int = PAGES) -> Path:
    """The run of a model that was taught to answer from passages."""
    return _taught(budget, "reads", READS, seed, width, taught, PAGED)


def _taught(
    budget: Budget, name: str, shares: Mapping[str, float], seed: int, width: int, taught: int, chats: int = CHATS
) -> Path:  # fmt: skip
    key = (name, seed, width, taught, chats, sorted(shares.items()))
    return shared(budget, key, _Taught(name, shares, seed, width, taught, chats, budget.talk))


@dataclass(frozen=True)
class _Taught:
    name: str
    shares: Mapping[str, float]
    seed: int
    width: int
    taught: int
    chats: int
    talk: Talk

    def __call__(self, folder: Path) -> None:
        from jielong.data.chats import ChatRecord
        from jielong.data.tokenise import tokenise_chats
        from jielong.nets.config import shape
        from jielong.nets.transformer import Transformer
        from jielong.train import run as runs
        from jielong.train.settings import Settings
        from jielong.units import bpe
        from jielong.units.chat import encode_chat

        made = [[dict(turn) for turn in turns] for turns in chats(self.seed, self.chats, self.shares)]
        codec = bpe.train([str(m["content"]) for turns in made[:4000] for m in turns], VOCAB, at_most=True)
        records = (ChatRecord(turns, f"thinking:{i}") for i, turns in enumerate(made))
        tokens = tokenise_chats(records, lambda messages: learnt(messages, *encode_chat(codec, messages)))
        model = Transformer(shape(self.width, codec.size, CONTEXT, LAYERS), seed=self.seed)
        settings = Settings(tokens=self.taught, context=CONTEXT, batch=BATCH, seed=self.seed, validate=0, save_every=0)
        work = runs.Work(model, codec, tokens, None, settings, {"name": self.name})
        runs.start(work, folder, self.talk, f"{self.name}, seed {self.seed}")


def load(path: Path) -> Local:
    """The model of a run, to be asked."""
    from jielong.lm.local import load

    return load(path)


def answers(lm: LM, strategy: Strategy, problems: Sequence[Problem], **sampling: Any) -> list[Answer]:
    """The strategy's answers to all, asked together."""

    async def asked_all() -> list[Answer]:
        asked_by = having(lm, **{"max_tokens": REPLY, **sampling})
        return list(await gather(*(strategy(asked_by, problem) for problem in problems)))

    return run(asked_all())


def right(problems: Sequence[Problem], given: Sequence[Answer]) -> float:
    """The share of right answers."""
    return sum(problem.right(answer) for problem, answer in zip(problems, given, strict=True)) / len(problems)


def sums(seed: int, n: int) -> list[Problem]:
    """Additions of three digits, of held-out pairs."""
    lots = (Lot(noise.seed_of("thinking, asked", seed), i) for i in range(n))
    terms = [operands(lot, "test") for lot in lots]
    return [_problem(f"sum{i}", asked(each), sum(each)) for i, each in enumerate(terms)]


def rows(seed: int, n: int, terms: int) -> list[Problem]:
    """Additions of so many digits."""
    lots = (Lot(noise.seed_of("thinking, rows", seed, terms), i) for i in range(n))
    made = [row(lot, terms, terms) for lot in lots]
    return [_problem(f"row{terms}.{i}", asked(each), sum(each)) for i, each in enumerate(made)]


def products(seed: int, n: int) -> list[Problem]:
    """a * b + c, of two digits each."""
    lots = (Lot(noise.seed_of("thinking, products", seed), i) for i in range(n))
    made = [product(lot) for lot in lots]
    return [_problem(f"product{i}", asked_product(each), each[0] * each[1] + each[2]) for i, each in enumerate(made)]


def _problem(name: str, text: str, gold: int) -> Problem:
    return Problem(text, name, str(gold), number)


def about(seed: int, n: int) -> tuple[list[Problem], list[Page]]:
    """Questions about the people of a world that no training has read, and a page about each of them."""
    world, lot = known(seed), Lot(noise.seed_of("thinking, pages", seed), 0)
    problems = [Problem(q.prompt, f"fact{i}", q.accept[0], one_of([name for name, _ in FIELDS[q.origin.get("field")]]))
                for i, q in enumerate(world.questions[:n])]  # fmt: skip
    return problems, [world.page(person, lot, person)[0] for person in sorted(world.people)]
