"""Guessing ahead with the controller, beside writing token by token: how much slower at worst, how much faster where it
can be, and whether the controller knows it.

Every case writes the same texts with and without guesses, in pairs: piece by piece in turns, each begun by the other
side. The ratio of a pair is that of the seconds of all its texts, prompts and first look-ups included; the estimate
is the median of the pairs, its interval that of order statistics (`labs/timing.py`). What the controller promises
before each piece is taken for that piece: the seconds that this makes of a pair are held against those after the
prompts, which is what it speaks of. One controller lives through a case, as it does in a server.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from jielong.base import device, noise
from jielong.base.result import Interval, Result, Row
from jielong.base.talk import Talk
from jielong.bench import draft_models
from jielong.bench.infer import SIZES as SHAPES
from jielong.bench.infer import random_model
from jielong.infer.core import Core
from jielong.infer.draft.control import Controller
from jielong.infer.draft.drafting import Drafting
from jielong.infer.draft.lookup import Lookup
from jielong.infer.draft.model import ModelDrafter
from jielong.infer.draft.scripted import Scripted, partly, slow
from jielong.infer.draft.selves import early_exit, quantised
from jielong.infer.draft.types import Drafter
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.labs import timing
from jielong.nets.config import shape
from jielong.nets.transformer import Transformer, count

ACCEPTED, COSTS = (0.0, 0.3, 0.6, 0.9, 1.0), (0.0, 0.1, 0.5, 1.0)  # of the scripted drafters; costs in steps
KINDS = ("facts", "bios", "sums", "register", "guilds", "exams")
CATEGORIES = {"translation": "translation", "summarization": "summarisation", "qa": "questions",
              "math_reasoning": "mathematics", "rag": "retrieval"}  # fmt: skip
SLOWER, FASTER, OFF = 0.03, 2.0, 0.10
TOLD = 96  # tokens of a page that is told again, about: then it is over
PIECE = 24  # tokens that a side writes before it is the other's turn
BOUND = "slowdown, upper 95 % bound, the worst of"
TWICE = "times as fast, the better of a repeated page and a model of a tenth"
WITHIN, WORST = "promises within 10 % of what was measured", "the promise that is farthest off"
GRID, WRONG, WORLD, SPEC = "scripted", "all wrong", "the world's tasks", "Spec-Bench prompts"
REAL = "where it should pay"
FIXED = "always 4 guesses"


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    pairs: int = 15
    texts: int = 6  # a pair; of the large model a third of them
    tokens: int = 192  # a text
    quick: bool = False


QUICK = Size(pairs=6, texts=1, tokens=32, quick=True)


@dataclass(eq=False)
class Case:
    """One drafter on texts of one kind: seconds of the pairs with and without guesses, whole and after the prompt."""

    group: str
    name: str
    note: str = ""
    whole: list[tuple[float, float]] = field(default_factory=list)
    after: list[tuple[float, float]] = field(default_factory=list)
    promised: list[float] = field(default_factory=list)
    same: int = 0
    texts: int = 0

    @property
    def slowdown(self) -> tuple[float, Interval]:
        """How much longer it takes with guesses, as a share; below 0 where it is faster."""
        middle, within = ratio(self.whole)
        return middle - 1, Interval(within.low - 1, within.high - 1, within.level, within.method)

    @property
    def speedup(self) -> tuple[float, Interval]:
        """Tokens a second after the prompt, with guesses over without."""
        middle, within = ratio(self.after)
        return 1 / middle, Interval(1 / within.high, 1 / within.low, within.level, within.method)

    @property
    def promise(self) -> float | None:
        """What the controller said of a pair's texts, the median of the pairs; None where there was none."""
        return statistics.median(self.promised) if self.promised else None

    @property
    def off(self) -> float | None:
        """The promise over what was measured of the same texts, less 1; the median of the pairs."""
        found = [said * with_ / without for said, (with_, without) in zip(self.promised, self.after)]
        return statistics.median(found) - 1 if found else None


def ratio(pairs: Sequence[tuple[float, float]]) -> tuple[float, Interval]:
    """The median of the first over the second, and its interval."""
    return timing.middle([a / b for a, b in pairs])


class Side:
    """One of the two that write the same texts: its core, and the seconds it took in all and after the prompts."""

    def __init__(self, core: Core, drafting: Drafting | None) -> None:
        self.core, self.whole, self.after = core, 0.0, 0.0
        core.drafting = drafting

    def begin(self, request: Request) -> None:
        """Read the prompt and write the first token."""
        self.core.clear()
        began = time.perf_counter()
        self.row = self.core.submit(request)
        while not self.row.written:
            self.core.step()
        self.whole += time.perf_counter() - began

    def go_on(self, written: int) -> float:
        """Until so many tokens are written; the seconds."""
        began = time.perf_counter()
        while self.row.written < written and self.core.busy:
            self.core.step()
        took = time.perf_counter() - began
        self.whole += took
        self.after += took
        return took

    @property
    def text(self) -> list[int]:
        """What was written."""
        return self.row.text[len(self.row.request.prompt) :]


def write(request: Request, sides: Sequence[Side], drafting: Drafting | None = None) -> float:
    """A text by all sides, piece by piece in turns: what slows the machine down meanwhile slows all of them.

    The seconds after the prompt that were to be expected with guesses: those of each piece without, over what was
    promised before it.
    """
    for side in sides:
        side.begin(request)
    expected = 0.0
    for turn, written in enumerate(range(1 + PIECE, request.sampling.max_tokens + PIECE, PIECE)):
        said = drafting.guess.speedup() if drafting and isinstance(drafting.guess, Controller) else 1.0
        took = {side: side.go_on(written) for side in (sides if turn % 2 else reversed(sides))}
        expected += sum(took[side] for side in sides if side.core.drafting is None) / said
    return expected


def compare(case: Case, cores: tuple[Core, Core], drafting: Drafting, pairs: Sequence[Sequence[Request]]) -> Case:
    """Write the texts of all pairs with and without guesses; the first pair's are written once before, unmeasured."""
    for number, requests in enumerate([pairs[0], *pairs], -1):
        sides = with_, without = Side(cores[0], drafting), Side(cores[1], None)
        expected = 0.0
        for i, request in enumerate(requests):
            expected += write(request, sides if (number + i) % 2 else sides[::-1], drafting)
            if number >= 0:
                case.same += with_.text == without.text
                case.texts += 1
        if number >= 0:
            case.whole.append((with_.whole, without.whole))
            case.after.append((with_.after, without.after))
            case.promised += [without.after / expected] if isinstance(drafting.guess, Controller) else []
    case.note = f"{case.note}; {told(drafting)}".lstrip("; ")
    return case


def told(drafting: Drafting) -> str:
    """What became of the guesses."""
    tally = drafting.tally
    proposed, accepted = sum(tally.proposed), sum(tally.accepted)
    if not proposed:
        return "no guesses"
    return f"{tally.tokens / tally.steps:.2f} tokens a draft, {accepted / proposed:.0%} of the guesses stayed"


def shared_out(requests: Sequence[Request], pairs: int, texts: int) -> list[list[Request]]:
    """So many for each pair, from the beginning again where there are too few."""
    return [[requests[(i * texts + j) % len(requests)] for j in range(texts)] for i in range(pairs)]


def asking(prompts: Sequence[Sequence[int]], tokens: int, temperature: float) -> list[Request]:
    """A request for each prompt, each with chances of its own."""
    plain = Sampling(max_tokens=tokens, temperature=temperature)
    return [Request(tuple(prompt), plain.with_(seed=i)) for i, prompt in enumerate(prompts)]


class Bench:
    """Measures case after case."""

    def __init__(self, size: Size, talk: Talk, out: Path = Path("runs/labs"), data: Path | None = None) -> None:
        self.size, self.talk, self.out, self.data = size, talk, out, data
        self.cases: list[Case] = []
        self.models: dict[str, Transformer] = {}
        self.meta: dict[str, Any] = {}

    def run(self) -> Result:
        """Everything, as one result. Models are trained on all cores and write on one: where two share a step of some
        hundred microseconds, whatever else runs on the machine stops both, and hides what is measured here."""
        torch.set_num_threads(device.threads())
        device.keep_memory()
        for name in draft_models.SIZES:
            loaded = draft_models.model(name, self.talk, self.size.quick, self.out)
            self.models[name] = loaded.model
            self.meta[name] = f"{count(loaded.model) / 1e6:.2f}M parameters"
        torch.set_num_threads(1)
        for part in (self.scripted, self.world, self.spec, self.real):
            part()
        return result(self.cases, {**self.meta, "threads": torch.get_num_threads(), "mode": "exact",
                                   "pairs": self.size.pairs, "tokens": self.size.tokens})  # fmt: skip

    def add(
        self, case: Case, cores: tuple[Core, Core], drafter: Drafter, requests: Sequence[Request], guess: int = 0,
        large: bool = False,
    ) -> None:  # fmt: skip
        """Measure one case more."""
        drafting = Drafting(drafter, guess=guess or Controller())
        texts = max(1, self.size.texts // 3) if large else self.size.texts
        self.cases.append(compare(case, cores, drafting, shared_out(requests, self.size.pairs, texts)))
        if drafting.reasons:
            raise RuntimeError(f"{case.group}, {case.name}: {drafting.reasons}")
        slower, promise = case.slowdown, case.promise
        self.talk.say(f"{case.group}, {case.name}: {case.speedup[0]:.2f} times as fast"
                      + (f", promised {promise:.2f}" if promise else "")
                      + f"; slowdown {slower[0]:+.1%}, at most {slower[1].high:+.1%}")  # fmt: skip

    def cores(self, model: Transformer, longest: int = 512) -> tuple[Core, Core]:
        """One stream each, in exact mode: the texts with and without guesses are the same to the bit."""
        one, other = (Core(model, mode="exact", streams=1, length=longest) for _ in range(2))
        return one, other

    def scripted(self) -> None:
        """Drafters on a grid of acceptance and cost, and one that is always wrong."""
        config = shape(64, 256, 512, 2) if self.size.quick else SHAPES["1M"]
        cores = self.cores(random_model(config))
        ids = noise.integers(3, below=config.vocab, n=16 * self.size.texts * self.size.pairs).reshape(-1, 16).tolist()
        requests = asking(ids, self.size.tokens, 0.0)
        truth, steps = dict[tuple[int, ...], list[int]](), list[float]()
        for request in requests:
            side = Side(cores[1], None)
            write(request, [side])
            truth[request.prompt] = side.text
            steps.append(side.after / (self.size.tokens - 1))
        step = statistics.median(steps)
        self.meta["a step of the scripted cases"] = f"{step * 1e6:.0f} us"

        def drafter(share: float, cost: float) -> Scripted:
            rule = partly(lambda row: truth[row.request.prompt][row.written :], share)
            return Scripted("scripted", slow(rule, cost * step) if cost else rule)

        for share in ACCEPTED:
            for cost in COSTS:
                name = f"accepted {share:g}, a guess costs {cost:g} of a step"
                self.add(Case(GRID, name), cores, drafter(share, cost), requests)
        self.add(Case(WRONG, "with the controller"), cores, drafter(0.0, 0.0), requests)
        self.add(Case(WRONG, FIXED), cores, drafter(0.0, 0.0), requests, guess=4)

    def pages(self, kinds: Sequence[str]) -> list[list[int]]:
        """Beginnings of pages that no training used."""
        from jielong.train import curriculum as plans

        codec, wanted = draft_models.codec(), self.size.pairs * self.size.texts
        shares = {kind: 1 / len(kinds) for kind in kinds}
        found: list[list[int]] = []
        for page in draft_models.pages(plans.documents(draft_models.plan(), 40 * wanted, plans.HELD_OUT_DRAW, shares)):
            ids = [codec.end, *codec.encode(page)]
            found.append(ids[: len(ids) // 2])
            if len(found) == wanted:
                break
        return found

    def world(self) -> None:
        """Pages of the world go on, by a small model that has read such pages."""
        model, tokens = self.models["reader"], self.size.tokens
        cores = self.cores(model)
        for kind in KINDS:
            requests = asking(self.pages([kind]), tokens, 1.0)
            self.add(Case(WORLD, f"{kind}, lookup"), cores, Lookup(), requests)
        mixed = self.pages(KINDS)
        self.add(Case(WORLD, "all kinds, greedily, lookup"), cores, Lookup(), asking(mixed, tokens, 0.0))
        for drafter in (quantised(model, 8), early_exit(model, model.config.layers // 2)):
            self.add(Case(WORLD, f"all kinds, {drafter.name}"), cores, drafter, asking(mixed, tokens, 1.0))

    def spec(self) -> None:
        """Prompts of Spec-Bench (Xia et al. 2024), where JIELONG_DATA says that they are."""
        path = None if self.data is None else self.data / "spec_bench" / "question.jsonl"
        if path is None or not path.is_file():
            self.meta["skipped"] = "Spec-Bench: JIELONG_DATA names no folder with spec_bench/question.jsonl"
            self.talk.warn(self.meta["skipped"])
            return
        cores = self.cores(self.models["reader"], draft_models.CONTEXT)
        for name, prompts in spec_prompts(path, draft_models.CONTEXT - self.size.tokens).items():
            self.add(Case(SPEC, f"{name}, lookup"), cores, Lookup(), asking(prompts, self.size.tokens, 1.0))

    def real(self) -> None:
        """Where guessing ahead should pay: a page told again, and a large model with a little one before it."""
        small, large, little = (self.models[name] for name in ("reader", "large", "little"))
        tokens = self.size.tokens
        codec = draft_models.codec()
        told = [[codec.end, *codec.encode(page + draft_models.AGAIN)] for page in draft_models.known()]
        again = asking(told, min(tokens, TOLD), 0.0)
        mixed = self.pages(KINDS)
        cores = self.cores(small)
        self.add(Case(REAL, f"a page known by heart told again, {self.meta['reader']}, lookup"), cores, Lookup(), again)
        cores = self.cores(large)
        self.add(Case(REAL, f"a page known by heart told again, {self.meta['large']}, lookup"), cores, Lookup(), again,
                 large=True)  # fmt: skip
        for name, temperature in (("greedily", 0.0), ("drawn", 1.0)):
            drafter = ModelDrafter(little, little.config.vocab, exact=True, streams=1, length=512)
            case = Case(REAL, f"{self.meta['large']} with {self.meta['little']} before it, {name}")
            self.add(case, cores, drafter, asking(mixed, tokens, temperature), large=True)


def spec_prompts(path: Path, longest: int) -> Mapping[str, list[list[int]]]:
    """First turns by category, as tokens of the world; of longer ones the end."""
    from jielong.base.plain import loads

    codec = draft_models.codec()
    found: dict[str, list[list[int]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        question = loads(line)
        name = CATEGORIES.get(question["category"], "conversation")
        found.setdefault(name, []).append([codec.end, *codec.encode(question["turns"][0])[1 - longest :]])
    return found


def result(cases: Sequence[Case], meta: Mapping[str, Any]) -> Result:
    """The bars, then all cases."""
    rows = list(_bars(cases))
    for case in cases:
        speed, within = case.speedup
        slower = case.slowdown
        note = f"slowdown {slower[0]:+.1%}, upper bound {slower[1].high:+.1%}; {case.note}; "
        note += "the same texts" if case.same == case.texts else f"{case.same} of {case.texts} texts the same"
        rows.append(Row(case.name, speed, within, len(case.whole), control=case.promise, control_name="promised",
                        unit="times", group=case.group, note=note))  # fmt: skip
    low = [row.name for row in rows if row.group == "bars" and row.name.startswith((BOUND, WORST))]
    return Result("bench_draft", "Guessing ahead, beside token by token", tuple(rows), meta={**meta, "at_most": low})


def _bars(cases: Sequence[Case]) -> Iterator[Row]:
    def row(name: str, estimate: float, n: int, bar: float, unit: str, note: str) -> Row:
        return Row(name, estimate, None, n, bar=bar, unit=unit, group="bars", note=note)

    for group in (GRID, WORLD, SPEC, WRONG):
        some = [case for case in cases if case.group == group and case.name != FIXED]
        if some:
            worst = max(some, key=lambda case: case.slowdown[1].high)
            share = sum(case.slowdown[1].high <= SLOWER for case in some)
            note = f"{worst.name}; {share} of {len(some)} within the bar"
            yield row(f"{BOUND} {group}", worst.slowdown[1].high, len(worst.whole), SLOWER, "share", note)
    some = [case for case in cases if case.group == REAL]
    if some:
        best = max(some, key=lambda case: case.speedup[0])
        yield row(TWICE, best.speedup[0], len(best.whole), FASTER, "times", best.name)
    off = {case: abs(case.off) for case in cases if case.off is not None}
    if off:
        worst = max(off, key=lambda case: off[case])
        yield row(WITHIN, sum(v <= OFF for v in off.values()) / len(off), len(off), 1.0, "share", "")
        yield row(WORST, off[worst], len(worst.whole), OFF, "share", f"{worst.group}, {worst.name}")


def run(talk: Talk, quick: bool = False, pairs: int = 0, data: Path | None = None,
        out: Path = Path("runs/labs")) -> Result:  # fmt: skip
    """Everything, as one result; `pairs` 0: as many as the bar is about, or six where it is to be quick."""
    size = QUICK if quick else Size()
    return Bench(Size(pairs or size.pairs, size.texts, size.tokens, size.quick), talk, out, data).run()


def summary(result: Result) -> Iterator[tuple[Any, ...]]:
    """Rows of a table for people."""
    for row in result.rows:
        promised = "" if row.control is None else f"{row.control:.2f}"
        value = f"{row.estimate:+.1%}" if row.name.startswith(BOUND) else f"{row.estimate:.2f}"
        yield row.group, row.name, value, promised, f"{row.bar:g}" if row.bar else "", row.note


def versions() -> Mapping[str, Any]:
    """What else was there."""
    return {"torch": device.version("torch")}
