"""How probable it is that something is so, learnt from examples of texts: logistic regression, no model called.

    scorer = fit([(question, answer), ...], right, names=ids)
    scorer.of(question, answer)                     # p(right), in [0, 1]

FrugalGPT (Chen et al. 2023) learns such a scorer of (question, answer), RouteLLM (Ong et al. 2024) such a router of
questions. Features of each part of a text: some plain ones (lengths, numbers, signs, equations that hold or do not),
brought to mean 0 and spread 1, and its words and their pairs, hashed into `WIDTH` places (Weinberger et al. 2009), a
row of length `WEIGHT`. The loss is

    mean of log(1 + exp(-y z)) + l2/2 |w|^2,   z = w.x + b,   y = +-1

with no penalty on b, convex, minimised by L-BFGS; l2 is chosen by cross-validation within the examples. A scorer knows
the names of the examples that it has seen (`seen`): thresholds and figures must come from others.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base.errors import UserError

if TYPE_CHECKING:
    import numpy as np

WIDTH, WEIGHT = 4096, 3.0
L2 = (0.01, 0.1, 1.0)
INNER = 3  # parts of the examples, to choose l2
NUMBERS = re.compile(r"\d[\d,]*(?:\.\d+)?")
PLAIN = 14
EQUATION = re.compile(r"(\d[\d,]*\.?\d*)\s*([+\-*/x×÷])\s*\$?(\d[\d,]*\.?\d*)\s*=\s*\$?(\d[\d,]*\.?\d*)")
NEAR = 0.01  # a result that was rounded is no mistake


@dataclass(frozen=True)
class Scorer:
    """Weights (parts * PLAIN + WIDTH,), bias, and how the plain features are scaled."""

    weights: tuple[float, ...]
    bias: float
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    parts: int
    l2: float
    seen: frozenset[str] = frozenset()

    def of(self, *parts: str) -> float:
        """p of one text of so many parts."""
        return float(self.many([parts])[0])

    def many(self, texts: Sequence[Sequence[str]]) -> np.ndarray:
        """p of each text, (N,). UserError for another number of parts than it learnt from."""
        import numpy as np

        x_NF = _rows(texts, self.parts, np.array(self.mean), np.array(self.spread))
        return _logistic(x_NF @ np.array(self.weights) + self.bias)

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        from dataclasses import asdict

        from jielong.base.files import write_json

        write_json(path, {"jielong_scorer": 1, **asdict(self), "seen": sorted(self.seen)})


def load(path: str | Path) -> Scorer:
    """A scorer that was saved. UserError for a file that is none."""
    from jielong.base.files import read_json

    found = read_json(path)
    if not isinstance(found, dict) or found.pop("jielong_scorer", None) != 1:
        raise UserError(f"{path} is no scorer of this version: learn it again")
    try:
        weights, mean, spread = (tuple(map(float, found.pop(key))) for key in ("weights", "mean", "spread"))
        return Scorer(weights, mean=mean, spread=spread, **{**found, "seen": frozenset(found["seen"])})
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"{path} is no whole scorer ({error}): learn it again") from error


def fit(texts: Sequence[Sequence[str]], right: Sequence[bool], names: Sequence[str] = (), l2: float | None = None,
        seed: int = 0) -> Scorer:  # fmt: skip
    """The scorer of these examples. `l2`: None chooses among `L2`. UserError unless both outcomes occur."""
    import numpy as np

    y_N = np.asarray(right, dtype=np.float64)
    if len(texts) != len(y_N) or len(set(y_N.tolist())) < 2:
        many = f"there are {len(texts)}, {int(y_N.sum())} of them right"
        raise UserError(f"a scorer learns from right and wrong examples: {many}")
    parts = len(texts[0])
    plain_NP = np.array([_plain(each, parts) for each in texts])
    mean, spread = plain_NP.mean(0), np.maximum(plain_NP.std(0), 1e-9)
    x_NF = _rows(texts, parts, mean, spread)
    chosen = _choose(x_NF, y_N, seed) if l2 is None else l2
    solution = _minimum(x_NF, y_N, chosen)
    weights, scale = tuple(solution[:-1].tolist()), (tuple(mean.tolist()), tuple(spread.tolist()))
    return Scorer(weights, float(solution[-1]), *scale, parts, chosen, frozenset(names))


def unseen(scorer: Scorer, names: Sequence[str], use: str) -> None:
    """UserError where a scorer is to be judged, or thresholds chosen, on what it was taught: it would look too good."""
    again = scorer.seen & set(names)
    if again:
        raise UserError(f"{len(again)} examples for {use} were learnt from ({min(again)}, ...): split them first")


def _choose(x_NF: Any, y_N: np.ndarray, seed: int) -> float:
    """The l2 with the least loss on parts of the examples that were left out in turn."""
    import numpy as np

    from jielong.base import noise

    place_N = noise.permutation(noise.seed_of("scorer", seed), len(y_N)) % INNER
    losses = []
    for l2 in L2:
        loss = 0.0
        for part in range(INNER):
            out, into = place_N == part, place_N != part
            if len(set(y_N[into].tolist())) < 2:
                return L2[-1]
            solution = _minimum(x_NF[into], y_N[into], l2)
            z_N = x_NF[out] @ solution[:-1] + solution[-1]
            loss += float((np.logaddexp(0, z_N) - y_N[out] * z_N).sum())
        losses.append(loss)
    return L2[int(np.argmin(losses))]


def _minimum(x_NF: Any, y_N: np.ndarray, l2: float) -> np.ndarray:
    """Weights and bias (F + 1,) that minimise the loss."""
    import numpy as np
    from scipy import optimize

    count = len(y_N)

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        z_N = x_NF @ w[:-1] + w[-1]
        value = (np.logaddexp(0, z_N) - y_N * z_N).sum() / count + l2 / 2 * (w[:-1] ** 2).sum()
        off_N = (_logistic(z_N) - y_N) / count
        return float(value), np.append(x_NF.T @ off_N + l2 * w[:-1], off_N.sum())

    found = optimize.minimize(loss, np.zeros(x_NF.shape[1] + 1), jac=True, method="L-BFGS-B", options={"gtol": 1e-6})
    return np.asarray(found.x)


def _logistic(z_N: np.ndarray) -> np.ndarray:
    from scipy import special

    return special.expit(z_N)


def _rows(texts: Sequence[Sequence[str]], parts: int, mean: np.ndarray, spread: np.ndarray) -> Any:
    """(N, parts * PLAIN + WIDTH), sparse."""
    import numpy as np
    from scipy import sparse

    plain_NP = (np.array([_plain(each, parts) for each in texts]).reshape(len(texts), -1) - mean) / spread
    starts, places = [0], list[int]()
    values: list[float] = []
    for each in texts:
        hashed = sorted(_hashed(each))
        places += hashed
        values += [WEIGHT / math.sqrt(len(hashed))] * len(hashed)
        starts.append(len(places))
    words_NW = sparse.csr_matrix((values, places, starts), shape=(len(texts), WIDTH))
    return sparse.hstack([sparse.csr_matrix(plain_NP), words_NW], format="csr")


def _hashed(parts: Sequence[str]) -> set[int]:
    """The places of the words of each part and of their pairs; numbers count as one word, so that a question is known
    by its form."""
    found = set()
    for part, text in enumerate(parts):
        words = re.findall(r"[^\W\d_]+|[%$]|#", NUMBERS.sub("#", text.casefold()))
        for term in [*words, *(f"{a} {b}" for a, b in zip(words, words[1:]))]:
            digest = hashlib.blake2b(f"{part} {term}".encode("utf-8", "replace"), digest_size=4).digest()
            found.add(int.from_bytes(digest, "big") % WIDTH)
    return found


def _plain(parts: Sequence[str], wanted: int) -> list[float]:
    """The plain features of every part."""
    if len(parts) != wanted:
        raise UserError(f"the scorer reads texts of {wanted} parts, not of {len(parts)}")
    return [value for text in parts for value in _counts(text)]


def _counts(text: str) -> list[float]:
    words = re.findall(r"[^\W\d_]+", text)
    numbers = [each.replace(",", "") for each in NUMBERS.findall(text)]
    largest = max((float(each) for each in numbers), default=0.0)
    return [
        math.log1p(len(text)),
        math.log1p(len(words)),
        math.log1p(len(numbers)),
        math.log1p(len(set(numbers))),
        float(len(re.findall(r"[.?!。？！](?:\s|$)?", text))),
        float(text.count("%")),
        float(text.count("$")),
        float(text.count("/")),
        float(sum("." in each for each in numbers)),
        math.log1p(min(largest, 1e300)),
        sum(map(len, words)) / max(1, len(words)),
        len(set(words)) / max(1, len(words)),
        *map(math.log1p, _equations(text)),
    ]


def _equations(text: str) -> tuple[int, int]:
    """How many equations of two numbers hold, and how many do not."""
    held = failed = 0
    for first, sign, second, told in EQUATION.findall(text):
        a, b, c = (float(each.replace(",", "")) for each in (first, second, told))
        value = {"+": a + b, "-": a - b, "/": a / (b or math.nan), "÷": a / (b or math.nan)}.get(sign, a * b)
        right = abs(value - c) <= NEAR * max(1.0, abs(value))
        held, failed = held + right, failed + (not right)
    return held, failed
