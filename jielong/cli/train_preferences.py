"""`jielong train dpo`, `kto` and `reward`: a model learns which answers are better, to give them or to judge them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from jielong.cli.adapting import ADAPTING, Adapting, put_on, slower
from jielong.cli.common import Common
from jielong.cli.train import ADAPTED, GENTLE, NO_SETTINGS, Budget, Rows, fits, load, made_settings
from jielong.cli.train_run import Place, talk_of, train

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jielong.base.talk import Talk
    from jielong.nets.adapters.adapter import Adapter
    from jielong.nets.adapters.config import Config
    from jielong.nets.checkpoint import Loaded
    from jielong.nets.transformer import Transformer
    from jielong.train.preferences.prepare import Preferences
    from jielong.train.settings import Settings

Pairwise = Literal["sigmoid", "cdpo", "robust", "hinge", "ipo", "simpo", "orpo"]
JUDGED = 0.003  # AdamW's rate of a reward model's adapter: `adapting.slower`
BUDGET = Budget()


@Parameter(name="*", group="Rows and rates")
@dataclass(frozen=True)
class Examples(Rows):
    """How steps are made and how fast they move. Without a budget: once through the data."""

    context: int = 0
    "Positions of a prompt and its answer (default all that the model takes)."
    batch: int = 8
    "Examples in a micro-batch."
    matrix_rate: float | None = None
    "Muon's learning rate (default 0.0005)."
    other_rate: float | None = None
    (
        "AdamW's learning rate, for embeddings and norms (default 0.0002; of an adapter 0.001, of a reward model's "
        "0.003, less where models are wide)."
    )
    compile: bool | None = None
    "Compile the blocks (default: not; rows are as wide as their answers)."
    validation: float = 0.05
    "Share of the prompts kept apart."


EXAMPLES = Examples()


def dpo(
    data: list[str],
    *,
    model: Path,
    loss: Pairwise = "sigmoid",
    beta: float | None = None,
    flipped: float | None = None,
    gamma: float | None = None,
    text: Annotated[bool, Parameter(negative=())] = False,
    adapting: Adapting = ADAPTING,
    budget: Budget = BUDGET,
    rows: Examples = EXAMPLES,
    place: Place = Place(),
    common: Common = Common(),
) -> None:
    """Align a model with pairs of answers, a better and a worse one: direct preference optimisation and its relatives.

    Parameters
    ----------
    data
        JSON, JSONL or Parquet of {"prompt", "chosen", "rejected"}, of chats or instructions with "chosen" and
        "rejected", or of {"chosen", "rejected"} that begin alike; folders, hf:NAME.
    model
        The tuned checkpoint or run to start from; as it is, it is also the reference to stay near.
    loss
        cdpo and robust where labels may be wrong; simpo and orpo need no reference.
    beta
        How dear it is to leave the reference (default 0.1; of simpo 2, of orpo the weight of the odds, 0.1).
    flipped
        cdpo, robust: the share of labels thought wrong (default 0.1).
    gamma
        simpo: how much better the chosen answer should be (default 1).
    text
        Prompts and answers are plain text, not turns of a chat.
    """
    from jielong.train.preferences.data import read_pairs
    from jielong.train.preferences.dpo import of_work
    from jielong.train.preferences.plan import plan_of

    talk = talk_of(common)
    plan = plan_of(loss, beta, flipped, gamma)
    config = adapting.config()
    policy, reference = _both(model, place, config is None)
    rows, made = _prepare(policy, list(data), partial(read_pairs, text=text), rows, talk)
    settings, per_step = _settle(policy, made, budget, rows, config)
    info = _info(model, reference, made, vars(plan), text)
    adapter, beside = _worn(policy, config, rows)
    train(
        "dpo", adapter or policy.model, made.tokens, settings, list(data), place, talk, info,
        partial(of_work, reference=reference.model, plan=plan), beside, per_step=per_step,
    )  # fmt: skip


def kto(
    data: list[str],
    *,
    model: Path,
    beta: float = 0.1,
    desirable: float = 1.0,
    undesirable: float = 1.0,
    text: Annotated[bool, Parameter(negative=())] = False,
    adapting: Adapting = ADAPTING,
    budget: Budget = BUDGET,
    rows: Examples = EXAMPLES,
    place: Place = Place(),
    common: Common = Common(),
) -> None:
    """Align a model with single answers that are wanted or not: KTO.

    Parameters
    ----------
    data
        JSON, JSONL or Parquet of {"prompt", "completion", "label"} or of chats with a "label", true or false; pairs
        as for `train dpo` count as a wanted and an unwanted answer; folders, hf:NAME.
    model
        The tuned checkpoint or run to start from; as it is, it is also the reference to stay near.
    beta
        How dear it is to leave the reference.
    desirable
        What a wanted answer counts.
    undesirable
        What an unwanted answer counts.
    text
        Prompts and answers are plain text, not turns of a chat.
    """
    from jielong.train.preferences.data import read_labelled
    from jielong.train.preferences.kto import of_work
    from jielong.train.preferences.plan import Weights, balance

    talk = talk_of(common)
    weights = Weights(beta, desirable, undesirable)
    config = adapting.config()
    policy, reference = _both(model, place, config is None)
    rows, made = _prepare(policy, list(data), partial(read_labelled, text=text), rows, talk)
    labels, held = made.answers.labels, made.held.labels if made.held else None
    wanted = int(labels.sum())
    if line := balance(weights, wanted, len(labels) - wanted):
        talk.warn(line)
    settings, per_step = _settle(policy, made, budget, rows, config)
    info = _info(model, reference, made, vars(weights), text)
    adapter, beside = _worn(policy, config, rows)
    train(
        "kto", adapter or policy.model, made.tokens, settings, list(data), place, talk, info,
        partial(of_work, reference=reference.model, weights=weights, labels=labels, held=held), beside,
        per_step=per_step,
    )  # fmt: skip


def reward(
    data: list[str],
    *,
    model: Path,
    heads: str = "reward",
    centre: float = 0.0,
    text: Annotated[bool, Parameter(negative=())] = False,
    adapting: Adapting = ADAPTING,
    budget: Budget = BUDGET,
    rows: Examples = EXAMPLES,
    place: Place = Place(),
    common: Common = Common(),
) -> None:
    """Train a reward model: from pairs of answers it learns what an answer is worth.

    Parameters
    ----------
    data
        Pairs as for `train dpo`; a pair may say its "margin", and in which respect it was judged ("head").
    model
        The tuned checkpoint or run that becomes the judge.
    heads
        One number for each of these names, as in helpful,safe; a pair that names none is for the first.
    centre
        How strongly rewards are kept near 0 (0.01, say).
    text
        Prompts and answers are plain text, not turns of a chat.
    """
    import math

    from jielong.base.errors import UserError
    from jielong.nets.reward import RewardModel
    from jielong.train.preferences.data import read_pairs
    from jielong.train.preferences.reward import numbered, of_work

    talk = talk_of(common)
    if not (math.isfinite(centre) and centre >= 0):
        raise UserError(f"--centre must be 0 or more, not {centre}")
    loaded = load(model, place)
    assert loaded is not None
    config = adapting.config()
    judge = RewardModel(loaded.model, [name.strip() for name in heads.split(",")])
    rows, made = _prepare(loaded, list(data), partial(read_pairs, text=text), rows, talk)
    for side in (made.answers, made.held):
        if side is not None:
            numbered(side, judge.heads)
    settings, per_step = _settle(loaded, made, budget, rows, config, JUDGED)
    info = _info(model, loaded, made, {"heads": list(judge.heads), "centre": centre}, text)
    adapter, beside = _worn(loaded, config, rows, judge.heads)
    train(
        "reward", adapter or judge, made.tokens, settings, list(data), place, talk, info,
        partial(of_work, train=made.answers, held=made.held, centre=centre), beside,
        per_step=per_step,
    )  # fmt: skip


def _both(model: Path, place: Place, whole: bool) -> tuple[Loaded, Loaded]:
    """The model that learns, and itself as it was: a copy where it is trained as a `whole`, else the same, which is to
    wear an adapter."""
    from copy import deepcopy

    loaded = load(model, place)
    assert loaded is not None
    return loaded, replace(loaded, model=deepcopy(loaded.model)) if whole else loaded


def _worn(
    loaded: Loaded, config: Config | None, rows: Examples, heads: Sequence[str] = ()
) -> tuple[Adapter | None, Transformer | None]:
    """An adapter on the model and the model that stands beside it; without --adapter neither."""
    if config is None:
        return None, None
    return put_on(loaded, config, rows.seed, heads), loaded.model


def _prepare(
    loaded: Loaded, specs: list[str], read: Callable[[str], list[Any]], rows: Examples, talk: Talk
) -> tuple[Examples, Preferences]:
    """The examples of `specs` in tokens; what cannot be learnt from is told, a line for each reason."""
    from jielong.train.preferences.prepare import preferences

    most = loaded.config.context
    rows = replace(rows, context=rows.context or most)
    fits(rows, loaded.config)
    made = preferences(specs, read, loaded.codec, rows.context, rows.validation, rows.seed)
    for line in made.left.lines(rows.context, most):
        talk.warn(line)
    return rows, made


def _settle(
    loaded: Loaded, made: Preferences, budget: Budget, rows: Examples, config: Config | None, adapted: float = ADAPTED
) -> tuple[Settings, int]:
    """The run's settings, counted in steps, and the tokens that a step reads; `adapted`: an adapter's rate."""
    from jielong.train.settings import tokens_at

    examples = rows.batch * rows.accumulate
    per_step = max(1, round(len(made.answers.tokens) / len(made.answers) * examples)) if examples > 0 else 1
    tokens = budget.tokens
    if not budget.given:
        tokens = len(made.answers.tokens)
    elif budget.minutes is not None:
        passes = 3.0 if config is None else 2.0  # an adapter needs no gradients of the model's own weights
        tokens = tokens_at(budget.minutes, passes * loaded.config.matrix_flops(rows.context))
    if tokens:
        budget = Budget(steps=max(1, round(tokens / per_step)))
    beside = slower(adapted, loaded.config.dim) / NO_SETTINGS.other_rate
    settings = made_settings(rows, budget, 0, GENTLE if config is None else beside)
    # rows are as wide as their answers, so nothing is compiled; decay would pull towards nothing, not the reference
    return replace(settings, compile=bool(rows.compile), weight_decay=0.0), per_step


def _info(model: Path, reference: Loaded, made: Preferences, plan: dict[str, Any], text: bool) -> dict[str, Any]:
    """What stands in `jielong.json`, and what a resumed run must have again."""
    from jielong.base import files
    from jielong.infer.fingerprint import fingerprint
    from jielong.train.run import OBJECTIVE

    answers = made.answers
    told = repr((answers.labels.tolist(), answers.margins.tolist(), answers.heads))
    named = fingerprint(reference.model, reference.codec)
    objective = {**plan, "reference": named, "labels": files.digest(told.encode())}
    left = {why: len(ids) for why, ids in made.left.out.items()}
    return {"model": str(model), "text": text, OBJECTIVE: objective, "left_out": left, "shortened": made.left.shortened}
