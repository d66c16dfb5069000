"""What a run was asked to do, and what follows from a number of minutes. No torch here.

A budget in minutes becomes a shape and a number of tokens by a pure function: the same on every machine. Only the
predicted time depends on the machine at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from jielong.base.errors import UserError
from jielong.nets.config import TransformerConfig, shape

Precision = Literal["auto", "float32", "bfloat16"]

# FLOP/s that a compiled step keeps up on two cores with bf16 arithmetic (about 40 % of their matrix rate): it only
# turns minutes into tokens. A slower machine takes longer for the same tokens, and says so beforehand.
REFERENCE_RATE = 3.2e11
TOKENS_PER_PARAMETER = 6  # fewer than Chinchilla's 20: small worlds repeat, and width helps them more


@dataclass(frozen=True)
class Settings:
    """One training run over packed rows. Everything that decides its result, so that a run can be resumed."""

    steps: int = 0  # steps or tokens: the one that is not 0
    tokens: int = 0
    context: int = 128  # positions in a row
    batch: int = 32  # rows in a micro-batch
    accumulate: int = 1  # micro-batches in a step
    matrix_rate: float = 0.02  # Muon's learning rate
    other_rate: float = 0.008  # AdamW's, for embeddings, norms and biases
    weight_decay: float = 0.1  # of matrices: what is only learnt by heart fades, what is a rule stays
    warmup: int = 20
    decay: float = 0.5  # share of the run in which the rates fall to zero
    clip: float = 1.0
    muon: bool = True  # for matrices; else AdamW for all, at `other_rate`
    precision: Precision = "auto"
    compile: bool | None = None  # let torch compile the blocks; None: where it pays
    validate: int = 4  # times that the validation loss is measured
    save_every: float = 60.0  # seconds between two saved states
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("context", "batch", "accumulate"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.steps < 0 or self.tokens < 0 or (not self.steps and not self.tokens):
            raise UserError("no budget: give --minutes, --steps or --tokens of 1 or more")
        if not self.matrix_rate > 0 or not self.other_rate > 0:
            raise UserError("learning rates must be above 0")

    @property
    def step_tokens(self) -> int:
        """Input positions in one step."""
        return self.context * self.batch * self.accumulate

    @property
    def length(self) -> int:
        """Number of steps, at least one."""
        return self.steps or max(1, self.tokens // self.step_tokens)


def to_json(settings: Settings) -> dict[str, Any]:
    """As plain JSON values."""
    return asdict(settings)


def from_json(data: Mapping[str, Any]) -> Settings:
    """Read what `to_json` wrote."""
    known = {field.name for field in fields(Settings)}
    return Settings(**{name: value for name, value in data.items() if name in known})


@dataclass(frozen=True)
class Plan:
    """A shape and a number of tokens."""

    width: int
    layers: int
    tokens: int


def plan(minutes: float, vocab: int, context: int) -> Plan:
    """The widest model that `minutes` of the reference machine can show `TOKENS_PER_PARAMETER` tokens a parameter.

    Width is a multiple of 32, depth one block for each 32 of it (at least two). Raises UserError for no time.
    """
    chosen = None
    for width in range(32, 2049, 32):
        config = shape(width, vocab, context)
        tokens = tokens_for(minutes, config, context)
        if chosen is not None and tokens < TOKENS_PER_PARAMETER * config.parameters:
            break
        chosen = Plan(width, config.layers, tokens)
    assert chosen is not None
    return chosen


def tokens_for(minutes: float, config: TransformerConfig, context: int) -> int:
    """Tokens that `minutes` of the reference machine show to this shape (a backward pass costs two forward ones)."""
    return tokens_at(minutes, 3.0 * config.matrix_flops(context))


def tokens_at(minutes: float, flops: float) -> int:
    """The same where each token costs so many operations."""
    if not 0 < minutes < float("inf"):
        raise UserError(f"--minutes must be above 0, not {minutes}")
    return int(minutes * 60 * REFERENCE_RATE / flops)


def minutes_text(seconds: float) -> str:
    """A predicted time for people: seconds under two minutes, else minutes."""
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.1f} minutes"
