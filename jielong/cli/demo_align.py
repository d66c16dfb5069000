"""`jielong demo --align`: the assistant picks up a crowd's manners, and learns from comparisons to leave them.

Imitation, a reward model, PPO, DPO and KTO, each scored by the world's true reward on the same questions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jielong.base.result import Result, Row
    from jielong.base.talk import Talk
    from jielong.nets.checkpoint import Loaded
    from jielong.train.curriculum import Curriculum
    from jielong.train.run import Work

STAGES = {
    "crowd": ("imitating a crowd", "模仿一群人"),
    "judge": ("reward model", "獎勵模型"),
    "ppo": ("PPO", "PPO"),
    "dpo": ("DPO", "DPO"),
    "kto": ("KTO", "KTO"),
}
IMITATED = 500_000  # tokens of imitation
STEPS, GENTLE = 120, 1 / 60  # of PPO
SHOWN = ("facts", "sums")
Run = Callable[["Work", str], Any]  # trains, or goes on, or finds it finished; the model


@dataclass(frozen=True)
class Aligned:
    """True rewards, a row for each model; and what the imitating and an aligned model answer: (language, question,
    before, after)."""

    result: Result
    answers: tuple[tuple[str, str, str, str], ...]


def align(assistant: Loaded, taught: Curriculum, run: Run, talk: Talk) -> Aligned:
    """The whole chain. `assistant` is moved: it becomes the one that imitates the crowd."""
    from jielong.labs import aligning, learning
    from jielong.nets.reward import RewardModel
    from jielong.train.preferences.rollout_plan import PpoPlan

    world, seed = taught.world, taught.seed
    talk.say("a crowd answers: some rudely, some at length, some wrongly; the assistant learns from them all")
    assistant.model.load_state_dict(run(aligning.imitation(assistant, taught, IMITATED), "crowd").state_dict())
    some = aligning.questions(world)
    said = aligning.draws(assistant.model, assistant.codec, some, 4, seed)
    pairs = aligning.compared(world, some, said, each=0)
    talk.say(f"{len(pairs):,} comparisons of its answers, as people would make them")
    judge: RewardModel = run(learning.judge(assistant, pairs, seed), "judge")
    reward = learning.reward_of(judge, assistant.codec)
    works = {
        "ppo": learning.reinforced(assistant, some, reward, PpoPlan(), seed, STEPS, GENTLE),
        "dpo": learning.dpo(assistant, pairs, seed, 1.0),
        "kto": learning.kto(assistant, pairs, seed, 0.5),
    }
    models = {"crowd": assistant.model, **{name: run(work, name) for name, work in works.items()}}
    found = {name: aligning.true_reward(model, assistant.codec, world) for name, model in models.items()}
    asked = [next(q for q in world.questions(kind, 20, split="test") if q.origin.lang == lang)
             for lang in ("en", "zh") for kind in SHOWN]  # fmt: skip
    before, after = (aligning.draws(models[name], assistant.codec, asked, 1, seed) for name in ("crowd", "dpo"))
    answers = tuple((q.origin.lang, q.prompt, b[0], a[0]) for q, b, a in zip(asked, before, after))
    return Aligned(_result(found, aligning.DRAWN), answers)


def _result(found: dict[str, list[float]], each: int) -> Result:
    """Mean true rewards with bootstrap intervals, and the paired test of each against imitation."""
    from jielong.base import stats
    from jielong.base.result import Result

    start = found["crowd"]
    rows: list[Row] = []
    for name, values in found.items():
        made = stats.bootstrap(values)
        if name == "crowd":
            rows.append(_row("imitates the crowd", values, made, each))
            continue
        p = stats.permutation_paired(values, start)
        note = f"paired over {len(values)} questions: p {p:.1g}"
        rows.append(_row(f"after {name.upper()}", values, made, each, sum(start) / len(start), note))
    return Result("aligned", "True reward of drawn answers", tuple(rows))


def _row(name: str, values: list[float], interval: Any, each: int, control: float | None = None, note: str = "") -> Row:
    from jielong.base.result import Row

    said = "" if control is None else "imitates the crowd"
    return Row(name, sum(values) / len(values), interval, each * len(values), control, said, unit="share",
               group="true reward", note=note)  # fmt: skip


def tell(aligned: Aligned, talk: Talk) -> None:
    """The rows as a table."""
    rows = []
    for row in aligned.result.rows:
        low, high = (row.interval.low, row.interval.high) if row.interval else (row.estimate, row.estimate)
        rows.append((row.name, f"{row.estimate:.3f}", f"{low:.3f} to {high:.3f}", row.note))
    talk.table(("true reward", "mean", "95 % interval", "beside imitation"), rows)
