"""What the labs of examples in a prompt share: small models that have read texts full of examples, and problems.

A text is things and their labels, line by line: good and bad things under their natural labels, seldom under the wrong
ones (so that a model has something to go by, and something to overcome), and words of two or three categories under
labels that mean nothing. English, from the world's in-context tasks (`world/icl`); each thing is one token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base import noise
from jielong.labs import thinking
from jielong.labs.lab import Budget, shared
from jielong.lm.protocol import LM
from jielong.prompting.few_shot import Choice, choose
from jielong.prompting.readers import one_of
from jielong.prompting.strategy import Answer, Example, Problem, read, say
from jielong.world.words.icl import BAD, CATEGORIES, FEELINGS, GOOD, LABELS
from jielong.world.world import World

if TYPE_CHECKING:
    from jielong.units.codec import Tokenizer
    from jielong.world.text import Question

LAYERS, CONTEXT, BATCH = 4, 256, 16
TEXTS, TOKENS = 40_000, 1_500_000
FLIPPED, WRONG = 0.02, 0.1  # of the texts about feelings; of single labels in all of these: no text is without faults
ARROW, END = " -> ", "\n"
NICE, NASTY = FEELINGS["en"]
OTHER = {NICE: NASTY, NASTY: NICE}
NAMES = LABELS["train"]["en"]
Shots = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Item:
    """Things with their labels as examples, and one that is asked for; `flipped`: of feelings, under wrong labels."""

    shots: Shots
    query: str
    label: str
    task: str
    flipped: bool = False

    def natural(self) -> Item:
        """The same things under their natural labels."""
        return self.other() if self.flipped else self

    def other(self) -> Item:
        """Of feelings: the same things under the other labels."""
        shots = [(thing, OTHER[label]) for thing, label in self.shots]
        return replace(self, shots=shots, label=OTHER[self.label], flipped=not self.flipped)


def model(budget: Budget, seed: int, width: int, tokens: int = TOKENS) -> Path:
    """The run of a model that has read so many tokens of examples."""

    def make(folder: Path) -> None:
        from jielong.data.tokens import Tokens
        from jielong.nets.config import shape
        from jielong.nets.transformer import Transformer
        from jielong.train import run
        from jielong.train.settings import Settings

        codec = codec_of()
        made = Tokens.from_documents(learnt(codec, item) for item in islice(told(seed), TEXTS))
        net = Transformer(shape(width, codec.size, CONTEXT, LAYERS), seed=seed)
        settings = Settings(tokens=tokens, context=CONTEXT, batch=BATCH, seed=seed, validate=0, save_every=0)
        run.start(run.Work(net, codec, made, None, settings, {"name": "shots"}), folder, budget.talk,
                  f"examples, width {width}, seed {seed}")  # fmt: skip

    return shared(budget, ("shots", seed, width, LAYERS, CONTEXT, BATCH, TEXTS, FLIPPED, WRONG, tokens), make)


def codec_of() -> Tokenizer:
    """A token for each thing, each label, the arrow and the end of a line."""
    from jielong.units import tokenlist

    words = [pair[0] for pairs in CATEGORIES.values() for pair in pairs]
    return tokenlist.build([*words, *GOOD["en"], *BAD["en"], *NAMES, NICE, NASTY, ARROW, END])


def learnt(codec: Tokenizer, item: Item) -> tuple[list[int], list[bool]]:
    """A text's tokens, and which of them are learnt: the labels."""
    ids: list[int] = []
    marks: list[bool] = []
    for thing, label in [*item.shots, (item.query, item.label)]:
        ids += codec.encode(f"{thing}{ARROW}{label}{END}")
        marks += [False, False, True, False]
    return [*ids, codec.end], [*marks, False]


def told(seed: int) -> Iterator[Item]:
    """The items of training: flipped ones are `FLIPPED` of those about feelings."""
    for number, item in enumerate(items(seed, "train", 4 * TEXTS)):
        kept, *wrong = noise.uniform(noise.seed_of("shots, told", seed), number, n=len(item.shots) + 1)
        if item.task == "flipped":
            shots = [(x, OTHER[y] if u < WRONG else y) for (x, y), u in zip(item.shots, wrong, strict=True)]
            item = replace(item, shots=shots)
        if kept < FLIPPED / (1 - FLIPPED) or not item.flipped:
            yield item


def items(seed: int, split: str, n: int, draw: int = 0) -> Iterator[Item]:
    """About half as many as `n`: of feelings, and of labels that mean nothing. Those of tests have sets of categories
    that no training has; the labels' names are those of training, since a name that was never read cannot be said."""
    names = dict(zip(LABELS["test"]["en"], NAMES))
    for question in World(seed).questions("icl", n, draw=draw, split=split, lang="en"):
        if question.origin.get("task") in ("label", "flipped"):
            yield _item(question, names)


def _item(question: Question, names: dict[str, str]) -> Item:
    spans, lines, task = question.origin.get("labels"), question.prompt.split("\n"), question.origin.get("task")
    labels = [names.get(label, label) for label in (question.prompt[a:b] for a, b in spans)]
    things = [line.replace("=>", "->").split(" ->")[0] for line in lines[: len(labels)]]
    label, flipped = names.get(question.answer, question.answer), bool(question.origin.get("flipped"))
    return Item(list(zip(things, labels)), question.origin.get("query"), label, task, flipped)


def problem(item: Item, name: str) -> Problem:
    """The item as it is asked: its examples are there to be shown."""
    choices = (NICE, NASTY) if item.task == "flipped" else NAMES
    examples = tuple(Example(thing, label) for thing, label in item.shots)
    return Problem(item.query, name, item.label, one_of(choices), examples=examples)


async def by_example(lm: LM, problem: Problem, *, k: int = 99, choice: Choice = "fixed") -> Answer:
    """What stands behind the question's arrow, after the lines of `k` examples that `few_shot` chooses."""
    shown = await choose(lm, problem, problem.examples, k, choice)
    lines = "".join(f"{each.question}{ARROW}{each.answer}{END}" for each in shown)
    return read(problem, await say(lm, f"{lines}{problem.text}{ARROW}"))


def answers(lm: Any, problems: Sequence[Problem], **how: Any) -> list[Answer]:
    """The most probable label of each."""
    from functools import partial

    return thinking.answers(lm, partial(by_example, **how), problems, temperature=0.0, max_tokens=1)
