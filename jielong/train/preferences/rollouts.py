"""Answers drawn from the model that learns, by the engine, with the sampler's own log-probabilities.

    prompts = encoded(asked, codec, context)
    drawn, texts = draw(model, codec, prompts, numbers, plan, seed)

The engine packs the weights anew for each rollout (`infer/core.py`), so nothing of an earlier step is ever used; that
costs about as much as one step of the texts. Each draw has a seed of its own: a rollout does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.data.mix import split
from jielong.data.tokens import Tokens
from jielong.infer.generate import Generated, generate
from jielong.infer.runner import home
from jielong.infer.sampling import Sampling
from jielong.nets.adapters.adapter import Adapter
from jielong.nets.adapters.attach import loose, off
from jielong.nets.adapters.thin import refuses
from jielong.nets.transformer import Transformer
from jielong.train.compiled import plainly
from jielong.train.preferences.asked import Asked
from jielong.train.preferences.data import plain
from jielong.train.preferences.pairs import Document, Laid, Numbers, lay
from jielong.train.preferences.rollout_plan import Drawing
from jielong.units.chat import encode_prompt
from jielong.units.codec import Tokenizer

STREAMS = 256  # answers that are written together


@dataclass(frozen=True)
class Prompt:
    """What was asked, and its tokens up to where the answer begins."""

    asked: Asked
    ids: tuple[int, ...]

    @property
    def text(self) -> str:
        """By which equal prompts are recognised: they stay on one side of a split."""
        return self.asked.question

    @property
    def shown(self) -> Any:
        """As rewards see it: a text where the data holds a text, else messages."""
        return self.asked.shown


@dataclass(frozen=True, eq=False)
class Prompts:
    """`left` were longer than the context, of `found`."""

    train: Sequence[Prompt]
    held: Sequence[Prompt]
    left: int
    found: int

    def tokens(self) -> tuple[Tokens, Tokens | None]:
        """The same as tokens, of which none is a target: what a run's data is known by."""
        sides = [Tokens.from_documents((list(p.ids), [False] * len(p.ids)) for p in side)
                 for side in (self.train, self.held)]  # fmt: skip
        return sides[0], sides[1] if self.held else None


def encoded(
    asked: Sequence[Asked], codec: Tokenizer, context: int, fraction: float = 0.0, seed: int = 0
) -> Prompts:
    """Prompts in tokens, those that leave no room for an answer left out, a `fraction` kept apart for validation.
    UserError where nothing is left."""
    every = [Prompt(each, tuple(_ids(each, codec))) for each in asked]
    fit = [prompt for prompt in every if len(prompt.ids) < context]
    if not fit:
        shortest = min((len(prompt.ids) for prompt in every), default=0)
        raise UserError(f"all {len(every):,} prompts are longer than the model's context of {context} tokens (the "
                        f"shortest has {shortest}): shorten them, or take a model with a longer one")  # fmt: skip
    train, held = split(fit, fraction, seed) if fraction and len({p.text for p in fit}) > 1 else (fit, [])
    return Prompts(train, held, len(every) - len(fit), len(every))


def _ids(asked: Asked, codec: Tokenizer) -> list[int]:
    if isinstance(asked.prompt, str):
        return [codec.end, *codec.encode(plain(asked.prompt))]
    return encode_prompt(codec, asked.prompt)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A answers: ids (A, L) of prompt and answer; begins and ends (A,): where the answer does; logs (A, T) the
    sampler's log-probability of each of its tokens; finished (A,) bool: whether it ended by itself; prompts (A,):
    which."""

    ids: Tensor
    begins: Tensor
    ends: Tensor
    logs: Tensor
    finished: Tensor
    prompts: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> Tensor:
        """(A,) tokens of each answer, the one that ends it too."""
        return self.ends - self.begins

    @property
    def mask(self) -> Tensor:
        """(A, T): the places that there are."""
        return torch.arange(self.logs.shape[1]) < self.lengths[:, None]

    def document(self, number: int) -> Document:
        """Ids and targets of one answer behind its prompt."""
        ids = self.ids[number, : self.ends[number]].numpy()
        return ids, np.arange(len(ids)) >= int(self.begins[number])

    def state(self) -> dict[str, Tensor]:
        """By name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, eq=False)
class Piece:
    """Some answers of a rollout in rows, for one pass; `answers` (n,): which of the rollout they are. rows and columns
    (N,): where in a rollout's (A, T) tensors the tokens of `laid.at` stand."""

    laid: Laid
    answers: Numbers
    rows: Tensor
    columns: Tensor

    @property
    def ids(self) -> Numbers:
        """(B, T), what the model reads."""
        return self.laid.ids

    def of(self, values: Tensor) -> Tensor:
        """(A, T) or (A,) -> (N,), in the order of `laid.at`."""
        return values[self.rows] if values.ndim == 1 else values[self.rows, self.columns]


def piece(drawn: Drawn, answers: Numbers, together: bool = False) -> Piece:
    """These answers for one pass; those of one prompt `together` read it once (`pairs.shares`)."""
    asked = drawn.prompts.numpy()[answers] if together else None
    laid = lay([drawn.document(int(i)) for i in answers], answers, asked=asked)
    owner = laid.owner
    first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])  # an answer's tokens stand together
    columns = np.arange(len(owner)) - np.repeat(first, np.diff(np.r_[first, len(owner)]))
    return Piece(laid, answers, torch.from_numpy(answers[owner]), torch.from_numpy(columns))


def pieces(drawn: Drawn, answers: Numbers, batch: int, together: bool = False) -> Iterator[Piece]:
    """`batch` answers at a time."""
    for first in range(0, len(answers), batch):
        yield piece(drawn, answers[first : first + batch], together)


def draw(
    model: Transformer, codec: Tokenizer, prompts: Sequence[Prompt], numbers: Numbers, plan: Drawing, seed: int
) -> tuple[Drawn, list[str]]:
    """One answer for each of `numbers` (a prompt may stand there several times), and what they say. The
    log-probabilities are of the model's own law, at temperature 1."""
    stops = tuple({codec.end, codec.turn_end})
    each = [Sampling(temperature=plan.temperature, max_tokens=plan.length, stop_ids=stops, seed=noise.seed_of(seed, i))
            for i in range(len(numbers))]  # fmt: skip
    found = written(model, [prompts[i].ids for i in numbers], each)
    begins = np.array([len(prompts[i].ids) for i in numbers], dtype=np.int64)
    ends = begins + np.array([len(one.ids) for one in found], dtype=np.int64)
    ids = np.zeros((len(found), int(ends.max())), dtype=np.int64)
    logs = np.zeros((len(found), int((ends - begins).max())), dtype=np.float32)
    for row, (number, one) in enumerate(zip(numbers, found)):
        ids[row, : ends[row]] = (*prompts[number].ids, *one.ids)
        logs[row, : len(one.ids)] = one.logprobs
    texts = [codec.decode(list(one.answer), skip_special=True) for one in found]
    finished = np.array([one.reason == "stop" for one in found])
    made = (ids, begins, ends, logs, finished, np.asarray(numbers, dtype=np.int64))
    return Drawn(*map(torch.from_numpy, made)), texts


def written(model: Transformer, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]) -> list[Generated]:
    """What the model writes. An adapter that it wears is run beside its matrices where the engine can, which is much
    faster than the model's own forward pass, and never written into them: a reference must stay what it is."""
    worn, here = loose(model), home(model)
    beside = worn[0] if len(worn) == 1 and here == (torch.device("cpu"), torch.float32) else ""
    if not beside or refuses(cast(Adapter, model.adapters[beside])):
        with plainly(model):
            return generate(model, prompts, samplings, batch=STREAMS)
    adapters = {beside: cast(Adapter, model.adapters[beside])}
    with off(model):
        return generate(model, prompts, samplings, batch=STREAMS, adapters=adapters, adapter=beside)


def columns(prompts: Sequence[Prompt], numbers: Numbers) -> Mapping[str, list[Any]]:
    """What else the data says of these prompts, by name; None where a record lacks what another has."""
    some = [prompts[i].asked.columns for i in numbers]
    names = dict.fromkeys(name for each in some for name in each)
    return {name: [each.get(name) for each in some] for name in names if name not in ("prompts", "completions")}
