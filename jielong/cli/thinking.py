"""The flags of every verb that lets a strategy think: the model, and what is kept, paid and allowed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from jielong.cli.drawing import Drawing
    from jielong.lm.protocol import LM

DEFAULT = "runs/demo"


@Parameter(name="*", group="Saving")
@dataclass(frozen=True)
class Saving:
    """What calls may cost."""

    cache: Path | None = None
    "Keep what was said in this file, and do not ask for it again."
    prices: Path | None = None
    'Prices of models, a TOML file: [models."NAME"] with prompt = and completion =, for a million tokens.'
    spend: str = ""
    "At most this much money, such as 0.50; needs --prices. Reserved before each call."
    per_minute: int = 0
    "At most so many requests in any minute (0: no limit)."


SAVING = Saving()


def open_thinker(model: str, device: str, seed: int, saving: Saving, adapter: Path | None = None) -> LM:
    """The model by its folder or address, with its limits, its price and its cache around it."""
    from jielong.base.errors import UserError
    from jielong.cli.feedback import open_lm

    lm = open_lm(model, device, seed, adapter)
    if saving.per_minute:
        from jielong.lm.limits import Limited

        lm = Limited(lm, saving.per_minute)
    if saving.spend and saving.prices is None:
        raise UserError("--spend needs --prices FILE.toml: what is a token worth?")
    if saving.prices is not None:
        from jielong.lm.money import Paid, Purse, load

        prices = load(saving.prices)
        purse = Purse(saving.spend, prices.currency) if saving.spend else None
        lm = Paid(lm, prices.of(lm.name), purse)
    if saving.cache is not None:
        from jielong.lm.cache import Cached

        lm = Cached(lm, saving.cache)
    return lm


def money(lm: LM) -> dict[str, str]:
    """What was spent, where the model has a price."""
    from jielong.lm.money import Paid, shown

    inner: Any = lm
    while inner is not None and not isinstance(inner, Paid):
        inner = getattr(inner, "lm", None)
    return {"cost": shown(inner.spent, inner.currency)} if inner is not None else {}


def laws(drawing: Drawing) -> dict[str, Any]:
    """The settings of sampling that are not the usual ones, for a trace; the seed is the model's."""
    from jielong.infer.sampling import Sampling

    changes = Sampling(**drawing.settings()).changes()
    changes.pop("seed", None)
    return changes


def tokens(text: str) -> int:
    """A number of tokens: 200000, 200k, 1.5M. UserError for anything else."""
    from jielong.base.errors import UserError

    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKmM]?)", text.strip())
    if not found:
        raise UserError(f"{text!r} is no number of tokens: write 200000, 200k or 1.5M")
    return int(float(found[1]) * {"": 1, "k": 1_000, "m": 1_000_000}[found[2].lower()])
