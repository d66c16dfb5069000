"""Guesses that are all wrong: what they cost, where reading the weights takes the time and where computing does.

A scripted drafter knows what a model is about to write and says something else, at no cost of its own. The time of a
written token with 1, 2, 4 and 8 such guesses a step is held against the time without, for a small model and for one
whose weights are far larger than any cache, for 1, 8 and 32 texts at once; and again with a controller that may stop
asking. Controls: nothing is kept, every text stays as it is, and a drafter that says nothing costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from jielong.base.result import Result, Row
from jielong.labs import ahead, timing
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, judge
from jielong.views.charts import Axes, Level, Panel, Series
from jielong.views.markup import Words
from jielong.views.pictures import panels

if TYPE_CHECKING:
    from jielong.infer.core import Core
    from jielong.infer.draft.types import Drafter
    from jielong.nets.transformer import Transformer

CLAIM = {
    "en": "Guesses that are all wrong cost almost nothing: the model would have been read once for that token anyway. "
    "That is so where reading the weights takes the time; where computing does, every guess costs what a token does.",
    "zh": "全部猜錯也幾乎沒有損失：為了那個標記，模型本來就要讀一遍。時間花在讀取參數時確實如此；"
    "時間花在計算時，每個猜測就和一個標記一樣貴。",
}
SOURCE = {
    "en": "Lecture 16 (2024); Leviathan et al. 2023 (arXiv 2211.17192), section 3.4; Liu et al. 2024 (arXiv "
    "2406.14066) on load",
    "zh": "第 16 講（2024）；Leviathan et al. 2023（arXiv 2211.17192），第 3.4 節；Liu et al. 2024"
    "（arXiv 2406.14066）談負載",
}
EXPECT = {
    "en": "One text by the large model: four wrong guesses cost less than a tenth. 32 texts at once: more than as much "
    "again. With a controller, nowhere more than 3 in a hundred.",
    "zh": "大模型一次寫一篇：四個錯的猜測，代價不到十分之一；同時寫 32 篇：多花一倍以上。"
    "有控制器時，都不超過百分之三。",
}
MINUTES, SEEDS = 4.0, 3
MODELS = {"small": (64, 2), "large": (768, 6)}  # width and blocks: 0.2 and 43 million parameters
STREAMS = (1, 8, 32)
GUESSES = (1, 2, 4, 8)
PROMPT, ROUNDS, VOCAB = 16, 7, 1024
WRITTEN = {"small": 128, "large": 12}  # tokens of a text and round
ALMOST, TWICE, NEVER, TURN = 1.1, 2.0, 1.03, 1.25  # times as long: what is hardly any, much, slower, and a turn
FOUR = 4  # guesses on which the claim is judged
CONTROL, SILENT, PLAIN = "with the controller", "says nothing", "none"
SHOWN = {"small": Words("small model", "小模型"), "large": Words("large model", "大模型")}

Found = dict[str, Any]


def run(budget: Budget) -> Result:
    """Each seed has random weights and prompts of its own; the rounds of all are pooled."""
    parts = [
        part(budget, ("seed", seed, name, streams), partial(measure, budget, seed, name, streams))
        for seed in budget.seeds for name in MODELS for streams in STREAMS
    ]  # fmt: skip
    places = [(name, streams) for _ in budget.seeds for name in MODELS for streams in STREAMS]
    found: dict[tuple[str, int], list[Found]] = {}
    for place, each in zip(places, parts, strict=True):
        found.setdefault(place, []).append(each)
    one, most = STREAMS[0], STREAMS[-1]
    rows = [
        judge(_row(found, "large", one, str(FOUR), ALMOST, "a tenth more"), "below"),
        judge(_row(found, "large", most, str(FOUR), TWICE, "twice as long"), "above"),
        judge(_row(found, "small", most, str(FOUR), TWICE, "twice as long"), "above"),
    ]
    rows += [judge(_row(found, *place, CONTROL, NEVER, "3 in a hundred more"), "below") for place in found]
    rows += _controls(found)
    rows += [row for place in found for row in _context(found, *place)]
    return Result("wrong_guesses", "Guesses that are all wrong", tuple(rows), series=_pictures(found),
                  meta={"mode": "exact, float32, greedy", "parameters": _parameters()})  # fmt: skip


def _parameters() -> dict[str, int]:
    from jielong.nets.config import shape

    return {name: shape(width, VOCAB, PROMPT + WRITTEN[name] + 1, layers).parameters
            for name, (width, layers) in MODELS.items()}  # fmt: skip


def _group(name: str, streams: int) -> str:
    return f"{name} model, {streams} at once"


def _ratios(parts: list[Found], arm: str) -> list[float]:
    """Round by round, the time of a token over that without guesses."""
    return [with_ / without for one in parts for with_, without in zip(one[arm], one[PLAIN], strict=True)]


def _row(found: dict[tuple[str, int], list[Found]], name: str, streams: int, arm: str,
         control: float | None = None, control_name: str = "") -> Row:  # fmt: skip
    """Times as long as without guesses."""
    values = _ratios(found[name, streams], arm)
    value, interval = timing.middle(values)
    title = f"time of a token, {arm}" if arm in (CONTROL, SILENT) else f"time of a token, {arm} wrong guesses"
    return Row(title, value, interval, len(values), control, control_name, unit="times", group=_group(name, streams))


def _controls(found: dict[tuple[str, int], list[Found]]) -> list[Row]:
    every = [one for parts in found.values() for one in parts]
    kept, same = sum(one["kept"] for one in every), min(one["same"] for one in every)
    n = sum(one["guesses"] for one in every)
    rows = [
        check(Row("wrong guesses that were kept", float(kept), None, n, truth=0.0)),
        check(Row("texts that stay the same", same, None, len(every), truth=1.0, unit="share")),
    ]
    return [*rows, check(_row(found, "large", STREAMS[0], SILENT), low=0.95, high=1.05)]


def _context(found: dict[tuple[str, int], list[Found]], name: str, streams: int) -> list[Row]:
    """Every number of guesses, what one more of them costs, where it turns, and what the controller promised."""
    parts, group = found[name, streams], _group(name, streams)
    plain, interval = timing.middle([1000 * value for one in parts for value in one[PLAIN]])
    rows = [Row("time of a token without guesses", plain, interval, len(parts), unit="ms", group=group)]
    rows += [_row(found, name, streams, arm) for arm in (SILENT, *map(str, GUESSES))]
    first, last = (_ratios(parts, str(k)) for k in (GUESSES[0], GUESSES[-1]))
    more, interval = timing.middle([(b - a) / (GUESSES[-1] - GUESSES[0]) for a, b in zip(first, last, strict=True)])
    note = "on average, from the first guess to the last"
    rows.append(Row("what one more guess adds", more, interval, len(first), unit="times", group=group, note=note))
    turn = turns([ahead.median(_ratios(parts, str(k))) for k in GUESSES])
    if turn is None:
        note = f"none up to {GUESSES[-1]} guesses takes {TURN:g} times as long"
        rows.append(Row("guesses at the turn, more than", GUESSES[-1], None, len(parts), group=group, note=note))
    else:
        note = f"from here on a token takes {TURN:g} times as long; {streams * (1 + turn):.0f} places a step"
        rows.append(Row("guesses at the turn", turn, None, len(parts), group=group, note=note))
    said = [one["promised"] for one in parts]
    return [*rows, Row("speed-up that the controller promised", ahead.median(said), None, len(said), group=group)]


def turns(times: list[float]) -> float | None:
    """How many guesses it takes until a token takes TURN times as long, along straight lines between what was measured;
    None where that is not reached."""
    x, y = 0.0, 1.0
    for k, value in zip(GUESSES, times, strict=True):
        if value >= TURN:
            return x + (k - x) * (TURN - y) / (value - y) if value > y else float(k)
        x, y = float(k), value
    return None


def _pictures(found: dict[tuple[str, int], list[Found]]) -> dict[str, Any]:
    """Time against guesses, a panel for each model and a line for each number of texts."""

    def curve(name: str, streams: int) -> Series:
        middles = [timing.middle(_ratios(found[name, streams], str(k))) for k in GUESSES]
        low, high = ([1.0, *(getattr(interval, end) for _, interval in middles)] for end in ("low", "high"))
        values = [1.0, *(value for value, _ in middles)]
        return Series(Words(f"{streams} at once", f"同時 {streams} 篇"), [0, *GUESSES], values, low, high, dots=True)

    axes = Axes(x=Words("wrong guesses a step", "每步錯的猜測數"), y=Words("times as long", "時間倍數"), zero=True)
    level = Level(Words("without guesses", "不猜"), 1.0)
    parts = [Panel(SHOWN[name], [curve(name, streams) for streams in STREAMS], [level]) for name in MODELS]
    return {"times": panels(Words("What wrong guesses cost", "猜錯的代價"), parts, axes=axes, columns=2)}


def measure(budget: Budget, seed: int, name: str, streams: int) -> Found:
    """Seconds a token of every round, with and without; what was kept; what the controller promised."""
    from jielong.base import noise
    from jielong.infer.core import Core
    from jielong.infer.draft.control import Controller
    from jielong.infer.draft.scripted import Scripted, nothing, partly
    from jielong.nets.config import shape

    (width, layers), written = MODELS[name], WRITTEN[name]
    model: Transformer = timing.random_model(shape(width, VOCAB, PROMPT + written + 1, layers), seed)
    core = Core(model, mode="exact", streams=streams, length=PROMPT + written + 1)
    ids = noise.integers(seed, "wrong", width, streams, below=VOCAB, n=streams * PROMPT).reshape(streams, PROMPT)
    requests = ahead.asking(ids.tolist(), written, 0.0)
    texts = ahead.write(core, requests).texts
    known = {request.prompt: text for request, text in zip(requests, texts, strict=True)}
    wrong = Scripted("wrong", partly(ahead.coming(known), 0.0))
    who: dict[str, tuple[Drafter, int]] = {str(k): (wrong, k) for k in GUESSES}
    who |= {CONTROL: (wrong, 0), SILENT: (Scripted(SILENT, nothing), FOUR)}
    draftings = {arm: ahead.drafting(drafter, None, k) for arm, (drafter, k) in who.items()}
    runs: dict[str, Callable[[int], ahead.Written]] = {PLAIN: lambda number: ahead.write(core, requests)}
    runs |= {arm: partial(_written, core, requests, each) for arm, each in draftings.items()}
    found = dict(zip(runs, timing.rounds(list(runs.values()), timing.count(ROUNDS, budget, MINUTES)), strict=True))
    every = [one for rounds in found.values() for one in rounds]
    controller = draftings[CONTROL].guess
    assert isinstance(controller, Controller)
    return {
        **{arm: [one.each for one in rounds] for arm, rounds in found.items()},
        "guesses": sum(proposed for one in every for proposed, _ in one.drafts),
        "kept": sum(kept for one in every for _, kept in one.drafts),
        "same": sum(one.texts == texts for one in every) / len(every),
        "promised": controller.speedup(),
    }


def _written(core: Core, requests: list[Any], drafting: Any, number: int) -> ahead.Written:
    return ahead.write(core, requests, drafting)
