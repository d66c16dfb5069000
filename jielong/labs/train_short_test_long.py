"""Train short, test long: what a text longer than any in training does to every kind of position.

Small models that differ in their positions only learn from windows of CONTEXT tokens. Then the last tokens of windows
one, two and four times as long are scored: the same tokens, behind more text. What the longer window costs is the
difference to the same model's score in a window of the trained length. Rotary positions are also scored with their
frequencies changed at test time, without training: position interpolation, NTK-aware, YaRN; and the first of these
beside the plain ones after a little training on long windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from jielong.base.result import Result, Row
from jielong.labs import windows
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, mean, over_seeds
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines

if TYPE_CHECKING:
    from jielong.labs.windows import Stream
    from jielong.nets.config import TransformerConfig
    from jielong.nets.transformer import Transformer

CLAIM = {
    "en": "Places that no training has shown break a model: learned, sinusoidal and plain rotary positions lose beyond "
    "the trained length, ALiBi and a sliding window do not. Other rotary frequencies mend some of it without training "
    "(NTK-aware, YaRN), or make a little training go further (interpolation).",
    "zh": "訓練時沒見過的位置會使模型出錯：學來的、正弦的和一般旋轉式位置一超過訓練長度就變差，ALiBi 和滑動視窗則不會。"
    "改變旋轉頻率可以補救一些：NTK 和 YaRN 不必訓練，內插則使少量訓練更有效。",
}
SOURCE = {
    "en": "Lecture 10; Press et al. 2021 (arXiv 2108.12409); Chen et al. 2023 (arXiv 2306.15595); "
    "Peng et al. 2023 (arXiv 2309.00071)",
    "zh": "第 10 講；Press et al. 2021（arXiv 2108.12409）；Chen et al. 2023（arXiv 2306.15595）；"
    "Peng et al. 2023（arXiv 2309.00071）",
}
EXPECT = {
    "en": "At four times the length: learned, sinusoidal and rotary positions cost bits, ALiBi and the window less "
    "than 0.02 bits per byte; NTK and YaRN cost less than plain rotary positions; after a tenth of the training again, "
    "on long windows, interpolated positions cost less than plain ones.",
    "zh": "長度為四倍時：學來的、正弦的、旋轉式位置都要多付位元，ALiBi 和視窗每位元組多不到 0.02 位元；"
    "NTK、YaRN 比一般旋轉式少付；再用長視窗訓練十分之一後，內插比一般旋轉式少付。",
}
MINUTES, SEEDS = 5.0, 3
CONTEXT, TIMES = 64, (1, 2, 4)
TOKENS = 600_000  # of text for every model
SCORED = 160  # places in the held-out text, at each of which the last half of CONTEXT is scored
FREE = 0.02  # bits per byte that count as no loss
LESS, GENTLE = 10, 0.3  # part of the training that long windows get afterwards, and its rates beside the first ones
TRAINED = ("none", "learned", "sinusoid", "rope", "alibi", "window")
SCALED = ("linear", "ntk", "yarn")
TUNED = ("none", "linear")  # scalings of the rotary models that go on with long windows
NAMES = {
    "none": Words("no positions", "無位置"),
    "learned": Words("learned", "學來的"),
    "sinusoid": Words("sinusoidal", "正弦"),
    "rope": Words("rotary", "旋轉式"),
    "alibi": Words("ALiBi", "ALiBi"),
    "window": Words("rotary, sliding window", "旋轉式、滑動視窗"),
    "linear": Words("rotary, interpolated", "旋轉式、內插"),
    "ntk": Words("rotary, NTK-aware", "旋轉式、NTK"),
    "yarn": Words("rotary, YaRN", "旋轉式、YaRN"),
}


def run(budget: Budget) -> Result:
    """Each seed has a world and models of its own; costs are judged over seeds."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = len(found) * SCORED * (CONTEXT // 2)

    def costs(kind: str, times: int = TIMES[-1]) -> list[float]:
        return [one[f"{kind}, {times}"] - one[f"{kind}, 1"] for one in found]

    rows: list[Row] = []
    most, within = TIMES[-1], "the same tokens at the trained length"
    for kind in ("learned", "sinusoid", "rope"):
        title = f"cost at {most} times the length, {NAMES[kind].en}"
        rows.append(over_seeds(title, costs(kind), "above", 0.0, within, n, unit="bits per byte"))
    for kind in ("alibi", "window"):
        title = f"cost at {most} times the length, {NAMES[kind].en}"
        rows.append(over_seeds(title, costs(kind), "below", 0.0, within, n, unit="bits per byte",
                               note=f"up to {FREE} counts as none", margin=-FREE))  # fmt: skip
    tuned = {way: [one[f"{way} tuned, {most}"] for one in found] for way in TUNED}
    saved = {
        f"{NAMES['ntk'].en}, untrained": ("rotary as trained", costs("rope"), costs("ntk")),
        f"{NAMES['yarn'].en}, untrained": ("rotary as trained", costs("rope"), costs("yarn")),
        f"{NAMES['linear'].en}, a little trained": ("rotary, trained as much", tuned["none"], tuned["linear"]),
    }
    for name, (other, before, after) in saved.items():
        gains = [a - b for a, b in zip(before, after)]
        rows.append(over_seeds(f"saved there, {name}", gains, "above", 0.0, other, n, unit="bits per byte"))
    for kind in ("none", "linear"):
        row = over_seeds(f"cost at {most} times the length, {NAMES[kind].en}", costs(kind), "above", 0.0, within, n,
                         unit="bits per byte")  # fmt: skip
        rows.append(replace(row, verdict=""))
    rows.append(_learnt(found, n))
    return Result("train_short_test_long", "Train short, test long", tuple(rows),
                  series={"lengths": _picture(found)}, meta={"mode": "float32"})  # fmt: skip


def _learnt(found: list[dict[str, float]], n: int) -> Row:
    """A model that has learnt nothing has nothing to lose: at the trained length all must beat single tokens."""
    single = mean([one["single tokens"] for one in found])
    worst = max(max(one[f"{kind}, 1"] / one["single tokens"] for kind in TRAINED) for one in found)
    note = f"single tokens: {single:.2f} bits per byte"
    row = Row("worst model at the trained length", worst, None, n, 1.0, "frequencies of single tokens", note=note)
    return check(row, high=0.8)


def _picture(found: list[dict[str, float]]) -> dict[str, Any]:
    curves = []
    for kind, name in NAMES.items():
        means = [mean([one[f"{kind}, {times}"] for one in found]) for times in TIMES]
        curves.append(Series(name, [times * CONTEXT for times in TIMES], means, dots=True))
    axes = Axes(x=Words("tokens in the window", "視窗的標記數"), y=Words("bits per byte", "每位元組位元數"), log_x=True)
    return lines(Words(f"Trained on {CONTEXT} tokens", f"以 {CONTEXT} 個標記訓練"), curves, axes=axes)


def shapes(vocab: int) -> Mapping[str, TransformerConfig]:
    """One shape for every kind of position, with places for the longest test (and its last token, only a target)."""
    from jielong.nets.config import Layer, Rope, TransformerConfig

    plain = TransformerConfig(vocab, dim=64, layers=3, heads=4, kv_heads=4, head_dim=16, hidden=192,
                              context=TIMES[-1] * CONTEXT + 1, layer=Layer(rope=None))  # fmt: skip
    turned = replace(plain, layer=Layer(rope=Rope()), position="rope")
    return {
        "none": replace(plain, position="none"),
        "learned": replace(plain, position="learned"),
        "sinusoid": replace(plain, position="sinusoid", embed_scale=plain.dim**0.5),  # Vaswani et al., section 3.4
        "rope": turned,
        "alibi": replace(plain, position="alibi"),
        "window": replace(turned, layer=Layer(rope=Rope(), window=CONTEXT // 2)),
    }


def scaled(model: Transformer, kind: str, times: int) -> Transformer:
    """The same weights with the rotary frequencies that `kind` gives a text `times` as long."""
    from jielong.nets.config import Rope

    rope: Any = Rope(scaling=kind, factor=float(times), original=CONTEXT)  # type: ignore[arg-type]
    return windows.reshaped(model, layer=replace(model.config.layer, rope=rope))


def measure(budget: Budget, seed: int) -> dict[str, float]:
    """Bits per byte of every kind at every length, for one seed's world."""
    from jielong.nets.transformer import Transformer

    tokens = windows.share(budget, MINUTES, TOKENS, len(TRAINED) * len(budget.seeds))
    text = windows.stream(seed, tokens, CONTEXT * (SCORED + TIMES[-1]))
    out = {"single tokens": single(text)}
    for kind, config in shapes(text.codec.size).items():
        model = windows.learn(Transformer(config, seed=seed), text, CONTEXT, tokens, seed, budget, kind)
        out |= {f"{kind}, {times}": scored(model, text, times) for times in TIMES}
        if kind == "rope":
            for way in SCALED:
                out |= {f"{way}, {times}": scored(scaled(model, way, times), text, times) for times in TIMES}
            for way in TUNED:
                more = scaled(model, way, TIMES[-1])
                windows.learn(more, text, TIMES[-1] * CONTEXT, tokens // LESS, seed, budget, f"{way}, longer", GENTLE)
                out[f"{way} tuned, {TIMES[-1]}"] = scored(more, text, TIMES[-1])
    return out


def places() -> list[int]:
    """Where the scored windows end in the held-out text: the same places for every length."""
    return [TIMES[-1] * CONTEXT + number * CONTEXT for number in range(SCORED)]


def scored(model: Transformer, text: Stream, times: int) -> float:
    """Bits per byte of the last half of CONTEXT tokens, in windows `times` as long as the trained ones."""
    from jielong.infer.score import score

    length, last = times * CONTEXT, CONTEXT // 2
    pieces = [[text.end, *text.fresh[at - length : at].tolist()] for at in places()]
    found = score(model, pieces, [length + 1 - last] * len(pieces))
    return windows.bits(found, [text.fresh[at - last : at] for at in places()], text)


def single(text: Stream) -> float:
    """Bits per byte of the scored tokens by the frequencies of single tokens in training, one added to each."""
    import numpy as np

    counts = np.bincount(text.train, minlength=text.codec.size) + 1.0
    law = np.log(counts / counts.sum())
    targets = [text.fresh[at - CONTEXT // 2 : at] for at in places()]
    return windows.bits([law[each] for each in targets], targets, text)
