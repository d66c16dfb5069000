"""Which loss, and how strong. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jielong.base.errors import UserError

PAIRWISE = ("sigmoid", "cdpo", "robust", "hinge", "ipo", "simpo", "orpo")
NO_REFERENCE = ("simpo", "orpo")
NOISY = ("cdpo", "robust")
BETAS = {"simpo": 2.0}  # where it is not the usual one
BETA, FLIPPED, GAMMA = 0.1, 0.1, 1.0


@dataclass(frozen=True)
class Plan:
    """beta: how dear it is to leave the reference; flipped: share of labels thought wrong (cdpo, robust); gamma: the
    margin of simpo."""

    loss: str = "sigmoid"
    beta: float = BETA
    flipped: float = 0.0
    gamma: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.beta) and self.beta > 0):
            raise UserError(f"--beta must be above 0, not {self.beta}")
        if not 0 <= self.flipped < 0.5:
            raise UserError(f"--flipped is the share of wrong labels, from 0 to less than 0.5, not {self.flipped}")
        if not math.isfinite(self.gamma):
            raise UserError(f"--gamma must be a number, not {self.gamma}")

    @property
    def needs_reference(self) -> bool:
        """Whether the loss asks the reference."""
        return self.loss not in NO_REFERENCE


def plan_of(loss: str, beta: float | None, flipped: float | None, gamma: float | None) -> Plan:
    """Each loss with its usual numbers where none are given. UserError for a number that the loss does not take."""
    if loss not in PAIRWISE:
        raise UserError(f"--loss {loss} is none of {', '.join(PAIRWISE)}")
    if flipped is not None and loss not in NOISY:
        raise UserError(f"--flipped is for --loss {' and '.join(NOISY)}, not {loss}")
    if gamma is not None and loss != "simpo":
        raise UserError(f"--gamma is for --loss simpo, not {loss}")
    return Plan(
        loss,
        BETAS.get(loss, BETA) if beta is None else beta,
        (FLIPPED if flipped is None else flipped) if loss in NOISY else 0.0,
        (GAMMA if gamma is None else gamma) if loss == "simpo" else 0.0,
    )


@dataclass(frozen=True)
class Weights:
    """Of KTO. beta as in `Plan`; what a wanted and an unwanted answer count."""

    beta: float = BETA
    desirable: float = 1.0
    undesirable: float = 1.0

    def __post_init__(self) -> None:
        for name in ("beta", "desirable", "undesirable"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise UserError(f"--{name} must be above 0, not {getattr(self, name)}")


BALANCE = (1.0, 4 / 3)  # Ethayarajh et al. 2024, eq. 9: desirable x wanted / (undesirable x unwanted)


def balance(weights: Weights, wanted: int, unwanted: int) -> str:
    """UserError where one kind of label is missing; else one line of advice, "" where the weights suit the labels."""
    if not wanted or not unwanted:
        kind, n = "false" if not wanted else "true", wanted + unwanted
        raise UserError(f"all {n:,} answers are labelled {kind}: KTO learns from wanted and unwanted "
                        "ones: add some of the others, or pairs")
    share = weights.desirable * wanted / (weights.undesirable * unwanted)
    if BALANCE[0] <= share <= BALANCE[1] + 1e-9:
        return ""
    if share < BALANCE[0]:
        mend = f"--desirable {weights.undesirable * unwanted / wanted:.3g}"
    else:
        mend = f"--undesirable {weights.desirable * wanted / unwanted:.3g}"
    return f"{wanted:,} answers are wanted and {unwanted:,} are not; {mend} would make them count alike"
