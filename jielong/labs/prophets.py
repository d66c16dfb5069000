"""Several prophets at once against the best of them: tokens a step, and tokens a second.

Four that guess in different ways stand before one model: what the text itself said before, a store of texts, the
model's first layers, and a smaller model. Each guesses alone, all side by side (several drafts a step, for the same
text and for rejection over several), and by turns, whoever promises most. Which are best is found on other texts than
those on which all are measured. Controls: nobody changes a text where it is to stay the same, and the same prophet
twice gets no further than once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from jielong.base.result import Result, Row
from jielong.labs import ahead, guessers, timing
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, context, judge, mean, over_seeds
from jielong.labs.who_guesses import LOOKUP, SMALLER, STORE, Who, everyone
from jielong.views.charts import Axes, Level, Series
from jielong.views.markup import Words
from jielong.views.pictures import heat_map, lines

if TYPE_CHECKING:
    from jielong.infer.core import Core
    from jielong.infer.draft.types import Drafter, Verify
    from jielong.infer.request import Request

CLAIM = {
    "en": "Several prophets may guess, and the one that is right is kept: together they get further in a step than the "
    "best of them alone. Whether that is sooner is another matter, since all of them have to be asked and read.",
    "zh": "可以有好幾個預言家，猜對的就留下：一起猜，每一步前進得比其中最好的一個更遠。"
    "是否更快則是另一回事，因為每個都要問、都要讀。",
}
SOURCE = {
    "en": "Lecture 16 (2024); Miao et al. 2023, SpecInfer (arXiv 2305.09781), algorithm 2",
    "zh": "第 16 講（2024）；Miao et al. 2023，SpecInfer（arXiv 2305.09781），演算法 2",
}
EXPECT = {
    "en": "Side by side they write more tokens a step than the best alone, for the same text and by rejection; there "
    "the best should be tried first. By turns they are no slower than the best alone.",
    "zh": "並排猜測時，每步的標記數多於最好的一個，不論要求同樣的文字或用拒絕取樣；後者應讓最好的先試。"
    "輪流猜則不比最好的一個慢。",
}
MINUTES, SEEDS = 4.0, 3
PROPHETS = (LOOKUP, STORE, "exit4", SMALLER)
BEGUN, WRITTEN = 10, 48
RANKED, COUNTED, TIMED, ROUNDS = 24, 64, 3, 7  # texts to rank the prophets by, to count on, of a timed round; rounds
GUESSES = 4
SAME, SEVERAL = "same text", "rejection"
ALL, TURNS, WORST, TWICE = "all side by side", "by turns", "all, the worst first", "lookup twice"
NEAR = 0.97  # times as fast as the best alone, below which it is slower
Found = dict[str, Any]


def run(budget: Budget) -> Result:
    """Each seed has a world and models of its own; tokens a step are judged over seeds, times over all rounds."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = COUNTED * len(found)

    def more(name: str, way: str, other: str, title: str, control_name: str) -> Row:
        """How many tokens more a step; `other` "": the best of those alone."""
        values = [one[way][name] - (one[way][other] if other else _best(one, way)) for one in found]
        return over_seeds(f"tokens a step, {title}, {way}", values, "above", 0.0, control_name, n)

    rows = [
        more(ALL, SAME, "", "all less the best alone", "no more"),
        more(ALL, SEVERAL, "", "all less the best alone", "no more"),
        more(ALL, SEVERAL, WORST, "best first less worst first", "no more"),
        judge(_faster(found, ALL, "best alone", 1.0), "above"),
        judge(_faster(found, TURNS, "hardly slower than the best alone", NEAR), "above"),
    ]
    rows += _controls(found, n)
    for way in (SAME, SEVERAL):
        for name in found[0][way]:
            rows.append(context(f"tokens a step, {way}", [one[way][name] for one in found], n, group=name))
    for name in found[0]["times"]:
        speeds = [1 / each for one in found for each in one["times"][name]]
        group = "without guesses" if name == "none" else name
        rows.append(Row("tokens a second", *timing.middle(speeds), len(speeds), unit="tokens/s", group=group))
    note = "; ".join(", ".join(one["order"]) for one in found)
    return Result("prophets", "Several prophets", tuple(rows), series=_pictures(found),
                  meta={"mode": f"exact, float32, temperature 1, {GUESSES} guesses each", "order": note})  # fmt: skip


def _best(one: Found, way: str) -> float:
    """Tokens a step of the best prophet alone: on these very texts, which is more than one could have known."""
    return max(one[way][name] for name in PROPHETS)


def _faster(found: list[Found], name: str, control_name: str, control: float) -> Row:
    """Round by round, tokens a second over those of the prophet alone that was the fastest in that seed's median."""
    ratios: list[float] = []
    for one in found:
        times = one["times"]
        best = min(PROPHETS, key=lambda each, times=times: ahead.median(times[each]))  # type: ignore[misc]
        ratios += [a / b for a, b in zip(times[best], times[name], strict=True)]
    value, interval = timing.middle(ratios)
    return Row(f"tokens a second, {name}, over the best alone", value, interval, len(ratios), control, control_name,
               unit="times")  # fmt: skip


def _controls(found: list[Found], n: int) -> list[Row]:
    same = min(one["same"] for one in found)
    twice = max(abs(one[way][TWICE] - one[way][LOOKUP]) for one in found for way in (SAME, SEVERAL))
    return [
        check(Row("texts that stay the same", same, None, n, truth=1.0, unit="share")),
        check(Row("tokens a step, a prophet twice less once", twice, None, n, truth=0.0)),
    ]


def _pictures(found: list[Found]) -> dict[str, Any]:
    """Tokens a step by who guesses and how guesses are verified, and how many times as fast that is."""
    names = [*PROPHETS, TURNS, WORST, ALL]
    ways = [[mean([one[way][name] for one in found]) for way in (SAME, SEVERAL)] for name in names]
    across, down = Words("how guesses are verified", "如何驗證"), Words("who guesses", "誰來猜")
    tokens = heat_map(Words("Tokens a step", "每步標記數"), ways, names, [SAME, SEVERAL], across=across, down=down)

    def speed(name: str) -> list[float]:
        return [a / b for one in found for a, b in zip(one["times"]["none"], one["times"][name], strict=True)]

    timed = [name for name in names if name in found[0]["times"]]
    steps = {name: mean([one[SAME][name] for one in found]) for name in timed}
    timed.sort(key=steps.__getitem__)
    middles = [timing.middle(speed(name)) for name in timed]
    low, high = ([getattr(interval, end) for _, interval in middles] for end in ("low", "high"))
    values = [value for value, _ in middles]
    series = Series(Words("the same text", "同樣的文字"), [steps[name] for name in timed], values, low, high, dots=True)
    axes = Axes(x=Words("tokens a step", "每步標記數"), y=Words("times as fast", "速度倍數"))
    level = Level(Words("no guesses", "不猜"), 1.0)
    return {"tokens": tokens, "speed": lines(Words("Further, and sooner?", "走得遠，也走得快嗎？"), [series], axes=axes,
                                             levels=[level])}  # fmt: skip


def measure(budget: Budget, seed: int) -> Found:
    """Tokens a step by who guesses and how guesses are verified; seconds a token of every round, for the same text."""
    import torch

    from jielong.base import device
    from jielong.infer.core import Core
    from jielong.infer.draft.verify import multi
    from jielong.nets import checkpoint

    torch.set_num_threads(device.threads())
    device.keep_memory()
    loaded = checkpoint.load(guessers.large(budget, seed))
    who = everyone(budget, seed, loaded, BEGUN + WRITTEN, PROPHETS)
    rounds = timing.count(ROUNDS, budget, MINUTES)
    _, fresh = ahead.held_out(loaded.codec, seed)
    all_ = ahead.asking(ahead.beginnings(fresh, BEGUN, RANKED + COUNTED + TIMED * (rounds + 1)), WRITTEN)
    ranked, counted, timed = all_[:RANKED], all_[RANKED : RANKED + COUNTED], all_[RANKED + COUNTED :]
    core = Core(loaded.model, mode="exact", streams=ahead.STREAMS, chunk=1024, length=BEGUN + WRITTEN)
    order = sorted(who, key=lambda name: -_counted(core, who[name].make(), multi, ranked)[0])
    makes = together(who, order)
    plain = [text for some in _batches(counted) for text in ahead.write(core, some).texts]
    found: Found = {"order": order, SAME: {}, SEVERAL: {}}
    same: list[bool] = []
    for name, make in makes.items():
        for way, verify in ((SAME, None), (SEVERAL, multi)):
            found[way][name], texts = _counted(core, make(), verify, counted)
            if verify is None:
                same += [a == b for a, b in zip(texts, plain, strict=True)]
    return {**found, "same": sum(same) / len(same), "times": _timed(core, makes, timed, rounds)}


def together(who: dict[str, Who], order: list[str]) -> dict[str, Callable[[], Drafter]]:
    """Each alone, and several in their ways; `order`: the best first."""
    from jielong.infer.draft.several import AllOf, BestOf

    def those(names: list[str]) -> list[Drafter]:
        return [who[name].make() for name in names]

    found: dict[str, Callable[[], Drafter]] = {name: who[name].make for name in order}
    found[ALL] = lambda: AllOf(those(order))
    found[WORST] = lambda: AllOf(those(order[::-1]))
    found[TURNS] = lambda: BestOf(those([name for name in PROPHETS if name in order]))  # the cheapest first
    found[TWICE] = lambda: AllOf(those([LOOKUP, LOOKUP]))
    return found


def _batches(requests: list[Request], size: int = ahead.STREAMS // 4) -> list[list[Request]]:
    """So many that the drafts of all of them have room in a step."""
    return [requests[first : first + size] for first in range(0, len(requests), size)]


def _counted(core: Core, drafter: Drafter, verify: Verify | None,
             requests: list[Request]) -> tuple[float, list[list[int]]]:  # fmt: skip
    """Tokens a step of a text, steps without guesses too; and the texts."""
    found = ahead.Written()
    drafting = ahead.drafting(drafter, verify, GUESSES)
    for some in _batches(requests):
        found += ahead.write(core, some, drafting)
    return found.tokens_a_step, found.texts


def _timed(core: Core, makes: dict[str, Callable[[], Drafter]], requests: list[Request],
           rounds: int) -> dict[str, list[float]]:  # fmt: skip
    """Seconds a token, one text at a time, in interleaved rounds."""
    draftings = {"none": None} | {
        name: ahead.drafting(make(), None, GUESSES) for name, make in makes.items() if name not in (WORST, TWICE)
    }

    def writing(name: str, number: int) -> float:
        some = requests[TIMED * (number + 1) : TIMED * (number + 2)]
        return ahead.alone(core, some, draftings[name]).each

    values = timing.rounds([partial(writing, name) for name in draftings], rounds)
    return dict(zip(draftings, values, strict=True))
