"""`jielong train ppo` and `grpo`: a model answers, is told what its answers are worth, and learns from that."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from jielong.cli.adapting import ADAPTING, Adapting, put_on, slower
from jielong.cli.common import Common
from jielong.cli.train import ADAPTED, GENTLE, NO_SETTINGS, Budget, Rows, load, made_settings
from jielong.cli.train_run import Place, talk_of, train
from jielong.train.preferences.rollout_plan import Aggregate, Baseline, Drawing, Grouped, GrpoPlan, PpoPlan, Ratio

if TYPE_CHECKING:
    from jielong.base.talk import Talk
    from jielong.nets.adapters.config import Config
    from jielong.nets.checkpoint import Loaded
    from jielong.nets.transformer import Transformer
    from jielong.train.preferences.rewarding import Model, Reward
    from jielong.train.preferences.rollouts import Prompts
    from jielong.train.settings import Settings

BUDGET = Budget()


@Parameter(name="*", group="Rollouts")
@dataclass(frozen=True)
class Rollouts:
    """How answers are drawn, and how often they are learnt from."""

    prompts: int = 16
    "Prompts of a rollout."
    group: int = 4
    "Answers to each."
    length: int = 64
    "Tokens that an answer may have."
    temperature: float = 1.0
    "At which answers are drawn."
    epochs: int = 2
    "How often a rollout is learnt from."
    minibatches: int = 2
    "Steps in each of these times: each learns from its share of the answers."
    unfinished: float = 1.0
    "Taken from the reward of an answer that is cut at --length."

    def drawing(self) -> Drawing:
        """The same, checked."""
        return Drawing(**{field.name: getattr(self, field.name) for field in fields(Rollouts)})


@Parameter(name="*", group="Rollouts")
@dataclass(frozen=True)
class Groups(Rollouts):
    """As GRPO has them: larger groups, each learnt from once."""

    group: int = Grouped.group
    "Answers to each: they are compared with one another."
    epochs: int = Grouped.epochs
    "How often a rollout is learnt from."
    minibatches: int = Grouped.minibatches
    "Steps in each of these times: each learns from its share of the answers."


@Parameter(name="*", group="Reward")
@dataclass(frozen=True)
class Rewarded:
    """What an answer is worth: the sum of all that are named, each perhaps with =WEIGHT."""

    reward: tuple[str, ...] = ()
    "FILE.py:FUNCTION, called as TRL calls it: fn(prompts, completions, **columns of the data) -> one number an answer."
    judge: tuple[str, ...] = ()
    "A reward model's folder or run, perhaps with :HEAD; or URL#MODEL, which gives each answer 0 to 5 points."


@Parameter(name="*", group="Rows and rates")
@dataclass(frozen=True)
class Passes(Rows):
    """How steps are made and how fast they move. Without a budget: once through the prompts."""

    context: int = 0
    "Positions of a prompt and its answer (default all that the model takes)."
    batch: int = 32
    "Answers that go through the model together."
    matrix_rate: float | None = None
    "Muon's learning rate (default 0.0005)."
    other_rate: float | None = None
    "AdamW's learning rate, for embeddings and norms (default 0.0002; of an adapter 0.001, less on wide models)."
    compile: bool | None = None
    "Compile the blocks (default: not; rows are as wide as their answers)."
    validation: float = 0.05
    "Share of the prompts kept apart."


ROLLOUTS, GROUPS, PASSES, REWARDED = Rollouts(), Groups(), Passes(), Rewarded()


def ppo(
    data: list[str],
    *,
    model: Path,
    beta: float = PpoPlan.beta,
    target_kl: float = PpoPlan.target,
    horizon: float = PpoPlan.horizon,
    estimator: Literal["k1", "k3"] = PpoPlan.estimator,
    clip: float = PpoPlan.clip,
    clip_value: float = PpoPlan.clip_value,
    gamma: float = PpoPlan.gamma,
    trace: float = PpoPlan.trace,
    stop_kl: float = PpoPlan.stop,
    critic_rate: float = PpoPlan.critic_rate,
    text: Annotated[bool, Parameter(negative=())] = False,
    rewarded: Rewarded = REWARDED,
    rollouts: Rollouts = ROLLOUTS,
    adapting: Adapting = ADAPTING,
    budget: Budget = BUDGET,
    rows: Passes = PASSES,
    place: Place = Place(),
    common: Common = Common(),
) -> None:
    """Align a model with rewards of its own answers: proximal policy optimisation, with a critic.

    Parameters
    ----------
    data
        Prompts: JSON, JSONL or Parquet of {"prompt"} (a text or messages), {"question"} or chats, whose last answer is
        left out; .txt, a line each; world:KIND; other columns are handed to the reward.
    model
        The tuned checkpoint or run to start from; as it is, it is also the reference to stay near.
    beta
        What a nat of KL to the reference costs, at first.
    target_kl
        Nats an answer that beta is steered to keep; 0: beta stays.
    horizon
        Answers over which it is steered.
    estimator
        Of the KL of each token.
    clip
        How far the probability of a token may move at once, as a share.
    clip_value
        How far the critic may move at once, in units of the reward.
    gamma
        Discount a token.
    trace
        Lambda of the generalised advantage estimate.
    stop_kl
        Nats a token from the model that drew them at which a rollout's answers are given up; 0: never.
    critic_rate
        Learning rates of the critic, times the policy's.
    text
        Prompts are plain text, not turns of a chat.
    """
    from jielong.train.preferences.ppo import of_work

    plan = PpoPlan(beta, target_kl, horizon, estimator, clip, clip_value, gamma, trace, stop_kl, critic_rate)
    _run("ppo", data, model, plan, of_work, text, rewarded, rollouts, adapting, budget, rows, place, talk_of(common))


def grpo(
    data: list[str],
    *,
    model: Path,
    beta: float = GrpoPlan.beta,
    clip: float = GrpoPlan.clip,
    clip_high: float | None = None,
    aggregate: Aggregate = GrpoPlan.aggregate,
    baseline: Baseline = GrpoPlan.baseline,
    ratio: Ratio = GrpoPlan.ratio,
    weighted_kl: Annotated[bool, Parameter(negative=())] = False,
    stop_kl: float = GrpoPlan.stop,
    text: Annotated[bool, Parameter(negative=())] = False,
    rewarded: Rewarded = REWARDED,
    rollouts: Groups = GROUPS,
    adapting: Adapting = ADAPTING,
    budget: Budget = BUDGET,
    rows: Passes = PASSES,
    place: Place = Place(),
    common: Common = Common(),
) -> None:
    """Align a model with rewards of its own answers, each compared with others to its prompt: GRPO and relatives.

    Parameters
    ----------
    data
        Prompts, as for `train ppo`.
    model
        The tuned checkpoint or run to start from; as it is, it is also the reference to stay near.
    beta
        What a nat of KL to the reference costs, in the loss.
    clip
        How far the probability of a token may move at once, as a share.
    clip_high
        The same upwards, where it is another (0.28 of DAPO, say).
    aggregate
        The mean over tokens of a step (dapo), over answers of the mean over their tokens (grpo), or the sum over what
        --length allows (dr_grpo).
    baseline
        group: rewards less the group's mean, by its deviation; mean: not by it; others: less the mean of the others
        (RLOO).
    ratio
        Of each token, or of the whole answer (GSPO).
    weighted_kl
        The KL term times the ratio: its gradient is then that of the KL that is meant.
    stop_kl
        Nats a token from the model that drew them at which a rollout's answers are given up; 0: never.
    text
        Prompts are plain text, not turns of a chat.
    """
    from jielong.base.errors import UserError
    from jielong.train.preferences.grpo import of_work

    if rollouts.group < 2:
        raise UserError("--group 1: GRPO compares answers to one prompt, so it needs 2 or more")
    plan = GrpoPlan(beta, clip, clip if clip_high is None else clip_high, aggregate, baseline, ratio, weighted_kl,
                    stop_kl)  # fmt: skip
    _run("grpo", data, model, plan, of_work, text, rewarded, rollouts, adapting, budget, rows, place, talk_of(common))


def _run(
    name: str, data: list[str], model: Path, plan: Any, of_work: Any, text: bool, rewarded: Rewarded,
    rollouts: Rollouts, adapting: Adapting, budget: Budget, rows: Passes, place: Place, talk: Talk,
) -> None:  # fmt: skip
    from copy import deepcopy

    from jielong.base.errors import UserError
    from jielong.train.prepare import Prepared

    if rows.accumulate != 1:
        raise UserError("--accumulate is for other verbs: a step has all its answers, --batch of them at a time")
    drawing, config = rollouts.drawing(), adapting.config()
    reward, judge = rewards(rewarded, place)
    loaded = load(model, place)
    assert loaded is not None
    rows = replace(rows, context=rows.context or loaded.config.context)
    prompts = _prompts(loaded, data, text, rows, talk)
    settings, per_step = _settle(loaded, prompts, drawing, budget, rows, config)
    info = _info(loaded, model, text, {"plan": vars(plan), "drawing": vars(drawing)}, rewarded, prompts)
    reference: Transformer = loaded.model if config else deepcopy(loaded.model)
    adapter = put_on(loaded, config, rows.seed) if config else None
    more = {"judge": judge} if name == "ppo" else {}
    train(
        name, adapter or loaded.model, Prepared(loaded.codec, *prompts.tokens()), settings, list(data), place, talk,
        info, partial(of_work, reference=reference, prompts=prompts, reward=reward, drawing=drawing, plan=plan, **more),
        loaded.model if adapter else None, per_step=per_step,
    )  # fmt: skip


def rewards(rewarded: Rewarded, place: Place) -> tuple[Reward, Model | None]:
    """All that the flags name as one reward, and the first judge. UserError where they name none."""
    from jielong.base import device
    from jielong.cli.feedback import address, open_lm
    from jielong.train.preferences.feedback import JudgeReward
    from jielong.train.preferences.judge import PointJudge
    from jielong.train.preferences.rewarding import from_model, from_path, summed, weighted

    parts: list[tuple[Any, float]] = []
    for spec in rewarded.reward:
        name, weight = weighted(spec)
        parts.append((from_path(name), weight))
    judge: Model | None = None
    for spec in rewarded.judge:
        name, weight = weighted(spec)
        if address(name):
            parts.append((JudgeReward(PointJudge(open_lm(name, place.device))), weight))
            continue
        folder, mark, head = (name, "", "") if Path(name).exists() else name.rpartition(":")
        read = from_model(folder if mark else name, head, device.pick(place.device))
        judge = judge or read
        parts.append((read, weight))
    return summed(parts), judge


def _prompts(loaded: Loaded, data: list[str], text: bool, rows: Passes, talk: Talk) -> Prompts:
    from jielong.base.errors import UserError
    from jielong.train.preferences.asked import read_asked
    from jielong.train.preferences.rollouts import encoded

    most = loaded.config.context
    if rows.context > most:
        raise UserError(f"--context {rows.context} is longer than the model's {most}")
    asked = [each for spec in data for each in read_asked(spec, text)]
    prompts = encoded(asked, loaded.codec, rows.context, rows.validation, rows.seed)
    if prompts.left:
        talk.warn(f"{prompts.left:,} of {prompts.found:,} prompts are left out: longer than --context {rows.context}")
    return prompts


def _settle(
    loaded: Loaded, prompts: Prompts, drawing: Drawing, budget: Budget, rows: Passes, config: Config | None
) -> tuple[Settings, int]:
    """The run's settings, counted in steps, and the tokens that a step reads at most."""
    from jielong.train.settings import tokens_at

    size = len(prompts.train)
    asked = sum(len(prompt.ids) for prompt in prompts.train) / size
    per_step = max(1, round(drawing.answers / drawing.minibatches * (asked + drawing.length)))
    steps = budget.steps
    if not budget.given:
        steps = -(-size // drawing.prompts) * drawing.steps
    elif budget.minutes is not None:
        # each answer is written once, read by the reference, and learnt from: 3 or (an adapter) 2 passes each time
        passes = (3.0 if config is None else 2.0) + 3.0 / drawing.epochs
        steps = max(1, round(tokens_at(budget.minutes, passes * loaded.config.matrix_flops(rows.context)) / per_step))
    elif budget.tokens:
        steps = max(1, round(budget.tokens / per_step))
    gentle = GENTLE if config is None else slower(ADAPTED, loaded.config.dim) / NO_SETTINGS.other_rate
    settings = made_settings(rows, Budget(steps=steps), 0, gentle)
    # rows are as wide as their answers, so nothing is compiled; decay would pull towards nothing, not the reference
    return replace(settings, compile=bool(rows.compile), weight_decay=0.0), per_step


def _info(
    loaded: Loaded, model: Path, text: bool, plan: dict[str, Any], rewarded: Rewarded, prompts: Prompts
) -> dict[str, Any]:
    """What stands in `jielong.json`, and what a resumed run must have again: the reference, the reward, the plan."""
    from jielong.base import files
    from jielong.infer.fingerprint import fingerprint
    from jielong.train.preferences.rewarding import weighted
    from jielong.train.run import OBJECTIVE

    sources = [Path(weighted(spec)[0].rpartition(":")[0]).expanduser().read_bytes() for spec in rewarded.reward]
    objective = {
        **plan, "reference": fingerprint(loaded.model, loaded.codec), "rewards": [*rewarded.reward, *rewarded.judge],
        "reward_files": files.digest(b"\0".join(sources)),
    }  # fmt: skip
    left = {"longer than the context": prompts.left} if prompts.left else {}
    return {"model": str(model), "text": text, OBJECTIVE: objective, "left_out": left}
