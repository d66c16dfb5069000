"""From preferences to tokens: what can be learnt from is encoded, all else is counted and named.

Each answer is one document of `Tokens`: what was asked, then the answer, whose tokens are the targets. Pair i is the
documents 2i (chosen) and 2i + 1 (rejected); a single answer i is document i.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from jielong.data.mix import split
from jielong.data.pack import NothingToTrain
from jielong.data.tokens import Tokens
from jielong.train.preferences.data import Example, Side, plain
from jielong.train.prepare import VALIDATION_TOKENS, Prepared
from jielong.units.chat import encode_chat
from jielong.units.codec import Tokenizer

Encoded = tuple[list[int], list[bool]]
SAME, EMPTY, LONG = "equal answers", "an empty answer", "a prompt that fills --context"
ALIKE = "answers that are equal within --context"


@dataclass
class Left:
    """What was left out and why, and what was shortened: ids by reason. Nothing goes without being counted."""

    of: int = 0
    out: dict[str, list[str]] = field(default_factory=dict)
    shortened: int = 0
    longest: int = 0

    def lines(self, context: int, most: int) -> list[str]:
        """One line for each reason; `most` is what the model takes."""
        found = [f"{len(ids):,} of {self.of:,} examples are left out: {why} (the first: {ids[0]})"
                 for why, ids in self.out.items()]  # fmt: skip
        if self.longest > context:
            limit = f" (this model takes {most} at most)" if self.longest > most else ""
            lost = f"{self.shortened:,} answers lose their end beyond --context {context}; " if self.shortened else ""
            found.append(f"{lost}--context {self.longest} would hold all{limit}")
        return found

    def note(self, why: str, example: Example) -> None:
        """Count one."""
        self.out.setdefault(why, []).append(example.id)


@dataclass(frozen=True, eq=False)
class Answers:
    """`each` (1 or 2) documents an example; labels (N,) bool, margins (N,), heads (N,) names, of the examples."""

    tokens: Tokens
    each: int
    labels: npt.NDArray[np.bool_]
    margins: npt.NDArray[np.float64]
    heads: tuple[str, ...]

    def __len__(self) -> int:
        return self.tokens.documents // self.each


@dataclass(frozen=True, eq=False)
class Preferences:
    """Both sides of a run's data, and what was left out of them."""

    codec: Tokenizer
    answers: Answers
    held: Answers | None
    left: Left

    @property
    def tokens(self) -> Prepared:
        """The tokens of both."""
        return Prepared(self.codec, self.answers.tokens, self.held.tokens if self.held else None)


def preferences(
    specs: Sequence[str], read: Callable[[str], list[Example]], codec: Tokenizer, context: int, fraction: float,
    seed: int,
) -> Preferences:  # fmt: skip
    """What `read` finds in `specs`, sorted out, encoded and split by prompt. NothingToTrain where nothing is left."""
    examples = [example for spec in specs for example in read(spec)]
    left = Left(len(examples))
    kept = list(zip_encoded(sort_out(examples, left), codec, context, left))
    if not kept:
        raise NothingToTrain(f"nothing to train on: {'; '.join(left.lines(context, left.longest))}")
    sides: list[list[tuple[Example, list[Encoded]]]] = [kept, []]
    if fraction and len({example.text for example, _ in kept}) > 1:
        by_example = {id(example): encoded for example, encoded in kept}
        sides = [[(e, by_example[id(e)]) for e in side] for side in split([e for e, _ in kept], fraction, seed)]
    held = _capped(sides[1])
    return Preferences(codec, _answers(sides[0]), _answers(held) if held else None, left)


def sort_out(examples: Iterable[Example], left: Left) -> Iterable[Example]:
    """Those from which something can be learnt; the others are noted."""
    for example in examples:
        if any(not plain_answer(side).strip() for side in example.answers):
            left.note(EMPTY, example)
        elif len(example.answers) == 2 and plain(example.answers[0]) == plain(example.answers[1]):
            left.note(SAME, example)
        else:
            yield example


def plain_answer(side: Side) -> str:
    """What the assistant says in an answer."""
    return side if isinstance(side, str) else "".join(turn["content"] for turn in side if turn["role"] == "assistant")


def zip_encoded(
    examples: Iterable[Example], codec: Tokenizer, context: int, left: Left
) -> Iterable[tuple[Example, list[Encoded]]]:
    """Each example with its answers as (ids, targets), cut to `context` places; those that lose all are noted."""
    for example in examples:
        whole = [encode(codec, example.prompt, answer) for answer in example.answers]
        cut = [(ids[: context + 1], marks[: context + 1]) for ids, marks in whole]
        left.longest = max([left.longest, *(len(ids) - 1 for ids, _ in whole)])
        if not all(any(marks[1:]) for _, marks in cut):
            left.note(LONG, example)
        elif len(cut) == 2 and cut[0][0] == cut[1][0]:
            left.note(ALIKE, example)
        else:
            left.shortened += sum(len(a) > len(b) for (a, _), (b, _) in zip(whole, cut))
            yield example, cut


def encode(codec: Tokenizer, prompt: Side, answer: Side) -> Encoded:
    """(ids, targets) of what was asked and this answer, up to its last target: the mark that ends it."""
    if isinstance(answer, str):
        before, after = [codec.end, *codec.encode(plain(prompt))], [*codec.encode(answer), codec.end]
        return before + after, [False] * len(before) + [True] * len(after)
    turns = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    ids, marks = encode_chat(codec, [*turns, *answer])
    earlier = sum(turn["role"] == "assistant" for turn in turns)
    begin = _after_runs(marks, earlier)
    last = len(marks) - marks[::-1].index(True)
    return ids[:last], [False] * begin + marks[begin:last]


def _after_runs(marks: Sequence[bool], n: int) -> int:
    """Where the first `n` runs of targets have ended: what was asked holds earlier answers, which are not judged."""
    place = 0
    for _ in range(n):
        place = marks.index(True, place)
        place = marks.index(False, place) if False in marks[place:] else len(marks)
    return place


def _answers(kept: Sequence[tuple[Example, list[Encoded]]]) -> Answers:
    examples = [example for example, _ in kept]
    return Answers(
        Tokens.from_documents(document for _, documents in kept for document in documents),
        len(examples[0].answers),
        np.array([example.label for example in examples], dtype=np.bool_),
        np.array([example.margin for example in examples], dtype=np.float64),
        tuple(example.head for example in examples),
    )


def _capped(kept: Sequence[tuple[Example, list[Encoded]]]) -> list[tuple[Example, list[Encoded]]]:
    """The first examples whose tokens reach `VALIDATION_TOKENS`."""
    found, count = [], 0
    for item in kept:
        if count >= VALIDATION_TOKENS:
            break
        found.append(item)
        count += sum(len(ids) for ids, _ in item[1])
    return found
