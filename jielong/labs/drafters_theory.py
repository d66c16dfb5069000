"""Every drafter beside theory: how many of its guesses stay, what it costs, and how much faster that makes writing.

One model writes on behind beginnings of documents it has not read, one text at a time: alone, with four guesses a step
(verified so that the text stays the same, and by rejection, which keeps the law only), and with as many as a controller
finds best. Rounds are interleaved, and a speed-up is a ratio within its round. Theory is the theorem of Leviathan et
al. for the acceptance and the cost that were measured, the same with what reading several tokens at once really takes,
and what the controller promises. A scripted drafter of known acceptance shows whether the counting is right.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from jielong.base import stats
from jielong.base.result import Result, Row
from jielong.labs import ahead, guessers, timing
from jielong.labs.ahead import Written, median
from jielong.labs.drafters_pictures import mean_of, pictures
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, judge, over_seeds
from jielong.labs.who_guesses import SHOWN, Who, everyone, reading

if TYPE_CHECKING:
    from jielong.infer.core import Core
    from jielong.infer.draft.drafting import Drafting
    from jielong.infer.request import Request

CLAIM = {
    "en": "Guessing ahead trades operations for time: whoever guesses, more is computed for each token, and how many "
    "guesses stay decides whether it is written sooner, as theory says.",
    "zh": "猜測未來是用運算換時間：不論由誰來猜，每個標記都要多算；能不能更快，取決於留下的猜測有多少，與理論相符。",
}
SOURCE = {
    "en": "Lecture 16 (2024); Leviathan et al. 2023 (arXiv 2211.17192), theorem 3.8 and equation 1",
    "zh": "第 16 講（2024）；Leviathan et al. 2023（arXiv 2211.17192），定理 3.8 與式 1",
}
EXPECT = {
    "en": "Whoever is promised most is faster than no guesses, for more operations a token; the promised order is the "
    "measured one; and promises that count what reading five tokens takes are within a tenth of what is measured.",
    "zh": "理論上最快的，確實比不猜更快，每個標記的運算則更多；理論排出的快慢順序與實測一致；"
    "把一次讀五個標記的時間算進去，預測與實測相差不到一成。",
}
MINUTES, SEEDS = 5.0, 3
BEGUN, WRITTEN, TEXTS, ROUNDS = 10, 48, 3, 7  # tokens given and written; texts of a round; rounds of a seed
GUESSES = guessers.REACH
KNOWN, RATE = "acceptance known", 0.7  # the scripted drafter
PLAIN, SAME, TOKEN, CONTROLLER = "none", "same", "token", "controller"
WAYS = {SAME: "same text", TOKEN: "rejection"}
OFF, ORDER = 0.1, 0.5

Found = dict[str, Any]


def run(budget: Budget) -> Result:
    """Each seed has a world, models and drafters of its own; the rounds of all are pooled, the rest is over seeds."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    every = [(name, way) for name in SHOWN for way in WAYS]
    best = max(every, key=lambda which: mean_of(found, which[0], which[1], "promised"))
    whole = [one[best[0]][best[1]]["operations"] for one in found]
    rows = [
        judge(_faster(found, *best, f"{PLAIN} guess", 1.0), "above"),
        over_seeds("operations a token, of whom most is promised", whole, "above", 1.0, "no guesses", unit="times",
                   note=", ".join(best)),
        over_seeds("rank correlation of promised and measured speed-up", [_order(one) for one in found], "above", ORDER,
                   "a half"),
        over_seeds("theorem, how far off", [_off(one, "promised") for one in found], "below", OFF, "a tenth"),
        over_seeds("theorem with reading timed, how far off", [_off(one, "read promised") for one in found], "below",
                   OFF, "a tenth"),
        over_seeds("controller's promise, how far off", [_off(one, "promised", CONTROLLER) for one in found], "below",
                   OFF, "a tenth"),
    ]  # fmt: skip
    rows += _controls(found)
    for name in SHOWN:
        rows += _of(found, name)
    return Result("drafters_theory", "Who guesses, and what theory says", tuple(rows), series=pictures(found),
                  meta={"mode": f"exact, float32, temperature 1, {GUESSES} guesses a step",
                        "parameters": [one["parameters"] for one in found]})  # fmt: skip


def _faster(found: list[Found], name: str, way: str, control_name: str, control: float | None = None) -> Row:
    """Times as fast as without guesses, beside what the theorem (or the controller) promised or `control`."""
    value, interval = timing.middle([ratio for one in found for ratio in one[name][way]["faster"]])
    promised = mean_of(found, name, way, "promised") if control is None else control
    title = "times as fast, controller" if way == CONTROLLER else f"times as fast, {WAYS[way]}"
    n = sum(len(one[name][way]["faster"]) for one in found)
    if control is not None:
        title, note = f"{title}, of whom most is promised", name
    else:
        note = "" if way == CONTROLLER else f"with reading timed {mean_of(found, name, way, 'read promised'):.2f}"
    return Row(title, value, interval, n, promised, control_name, unit="times", note=note,
               group="" if control is not None else name)  # fmt: skip


def _order(one: Found) -> float:
    """Spearman's rank correlation over all drafters and both ways to verify."""
    import numpy as np

    both = [(one[name][way]["promised"], median(one[name][way]["faster"])) for name in SHOWN for way in WAYS]
    promised, measured = (np.argsort(np.argsort(column)) for column in zip(*both))
    return float(np.corrcoef(promised, measured)[0, 1])


def _off(one: Found, figure: str, only: str = "") -> float:
    """How far promises are from what was measured, as a share, on average (|log| of the ratio)."""
    ways = [only] if only else list(WAYS)
    logs = [math.log(one[n][way][figure] / median(one[n][way]["faster"])) for n in SHOWN for way in ways]
    return sum(map(abs, logs)) / len(logs)


def _controls(found: list[Found]) -> list[Row]:
    """Nobody changes a text; and of guesses of which so many come true, that many are counted."""
    same = min(one[name][way]["same"] for one in found for name in (*SHOWN, KNOWN) for way in (SAME, CONTROLLER)
               if way in one[name])  # fmt: skip
    kept, seen = (sum(one[KNOWN][SAME]["stayed"][i][j] for one in found for i in range(GUESSES)) for j in (0, 1))
    rate = Row("acceptance of the scripted drafter", kept / seen, stats.wilson(kept, seen, 0.99), seen, truth=RATE,
               unit="share")  # fmt: skip
    tokens = mean_of(found, KNOWN, SAME, "tokens")
    due = mean_of(found, KNOWN, SAME, "due")
    steps = sum(one[KNOWN][SAME]["steps"] for one in found)
    return [
        check(Row("texts that stay the same", same, None, len(found), truth=1.0, unit="share")),
        check(rate),
        check(Row("tokens a step, scripted, over those due", tokens / due, None, steps, truth=1.0), 0.92, 1.08),
    ]


def _of(found: list[Found], name: str) -> list[Row]:
    """All about one drafter, without a verdict."""
    rows = []
    for way, how in WAYS.items():
        kept, seen = (sum(place[j] for one in found for place in one[name][way]["stayed"]) for j in (0, 1))
        by_place = [sum(one[name][way]["stayed"][i][0] for one in found)
                    / max(1, sum(one[name][way]["stayed"][i][1] for one in found)) for i in range(GUESSES)]  # fmt: skip
        note = "by place " + ", ".join(f"{share:.2f}" for share in by_place)
        rows.append(Row(f"guesses that stay, {how}", kept / max(1, seen), stats.wilson(kept, seen) if seen else None,
                        seen, unit="share", group=name, note=note))  # fmt: skip
        rows.append(Row(f"tokens a step, {how}", mean_of(found, name, way, "tokens"), None, len(found),
                        mean_of(found, name, way, "due"), "theorem", group=name))  # fmt: skip
        rows.append(Row(f"cost of a guess, {how}", mean_of(found, name, way, "cost"), None, len(found), unit="steps",
                        group=name, note=f"reading takes {mean_of(found, name, way, 'read'):.2f} steps"))  # fmt: skip
        rows.append(_faster(found, name, way, "theorem"))
        rows.append(_spent(found, name, way))
    return [*rows, _faster(found, name, CONTROLLER, "promised by the controller")]


def _spent(found: list[Found], name: str, way: str) -> Row:
    """Operations a token, and how many more of them bought each second."""
    times = mean_of(found, name, way, "operations")
    more = sum((one[name][way]["operations"] - 1) * one["operations"] for one in found) / len(found)
    plain, faster = (median([v for one in found for v in one[name][where][figure]])
                     for where, figure in ((PLAIN, "each"), (way, "faster")))  # fmt: skip
    saved = plain - plain / faster
    note = f"{more / saved / 1e9:.3g} G multiply-adds more for each second saved" if saved > 0 else "no second is saved"
    return Row(f"operations a token, {WAYS[way]}", times, None, len(found), 1.0, "no guesses", unit="times", group=name,
               note=note)  # fmt: skip


def measure(budget: Budget, seed: int) -> Found:
    """Figures of every drafter, by its name and the way its guesses are verified."""
    import torch

    from jielong.base import device
    from jielong.infer.core import Core
    from jielong.infer.draft.scripted import Scripted, partly
    from jielong.nets import checkpoint

    torch.set_num_threads(device.threads())
    device.keep_memory()
    loaded = checkpoint.load(guessers.large(budget, seed))
    who = everyone(budget, seed, loaded, BEGUN + WRITTEN)
    rounds = timing.count(ROUNDS, budget, MINUTES)
    _, fresh = ahead.held_out(loaded.codec, seed)
    requests = ahead.asking(ahead.beginnings(fresh, BEGUN, TEXTS * (rounds + 1)), WRITTEN)
    core = Core(loaded.model, mode="exact", streams=ahead.STREAMS, length=BEGUN + WRITTEN)
    texts = ahead.texts(core, requests)
    operations = reading(loaded.config, BEGUN + WRITTEN)
    found: Found = {"operations": operations, "parameters": loaded.config.parameters}
    known = Who(lambda: Scripted(KNOWN, partly(ahead.coming(texts), RATE)))
    for name, one in {KNOWN: known, **who}.items():
        ways = (SAME,) if name == KNOWN else (SAME, TOKEN, CONTROLLER)
        found[name] = compared(core, one, requests, texts, ways, rounds, operations)
    return found


def compared(core: Core, who: Who, requests: list[Request], texts: dict[tuple[int, ...], list[int]],
             ways: tuple[str, ...], rounds: int, operations: float) -> Found:  # fmt: skip
    """One drafter, in rounds with and without its guesses."""
    from jielong.infer.draft.control import Controller
    from jielong.infer.draft.verify import token

    verify = {TOKEN: token}
    draftings: dict[str, Drafting | None] = {PLAIN: None}
    for way in ways:
        draftings[way] = ahead.drafting(who.make(), verify.get(way), 0 if way == CONTROLLER else GUESSES)
    said: list[float] = []

    def writing(way: str, number: int) -> Written:
        some = requests[TEXTS * (number + 1) : TEXTS * (number + 2)]
        drafting = draftings[way]
        found = ahead.alone(core, some, drafting)
        if drafting is not None and isinstance(drafting.guess, Controller) and number >= 0:
            said.append(drafting.guess.speedup())
        return found

    runs: list[Callable[[int], Written]] = [partial(writing, way) for way in draftings]
    every = dict(zip(draftings, timing.rounds(runs, rounds), strict=True))
    plain = every.pop(PLAIN)
    due = [texts[request.prompt] for request in requests[TEXTS:]]
    found: Found = {way: figures(plain, some, who, operations, due) for way, some in every.items()}
    if said:
        found[CONTROLLER]["promised"] = math.exp(sum(map(math.log, said)) / len(said))
    return {**found, PLAIN: {"each": [one.each for one in plain]}}


def figures(plain: list[Written], some: list[Written], who: Who, operations: float, due: list[list[int]]) -> Found:
    """Of the rounds with guesses and those without. Steps of the model alone are the unit of cost; what the theorem
    takes to be one such step, reading a draft, is `read` of them."""
    drafts = [draft for one in some for draft in one.drafts]
    steps, tokens = sum(one.steps for one in some), sum(one.tokens for one in some)
    rate = ahead.acceptance(drafts, GUESSES)
    lengths = [k for k, _ in drafts] + [0] * (steps - len(drafts))
    tokens_due = sum(ahead.promised(rate, k) for k in lengths) / max(1, len(lengths))
    guessing = median([one.guessing / one.steps / before.each for one, before in zip(some, plain, strict=True)])
    read = median([(one.seconds - one.guessing) / one.steps / before.each
                   for one, before in zip(some, plain, strict=True)])  # fmt: skip
    guesses = sum(lengths)
    more = steps + guesses  # places that the model reads
    return {
        "faster": [before.each / one.each for one, before in zip(some, plain, strict=True)],
        "stayed": ahead.stayed(drafts, GUESSES), "steps": steps, "tokens": tokens / steps, "due": tokens_due,
        "cost": guessing * steps / guesses if guesses else 0.0, "read": read,
        "promised": tokens_due / (1 + guessing), "read promised": tokens_due / (read + guessing),
        "operations": (more + who.spent.of(drafts) / operations) / tokens,
        "same": sum(a == b for a, b in zip([text for one in some for text in one.texts], due, strict=True)) / len(due),
    }  # fmt: skip
