"""What is trained for each kind of drafter: a head beside the model, or a small model of its own.

    guesser = guesser("small", loaded.model, codec.size, Plan(reach=4), context=128)
    run.Work(guesser.model, ..., objective=guesser.objective, beside=guesser.beside)

Heads (`nets/drafts`) live on the model's stream. `small` is a model like any other, distilled from the one it guesses
for; `diffusion` fills blocks of slots behind the latest tokens. Both are saved as ordinary checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from jielong.base.errors import UserError
from jielong.infer.slots import INFO, Marks
from jielong.nets import drafts
from jielong.nets.config import TransformerConfig, shape
from jielong.nets.transformer import Transformer
from jielong.train import blocks, distil, draft
from jielong.train.objective import Objective
from jielong.train.settings import Settings

Kind = Literal["medusa", "eagle", "block", "small", "diffusion"]


@dataclass(frozen=True)
class Plan:
    """`reach`: guesses ahead. Of a model of its own: `width` and `layers` (0: by the model it guesses for), `window`
    tokens that a block follows, and whether it learns from tokens alone (`hard`)."""

    reach: int = 4
    width: int = 0
    layers: int = 0
    window: int = 24
    hard: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Guesser:
    """`flops` of one token's training, all models counted; `context` of its rows. The rest as in `run.Work`; what
    `info` calls the objective, a run that goes on must share."""

    model: Any
    flops: float
    context: int
    objective: Callable[..., Objective] | None = None
    beside: Transformer | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    def settings(self, given: Settings) -> Settings:
        """The same number of tokens a step in rows of this context."""
        if self.context == given.context:
            return given
        return replace(given, context=self.context, batch=max(1, given.batch * given.context // self.context))


def guesser(kind: Kind, target: Transformer, tokens: int, plan: Plan, context: int) -> Guesser:
    """An untrained drafter for a model whose tokenizer has so many tokens; rows are `context` long where the kind does
    not say otherwise. UserError for settings that another kind takes."""
    own = {"small": ("width", "layers", "hard"), "diffusion": ("width", "layers", "window")}.get(kind, ())
    odd = [name for name in ("width", "layers", "window", "hard") if getattr(plan, name) != getattr(Plan(), name)]
    if wrong := [f"--{name}" for name in odd if name not in own]:
        raise UserError(f"--kind {kind} takes no {', '.join(wrong)}: leave it out")
    reading = float(target.config.matrix_flops(context))
    if kind == "small":
        model = Transformer(_shape(target.config, plan, 1 / 2), seed=plan.seed)
        learning = 3.0 * model.config.matrix_flops(context)
        if plan.hard:
            return Guesser(model, learning, context, info={"objective": "text"})
        objective: Callable[..., Objective] = partial(distil.of_work, teacher=target)
        return Guesser(model, learning + reading, context, objective, info={"objective": "laws"})
    if kind == "diffusion":
        marks = Marks(tokens, plan.reach)
        if plan.window < 1:
            raise UserError(f"--window {plan.window}: a block follows 1 token or more")
        rows = plan.window + plan.reach
        config = replace(_shape(target.config, plan, 2 / 3), vocab=marks.vocab, context=rows, causal=False)
        model = Transformer(config, seed=plan.seed)
        told = {INFO: {**marks.info("diffusion"), "chats": False}}
        objective = partial(blocks.of_work, marks=marks)
        return Guesser(model, 3.0 * config.matrix_flops(rows), rows, objective, info=told)
    head = drafts.fresh(kind, target.config, plan.reach, plan.seed)
    return Guesser(head, reading + 3.0 * head.flops(context), context, draft.of_work, target)


def _shape(target: TransformerConfig, plan: Plan, share: float) -> TransformerConfig:
    """A shape of about this share of the target's width, and half its layers."""
    width = plan.width or max(32, int(share * target.dim) // 32 * 32)
    return shape(width, target.vocab, target.context, plan.layers or max(2, target.layers // 2))
