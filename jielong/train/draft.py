"""Training a drafter beside a model that stays as it is: every kind's loss over packed rows.

    loss = sum of the kind's own `lesson` / guesses that were judged        (`nets/drafts`)

The model's stream and laws are computed for each batch without gradients; what is learnt is what the model would
write, not what stands in the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from jielong.base.errors import UserError
from jielong.data.pack import IGNORED, Batch, Packer
from jielong.data.tokens import Tokens
from jielong.infer.generate import generate
from jielong.infer.sampling import Sampling
from jielong.nets.drafts import Head, Lesson, Seen
from jielong.nets.transformer import Transformer
from jielong.train.next_token import stream
from jielong.train.objective import Loss, Phase
from jielong.train.prepare import VALIDATION_TOKENS, Prepared

if TYPE_CHECKING:
    from collections.abc import Callable

    from jielong.train.run import Work
    from jielong.units.codec import Tokenizer

STREAMS = 64  # texts that the model writes side by side
SEEDS = 1_000_003  # between the seeds of two texts, so that runs of neighbouring seeds share none


@dataclass(frozen=True)
class Guessing:
    """`head` learns to guess what `model` writes after the places of packed rows."""

    head: Any  # a `Head`, and a module
    model: Transformer
    train: Packer
    validation: Packer | None = None
    accumulate: int = 1
    dtype: torch.dtype = torch.float32

    @property
    def phases(self) -> Sequence[Phase]:
        """One: lower the loss."""
        return (Phase("draft", self.head, self.loss),)

    def batches(self, step: int) -> list[Batch]:
        """The micro-batches of `step`."""
        return [self.train.rows(step * self.accumulate + i) for i in range(self.accumulate)]

    def after_step(self, step: int) -> None:
        """Nothing to do."""

    def loss(self, batch: Batch) -> Loss:
        """The kind's own, its sums and all."""
        lesson = self._lesson(batch)
        return Loss(lesson.total, lesson.weight, lesson.stats)

    def validate(self) -> dict[str, float]:
        """`val_loss` and the kind's own figures, over the whole validation set."""
        if self.validation is None:
            return {}
        self.head.eval()
        sums: dict[str, float] = {}
        weight = 0.0
        with torch.no_grad():
            for batch in self.validation.once():
                lesson = self._lesson(batch)
                weight += lesson.weight
                for name, value in {"loss": float(lesson.total), **lesson.stats}.items():
                    sums[name] = sums.get(name, 0.0) + value
        self.head.train()
        return {f"val_{name}": value / max(weight, 1.0) for name, value in sums.items()}

    def _lesson(self, batch: Batch) -> Lesson:
        head: Head = self.head
        return head.lesson(seen(self.model, batch, self.dtype))


def seen(model: Transformer, batch: Batch, dtype: torch.dtype = torch.float32) -> Seen:
    """What the model makes of a packed batch."""
    with torch.no_grad():
        stream_BTD = stream(model, batch, dtype).float()
    ids, documents = (torch.from_numpy(a).to(model.device) for a in (batch.ids, batch.documents))
    asked = torch.from_numpy(batch.targets != IGNORED).to(model.device)
    return Seen(model, ids, documents, asked, stream_BTD)


def of_work(work: Work, dtype: torch.dtype) -> Guessing:
    """The objective of a run (`run.Work`) whose model is a head beside another."""
    from jielong.train.run import next_token

    assert work.beside is not None
    model = work.beside.requires_grad_(False).eval()
    rows = next_token(replace(work, model=model, beside=None), dtype)
    return Guessing(work.model, model, rows.train, rows.validation, rows.accumulate, dtype)


def own_texts(
    model: Transformer, codec: Tokenizer, tokens: int, longest: int, seed: int,
    going: Callable[[int], bool] = lambda written: True,
) -> Tokens:  # fmt: skip
    """What the model writes from its end token at temperature 1: `tokens` or a few more, in texts of `longest` at most.

    `going(written)` is asked after every `STREAMS` texts; False ends the writing early.
    """
    documents: list[tuple[list[int], None]] = []
    written = 0
    while written < tokens:
        first = len(documents)
        each = [Sampling(max_tokens=longest - 1, seed=seed + (first + i) * SEEDS, stop_ids=(codec.end,))
                for i in range(STREAMS)]  # fmt: skip
        found = generate(model, [[codec.end]] * STREAMS, each, batch=STREAMS)
        documents += [([codec.end, *draw.ids], None) for draw in found]
        written += sum(len(draw.ids) for draw in found)
        if not going(written):
            break
    return Tokens.from_documents(documents)


def parted(texts: Tokens, codec: Tokenizer, fraction: float) -> Prepared:
    """A run's data from texts that a model wrote: the first `fraction` of them is held apart. UserError where none is
    left to learn from."""
    held, some = [], 0
    for i in range(int(fraction * texts.documents)):
        held.append(i)
        some += len(texts.document(i)[0])
        if some >= VALIDATION_TOKENS:
            break
    rest = range(len(held), texts.documents)
    if not rest:
        raise UserError("the model wrote nothing to learn from: give DATA")

    def chosen(numbers: Sequence[int]) -> Tokens:
        return Tokens.from_documents((texts.document(i)[0], None) for i in numbers)

    return Prepared(codec, chosen(rest), chosen(held) if held else None)
