"""`jielong demo`: from nothing to a small bilingual assistant that knows, counts and declines, and the proof of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from jielong.cli.common import Common

if TYPE_CHECKING:
    from jielong.base.result import Result
    from jielong.base.talk import Talk
    from jielong.lm.local import Local
    from jielong.train.curriculum import Curriculum
    from jielong.train.run import Work

TUNING = 0.2  # share of the training time that goes to fine-tuning
TRAINING = 0.8  # share of --minutes that trains; the rest makes data, scores and draws
GENTLE = 0.5  # learning rates of fine-tuning, beside those of pretraining: what was learnt must stay
MEMORY, MINUTES = "peak memory", "from start to scorecard"
CONTEXT, BATCH = 128, 32
VALIDATED = ("facts", "sums", "guilds")  # kinds whose entropy is known exactly


@dataclass
class Clock:
    """Minutes of each stage, in order."""

    began: float = field(default_factory=time.monotonic)
    stages: list[tuple[Any, float]] = field(default_factory=list)
    last: float = field(default_factory=time.monotonic)

    def stage(self, en: str, zh: str) -> None:
        """What was done since the last call."""
        from jielong.views.markup import Words

        now = time.monotonic()
        self.stages.append((Words(en, zh), (now - self.last) / 60))
        self.last = now

    @property
    def minutes(self) -> float:
        """Minutes since the beginning."""
        return (time.monotonic() - self.began) / 60


def demo(
    *,
    minutes: float = 6.0,
    seed: int = 0,
    questions: int = 300,
    out: Path = Path("runs/demo"),
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    store: Path | None = None,
    common: Common = Common(),
) -> None:
    """Make a small bilingual assistant from nothing on this machine, and prove what it can do.

    World, tokenizer, pretraining, fine-tuning, and a scorecard of both models with intervals and controls.

    Parameters
    ----------
    minutes
        The one dial: how much of the world is taught, the model's shape, and how long it is trained.
    seed
        Seed of the world, the weights and the order of the data.
    questions
        Questions for each row of the scorecard.
    out
        Folder of the run: both checkpoints, figures, report.html.
    overwrite
        Replace an earlier demo of that name.
    store
        Keep the scorecard in this folder too, as docs/results, for `jielong lab report`.
    """
    from jielong.base import files
    from jielong.base.errors import UserError
    from jielong.train.curriculum import curriculum
    from jielong.train.settings import plan

    talk = common.talk()
    if questions < 1:
        raise UserError(f"--questions must be 1 or more, not {questions}")
    taught = curriculum(minutes, seed)
    shape = plan(minutes * TRAINING, taught.vocab, CONTEXT)
    out = files.run_dir(out.parent, out.name, overwrite)
    clock = Clock()
    talk.say(
        f"world {seed}: {taught.people} people, {8 * taught.people:,} facts in two languages; --minutes {minutes:g}"
    )
    base, assistant = _train(taught, shape, out, clock, talk)
    results = _score(base, assistant, taught, questions, clock, talk)
    document = _report(out, taught, base, assistant, results, minutes, clock)
    _tell(results, clock, out, talk)
    if store is not None:
        _keep(results, clock, minutes, store, seed)
    talk.document(document)
    talk.next_command(f"jielong chat {out}")


def _train(taught: Curriculum, shape: Any, out: Path, clock: Clock, talk: Talk) -> tuple[Work, Work]:
    """Both runs, in `out/base` and `out/assistant`."""
    from jielong.nets.config import shape as make_shape
    from jielong.nets.transformer import Transformer, count
    from jielong.train import curriculum, run
    from jielong.train.settings import Settings, minutes_text

    codec = curriculum.codec(taught)
    train, held = curriculum.pretraining(taught, codec)
    talk.say(f"tokenizer: {codec.size} tokens; {len(train):,} tokens of text")
    clock.stage("world and tokenizer", "世界與分詞器")
    model = Transformer(make_shape(shape.width, codec.size, 2 * CONTEXT, shape.layers), seed=taught.seed)
    first = Settings(
        tokens=int(shape.tokens * (1 - TUNING)), context=CONTEXT, batch=BATCH, seed=taught.seed, validate=8
    )
    about = {"name": "base", "command": f"jielong demo --seed {taught.seed}"}
    base = run.Work(model, codec, train, held, first, about)
    second = replace(
        first,
        tokens=int(shape.tokens * TUNING),
        validate=4,
        warmup=10,
        matrix_rate=first.matrix_rate * GENTLE,
        other_rate=first.other_rate * GENTLE,
    )
    seconds = run.predict(base) * shape.tokens / max(1, first.tokens)
    talk.say(f"{count(model):,} parameters; training takes about {minutes_text(seconds)} here")
    for name in ("base", "assistant"):
        (out / name).mkdir()
    run.start(base, out / "base", talk, "pretrain")
    clock.stage("pretraining", "預訓練")
    chats, fresh = curriculum.fine_tuning(taught, codec)
    tuned = Transformer(model.config, seed=None)
    tuned.load_state_dict(model.state_dict())
    assistant = run.Work(tuned, codec, chats, fresh, second, {**about, "name": "assistant"})
    run.start(assistant, out / "assistant", talk, "fine-tune")
    clock.stage("fine-tuning", "微調")
    return base, assistant


def _score(
    base: Work, assistant: Work, taught: Curriculum, questions: int, clock: Clock, talk: Talk
) -> tuple[Result, Result]:
    """Scorecards of both, with the loss above the exact entropy of the base model added to its own."""
    from jielong.evals import entropy
    from jielong.evals.scorecard import as_text, scorecard
    from jielong.train.curriculum import HELD_OUT_DRAW

    talk.say("asking both models what they were never asked")
    world = taught.world
    one = scorecard(_lm(base), world, as_text(base.codec), max(1, questions // 3), "base model")
    two = scorecard(_lm(assistant), world, n=questions, title="assistant")
    extra = entropy.rows(base.model, base.codec, world, VALIDATED, 600, HELD_OUT_DRAW)
    clock.stage("scorecard", "成績單")
    return replace(one, rows=(*one.rows, *extra)), two


def _lm(work: Work) -> Local:
    from jielong.lm.local import Local, Parts

    work.model.eval()
    return Local(Parts(work.model, work.codec), name=str(work.info["name"]))


def _report(
    out: Path,
    taught: Curriculum,
    base: Work,
    assistant: Work,
    results: tuple[Result, Result],
    predicted: float,
    clock: Clock,
) -> dict[str, Any]:
    """`report.html` and `scorecard.json`; the document for machines."""
    from jielong.base import device, files
    from jielong.base.plain import loads
    from jielong.cli.demo_page import page
    from jielong.nets.config import to_json

    machine = {**device.machine(), "peak_memory": device.peak_memory()}
    html = page(out, taught, base, assistant, results, predicted, clock.minutes, clock.stages, _lm, machine)
    files.atomic_write(out / "report.html", html)
    document = {
        "out": str(out),
        "minutes": clock.minutes,
        "machine": machine,
        "people": taught.people,
        "facts": 8 * taught.people,
        "config": to_json(base.model.config),
        "stages": {stage.en: minutes for stage, minutes in clock.stages},
        "base": loads(results[0].to_json()),
        "assistant": loads(results[1].to_json()),
        "report": str(out / "report.html"),
    }
    files.write_json(out / "scorecard.json", document)
    return document


def _keep(results: tuple[Result, Result], clock: Clock, minutes: float, folder: Path, seed: int) -> None:
    """The scorecard, the time and the memory as one stored result."""
    from jielong.base import device
    from jielong.base.result import Result, Row
    from jielong.labs import store

    memory = Row(MEMORY, device.peak_memory() / 1e9, None, 1, bar=3.0, unit="GB", group="cost")
    time_ = Row(MINUTES, clock.minutes, None, 1, bar=8.0, unit="minutes", group="cost")
    exact = tuple(row for row in results[0].rows if row.unit == "nats a document")
    meta = store.origin(__name__, command=f"jielong demo --minutes {minutes:g} --seed {seed}", minutes=clock.minutes)
    at_most = [*results[1].meta["at_most"], MEMORY, MINUTES]
    name = "demo" if seed == 0 else f"demo_seed{seed}"
    store.save(
        Result(
            name, f"The demo, seed {seed}", (time_, memory, *results[1].rows, *exact), meta={**meta, "at_most": at_most}
        ),
        folder,
    )


def _tell(results: tuple[Result, Result], clock: Clock, out: Path, talk: Talk) -> None:
    base = {row.name: row for row in results[0].rows}
    rows = []
    for row in results[1].rows:
        low, high = (row.interval.low, row.interval.high) if row.interval else (row.estimate, row.estimate)
        bar = f"{'at most' if row.name in results[1].meta['at_most'] else 'at least'} {row.bar:.0%}" if row.bar else ""
        control = "" if row.control is None else f"{row.control:.1%}"
        before = f"{base[row.name].estimate:.1%}" if row.name in base else ""
        rows.append((row.name, before, f"{row.estimate:.1%}", f"{low:.1%} to {high:.1%}", control, bar))
    talk.table(("question", "base", "assistant", "95 % interval", "control", "bar"), rows)
    talk.table(
        ("loss above the exact entropy", "nats a document", "95 % interval"),
        [
            (row.name, f"{row.estimate:.3f}", f"{row.interval.low:.3f} to {row.interval.high:.3f}")
            for row in results[0].rows
            if row.unit == "nats a document" and row.interval
        ],
    )
    talk.say(f"{clock.minutes:.1f} minutes; the report: {out / 'report.html'}")
