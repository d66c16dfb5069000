"""Weights and cache in fewer bits: what is lost, beside what is gained.

A small assistant writes with the very products that the engine uses: int8 and int4 weights, and a cache in int8. Its
laws are compared token by token with those of the float32 weights, on held-out text, and its answers are judged by the
world. Two controls get the same number of bits or the same error, but not the same care: 4 bits with one scale for a
whole row, and random noise exactly as large as what int4 in groups rounds away. Speed is measured on a larger model of
random weights, in interleaved rounds.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from jielong.base import stats
from jielong.base.result import Result, Row
from jielong.labs import timing
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, context, judge, mean, over_seeds

if TYPE_CHECKING:
    import numpy as np
    import torch

    from jielong.nets.checkpoint import Loaded
    from jielong.nets.transformer import Transformer
    from jielong.world.world import World

CLAIM = {
    "en": "Weights in 8 bits, and a cache in 8 bits, cost hardly any quality; 4 bits cost little if a few numbers "
    "share a scale, and more if a whole row does. Weights in 8 and in 4 bits write faster.",
    "zh": "8 位元的權重和快取幾乎不損品質；4 位元若每幾個數共用一個比例，損失很小，"
    "若整列共用則較大。8 位元和 4 位元的權重都寫得更快。",
}
SOURCE = {
    "en": "Lecture 10; Dettmers et al. 2022 (arXiv 2208.07339); Dettmers and Zettlemoyer 2023 (arXiv 2212.09720)",
    "zh": "第 10 講；Dettmers et al. 2022（arXiv 2208.07339）；Dettmers and Zettlemoyer 2023（arXiv 2212.09720）",
}
EXPECT = {
    "en": "int8 weights or cache: under 1 % more bits per byte, as many right answers to 3 points; int4 in groups: "
    "under 5 %, and less divergence than with a scale a row. A step of a model beyond the caches takes less time.",
    "zh": "int8 權重或快取：每位元組位元數多不到 1 %，答對率相差不到 3 個百分點；分組的 int4：多不到 5 %，"
    "散度也小於整列一個比例。權重大過處理器快取的模型，每一步較快。",
}
MINUTES, SEEDS = 6.0, 3
TEXTS, QUESTIONS = 60, 300
PLAIN, EIGHT, FOUR, CACHE = "float32", "int8 weights", "int4 weights in groups", "int8 cache"
COARSE, NOISE = "int4 weights, one scale a row", "noise as large as int4's"
WIDTH, LAYERS, VOCAB = 512, 8, 8192  # of the model whose speed is measured: 29 million weights
PROMPT, WRITTEN, ROUNDS = 16, 24, 9


def run(budget: Budget) -> Result:
    """Each seed trains its own assistant; costs are judged over seeds, speeds over the rounds of all."""
    found = [part(budget, ("quality", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    clocks = [part(budget, ("speed", seed), partial(speed, budget, seed)) for seed in budget.seeds]
    n = sum(one["tokens"] for one in found)

    def column(name: str, what: str) -> list[float]:
        return [one["ways"][name][what] for one in found]

    def cost(name: str, most: float) -> Row:
        lost = [a / b - 1 for a, b in zip(column(name, "bits"), column(PLAIN, "bits"))]
        return over_seeds(f"bits per byte more, {name}", lost, "below", most, "at most", n, unit="share")

    def right(name: str) -> Row:
        lead = [a - b for a, b in zip(column(name, "right"), column(PLAIN, "right"))]
        return over_seeds(f"answers right more, {name}", lead, "above", 0.0, PLAIN, len(found) * QUESTIONS,
                          unit="share", note="down to -3 points counts as none", margin=-0.03)  # fmt: skip

    rows = [cost(EIGHT, 0.01), cost(CACHE, 0.01), cost(FOUR, 0.05)]
    title = f"KL(float32 || {FOUR}), a token"
    rows.append(over_seeds(title, column(FOUR, "KL"), "below", mean(column(COARSE, "KL")), COARSE, n, unit="nats"))
    rows += [right(EIGHT), right(CACHE), right(FOUR), *_speeds(clocks), *_context(found, n)]
    guessed = mean([one["guess"] for one in found])
    knows = Row("answers right, before", mean(column(PLAIN, "right")), None, len(found) * QUESTIONS, guessed,
                "best constant reply", unit="share", note="who knows nothing has nothing to lose")  # fmt: skip
    rows.append(check(knows, low=guessed + 0.1))
    meta = {"mode": "fast", "headline": f"bits per byte more, {EIGHT}"}
    return Result("quantisation", "Weights and cache in fewer bits", tuple(rows), meta=meta)


def _speeds(clocks: list[dict[str, Any]]) -> list[Row]:
    """Times faster, round by round, and the bytes of the weights."""
    rows = []
    for name in (EIGHT, FOUR):
        pairs = zip(*([s for clock in clocks for s in clock["seconds"][which]] for which in (PLAIN, name)), strict=True)
        ratios = [slow / quick for slow, quick in pairs]
        value, interval = timing.middle(ratios)
        size = clocks[0]["bytes"][name] / clocks[0]["bytes"][PLAIN]
        note = f"{clocks[0]['bytes'][name] / 1e6:.1f} MB, {size:.3f} of float32's"
        title = f"a token at batch 1, times as fast, {name}"
        rows.append(judge(Row(title, value, interval, len(ratios), 1.0, PLAIN, unit="times", note=note), "above"))
    for name in (PLAIN, EIGHT, FOUR):
        seconds = [1000 * s for clock in clocks for s in clock["seconds"][name]]
        value, interval = timing.middle(seconds)
        rows.append(Row(f"a token at batch 1, {name}", value, interval, len(seconds), unit="ms"))
    return rows


def _context(found: list[dict[str, Any]], n: int) -> list[Row]:
    """Every way's own figures, without a verdict."""
    rows = []
    for name in found[0]["ways"]:
        for what, title, unit in (
            ("bits", "bits per byte", "bits per byte"),
            ("KL", "KL(float32 || it), a token", "nats"),
        ):
            values = [one["ways"][name][what] for one in found]
            rows.append(context(title, values, n, unit, name))
        hits, asked = sum(round(one["ways"][name]["right"] * QUESTIONS) for one in found), len(found) * QUESTIONS
        exact = stats.clopper_pearson(hits, asked)
        rows.append(Row("answers right", hits / asked, exact, asked, unit="share", group=name))
    return rows


@dataclass(frozen=True)
class Way:
    """A model's weights as they are to be tried, and the bits of its cache."""

    name: str
    model: Transformer
    cache: int = 32


def ways(model: Transformer, seed: int) -> Iterator[Way]:
    """Everything that is compared, float32 first."""
    import torch

    from jielong.nets import quant

    eight, four = copy.deepcopy(model), copy.deepcopy(model)
    quant.quantise(eight, 8)
    quant.quantise(four, 4)
    yield Way(PLAIN, model)
    yield Way(EIGHT, eight)
    yield Way(CACHE, model, 8)
    yield Way(FOUR, four)
    yield Way(COARSE, changed(model, four, lambda weight, after: by_row(weight, 4)))
    generator = torch.Generator().manual_seed(seed)

    def noisy(weight: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        size = (after - weight).square().mean().sqrt()
        return weight + size * torch.randn(weight.shape, generator=generator)

    yield Way(NOISE, changed(model, four, noisy))


def changed(
    model: Transformer, four: Transformer, make: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> Transformer:
    """A copy with make(weight, its rounded values) for every matrix that 4 bits hold, and the 8-bit ones rounded."""
    import torch

    other, rounded = copy.deepcopy(model), dict(four.named_parameters())
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            found = four.quantised.get(name)
            if found is not None:
                parameter.copy_(make(parameter, rounded[name]) if found.bits == 4 else rounded[name])
    return other


def by_row(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """The values that remain of a matrix with one scale a row: the nearest multiple of largest / (2^(bits - 1) - 1)."""
    scale = weight.abs().amax(1, keepdim=True).div(2 ** (bits - 1) - 1).clamp(min=1e-12)
    return (weight / scale).round() * scale


def measure(budget: Budget, seed: int) -> dict[str, Any]:
    """Each way's bits per byte, divergence from float32 and share of right answers, on one seed's world."""
    from jielong.data.tokenise import byte_lengths
    from jielong.evals.scorecard import guess
    from jielong.labs import stages
    from jielong.nets import checkpoint
    from jielong.train import curriculum as plans

    plan = stages.curriculum(seed)
    loaded = checkpoint.load(stages.assistant(budget, seed))
    texts = plans.documents(plan, TEXTS, plans.HELD_OUT_DRAW)
    rows = [[loaded.codec.end, *ids, loaded.codec.end] for ids in loaded.codec.encode_batch(texts)]
    size = float(byte_lengths(loaded.codec)[[token for row in rows for token in row[1:]]].sum())
    known: list[np.ndarray] = []
    found = {}
    for way in ways(loaded.model, seed):
        here = laws(way, rows)
        known = known or here
        found[way.name] = {**distance(known, here, rows, size), "right": answered(way, loaded, plan.world)}
    constant = guess(plan.world.questions("facts", QUESTIONS, split="test"))
    return {"ways": found, "guess": constant, "tokens": sum(len(row) - 1 for row in rows)}


def laws(way: Way, rows: list[list[int]]) -> list[np.ndarray]:
    """Log-probabilities (T - 1, V) of what follows each token of each text but the last, by the engine."""
    import numpy as np

    from jielong.infer.core import Core
    from jielong.infer.request import Request
    from jielong.infer.sampling import Sampling

    size = way.model.config.vocab
    core = Core(way.model, streams=1, length=max(map(len, rows)), bits=way.cache)
    out = []
    for row in rows:
        told = core.submit(Request(tuple(row), Sampling(max_tokens=0, logprobs=size), echo=True))
        while core.busy:
            core.step()
        law = np.full((len(row) - 1, size), -np.inf)
        for place, top in enumerate(told.report[1]):
            ids, values = zip(*top)
            law[place, list(ids)] = values
        out.append(law)
    return out


def distance(known: list[np.ndarray], here: list[np.ndarray], rows: list[list[int]], size: float) -> dict[str, float]:
    """Bits per byte by the laws `here` of texts that have `size` bytes, and KL(known || here) in nats a token."""
    import numpy as np

    chosen = [law[range(len(row) - 1), row[1:]].sum() for law, row in zip(here, rows)]
    apart = [(np.exp(p) * (p - q)).sum() for p, q in zip(known, here)]
    tokens = sum(len(row) - 1 for row in rows)
    return {"bits": -sum(chosen) / np.log(2) / size, "KL": sum(apart) / tokens}


def answered(way: Way, loaded: Loaded, world: World) -> float:
    """Share of right answers about facts that were only ever stated, never asked for in training."""
    from jielong.evals.scorecard import MOST_TOKENS, as_chat
    from jielong.infer.core import Core
    from jielong.infer.generate import generate
    from jielong.infer.pieces import Pieces
    from jielong.infer.sampling import Sampling
    from jielong.units import chat

    questions = world.questions("facts", QUESTIONS, split="test")
    pieces, codec = Pieces(loaded.codec), loaded.codec
    prompts = [chat.encode_prompt(codec, as_chat(question)) for question in questions]
    core = Core(way.model, pieces, length=max(map(len, prompts)) + MOST_TOKENS, bits=way.cache)
    sampling = Sampling(temperature=0, max_tokens=MOST_TOKENS, stop_ids=(codec.end, codec.turn_end))
    said = generate(core, prompts, sampling, pieces=pieces)
    return [world.check(q, each.text) for q, each in zip(questions, said)].count("right") / len(questions)


def speed(budget: Budget, seed: int) -> dict[str, Any]:
    """Seconds a token at batch 1, round by round, and bytes of all weights, of float32, int8 and int4."""
    from jielong.nets import quant
    from jielong.nets.config import shape

    plain = timing.random_model(shape(WIDTH, VOCAB, PROMPT + WRITTEN, LAYERS), seed)
    models = {PLAIN: plain, EIGHT: copy.deepcopy(plain), FOUR: copy.deepcopy(plain)}
    quant.quantise(models[EIGHT], 8)
    quant.quantise(models[FOUR], 4)
    runs = [written(model, seed) for model in models.values()]
    seconds = timing.rounds(runs, timing.count(ROUNDS, budget, MINUTES))
    return {
        "seconds": dict(zip(models, seconds, strict=True)),
        "bytes": {name: weight_bytes(model) for name, model in models.items()},
    }


def written(model: Transformer, seed: int) -> Callable[[int], float]:
    """Writes WRITTEN tokens, every time after another prompt; seconds a token, the prompt's not counted."""
    from jielong.base import noise
    from jielong.infer.core import Core
    from jielong.infer.request import Request
    from jielong.infer.sampling import Sampling

    core = Core(model, streams=1, length=PROMPT + WRITTEN)

    def write(number: int) -> float:
        ids = noise.integers(seed, "prompt", number + 1, below=model.config.vocab, n=PROMPT).tolist()
        core.submit(Request(tuple(ids), Sampling(max_tokens=WRITTEN, temperature=0)))
        core.step()
        began = time.perf_counter()
        while core.busy:
            core.step()
        return (time.perf_counter() - began) / (WRITTEN - 1)

    return write


def weight_bytes(model: Transformer) -> int:
    """Bytes of the weights as they are stored: integers with their scales where there are any, else float32."""
    total = 0
    for name, parameter in model.named_parameters():
        found = model.quantised.get(name)
        if found is None:
            total += parameter.numel() * 4
        else:
            total += found.q.numel() * found.bits // 8 + found.scales.numel() * found.scales.element_size()
    return total
