"""`jielong train prompt`: words found by reinforcement learning that make a frozen model answer better."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from jielong.cli.common import Common, going_on_with

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jielong.base.talk import Talk
    from jielong.lm.local import Local
    from jielong.train.discrete_prompt import DiscretePrompt
    from jielong.train.prompt_values import Item

STATE, FOUND, RUN = "state.safetensors", "prompt.json", "run.json"
RANDOM = 8  # random prompts that the found one is shown beside


@Parameter(name="*", group="Search")
@dataclass(frozen=True)
class Search:
    """How prompts are drawn and learnt from."""

    tokens: int = 4
    "Tokens of the prompt."
    steps: int = 200
    "Steps to train."
    samples: int = 16
    "Prompts tried in a step."
    batch: int = 16
    "Questions that each is tried on."
    rate: float = 0.1
    "Learning rate (of --policy spoken a hundredth of it)."
    entropy: float = 0.01
    "How dear it is to settle early."
    policy: Literal["places", "spoken"] = "places"
    "Logits of each place by themselves, or a small network on what the model itself would say (RLPrompt's)."
    candidates: int = 256
    "Only the most frequent tokens of the data (0: the whole vocabulary)."
    validation: float = 0.25
    "Share of the questions kept apart, to score what was found."
    max_tokens: int = 64
    "With a reward of what is written: tokens that an answer may have."
    seed: int = 0
    "Of all that is drawn."


SEARCH = Search()


def prompt(
    data: list[str],
    *,
    model: Path,
    reward: str = "answer",
    before: Literal["system", "user"] = "system",
    text: Annotated[bool, Parameter(negative=())] = False,
    search: Search = SEARCH,
    out: Path = Path("runs/prompt"),
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    resume: Annotated[bool, Parameter(negative=())] = False,
    device: str = "auto",
    common: Common = Common(),
) -> None:
    """Find a short prompt by reinforcement learning; the model stays as it is.

    Tells the prompt and its score on questions kept apart, beside no prompt and beside random ones.

    Parameters
    ----------
    data
        Questions with answers: {"prompt", "completion"}, {"question", "answer"}, chats, Alpaca; world:KIND[:N].
    model
        The model that is to answer, a folder or run.
    reward
        answer: how probable the right answer is; gap: by how much the right one of an item's "options" leads; or
        FILE.py:FUNCTION, called as TRL calls it, of what the model writes.
    before
        The prompt is a system message, or stands before what the user says.
    text
        Questions are plain text that the model goes on with, not what a user says.
    out
        The run's folder.
    overwrite
        Replace an earlier run.
    resume
        Go on with an interrupted run; give the same flags as before.
    device
        cpu, cuda, mps or auto.
    """
    from jielong.base import files
    from jielong.base.device import pick
    from jielong.lm.local import load

    talk = common.talk()
    lm = load(model, device=pick(device), seed=search.seed)
    train, held, values = _data(list(data), text, reward, before, lm, search)
    objective = _objective(lm, train, held, values, search)
    about = {"model": lm.fingerprint, "reward": reward, "before": before, "text": text, "search": vars(search),
             "data": files.digest(repr([(i.asked.prompt, i.answer, i.options) for i in train]).encode())}  # fmt: skip
    with going_on_with(_again()):
        _learn(objective, about, search, out, overwrite, resume, talk)
    found = _told(objective, search)
    files.write_json(out / FOUND, {**found, **about})
    talk.table(("prompt", "score", "text"), [(name, found[name]["score"], found[name]["text"]) for name in
                                             ("found", "none", "random")])  # fmt: skip
    if found["found"]["score"] <= found["none"]["score"]:
        talk.warn("on questions kept apart the found prompt is no better than none: more --steps, --samples or data")
    talk.document({"out": str(out), **found})
    words = found["found"]["text"]
    if before == "system" and not text:
        talk.next_command(f'jielong generate "..." --chat --system {shlex.quote(words)} --model {model}')
    else:
        talk.next_command(f"jielong generate {shlex.quote(words + ' ...')}{'' if text else ' --chat'} --model {model}")


def _data(
    data: list[str], text: bool, reward: str, before: Any, lm: Local, search: Search
) -> tuple[list[Item], list[Item], Any]:
    """Questions to learn from, those kept apart, and what a prompt is worth."""
    from jielong.base.errors import UserError
    from jielong.data.mix import split
    from jielong.train.preferences.rewarding import from_path
    from jielong.train.prompt_values import Answers, Written, check, read_items

    if min(search.tokens, search.steps, search.batch) < 1 or search.samples < 2 or not search.rate > 0:
        raise UserError("--tokens, --steps, --batch must be 1 or more, --samples 2 or more, --rate above 0")
    items = [item for spec in data for item in read_items(spec, text)]
    if len({item.text for item in items}) < 2:
        raise UserError("two different questions or more are needed: one to learn from, one to score by")
    if reward in ("answer", "gap"):
        check(items, reward)
        values: Any = Answers(lm, reward, before)  # type: ignore[arg-type]
    else:
        values = Written(lm, from_path(reward), before, {"temperature": 0.0, "max_tokens": search.max_tokens})
    train, held = split(items, search.validation, search.seed)
    if not train or not held:
        raise UserError(f"--validation {search.validation} leaves no question on one side: give another share")
    return list(train), list(held), values


def _objective(lm: Local, train: Sequence[Item], held: Sequence[Item], values: Any, search: Search) -> DiscretePrompt:
    from jielong.train.discrete_prompt import DiscretePrompt, Places, Spoken, candidates

    texts = [f"{item.text} {item.answer} {' '.join(item.options)}" for item in train]
    some = candidates(lm.codec, texts, search.candidates)
    policy: Any = Places(search.tokens, some)
    if search.policy == "spoken":
        policy = Spoken(lm.model, [lm.codec.end], search.tokens, some).to(lm.model.device)

    def text(ids: Sequence[int]) -> str:
        return lm.codec.decode(list(ids)).strip()

    return DiscretePrompt(policy, train, held, values, text, search.samples, search.batch, search.entropy, search.seed)


def _learn(
    objective: DiscretePrompt, about: Mapping[str, Any], search: Search, out: Path, overwrite: bool, resume: bool,
    talk: Talk,
) -> None:  # fmt: skip
    """Train the policy in `out`, from the start or from where it stands."""
    import torch
    from safetensors.torch import load_file, save_file

    from jielong.base import files
    from jielong.base.errors import UserError
    from jielong.base.plain import plain
    from jielong.train import loop
    from jielong.train.muon import Rates

    state = None
    if resume:
        if files.read_json(out / RUN) != plain(about):
            raise UserError(f"{out} was begun with other settings, data or model; resume it with the same")
        if (out / STATE).exists():
            tensors = load_file(out / STATE)
            own = {name.removeprefix("policy."): tensors.pop(name) for name in list(tensors) if name[:7] == "policy."}
            objective.policy.load_state_dict(own)
            state = loop.State(int(tensors.pop("step")), tensors)
    else:
        files.run_dir(out.parent, out.name, overwrite)
        files.write_json(out / RUN, about)

    def save(now: loop.State, figures: Mapping[str, float]) -> None:
        own = {f"policy.{name}": value.contiguous() for name, value in objective.policy.state_dict().items()}
        with files.atomic_file(out / STATE) as temporary:
            save_file({"step": torch.tensor(now.step), **own, **now.tensors}, temporary)

    rate = search.rate * (0.01 if search.policy == "spoken" else 1.0)
    course = loop.Course(search.steps, warmup=min(5, search.steps), decay=0.2, clip=0.0, rates=Rates(others=rate),
                         validate_every=max(1, search.steps // 4))  # fmt: skip
    if state is None or state.step < search.steps:
        loop.run(objective, course, out, talk, "prompt", save, state)


def _told(objective: DiscretePrompt, search: Search) -> dict[str, Any]:
    """The prompt, none, and random ones, on the questions kept apart."""
    from jielong.base import noise
    from jielong.train.discrete_prompt import mean

    policy = objective.policy
    best, some = list(objective.found()), len(policy.candidates)
    drawn = noise.rng("random prompts", search.seed).integers(0, some, (RANDOM, policy.places))
    random = [objective.text(policy.candidates[row].tolist()) for row in drawn]
    found = objective.words(best)
    rewards = objective.values([found, "", *random], objective.held)
    return {
        "found": {"text": found, "ids": policy.candidates[best].tolist(), "score": mean(rewards[:1])},
        "none": {"text": "", "score": mean(rewards[1:2])},
        "random": {"text": f"{RANDOM} of them", "texts": random, "score": mean(rewards[2:])},
        "held": len(objective.held), "trained": len(objective.train),
    }  # fmt: skip


def _again() -> str:
    """The command that goes on."""
    return shlex.join(["jielong", *(w for w in sys.argv[1:] if w not in ("--overwrite", "--resume")), "--resume"])
