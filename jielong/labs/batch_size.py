"""Batch size against speed and delay: as many texts at once as the engine runs in one batch, from 1 to 32.

All requests arrive at the same moment, each with a prompt of its own; the engine writes the same number of tokens for
each. Rounds are interleaved, and every figure is a ratio within its round. Beside them, as control, eight requests that
are served one after another by an engine for one text at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from jielong.base.result import Result, Row
from jielong.labs import timing
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import Side, check, judge
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines

if TYPE_CHECKING:
    from jielong.infer.engine import Engine, Event
    from jielong.infer.request import Request

CLAIM = {
    "en": "The more texts are written at once, the more tokens a second, since a step's fixed cost is shared; "
    "but each text waits longer for its first token and between tokens.",
    "zh": "同時寫的文章越多，每秒的標記越多，因為每一步的固定成本由大家分攤；"
    "但每篇等第一個標記、等下一個標記的時間也更長。",
}
SOURCE = {
    "en": "Lecture 10; Yu et al. 2022 (Orca); Pope et al. 2022 (arXiv 2211.05102)",
    "zh": "第 10 講；Yu et al. 2022（Orca）；Pope et al. 2022（arXiv 2211.05102）",
}
EXPECT = {
    "en": "Every doubling raises the tokens a second; 32 texts at once give four times those of one, or more; both "
    "delays grow. Eight at once have their first tokens sooner than eight one after another.",
    "zh": "每次加倍都提高每秒標記數；同時 32 篇至少是一篇的四倍；兩種等待都變長。"
    "八篇同時寫，比一篇接一篇更早得到第一個標記。",
}
MINUTES, SEEDS = 3.0, 3
COUNTS = (1, 2, 4, 8, 16, 32)
QUEUED = 8  # requests of the control
PROMPT, WRITTEN, ROUNDS = 32, 32, 9
WIDTH, LAYERS, VOCAB = 256, 8, 1024
TIMES = 4.0  # what the largest batch must reach
FIGURES = {
    "speed": Words("tokens a second", "每秒標記數"),
    "first": Words("time to the first token, ms", "第一個標記的等待（毫秒）"),
    "between": Words("time between tokens, ms", "標記之間的時間（毫秒）"),
}

Figures = dict[str, float]


def run(budget: Budget) -> Result:
    """Each seed has random weights and prompts of its own; the rounds of all are pooled."""
    parts = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    found: dict[str, list[Figures]] = {name: [one for each in parts for one in each[name]] for name in parts[0]}
    most = COUNTS[-1]

    def ratio(title: str, figure: str, name: object, other: object, side: Side | None, margin: float = 0.0) -> Row:
        """Round by round, one way's figure over the other's."""
        pairs = zip(found[str(name)], found[str(other)], strict=True)
        value, interval = timing.middle([a[figure] / b[figure] for a, b in pairs])
        behind = "one after another" if other == "queue" else f"{other} at once" if other != 1 else "one alone"
        row = Row(title, value, interval, len(found["1"]), 1.0, behind, unit="times")
        return row if side is None else judge(row, side, margin)

    rows = [ratio(f"tokens a second, {most} at once, times one", "speed", most, 1, "above", TIMES - 1)]
    for less, more in zip(COUNTS, COUNTS[1:]):
        rows.append(ratio(f"tokens a second, {more} at once, times {less}", "speed", more, less, "above"))
    rows += [
        ratio(f"time between tokens, {most} at once, times one", "between", most, 1, "above"),
        ratio(f"time to the first token, {most} at once, times one", "first", most, 1, "above"),
        ratio(f"time to the first token, {QUEUED} at once, times one after another", "first", QUEUED, "queue", "below"),
    ]
    queue = ratio(f"tokens a second, {QUEUED} one after another, times one", "speed", "queue", 1, None)
    rows += [*_figures(found), check(queue, low=0.75, high=1.33)]
    return Result("batch_size", "Batch size, speed and delay", tuple(rows), series=_pictures(found),
                  meta={"mode": "fast, float32", "parameters": _parameters()})  # fmt: skip


def _figures(found: dict[str, list[Figures]]) -> list[Row]:
    """The figures themselves, without a verdict."""
    rows = []
    units = {"speed": "tokens/s", "first": "ms", "between": "ms"}
    for name, rounds in found.items():
        group = f"{QUEUED} one after another" if name == "queue" else f"{name} at once"
        for figure, words in FIGURES.items():
            value, interval = timing.middle([each[figure] for each in rounds])
            rows.append(Row(words.en.split(",")[0], value, interval, len(rounds), unit=units[figure], group=group))
    return rows


def _pictures(found: dict[str, list[Figures]]) -> dict[str, Any]:
    """Speed by itself, and both delays together: their units differ."""

    def curve(figure: str) -> Series:
        middles = [timing.middle([each[figure] for each in found[str(count)]]) for count in COUNTS]
        low, high = ([getattr(interval, end) for _, interval in middles] for end in ("low", "high"))
        return Series(FIGURES[figure], list(COUNTS), [value for value, _ in middles], low, high, dots=True)

    x = Words("texts at once", "同時的文章數")
    fast = Axes(x=x, y=FIGURES["speed"], log_x=True, log_y=True)
    late = Axes(x=x, y=Words("milliseconds", "毫秒"), log_x=True, log_y=True)
    return {
        "speed": lines(Words("Speed", "速度"), [curve("speed")], axes=fast),
        "delay": lines(Words("Delay", "等待"), [curve("first"), curve("between")], axes=late),
    }


def _parameters() -> int:
    from jielong.nets.config import shape

    return shape(WIDTH, VOCAB, PROMPT + WRITTEN, LAYERS).parameters


def measure(budget: Budget, seed: int) -> dict[str, list[Figures]]:
    """Figures of every round, for each number of texts at once and for the queue."""
    from jielong.infer.engine import Engine
    from jielong.nets.config import shape
    from jielong.train import curriculum as plans
    from jielong.units import bpe

    codec = bpe.train(plans.documents(plans.Curriculum(seed=seed), 5_000), VOCAB, at_most=True)
    model = timing.random_model(shape(WIDTH, codec.size, PROMPT + WRITTEN, LAYERS), seed)
    many, single = (Engine(model, codec, streams=streams) for streams in (COUNTS[-1], 1))
    runs: dict[str, Callable[[int], Figures]] = {}
    for count in COUNTS:
        runs[str(count)] = partial(served, many, count, seed)
    runs["queue"] = partial(served, single, QUEUED, seed + 1_000_000)
    values = timing.rounds(list(runs.values()), timing.count(ROUNDS, budget, MINUTES))
    for engine in (many, single):
        asyncio.run(engine.close())
    return dict(zip(runs, values, strict=True))


def served(engine: Engine, count: int, seed: int, number: int) -> Figures:
    """`count` requests that arrive together: all tokens over all seconds; means over the requests of the time to the
    first token and of that between two, in milliseconds. Every round has prompts that were never read before."""
    from jielong.base import noise
    from jielong.infer.request import Request
    from jielong.infer.sampling import Sampling

    size = engine.model.config.vocab
    ids = noise.integers(seed, "batch", count, number + 1, below=size, n=count * PROMPT).reshape(count, PROMPT).tolist()
    sampling = Sampling(max_tokens=WRITTEN, temperature=0)
    requests = [Request(tuple(each), sampling, key=str(i)) for i, each in enumerate(ids)]
    seen: dict[str, list[float]] = {request.key: [] for request in requests}

    def look(event: Event) -> None:
        if event.kind == "token":
            seen[event.request.key].append(event.time)

    engine.watchers[:] = [look]
    began = time.perf_counter()
    asyncio.run(_write(engine, requests))
    return figures(began, list(seen.values()))


async def _write(engine: Engine, requests: Sequence[Request]) -> None:
    await asyncio.gather(*(engine.write(request) for request in requests))


def figures(began: float, seen: Sequence[Sequence[float]]) -> Figures:
    """From the moment of arrival and the moments of each text's tokens (two or more, all texts equally many)."""
    last = max(times[-1] for times in seen)
    firsts = [times[0] - began for times in seen]
    gaps = [(times[-1] - times[0]) / (len(times) - 1) for times in seen]
    return {
        "speed": sum(map(len, seen)) / (last - began),
        "first": 1000 * sum(firsts) / len(firsts),
        "between": 1000 * sum(gaps) / len(gaps),
    }
