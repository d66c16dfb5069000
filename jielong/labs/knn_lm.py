"""kNN-LM: perplexity against the size of the datastore, and where the time goes.

A small model reads the world's documents. Then the contexts of some of the same documents, each with the token that
followed, go into a store (a file, as `jielong index` makes it), and fresh documents are predicted by the model and the
nearest contexts together. How much the neighbours count, and how fast that falls with distance, is chosen on other
fresh documents, for each size of the store. The control is a store of the same contexts with the tokens shuffled among
them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jielong.base.result import Result, Row
from jielong.labs import windows
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, mean, over_seeds, spread
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines

if TYPE_CHECKING:
    import numpy as np

    from jielong.labs.windows import Stream
    from jielong.nets.transformer import Transformer
    from jielong.store.store import Store

T = TypeVar("T")
CLAIM = {
    "en": "A model that also looks up what followed in like contexts predicts new text better, without any training; "
    "the more contexts the datastore holds, the better; and most of the time then goes to computing distances.",
    "zh": "模型若再查看相似的上文之後接了什麼，不必訓練就能把新的文字預測得更準；資料庫存的上文愈多愈準；"
    "但時間大半花在計算距離上。",
}
SOURCE = {
    "en": "Lecture on KNN-LM (2023); Khandelwal et al. 2020 (arXiv 1911.00172), sections 3 and 4",
    "zh": "KNN-LM 一講（2023）；Khandelwal et al. 2020（arXiv 1911.00172），第 3、4 節",
}
EXPECT = {
    "en": "With the largest store the perplexity is below the model's own and below that with the smallest store; more "
    "than half the time is spent on distances; with the tokens shuffled among the contexts nothing is gained.",
    "zh": "資料庫最大時，困惑度低於模型本身，也低於資料庫最小時；一半以上的時間花在距離上；"
    "把接續的標記打亂後，則沒有任何好處。",
}
MINUTES, SEEDS = 2.0, 3
CONTEXT = 64
TOKENS = 600_000  # of text for the model
SIZES = (1024, 4096, 16_384, 65_536)  # contexts in the store
TUNED, TESTED = 3000, 8000  # contexts of fresh documents by which the settings are chosen, and on which all is measured
NEIGHBOURS = 32
SHARES, TEMPERATURES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85), (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
ALONE, SHUFFLED = "the model alone", "tokens shuffled"


def run(budget: Budget) -> Result:
    """Each seed has a world, a model and a store of its own; ratios are judged over seeds."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n, most, least = len(found) * TESTED, SIZES[-1], SIZES[0]

    def ratios(above: str, below: str) -> list[float]:
        return [one[above] / one[below] for one in found]

    kept = f"{most:,} contexts"
    rows = [
        over_seeds(f"perplexity with {kept}, as a share", ratios(f"{most}", ALONE), "below", 1.0, ALONE, n),
        over_seeds(f"perplexity with {kept}, beside {least:,}", ratios(f"{most}", f"{least}"), "below", 1.0,
                   f"{least:,} contexts", n),
        over_seeds(f"time spent on distances, {kept}", [one[f"{most} time"] for one in found], "above", 0.5, "half", n,
                   unit="share"),
    ]  # fmt: skip
    shuffled = ratios(f"{most} {SHUFFLED}", ALONE)
    control = Row(f"perplexity, {SHUFFLED} among {kept}", mean(shuffled), spread(shuffled), n, 1.0, ALONE)
    rows.append(check(control, low=1.0))
    rows.append(Row("perplexity of the model alone", mean([one[ALONE] for one in found]), None, n))
    for size in SIZES:
        shares, temperatures = ([one[f"{size} {what}"] for one in found] for what in ("share", "temperature"))
        note = f"neighbours count {mean(shares):.2f}, temperature {mean(temperatures):.3g}"
        rows.append(Row("perplexity", mean([one[f"{size}"] for one in found]), None, n, group=f"{size:,} contexts",
                        note=note))  # fmt: skip
    return Result("knn_lm", "Looking up what followed", tuple(rows), series=_pictures(found), meta={"mode": "float32"})


def _pictures(found: list[dict[str, float]]) -> dict[str, Any]:
    def curve(name: Words, what: str) -> Series:
        means = [mean([one[what.format(size)] for one in found]) for size in SIZES]
        return Series(name, list(SIZES), means, dots=True)

    sizes = Words("contexts in the store", "資料庫的上文數")
    both = [curve(Words("with neighbours", "加上鄰居"), "{}"), curve(Words("model alone", "只用模型"), ALONE)]
    perplexities = Axes(x=sizes, y=Words("perplexity", "困惑度"), log_x=True)
    times = Axes(x=sizes, y=Words("share of the time", "時間比例"), log_x=True)
    spent = Words("Time spent on distances", "花在距離上的時間")
    return {
        "perplexity": lines(Words("More contexts, better guesses", "上文愈多，猜得愈準"), both, axes=perplexities),
        "time": lines(spent, [curve(spent, "{} time")], axes=times),
    }


def measure(budget: Budget, seed: int) -> dict[str, float]:
    """Perplexities by name, shares of the time and the settings chosen, of one seed."""
    from jielong.base import noise
    from jielong.infer.fingerprint import fingerprint
    from jielong.nets.config import shape
    from jielong.nets.transformer import Transformer
    from jielong.store.store import build, load

    tokens = windows.share(budget, MINUTES, TOKENS, len(budget.seeds))
    text = windows.stream(seed, max(tokens, 2 * SIZES[-1]), 2 * (TUNED + TESTED))
    model = Transformer(shape(64, text.codec.size, CONTEXT + 1, 3), seed=seed)
    windows.learn(model, text, CONTEXT, tokens, seed, budget, "reader")
    vectors, follows, _ = read(model, text.train, text.end, SIZES[-1])
    order = noise.permutation(noise.seed_of("shuffled", seed), SIZES[-1])
    with tempfile.TemporaryDirectory() as folder:
        for name, tokens_N in (("true", follows), ("shuffled", follows[order])):
            with build(Path(folder) / name, model=fingerprint(model, text.codec)) as writer:
                writer.add_vectors(vectors, tokens_N)
        with load(Path(folder) / "true") as true, load(Path(folder) / "shuffled") as other:
            return figures(model, text, true, other)


def figures(model: Transformer, text: Stream, store: Store, shuffled: Store) -> dict[str, float]:
    """Of a model, its full store, and the same with the tokens shuffled."""
    reading, (vectors, follows, own) = timed(lambda: read(model, text.fresh, text.end, TUNED + TESTED))
    reading *= TESTED / (TUNED + TESTED)
    tuning, testing = slice(0, TUNED), slice(TUNED, None)
    found = {ALONE: perplexity(own[testing])}
    store.nearest(vectors[:1], 1)  # its pages are read before a clock runs
    for size in SIZES:
        near = store.nearest(vectors[tuning], NEIGHBOURS, first=size)
        share, temperature = choose(own[tuning], near, follows[tuning])
        searching, near = timed(partial(store.nearest, vectors[testing], NEIGHBOURS, first=size))
        mixing, mixed = timed(partial(mixture, own[testing], near, follows[testing], share, temperature))
        found |= {f"{size}": perplexity(mixed), f"{size} time": searching / (searching + mixing + reading),
                  f"{size} share": share, f"{size} temperature": temperature}  # fmt: skip
    near = shuffled.nearest(vectors[testing], NEIGHBOURS)
    mixed = mixture(own[testing], near, follows[testing], share, temperature)
    return {**found, f"{SIZES[-1]} {SHUFFLED}": perplexity(mixed)}


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """The fewest seconds of two, and what came of it."""
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        found = work()
        seconds.append(time.perf_counter() - began)
    return min(seconds), found


def mixture(
    own: np.ndarray, near: tuple[np.ndarray, np.ndarray], follows: np.ndarray, share: float, temperature: float
) -> np.ndarray:
    """Log-probabilities (N,) of the tokens that follow, by the model's own and the neighbours (distances, tokens)."""
    from jielong.infer import knn

    return knn.mix(own, knn.chances(*near, follows, temperature), share)


def read(model: Transformer, ids: np.ndarray, end: int, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the first `most` contexts of a stream's documents: vectors (N, D), the tokens that follow (N,), and how
    probable the model finds these (natural logarithms)."""
    import numpy as np

    from jielong.infer import knn

    starts = np.flatnonzero(ids == end)
    documents = (part[1:].tolist() for part in np.split(ids, starts)[1:])
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    left = most
    for hidden_TD, follows_T in knn.contexts(model, documents, end):
        found.append((hidden_TD.numpy(), follows_T, knn.logprobs(model, hidden_TD, follows_T)))
        left -= len(follows_T)
        if left <= 0:
            break
    if left > 0:
        raise RuntimeError(f"the text has {most - left} contexts and {most} are needed")
    vectors, follows, own = (np.concatenate(column)[:most] for column in zip(*found))
    return vectors, follows, own


def choose(own: np.ndarray, near: tuple[np.ndarray, np.ndarray], follows: np.ndarray) -> tuple[float, float]:
    """The share and the temperature of lowest perplexity on these."""
    pairs = [(share, temperature) for temperature in TEMPERATURES for share in SHARES]
    return min(pairs, key=lambda pair: perplexity(mixture(own, near, follows, *pair)))


def perplexity(logprobs: np.ndarray) -> float:
    """exp of the mean surprise."""
    import numpy as np

    return float(np.exp(-np.mean(logprobs)))
