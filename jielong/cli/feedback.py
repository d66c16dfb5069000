"""The flags of whatever judges answers, and models by name: a folder here, or an address elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclopts import Parameter

from jielong.train.preferences.judge_words import Language

if TYPE_CHECKING:
    from jielong.lm.protocol import LM
    from jielong.train.preferences.judge import Judge

SELF, WORLD, TRUE = "self", "world", "world:reward"


@Parameter(name="*", group="Judge")
@dataclass(frozen=True)
class Judging:
    """Who says which answer is better."""

    judge: str = ""
    (
        "self (the model itself), a model's folder, URL#MODEL of a server that speaks OpenAI's API, a reward model's "
        "folder (perhaps with :HEAD), FILE.py:FUNCTION, or for questions of the world: world, world:reward (its true "
        "reward)."
    )
    judge_by: Literal["pairs", "points"] = "pairs"
    "A language model compares every two answers, in both orders, or gives each its points from 0 to 5."
    judge_way: Literal["words", "law"] = "words"
    "Read what it writes, or how probable it finds A and B (or the digits): then small models can judge too."
    judge_language: Language = "en"
    "In which it is asked."
    criteria: str = ""
    "What counts as better, in your own words."


JUDGING = Judging()


def open_lm(spec: str, device: str, seed: int = 0, adapter: Path | None = None) -> LM:
    """A model by its folder or by its address (URL#MODEL)."""
    from jielong.base.errors import UserError

    if address(spec):
        from jielong.lm.remote import Remote

        if adapter is not None:
            raise UserError("--adapter is for a model in a folder; of a server name it as URL#MODEL:ADAPTER")
        url, _, name = spec.partition("#")
        remote = Remote(url, name, seed=seed)
        if not name:
            from jielong.lm.sync import run

            run(remote.named())
        return remote
    from jielong.base.device import pick
    from jielong.lm.local import load

    return load(spec, device=pick(device), seed=seed, adapter=adapter)


def open_judge(judging: Judging, policy: LM, device: str) -> Judge:
    """Who `judging` names; `policy` is the model whose answers are judged."""
    from jielong.train.preferences.judge import PairJudge, PointJudge

    spec = judging.judge
    other = _by_reward(spec, judging, device)
    if other is not None:
        return other
    lm = policy if spec == SELF else open_lm(spec, device)
    kind = PairJudge if judging.judge_by == "pairs" else PointJudge
    return kind(lm, judging.judge_language, judging.criteria, judging.judge_way)


def _by_reward(spec: str, judging: Judging, device: str) -> Judge | None:
    """A judge that is no language model."""
    from jielong.base.device import pick
    from jielong.base.errors import UserError
    from jielong.train.preferences.feedback import RewardJudge, TrueReward, WorldJudge
    from jielong.train.preferences.rewarding import from_model, from_path

    if not spec:
        raise UserError("who judges? give --judge: self, a folder, URL#MODEL, FILE.py:FUNCTION or world")
    found: Judge | None = None
    if spec == WORLD:
        found = WorldJudge()
    elif spec == TRUE:
        found = RewardJudge(TrueReward())
    elif ".py:" in spec and not address(spec):
        found = RewardJudge(from_path(spec))
    elif head := _reward_model(spec):
        found = RewardJudge(from_model(*head, device=pick(device)))
    if found is not None and (judging.judge_by, judging.judge_way, judging.criteria) != ("pairs", "words", ""):
        raise UserError(f"{spec} is no language model: leave out --judge-by, --judge-way and --criteria")
    return found


def _reward_model(spec: str) -> tuple[str, str] | None:
    """Folder and head where `spec` names a reward model."""
    from jielong.cli.judging import judges

    if address(spec) or spec == SELF:
        return None
    folder, _, head = (spec, "", "") if Path(spec).exists() else spec.rpartition(":")
    return (folder, head) if folder and Path(folder).is_dir() and judges(Path(folder)) else None


def address(spec: str) -> bool:
    """Whether a model is named by its address."""
    return spec.startswith(("http://", "https://"))
