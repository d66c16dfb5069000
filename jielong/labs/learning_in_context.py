"""A model that learns in context, beside a linear classifier and a support vector machine given the very same examples.

A hundred words stand in a square of ten by ten, which nobody tells the model. A task is a line that cuts the square:
words on one side are called A, on the other B. A small Transformer reads sequences of words and labels, each of another
task, and learns to say the next label. Then come lines that cut the words as no line of training did. Logistic
regression and a linear support vector machine are given the same examples, and the places of the words too; the best
that can be known (who weighs all lines alike that fit the examples) stands beside. Controls: examples whose labels are
by lot, where nothing can be learnt.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jielong.base import noise
from jielong.base.result import Result
from jielong.labs import learning, stages
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, context, mean, over_seeds
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines

if TYPE_CHECKING:
    from jielong.nets.transformer import Transformer
    from jielong.units.codec import Tokenizer

CLAIM = {
    "en": "A model that was trained on many tasks learns a new one from examples in its prompt, its weights unchanged, "
    "as well as a linear classifier or a support vector machine learns it from the same examples.",
    "zh": "讀過許多任務的模型，參數不變，只靠提示裡的例子就能學會新任務，"
    "和用同樣例子訓練的線性分類器、支援向量機一樣好。",
}
SOURCE = {
    "en": "Lecture 3 (2024); Garg et al. 2022 (arXiv 2208.01066), figure 2; Akyürek et al. 2022 (arXiv 2211.15661)",
    "zh": "第 3 講（2024）；Garg et al. 2022（arXiv 2208.01066），圖 2；Akyürek et al. 2022（arXiv 2211.15661）",
}
EXPECT = {
    "en": "After sixteen examples at most two points behind either classifier; half right where labels are by lot.",
    "zh": "看過十六個例子後，最多落後兩種分類器兩個百分點；標籤隨機時只有一半答對。",
}
MINUTES, SEEDS = 8.0, 5
SIDE, SHOWN, TASKS = 10, 63, 600  # the square; examples of a sequence; new tasks that are measured
ANGLES, OFFSETS = 120, 15  # of the lines
WIDTH, LAYERS, BATCH, TAUGHT = 64, 3, 16, 3_000_000  # tokens
AFTER = (2, 4, 8, 16, 32)  # examples, where the classifiers are asked
JUDGED, BEHIND = 16, 0.02
PENALTIES = (0.001, 0.01, 0.1)
NAMES = {
    "model": Words("the model", "模型"),
    "logistic": Words("logistic regression", "羅吉斯迴歸"),
    "machine": Words("support vector machine", "支援向量機"),
    "best": Words("best possible", "可能的最好"),
}
Floats = NDArray[np.float64]
Signs = NDArray[np.int64]


def run(budget: Budget) -> Result:
    """Shares of right labels after so many examples, seed by seed."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n, at = TASKS * len(found), AFTER.index(JUDGED)

    def behind(other: str) -> Any:
        values = [one["model"][at] - one[other][at] for one in found]
        return over_seeds(f"right more often than {NAMES[other].en}, {JUDGED} examples", values, "above", -BEHIND,
                          "two points behind", n, unit="share")  # fmt: skip

    many = n * (SHOWN - JUDGED)
    gain = [one["model"][at] - one["nothing"] for one in found]
    rows = [
        over_seeds(f"right after {JUDGED} examples more often than after none", gain, "above", 0.0, "as often", n,
                   unit="share"),
        behind("logistic"),
        behind("machine"),
        check(context("right where labels are by lot", [one["by lot"] for one in found], many, "share"), 0.48, 0.52),
        context("right where the examples' labels are shuffled", [one["shuffled"] for one in found], many, "share"),
        *(context(f"right after {count} examples", [one[name][i] for one in found], n, "share", NAMES[name].en)
          for name in NAMES for i, count in enumerate(AFTER)),
    ]  # fmt: skip
    series = [Series(NAMES[name], AFTER, [mean([one[name][i] for one in found]) for i in range(len(AFTER))], dots=True)
              for name in NAMES]  # fmt: skip
    axes = Axes(x=Words("examples", "例子數"), y=Words("share right", "答對的比例"), log_x=True)
    picture = lines(Words("Learnt from the prompt", "從提示學到的"), series, axes=axes)
    return Result("learning_in_context", "Learning in context", tuple(rows), series={"examples": picture},
                  meta={"mode": "most probable label, float32"})  # fmt: skip


def measure(budget: Budget, seed: int) -> dict[str, Any]:
    """Of one seed: shares right of the model and of the others after so many examples, and the controls."""
    lot = noise.rng("learning in context, asked", seed)
    model, codec = taught(budget, seed)
    tasks = tasks_of(seed, new=True)[lot.integers(0, len(tasks_of(seed, new=True)), TASKS)]
    words_TN = lot.integers(0, SIDE * SIDE, (TASKS, SHOWN + 1))
    right_TN = np.take_along_axis(tasks, words_TN, axis=1)
    said_TN = labels(model, codec, words_TN, right_TN)
    found: dict[str, Any] = {"model": _after(said_TN == right_TN), "nothing": float((said_TN == right_TN)[:, 0].mean())}
    others: dict[str, Callable[..., Floats]] = {
        name: partial(classified, name, penalty=chosen(name, seed)) for name in ("logistic", "machine")
    }
    others["best"] = partial(weighed, every=np.concatenate([tasks_of(seed, new=True), tasks_of(seed, new=False)]))
    for name, way in others.items():
        found[name] = [float(way(words_TN, right_TN, count).mean()) for count in AFTER]
    by_lot_TN = lot.choice([-1, 1], (TASKS, SHOWN + 1))
    found["by lot"] = _late(labels(model, codec, words_TN, by_lot_TN) == right_TN)
    found["shuffled"] = _late(labels(model, codec, words_TN, lot.permuted(right_TN, axis=1)) == right_TN)
    return found


def _after(right_TN: NDArray[np.bool_]) -> list[float]:
    return [float(right_TN[:, count].mean()) for count in AFTER]


def _late(right_TN: NDArray[np.bool_]) -> float:
    return float(right_TN[:, JUDGED + 1 :].mean())


@lru_cache(maxsize=1)
def cuts() -> Signs:
    """(L, words) every way in which a line cuts the square, 1 or -1 for each word; each way once."""
    places_W2 = places()
    found = []
    for angle in np.arange(ANGLES) * 2 * np.pi / ANGLES:
        along_W = places_W2 @ np.array([np.cos(angle), np.sin(angle)])
        found += [np.where(along_W > offset, 1, -1) for offset in np.linspace(-0.5, 0.5, OFFSETS)]
    return np.unique(np.array(found), axis=0)


def places() -> Floats:
    """(words, 2) where the words stand, from -1 to 1."""
    along = np.linspace(-1, 1, SIDE)
    return np.array([(x, y) for x in along for y in along])


def tasks_of(seed: int, new: bool) -> Signs:
    """The lines of training, or those that are kept for afterwards: a fifth."""
    every = cuts()
    order = noise.permutation(noise.seed_of("learning in context, lines", seed), len(every))
    kept = len(every) // 5
    return every[order[:kept] if new else order[kept:]]


def taught(budget: Budget, seed: int) -> tuple[Transformer, Tokenizer]:
    """The model after its training."""
    from jielong.data.tokens import Tokens
    from jielong.nets.config import shape
    from jielong.nets.transformer import Transformer
    from jielong.train.run import next_token
    from jielong.units import tokenlist

    codec = tokenlist.build([f"w{i:02}" for i in range(SIDE * SIDE)] + ["A", "B"])
    lot, tokens = noise.rng("learning in context, taught", seed), budget.tokens or TAUGHT
    tasks = tasks_of(seed, new=False)
    rows = max(8, tokens // (2 * SHOWN + 3))
    words_RN = lot.integers(0, SIDE * SIDE, (rows, SHOWN + 1))
    labels_RN = np.take_along_axis(tasks[lot.integers(0, len(tasks), rows)], words_RN, axis=1)
    ids_RM = sequences(codec, words_RN, labels_RN)
    mask = [False, *[False, True] * (SHOWN + 1)]
    made = Tokens.from_documents((ids, mask) for ids in ids_RM)
    model = Transformer(shape(WIDTH, codec.size, 2 * stages.CONTEXT, LAYERS), seed=seed)
    steps = max(1, tokens // (2 * stages.CONTEXT * BATCH))
    work = learning.work("in context", model, codec, made, next_token, seed, steps, 1.0, BATCH)
    return learning.learnt(learning.exact(work), budget.talk), codec


def sequences(codec: Tokenizer, words_TN: Any, labels_TN: Any) -> NDArray[np.int64]:
    """(T, 1 + 2N) ids: the end token, then word, label, word, label, ..."""
    ids = np.array([codec.encode(f"w{i:02}")[0] for i in range(SIDE * SIDE)])
    a, b = (codec.encode(name)[0] for name in "AB")
    both = np.stack([ids[words_TN], np.where(labels_TN > 0, a, b)], axis=-1).reshape(len(words_TN), -1)
    return np.concatenate([np.full((len(both), 1), codec.end), both], axis=1)


def labels(model: Transformer, codec: Tokenizer, words_TN: Any, shown_TN: Any) -> Signs:
    """(T, N) the more probable label of each word, behind all words before it with the labels that are shown."""
    import torch

    ids = torch.from_numpy(sequences(codec, words_TN, shown_TN))[:, :-1]
    a, b = (codec.encode(name)[0] for name in "AB")
    with torch.no_grad():
        logits = torch.cat([model(some)[:, 1::2][..., [a, b]] for some in ids.split(64)])
    return np.where((logits[..., 0] > logits[..., 1]).numpy(), 1, -1)


def classified(name: str, words_TN: Any, right_TN: Any, count: int, penalty: float) -> Floats:
    """(T,) whether a linear classifier, fitted to the first `count` examples and their places, is right about the next
    word: the loss is log(1 + exp(-y z)), or max(0, 1 - y z)^2, the penalty l2/2 |w|^2, none on the bias."""
    from scipy import optimize

    def loss(w: Floats, x_N3: Floats, y_N: Floats) -> tuple[float, Floats]:
        margin_N = y_N * (x_N3 @ w)
        if name == "logistic":
            value, slope_N = np.logaddexp(0, -margin_N), -1 / (1 + np.exp(margin_N))
        else:
            value, slope_N = np.maximum(0, 1 - margin_N) ** 2, -2 * np.maximum(0, 1 - margin_N)
        weight = np.append(w[:-1], 0.0)
        slope_3 = x_N3.T @ (slope_N * y_N) / len(y_N) + penalty * weight
        return float(value.mean() + penalty / 2 * weight @ weight), slope_3

    x_TN3 = np.concatenate([places()[words_TN], np.ones((*words_TN.shape, 1))], axis=-1)
    found = []
    for x_N3, y_N in zip(x_TN3, right_TN, strict=True):
        fit = optimize.minimize(loss, np.zeros(3), (x_N3[:count], y_N[:count]), jac=True, method="L-BFGS-B")
        found.append((x_N3[count] @ fit.x > 0) == (y_N[count] > 0))
    return np.array(found, dtype=np.float64)


def chosen(name: str, seed: int) -> float:
    """The penalty that serves a classifier best on lines of training, after as many examples as are judged."""
    lot = noise.rng("learning in context, penalty", seed)
    words_TN = lot.integers(0, SIDE * SIDE, (TASKS // 6, JUDGED + 1))
    tasks = tasks_of(seed, new=False)
    right_TN = np.take_along_axis(tasks[lot.integers(0, len(tasks), len(words_TN))], words_TN, axis=1)
    return max(PENALTIES, key=lambda penalty: classified(name, words_TN, right_TN, JUDGED, penalty).mean())


def weighed(words_TN: Any, right_TN: Any, count: int, every: Signs) -> Floats:
    """(T,) how probably the majority of all lines that fit the first `count` examples is right about the next word."""
    found = []
    for words_N, right_N in zip(words_TN, right_TN, strict=True):
        fits = (every[:, words_N[:count]] == right_N[:count]).all(axis=1)
        votes = every[fits, words_N[count]].sum() * right_N[count]
        found.append(0.5 + 0.5 * np.sign(votes))
    return np.array(found)

