"""Small networks beside a model, which guess what it will write: trained on its stream, with its own head.

    head = fresh("medusa", model.config, reach=4)
    lesson = head.lesson(seen)                           # a `Seen`: what the objective of `train/draft.py` lowers
    Beside(model.config).save("folder", head, codec)     # `folder.py`

Each file beside this one is one kind. What guesses with it in the engine stands in `infer/draft/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from jielong.base.errors import UserError
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer

SLICE = 512  # places whose logits are in memory together
KINDS = ("medusa", "eagle", "block")


@dataclass(frozen=True)
class Lesson:
    """A sum over all guesses that were judged, and how many: the loop divides once. `stats` are sums too."""

    total: Tensor
    weight: float
    stats: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Seen:
    """Packed texts, and what the model made of them without gradients.

    ids (B, T); documents (B, T): nobody looks from one number into another; asked (B, T) bool: whether what follows
    this place is to be guessed at (not at a document's end, nor where a user speaks); stream (B, T, D) float32 after
    the model's last norm. Place t has read ids[t]; the model's law there is that of the token t + 1.
    """

    model: Transformer  # frozen: its embedding and its head are the heads' too
    ids: Tensor
    documents: Tensor
    asked: Tensor
    stream: Tensor

    @cached_property
    def laws(self) -> Tensor:
        """(B, T, V) float32: the model's law of the next token, at temperature 1."""
        with torch.no_grad():
            return self.model.logits(self.stream).softmax(dim=-1)

    def ahead(self, n: int) -> Tensor:
        """(B, T - n) bool: whether place t + n is asked and of one document with t."""
        if n == 0:
            return self.asked
        return self.asked[:, n:] & (self.documents[:, n:] == self.documents[:, :-n])


class Head(Protocol):
    """What a kind's module is, beside a `torch.nn.Module` that holds none of the model's own parameters."""

    @property
    def config(self) -> Any:
        """A frozen dataclass of plain values: with the model's own configuration it makes the module again."""

    def lesson(self, seen: Seen) -> Lesson:
        """What is lowered. Everything of `seen` is without gradients."""

    def flops(self, context: int) -> float:
        """Multiply-adds times two of `lesson`, for each place of rows of `context`; without those of the model."""


def kind(name: str) -> tuple[Any, Any]:
    """(configuration, module) of a kind. `configuration.of(target, reach)` settles it for a model's configuration;
    `module(configuration, target, seed)` makes the `Head`. UserError for a name that there is not."""
    if name == "medusa":
        from jielong.nets.drafts import medusa

        return medusa.Config, medusa.Medusa
    if name == "eagle":
        from jielong.nets.drafts import eagle

        return eagle.Config, eagle.Eagle
    if name == "block":
        from jielong.nets.drafts import block

        return block.Config, block.Block
    raise UserError(f"there is no drafter of kind {name!r}: give {', '.join(KINDS)}")


def name(head: Any) -> str:
    """The kind of a module."""
    return next(each for each in KINDS if isinstance(head, kind(each)[1]))


def fresh(name: str, target: TransformerConfig, reach: int, seed: int = 0) -> Any:
    """An untrained head of a kind for models of this configuration, guessing up to `reach` tokens."""
    if reach < 1:
        raise UserError(f"a drafter that guesses {reach} tokens ahead: give 1 or more")
    config, module = kind(name)
    return module(config.of(target, reach), target, seed)


def nats(seen: Seen, guessed: Tensor, n: int) -> tuple[Tensor, float, float]:
    """Cross-entropy between the model's laws at places t + n and those of predicted streams (B, T - n, D) for there,
    through the model's own head: summed over places that count, how many, and the chance that a guess drawn from the
    one is kept by the other, sum min(p, q), summed too."""
    counted = seen.ahead(n)
    streams_ND = guessed[counted]
    total, kept = _Nats.apply(streams_ND, seen.laws[:, n:][counted], seen.model)
    return total, float(len(streams_ND)), float(kept)


def against(laws_NV: Tensor, logits_NV: Tensor) -> tuple[Tensor, float, float]:
    """The same of laws beside the logits of guesses."""
    total, kept = _Against.apply(logits_NV, laws_NV)
    return total, float(len(laws_NV)), float(kept)


class _Against(torch.autograd.Function):
    """(nats, kept) of logits (N, V) against laws: softmax - law is the gradient, and half its size what is not kept."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, laws: Tensor) -> tuple[Tensor, Tensor]:
        total, kept, slope = _judged(logits, laws)
        ctx.save_for_backward(slope)
        ctx.mark_non_differentiable(kept)
        return total, kept

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _kept: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return slope * grad, None


class _Nats(torch.autograd.Function):
    """The same of streams (N, D) through a model's head, some places at a time: no logits are kept."""

    @staticmethod
    def forward(ctx: Any, streams: Tensor, laws: Tensor, model: Transformer) -> tuple[Tensor, Tensor]:
        total, kept = streams.new_zeros(()), streams.new_zeros(())
        slopes = torch.empty_like(streams)
        for first in range(0, len(streams), SLICE):
            some = slice(first, first + SLICE)
            with torch.enable_grad():
                part = streams[some].detach().requires_grad_()
                logits = model.logits(part)
            each, stays, slope = _judged(logits.detach(), laws[some])
            total, kept = total + each, kept + stays
            if ctx.needs_input_grad[0]:
                (slopes[some],) = torch.autograd.grad(logits, part, slope)
        ctx.save_for_backward(slopes)
        ctx.mark_non_differentiable(kept)
        return total, kept

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _kept: Tensor) -> tuple[Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        return slopes * grad, None, None


def _judged(logits: Tensor, laws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Nats summed, sum min(p, q) = 1 - |p - q| / 2 summed, and q - p."""
    logs = logits.log_softmax(dim=-1)
    total = -torch.dot(laws.flatten(), logs.flatten())
    slope = logs.exp_().sub_(laws)
    return total, len(laws) - slope.abs().sum() / 2, slope
