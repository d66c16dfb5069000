"""Reading on past the context: with attention sinks, with a plain window, and with the window read anew.

A model that was trained on windows of CONTEXT tokens reads texts sixteen times as long through the engine, whose cache
holds CONTEXT positions. When it is full, a part is let go: either the oldest after the first tokens (the sinks), or
simply the oldest. The control has no cache to go wrong: for every few tokens it reads the latest window anew, as many
tokens as the cache holds. What is measured is how probable the text's own tokens are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from jielong.base.result import Result, Row
from jielong.labs import windows
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, context, mean, over_seeds, spread
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines

if TYPE_CHECKING:
    import numpy as np

    from jielong.labs.windows import Stream
    from jielong.nets.transformer import Transformer

CLAIM = {
    "en": "A model reads on past its context if the cache keeps the text's first tokens beside the latest: as well as "
    "if it read the window anew for every token. With the latest alone it fails.",
    "zh": "快取若除了最近的標記，也留住文章最前面的幾個標記，模型就能一直讀到上下文之外，"
    "和每次重讀視窗一樣好；只留最近的就會失靈。",
}
SOURCE = {
    "en": "Lecture 10; Xiao et al. 2024 (arXiv 2309.17453)",
    "zh": "第 10 講；Xiao et al. 2024（arXiv 2309.17453）",
}
EXPECT = {
    "en": "Beyond the context, bits per byte rise without sinks; with them they stay within 0.02 of reading anew.",
    "zh": "超過上下文後，沒有前面標記時每位元組位元數上升；留住它們時與重讀相差不到 0.02。",
}
MINUTES, SEEDS = 5.0, 3
CONTEXT, LONG = 128, 16  # tokens of a window; windows in a text
TOKENS = 1_500_000  # of text for the model of each seed
TEXTS = 8
SINKS = 4  # the engine keeps their whole page: 16 tokens
FREE = 0.02  # bits per byte that count as no loss
WAYS = {
    "sinks": Words("sinks and the latest", "最前面與最近的"),
    "plain": Words("the latest alone", "只有最近的"),
    "anew": Words("window read anew", "重讀視窗"),
    "all": Words("everything, no window", "全部，不設視窗"),
}


def run(budget: Budget) -> Result:
    """Each seed has a world and a model of its own; differences are judged over seeds."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = len(found) * TEXTS * (LONG - 1) * CONTEXT

    def beyond(way: str, other: str) -> list[float]:
        """Over what stands beyond the first window: bits per byte of one way less those of another."""
        return [sum(a - b for a, b in zip(one[way][1:], one[other][1:])) / (LONG - 1) for one in found]

    unit, zero = "bits per byte", "window read anew"
    rows = [
        over_seeds("cost of the latest alone", beyond("plain", "anew, plain"), "above", 0.0, zero, n, unit=unit),
        over_seeds("cost with sinks", beyond("sinks", "anew"), "below", 0.0, zero, n, unit=unit, margin=-FREE,
                   note=f"up to {FREE} counts as none"),
        over_seeds("gain by sinks", beyond("plain", "sinks"), "above", 0.0, "the latest alone", n, unit=unit),
    ]  # fmt: skip
    first = max(abs(one["plain"][0] - one["sinks"][0]) for one in found)
    same = Row("difference within the first window, before anything is let go", first, None, n, 0.0, unit=unit)
    lost = beyond("all", "anew")
    bare = Row("cost of everything, without a window", mean(lost), None, n, 0.0, zero, unit=unit,
               note="places never seen must cost: else nothing here could be lost")  # fmt: skip
    rows += [*_context(found, n), check(same, high=1e-4), check(bare, low=FREE)]
    return Result("sinks_stream", "Reading on past the context", tuple(rows), series={"places": _picture(found)},
                  meta={"mode": "fast, float32", "headline": "cost with sinks"})  # fmt: skip


def _context(found: list[dict[str, list[float]]], n: int) -> list[Row]:
    """Rows that explain, without a verdict."""
    rows = []
    for way, name in WAYS.items():
        values = [sum(one[way][1:]) / (LONG - 1) for one in found]
        rows.append(context(f"beyond the context: {name.en}", values, n, "bits per byte"))
    looked = [one["attention"][0] for one in found]
    uniform = found[0]["attention"][1]
    rows.append(Row("attention to the first token, within the context", mean(looked), spread(looked),
                    len(found) * TEXTS, uniform, "the same to every token", unit="share"))  # fmt: skip
    return rows


def _picture(found: list[dict[str, list[float]]]) -> dict[str, Any]:
    curves = []
    for way, name in WAYS.items():
        means = [mean([one[way][place] for one in found]) for place in range(LONG)]
        curves.append(Series(name, [place + 1 for place in range(LONG)], means, dots=True, dashed=way == "anew"))
    axes = Axes(x=Words("window of the text", "文章的第幾個視窗"), y=Words("bits per byte", "每位元組位元數"))
    return lines(Words("Along the text", "沿著文章"), curves, axes=axes)


def measure(budget: Budget, seed: int) -> dict[str, list[float]]:
    """Bits per byte in each window along the texts, by every way; and the attention to the first token."""
    from jielong.nets.config import shape
    from jielong.nets.transformer import Transformer

    tokens = windows.share(budget, MINUTES, TOKENS, len(budget.seeds))
    length = LONG * CONTEXT
    text = windows.stream(seed, tokens, TEXTS * length)
    model = Transformer(shape(96, text.codec.size, CONTEXT, 4), seed=seed)
    windows.learn(model, text, CONTEXT, tokens, seed, budget, "stream")
    texts = [[text.end, *text.fresh[at : at + length].tolist()] for at in range(0, TEXTS * length, length)]
    found = {
        "sinks": streamed(model, texts, SINKS),
        "plain": streamed(model, texts, 0),
        "anew": anew(model, texts, held(SINKS)),
        "anew, plain": anew(model, texts, held(0)),
        "all": everything(model, texts),
    }
    return {way: along(logprobs, texts, text) for way, logprobs in found.items()} | {"attention": first(model, texts)}


def along(logprobs: Sequence[np.ndarray], texts: list[list[int]], text: Stream) -> list[float]:
    """Bits per byte in each window of CONTEXT tokens along the texts."""
    import numpy as np

    targets = [np.array(each[1:]) for each in texts]
    cuts = [slice(at, at + CONTEXT) for at in range(0, LONG * CONTEXT, CONTEXT)]
    return [windows.bits([p[cut] for p in logprobs], [t[cut] for t in targets], text) for cut in cuts]


def streamed(model: Transformer, texts: list[list[int]], sinks: int) -> list[np.ndarray]:
    """Log-probabilities of each text's tokens after the first, read by the engine past its context."""
    import numpy as np

    from jielong.infer.core import Core
    from jielong.infer.request import Request
    from jielong.infer.sampling import Sampling

    core = Core(model, streams=len(texts) + 1, length=CONTEXT, sinks=sinks)  # and room for one more: to move pages
    rows = [core.submit(Request(tuple(each), Sampling(max_tokens=0), echo=True)) for each in texts]
    while core.busy:
        core.step()
    return [np.array(row.report[0]) for row in rows]


def held(sinks: int) -> int:
    """Tokens that the engine's cache holds after letting go: a quarter of the pages behind the sinks is given up."""
    from jielong.nets.pages import SIZE

    first = -(-sinks // SIZE)
    return CONTEXT - max(1, (CONTEXT // SIZE - first) // 4) * SIZE


def anew(model: Transformer, texts: list[list[int]], keep: int) -> list[np.ndarray]:
    """The same without a cache: whenever a window is full, the latest `keep` tokens are read anew, behind the token
    with which every window of training began."""
    import numpy as np

    from jielong.infer.score import score

    out = []
    for each in texts:
        pieces, starts = [each[: CONTEXT + 1]], [1]
        for at in range(CONTEXT + 1, len(each), CONTEXT - keep):
            pieces.append([each[0], *each[at - keep : at + CONTEXT - keep]])
            starts.append(1 + keep)
        roomy = windows.reshaped(model, context=CONTEXT + 1)  # the last token is only a target
        out.append(np.concatenate(score(roomy, pieces, starts)))
    return out


def everything(model: Transformer, texts: list[list[int]]) -> list[np.ndarray]:
    """The model sees all that came before, at places it has never seen."""
    from jielong.infer.score import score

    return score(windows.reshaped(model, context=len(texts[0])), texts, [1] * len(texts))


def first(model: Transformer, texts: list[list[int]]) -> list[float]:
    """The share of attention that later tokens of a window give to its first, mean over layers and heads; and the share
    it would have if all were given the same."""
    import torch

    from jielong.nets.tap import Tap, Where

    shares: list[float] = []

    def look(pattern: torch.Tensor, where: Where) -> torch.Tensor:
        shares.append(float(pattern[:, :, CONTEXT // 2 :, 0].mean()))
        return pattern

    tap = Tap({f"block.{number}.pattern": look for number in range(model.config.layers)})
    with torch.no_grad():
        model(torch.tensor([each[:CONTEXT] for each in texts]), tap=tap)
    seen = range(CONTEXT // 2 + 1, CONTEXT + 1)
    return [sum(shares) / len(shares), sum(1 / keys for keys in seen) / len(seen)]
