"""`jielong demo`: from nothing to a small bilingual assistant that knows, counts and declines, and the proof of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from jielong.cli import demo_align
from jielong.cli.common import Common, going_on_with
from jielong.cli.demo_state import PLACE, PRETRAINING, SCORES, SCORING, TUNING, WORLD, Standing

if TYPE_CHECKING:
    from jielong.base.result import Result
    from jielong.base.talk import Talk
    from jielong.lm.local import Local
    from jielong.nets.transformer import Transformer
    from jielong.train.curriculum import Curriculum
    from jielong.train.run import Work
    from jielong.train.settings import Plan, Settings
    from jielong.units.codec import Tokenizer

TUNED = 0.2  # share of the training time that goes to fine-tuning
TRAINING = 0.9  # share of --minutes that trains; the rest makes data, scores and draws
GENTLE = 0.5  # learning rates of fine-tuning, beside those of pretraining: what was learnt must stay
MEMORY, MINUTES = "peak memory", "from start to scorecard"
CONTEXT, BATCH = 128, 32
VALIDATED = ("facts", "sums", "guilds")  # kinds whose entropy is known exactly


@dataclass(frozen=True)
class Trained:
    """One of the two models, trained now or in an earlier session."""

    name: str
    model: Transformer
    codec: Tokenizer
    settings: Settings

    def lm(self) -> Local:
        """The face that is asked."""
        from jielong.lm.local import Local, Parts

        self.model.eval()
        return Local(Parts(self.model, self.codec), name=self.name)


def demo(
    *,
    minutes: float | None = None,
    seed: int | None = None,
    questions: int | None = None,
    align: Annotated[bool, Parameter(negative=())] = False,
    out: Path = PLACE,
    resume: Annotated[bool, Parameter(negative=())] = False,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    store: Path | None = None,
    common: Common = Common(),
) -> None:
    """Make a small bilingual assistant from nothing on this machine, and prove what it can do.

    World, tokenizer, pretraining, fine-tuning, and a scorecard of both models with intervals and controls.

    Parameters
    ----------
    minutes
        The one dial (default 6): how much of the world is taught, the model's shape, and how long it is trained.
    seed
        Seed of the world, the weights and the order of the data (default 0).
    questions
        Questions for each row of the scorecard (default 300).
    align
        Go on: a copy of the assistant imitates a crowd with bad manners, and a reward model, PPO, DPO and KTO align
        it, each scored by the true reward.
    out
        Folder of the run: both checkpoints, figures, report.html.
    resume
        Go on with an interrupted demo where it stopped (a new one where there is none).
    overwrite
        Replace an earlier demo of that name.
    store
        Keep the scorecard in this folder too, as docs/results, for `jielong lab report`.
    """
    from jielong.base.errors import UserError
    from jielong.cli import demo_state
    from jielong.train.curriculum import curriculum

    talk = common.talk()
    if questions is not None and questions < 1:
        raise UserError(f"--questions must be 1 or more, not {questions}")
    if resume and overwrite:
        raise UserError("--resume goes on and --overwrite begins again: give one of the two")
    if minutes is not None:
        curriculum(minutes)  # complains of a wrong dial before anything is made
    given = {"minutes": minutes, "seed": seed, "questions": questions, "align": align or None}
    standing = demo_state.take_up(out, given) if resume else demo_state.begin(out, given, overwrite)
    if standing.finished:
        _finished(standing, store, talk)
        return
    with going_on_with(demo_state.resuming(out)):
        _make(standing, store, talk)
    talk.next_command(f"jielong chat {out / 'dpo'}" if align else f"jielong chat {out}")


def _make(standing: Standing, store: Path | None, talk: Talk) -> None:
    from jielong.train.curriculum import curriculum
    from jielong.train.settings import plan

    minutes, seed, questions = (standing.asked[name] for name in ("minutes", "seed", "questions"))
    taught = curriculum(minutes, seed)
    shape = plan(minutes * TRAINING, taught.vocab, CONTEXT)
    talk.say(
        f"world {seed}: {taught.people} people, {8 * taught.people:,} facts in two languages; --minutes {minutes:g}"
    )
    base = _pretrain(taught, shape, standing, talk)
    assistant = _tune(base, taught, shape, standing, talk)
    results = _score(base, assistant, taught, questions, talk)
    standing.stage(SCORING)
    aligned = _align(assistant, taught, standing, talk) if standing.asked.get("align") else None
    document = _report(standing, taught, base, assistant, results, aligned)
    _tell(results, standing, talk)
    if aligned is not None:
        demo_align.tell(aligned, talk)
    talk.say(f"{standing.minutes:.1f} minutes; the report: {standing.folder / 'report.html'}")
    if store is not None:
        _keep(results, standing, store)
    talk.document(document)


def _finished(standing: Standing, store: Path | None, talk: Talk) -> None:
    from jielong.base import files
    from jielong.base.errors import UserError

    out = standing.folder
    if store is not None:
        raise UserError(f"the demo in {out} is finished, and --store is for one that runs now: add --overwrite")
    talk.say(
        f"the demo in {out} is finished, its report is {out / 'report.html'}: `jielong chat {out}` talks with it, "
        "`jielong demo --overwrite` begins again"
    )
    talk.document(files.read_json(out / SCORES))


def _pretrain(taught: Curriculum, shape: Plan, standing: Standing, talk: Talk) -> Trained:
    """The base model, in `base`."""
    from jielong.nets.config import shape as make_shape
    from jielong.nets.transformer import Transformer, count
    from jielong.train import curriculum, run
    from jielong.train.settings import Settings, minutes_text

    tokens = int(shape.tokens * (1 - TUNED))
    settings = Settings(tokens=tokens, context=CONTEXT, batch=BATCH, seed=taught.seed, validate=8)
    earlier = _earlier("base", settings, standing, talk)
    if earlier is not None:
        return earlier
    codec = curriculum.codec(taught)
    train, held = curriculum.pretraining(taught, codec)
    kinds = {kind: curriculum.fresh(taught, kind, codec) for kind in VALIDATED}
    talk.say(f"tokenizer: {codec.size} tokens; {len(train):,} tokens of text")
    standing.stage(WORLD)
    model = Transformer(make_shape(shape.width, codec.size, 2 * CONTEXT, shape.layers), seed=taught.seed)
    work = run.Work(model, codec, train, held, settings, _about("base", standing), kinds)
    seconds = run.predict(work) * shape.tokens / max(1, tokens)
    if standing.predicted is None:
        standing.predicted = seconds / 60 / TRAINING
    talk.say(
        f"{count(model):,} parameters; training takes about {minutes_text(seconds)} here, "
        f"everything {minutes_text(60 * standing.predicted)}"
    )
    _run(work, standing, talk, "pretrain", PRETRAINING)
    return Trained("base", model, codec, settings)


def _tune(base: Trained, taught: Curriculum, shape: Plan, standing: Standing, talk: Talk) -> Trained:
    """The assistant, in `assistant`."""
    from jielong.nets.transformer import Transformer
    from jielong.train import curriculum, run

    settings = replace(
        base.settings,
        tokens=int(shape.tokens * TUNED),
        validate=4,
        warmup=10,
        matrix_rate=base.settings.matrix_rate * GENTLE,
        other_rate=base.settings.other_rate * GENTLE,
    )
    earlier = _earlier("assistant", settings, standing, talk)
    if earlier is not None:
        return earlier
    chats, fresh = curriculum.fine_tuning(taught, base.codec)
    model = Transformer(base.model.config, seed=None)
    model.load_state_dict(base.model.state_dict())
    work = run.Work(model, base.codec, chats, fresh, settings, _about("assistant", standing))
    _run(work, standing, talk, "fine-tune", TUNING)
    return Trained("assistant", model, base.codec, settings)


def _align(assistant: Trained, taught: Curriculum, standing: Standing, talk: Talk) -> demo_align.Aligned:
    """The chain of alignment, each of its models in a folder of its own."""
    from copy import deepcopy

    from jielong.nets.checkpoint import Loaded
    from jielong.train import run

    def trained(work: Work, name: str) -> Any:
        work = replace(work, info=_about(name, standing))
        if (saved := run.finished(standing.folder / name, work.format)) is not None:
            talk.say(f"{name}: trained before")
            return saved.model.eval()
        _run(work, standing, talk, demo_align.STAGES[name][0], demo_align.STAGES[name][0])
        return work.model.eval()

    return demo_align.align(Loaded(deepcopy(assistant.model), assistant.codec), taught, trained, talk)


def _about(name: str, standing: Standing) -> dict[str, str]:
    asked = standing.asked
    return {"name": name, "command": f"jielong demo --minutes {asked['minutes']:g} --seed {asked['seed']}"}


def _earlier(name: str, settings: Settings, standing: Standing, talk: Talk) -> Trained | None:
    """The model of that name where an earlier session has finished it."""
    from jielong.base.errors import UserError
    from jielong.train import run
    from jielong.train.settings import from_json

    saved = run.finished(standing.folder / name)
    if saved is None:
        return None
    if from_json(saved.info["settings"]) != settings:
        raise UserError(f"{standing.folder} was begun by another version of this package: --overwrite begins again")
    talk.say(f"{name}: trained before")
    return Trained(name, saved.model, saved.codec, settings)


def _run(work: Work, standing: Standing, talk: Talk, label: str, stage: str) -> None:
    """Train, or go on training, in the folder of the model's name."""
    from jielong.cli.demo_state import spent
    from jielong.train import run

    folder = standing.folder / str(work.info["name"])
    folder.mkdir(exist_ok=True)
    before = spent(folder)
    begun = (folder / run.RUN).is_file()
    (run.resume if begun else run.start)(work, folder, talk, label)
    standing.stage(stage, before)


def _score(base: Trained, assistant: Trained, taught: Curriculum, questions: int, talk: Talk) -> tuple[Result, Result]:
    """Scorecards of both, with the loss above the exact entropy of the base model added to its own."""
    from jielong.evals import entropy
    from jielong.evals.scorecard import as_text, scorecard
    from jielong.train.curriculum import HELD_OUT_DRAW

    talk.say("asking both models what they were never asked")
    world = taught.world
    one = scorecard(base.lm(), world, as_text(base.codec), max(1, questions // 3), "base model")
    two = scorecard(assistant.lm(), world, n=questions, title="assistant")
    extra = entropy.rows(base.model, base.codec, world, VALIDATED, 600, HELD_OUT_DRAW)
    return replace(one, rows=(*one.rows, *extra)), two


def _report(
    standing: Standing, taught: Curriculum, base: Trained, assistant: Trained, results: tuple[Result, Result],
    aligned: demo_align.Aligned | None,
) -> dict[str, Any]:  # fmt: skip
    """`report.html` and `scorecard.json`, which says that all is done; the document for machines."""
    from jielong.base import device, files
    from jielong.base.plain import loads
    from jielong.cli.demo_page import page
    from jielong.nets.config import to_json

    out = standing.folder
    machine = {**device.machine(), "peak_memory": standing.peak}
    shown = page(standing, taught, base, assistant, results, VALIDATED, machine, aligned)
    files.atomic_write(out / "report.html", shown)
    document = {
        "out": str(out),
        "minutes": standing.minutes,
        "predicted_minutes": standing.predicted,
        "machine": machine,
        "people": taught.people,
        "facts": 8 * taught.people,
        "config": to_json(base.model.config),
        "stages": standing.stages,
        "base": loads(results[0].to_json()),
        "assistant": loads(results[1].to_json()),
        **({"aligned": loads(aligned.result.to_json())} if aligned else {}),
        "report": str(out / "report.html"),
    }
    files.write_json(out / SCORES, document)
    return document


def _keep(results: tuple[Result, Result], standing: Standing, folder: Path) -> None:
    """The scorecard, the time and the memory as one stored result."""
    from jielong.base.result import Result, Row
    from jielong.labs import store

    minutes, seed = standing.asked["minutes"], standing.asked["seed"]
    memory = Row(MEMORY, standing.peak / 1e9, None, 1, bar=3.0, unit="GB", group="cost")
    time_ = Row(MINUTES, standing.minutes, None, 1, bar=8.0, unit="minutes", group="cost")
    exact = tuple(row for row in results[0].rows if row.unit == "nats a document")
    command = f"jielong demo --minutes {minutes:g} --seed {seed}" + " --align" * bool(standing.asked.get("align"))
    meta = store.origin(__name__, command=command, minutes=standing.minutes)
    at_most = [*results[1].meta["at_most"], MEMORY, MINUTES]
    name = "demo" if seed == 0 else f"demo_seed{seed}"
    rows = (time_, memory, *results[1].rows, *exact)
    store.save(Result(name, f"The demo, seed {seed}", rows, meta={**meta, "at_most": at_most}), folder)


def _tell(results: tuple[Result, Result], standing: Standing, talk: Talk) -> None:
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
