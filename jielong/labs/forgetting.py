"""What a model forgets while it learns something new: as a whole, and by adapters, where both have learnt as much.

A model has read about the people of a world. Then it learns what has nothing to do with them: chats that work out
a + b - c. Along each run three things are measured: nats of fresh chats of the new kind, nats of fresh documents of the
old text, and how many statements about the people it still completes. An adapter that learns less also forgets less, so
it is compared with full fine-tuning at the moment when that had learnt as much. As a control the whole model goes on
with the old text; and an adapter that is taken off must leave the very bits that were there before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from jielong.base import noise
from jielong.base.result import Result, Row
from jielong.labs import stages, tuning
from jielong.labs.lab import Budget, part
from jielong.labs.tuning import FULL, WAYS
from jielong.labs.verdict import check, context, mean, over_seeds
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines
from jielong.world import facts
from jielong.world.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from jielong.nets.checkpoint import Loaded
    from jielong.nets.transformer import Transformer
    from jielong.train.next_token import NextToken
    from jielong.train.run import Work

CLAIM = {
    "en": "LoRA learns less and forgets less than full fine-tuning, also where both have learnt as much; taken off, it "
    "leaves the model as it was, to the bit.",
    "zh": "LoRA 比微調整個模型學得少也忘得少，即使學到一樣多時也是如此；拿掉之後，模型與原來一個位元都不差。",
}
SOURCE = {
    "en": "Lectures 7 and 8 (2024); Biderman et al. 2024 (arXiv 2405.09673), sections 4.1 to 4.3",
    "zh": "第 7、8 講（2024）；Biderman et al. 2024（arXiv 2405.09673），第 4.1 至 4.3 節",
}
EXPECT = {
    "en": "At equal loss on the new kind, fewer nats lost on the old text with LoRA and more statements completed; "
    "after as many steps, LoRA behind on the new kind.",
    "zh": "新的一種文字損失相同時，LoRA 在舊文字上損失的較少、能接完的句子較多；步數相同時，LoRA 在新文字上落後。",
}
MINUTES, SEEDS = 5.0, 3
STEPS, LOOKS = 120, 8  # of each run, and how often it is measured
NEW = {"sums_chain": 1.0}
TOLD, ASKED = 160, 60  # statements to be completed, new questions to be answered
OLD = "old text goes on"
ADAPTERS = ("LoRA 16, all", "LoRA 4, all", "LoRA 4, queries and values", "BitFit", "IA3")
JUDGED = ADAPTERS[:2]
SHOWN = {FULL: Words("everything", "整個模型"), OLD: Words("old text goes on", "繼續讀舊文字"),
         **{name: Words(name, name) for name in ADAPTERS}}  # fmt: skip


def run(budget: Budget) -> Result:
    """Each adapter beside full fine-tuning of its own seed, where both have learnt as much."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    paths = {name: [[Look(**each) for each in one["paths"][name]] for one in found] for name in SHOWN}
    n = TOLD * len(found)
    rows, level = [], {name: [equal(a, f) for a, f in zip(paths[name], paths[FULL])] for name in ADAPTERS}
    for name in JUDGED:
        lost = [at(f, s).old - at(a, s).old for a, f, s in zip(paths[name], paths[FULL], level[name])]
        kept = [at(a, s).told - at(f, s).told for a, f, s in zip(paths[name], paths[FULL], level[name])]
        behind = [a[-1].new - f[-1].new for a, f in zip(paths[name], paths[FULL])]
        note = f"where both reach {mean(level[name]):.2f} nats on the new kind"
        rows += [
            over_seeds(f"old nats spared, {name}", lost, "above", 0.0, FULL, n, unit="nats a token", note=note),
            over_seeds(f"statements kept, {name}", kept, "above", 0.0, FULL, n, unit="share", note=note),
            over_seeds(f"behind on the new kind at the end, {name}", behind, "above", 0.0, FULL, n,
                       unit="nats a token"),
        ]
    rows += _controls(paths, [one["same"] for one in found], n) + _context(paths, level, n)
    rows += [context("new questions right", [one["right"][name] for one in found], ASKED * len(found), "share",
                     name) for name in found[0]["right"]]  # fmt: skip
    return Result("forgetting", "What is forgotten by fine-tuning and by adapters", tuple(rows),
                  series=_picture(paths), meta={"mode": "greedy, float32", "headline": rows[0].name})  # fmt: skip


@dataclass(frozen=True)
class Look:
    """What is seen of a model at a step: nats a token of new chats and of old text, and the share of statements that it
    completes."""

    step: float
    new: float
    old: float
    told: float


Path = Sequence[Look]


def equal(a: Path, b: Path) -> float:
    """The least loss on the new kind that both have come to."""
    return max(min(look.new for look in path) for path in (a, b))


def at(path: Path, new: float) -> Look:
    """What is seen where the loss on the new kind first comes down to `new`, between two looks on a straight line."""
    for before, after in zip(path, path[1:]):
        if before.new <= new:
            return before
        if after.new <= new:
            u = (before.new - new) / (before.new - after.new)
            return Look(*((1 - u) * x + u * y for x, y in zip(vars(before).values(), vars(after).values())))
    return path[-1]


def _controls(paths: Mapping[str, Sequence[Path]], same: Sequence[float], n: int) -> list[Row]:
    lost = {name: [p[-1].old - p[0].old for p in paths[name]] for name in (OLD, FULL)}
    beside = [a / max(b, 1e-9) for a, b in zip(lost[OLD], lost[FULL])]
    on = context("old nats lost, old text goes on, beside full fine-tuning on the new", beside, n)
    told = context("statements completed before", [p[0].told for p in paths[FULL]], n, "share")
    learnt = context("nats of the new kind, learnt as a whole, beside before",
                     [p[-1].new / p[0].new for p in paths[FULL]], n)  # fmt: skip
    bits = Row("adapters taken off that leave every bit", min(same), None, len(same) * len(ADAPTERS), truth=1.0,
               unit="share")  # fmt: skip
    return [check(on, high=0.1), check(told, low=0.5), check(learnt, high=0.5), check(bits)]


def _context(
    paths: Mapping[str, Sequence[Path]], level: Mapping[str, Sequence[float]], n: int
) -> list[Row]:
    rows = []
    for name, some in paths.items():
        rows += [
            context("old nats lost at the end", [p[-1].old - p[0].old for p in some], n, "nats a token", name),
            context("statements completed at the end", [p[-1].told for p in some], n, "share", name),
            context("nats of the new kind at the end", [p[-1].new for p in some], n, "nats a token", name),
        ]
        if name in level:
            lost = [at(p, s).old - p[0].old for p, s in zip(some, level[name])]
            whole = [at(p, s).old - p[0].old for p, s in zip(paths[FULL], level[name])]
            note = f"full fine-tuning {mean(whole):.3f}, at the same loss on the new kind"
            rows.append(context("old nats lost where both have learnt as much", lost, n, "nats a token", name, note))
    return rows


def _picture(paths: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    def curve(name: str) -> Series:
        steps = range(len(paths[name][0]))
        new, old = ([mean([getattr(p[i], what) for p in paths[name]]) for i in steps] for what in ("new", "old"))
        return Series(SHOWN[name], new, old, dots=True)

    axes = Axes(x=Words("nats a token, new kind", "新文字的 nats"), y=Words("nats a token, old text", "舊文字的 nats"))
    title = Words("What learning the new costs of the old", "學新的東西，舊的忘了多少")
    return {"path": lines(title, [curve(name) for name in SHOWN if name != OLD], axes=axes)}


def measure(budget: Budget, seed: int) -> dict[str, Any]:
    """The looks along each run, new questions right at the end, and the share of adapters that leave every bit."""
    from jielong.nets.adapters.attach import detach
    from jielong.train import curriculum as plans

    loaded, world = tuning.base(budget, seed), tuning.world(seed)
    train, held = plans.pretraining(stages.curriculum(seed + 1, world.people), loaded.codec)
    old = type(held).from_documents(held.document(i) for i in range(min(250, held.documents)))
    new, fresh = (tuning.chats(world, loaded.codec, NEW, n, draw) for n, draw in ((tuning.CHATS, 0), (100, 1)))
    some, asked = statements(world, TOLD), world.questions("sums_chain", ASKED)

    def seen(model: Transformer, step: int) -> dict[str, float]:
        told = completed(model, loaded, some)
        return {"step": step, "new": tuning.nats(model, fresh), "old": tuning.nats(model, old), "told": told}

    def look(path: list[dict[str, float]], model: Transformer, step: int) -> None:
        path.append(seen(model, step))

    steps = tuning.steps(budget, STEPS, MINUTES)
    paths, right, same = dict[str, list[dict[str, float]]](), dict[str, float](), list[bool]()
    for name in SHOWN:
        paths[name] = [seen(loaded.model, 0)]
        watch = partial(watched, after=marks(steps), look=partial(look, paths[name]))
        way, tokens = WAYS[FULL if name == OLD else name], train if name == OLD else new
        model = tuning.tuned(loaded, way, tokens, seed, steps, budget.talk, watch, decay=0.0)
        if name != OLD:
            right[name] = tuning.share(tuning.verdicts(model, loaded.codec, world, asked))
        if way.config is not None:
            detach(model)
            same.append(alike(model, loaded.model))
    return {"paths": paths, "right": right, "same": sum(same) / len(same)}


def marks(steps: int) -> set[int]:
    """After which steps there is a look: each time about half as many again, the last among them."""
    found, mark = {steps}, float(steps)
    while len(found) < LOOKS and mark > 1:
        mark /= 1.6
        found.add(max(1, round(mark)))
    return found


@dataclass(frozen=True)
class Watched:
    """An objective that is looked at after some of the steps."""

    inner: NextToken
    after: set[int]
    look: Callable[[Transformer, int], None]

    def after_step(self, step: int) -> None:
        """Look, where it is due."""
        if step + 1 in self.after:
            self.look(self.inner.model, step + 1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def watched(
    work: Work, dtype: torch.dtype, after: set[int], look: Callable[[Transformer, int], None]
) -> Watched:
    """The next token, looked at."""
    from jielong.train.run import next_token

    return Watched(next_token(work, dtype), after, look)


def statements(of: World, n: int) -> list[tuple[str, str]]:
    """About `n` beginnings of statements in which the name stands before the value, and the value."""
    found = []
    for lang in ("en", "zh"):
        table = facts.table(of, lang)
        for i in noise.permutation(noise.seed_of("statements", of.seed, lang), len(table)).tolist()[:n]:
            person = next(p for p in of.folk if p.id == table[i].origin.person)
            value = person.value(table[i].origin.fact.split(".")[1], lang)
            before, there, _ = table[i].text.rpartition(value)
            if there and person.name(lang) in before:
                found.append((before.rstrip(), value))
    return found[:: max(1, len(found) // n)][:n]


def completed(model: Transformer, loaded: Loaded, some: Sequence[tuple[str, str]]) -> float:
    """The share of these that the model completes with the value, greedily, as text."""
    from jielong.lm.local import Local, Parts

    codec = loaded.codec
    prompts: list[Any] = [[codec.end, *codec.encode(before)] for before, _ in some]
    draws = Local(Parts(deepcopy(model), codec)).sample_many(prompts, temperature=0.0, max_tokens=8)
    return sum(one[0].text.strip().startswith(value) for (_, value), one in zip(some, draws, strict=True)) / len(some)


def alike(a: Transformer, b: Transformer) -> bool:
    """Whether all parameters are the same, to the bit."""
    import torch

    theirs = b.state_dict()
    mine = a.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
