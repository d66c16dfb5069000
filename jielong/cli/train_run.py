"""One run of a training verb: where it stands, its beginning or its going on, and what it leaves for people."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from jielong.cli.common import Common, going_on_with

if TYPE_CHECKING:
    from jielong.base.talk import Talk
    from jielong.data.tokens import Tokens
    from jielong.nets.transformer import Transformer
    from jielong.train.objective import Objective
    from jielong.train.prepare import Prepared
    from jielong.train.run import Work
    from jielong.train.settings import Settings

Tracker = Literal["tensorboard", "trackio", "wandb"]


@Parameter(name="*", group="Where")
@dataclass(frozen=True)
class Place:
    """Where the run stands."""

    out: Path | None = None
    "The run's folder (default runs/ and the verb: runs/lm, runs/dpo)."
    overwrite: Annotated[bool, Parameter(negative=())] = False
    "Replace an earlier run of that name."
    resume: Annotated[bool, Parameter(negative=())] = False
    "Go on with an interrupted run; give the same flags as before."
    device: str = "auto"
    "cpu, cuda, mps or auto."
    track: Tracker | None = None
    "Also send the figures to this tracker."
    dry_run: Annotated[bool, Parameter(negative=())] = False
    "Print the resolved configuration and stop."


def talk_of(common: Common) -> Talk:
    """Of several processes that train together only the first speaks."""
    first = os.environ.get("RANK", "0") == "0"  # as torchrun counts them
    return common.talk() if first else replace(common, quiet=True, json=False).talk()


def train(
    name: str, model: Any, made: Prepared, settings: Settings, specs: list[str], place: Place, talk: Talk,
    info: Mapping[str, Any] = MappingProxyType({}), objective: Callable[..., Objective] | None = None,
    beside: Transformer | None = None, texts: Tokens | None = None, per_step: int = 0,
) -> None:  # fmt: skip
    """Train `model` on what was `made` of `specs`, in the folder that `place` says; then write what people look at.

    `info` also goes into `jielong.json`; `objective`, `beside`, `texts` and `per_step` as in `run.Work`."""
    from jielong.base import device, files
    from jielong.base.plain import dumps
    from jielong.cli.training import shape
    from jielong.train import processes, run, track
    from jielong.train.settings import to_json

    where = device.pick(place.device)
    work = run.Work(
        model.to(where),
        made.codec,
        made.train,
        made.validation,
        settings,
        {"name": name, "command": shlex.join(["jielong", *sys.argv[1:]]), "data_sources": specs, **info},
        objective=objective,
        beside=beside and beside.to(where),
        texts=texts,
        per_step=per_step,
    )
    out = place.out or Path("runs") / name
    about = {
        "out": str(out),
        "device": where,
        "config": shape(model),
        "settings": to_json(settings),
        "vocabulary": made.codec.size,
        "train_tokens": len(made.train),
        "validation_tokens": len(made.validation) if made.validation else 0,
    }
    if place.dry_run:
        talk.say(dumps(about, indent=1))
        talk.document(about)
        return
    _announce(work, talk)
    with processes.group(), going_on_with(_again(work)):
        first = processes.rank() == 0
        if first and not place.resume:
            files.run_dir(out.parent, out.name, place.overwrite)
        processes.wait()
        figures = _unreported(work, out) if place.resume else None
        if figures is None:
            with track.open_tracker(place.track if first else None, out, place.resume) as tracker:
                figures = (run.resume if place.resume else run.start)(work, out, talk, name, tracker)
        if first:
            _finish(work, out, figures, about, talk)


def _unreported(work: Work, out: Path) -> dict[str, float] | None:
    """The last figures of a run that ended without its report: the disk was full, say."""
    from jielong.train import run

    done = None if (out / "report.html").exists() else run.finished(out, work.format)
    if done is None:
        return None
    work.model.load_state_dict(done.model.state_dict())
    return dict(done.info["metrics"])


def _again(work: Work) -> str:
    """The command that goes on with this run."""
    words = [word for word in shlex.split(str(work.info["command"])) if word not in ("--overwrite", "--resume")]
    return shlex.join([*words, "--resume"])


def _announce(work: Work, talk: Talk) -> None:
    from jielong.nets.transformer import count
    from jielong.train.run import predict
    from jielong.train.settings import minutes_text

    settings = work.settings
    talk.say(
        f"{count(work.model):,} parameters, {work.codec.size} kinds of token; {settings.length:,} steps of "
        f"{work.step_tokens:,} tokens, {_read(work)}; about {minutes_text(predict(work))}"
    )


def _read(work: Work) -> str:
    """How much of its data a run reads, or how much of its own it learns from."""
    from jielong.train.run import OBJECTIVE

    told = work.info.get(OBJECTIVE)
    drawing = told.get("drawing") if isinstance(told, dict) else None
    if drawing is None:
        return f"{work.settings.length * work.step_tokens / max(1, len(work.train)):.1f} times through the data"
    rollouts = -(-work.settings.length // (drawing["epochs"] * drawing["minibatches"]))
    return f"{rollouts:,} rollouts of {drawing['prompts'] * drawing['group']:,} answers, whose drawing takes time too"


def _finish(work: Work, out: Path, figures: dict[str, float], about: dict[str, Any], talk: Talk) -> None:
    from jielong.cli.training import samples, write_report

    page = write_report(work, out, figures, samples(work) if work.info["name"] == "lm" else [])
    talk.table(("measure", "value"), [(name, f"{value:.4f}") for name, value in figures.items()])
    talk.document({**about, "metrics": figures, "report": str(page)})
    chatty = work.info["name"] in ("sft", "dpo", "kto", "ppo", "grpo") and not work.info.get("text")
    if work.info["name"] == "draft":
        talk.next_command(f'jielong generate "..." --model {work.info["model"]} --draft {out}')
        return
    if work.info["name"] == "reward":
        talk.next_command(f'jielong score "a question" "an answer" "another" --model {out}')
        return
    if work.adapted:
        words = "chat" if chatty else 'generate "..." --model'
        talk.next_command(f"jielong {words} {work.info['model']} --adapter {out}")
        return
    answers = " --chat" if work.info.get("parallel", {}).get("chats") else ""
    talk.next_command(f"jielong chat {out}" if chatty else f'jielong generate "..." --model {out}{answers}')
