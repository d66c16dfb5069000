"""Masked diffusion: a share t of the slots is masked, and what is masked weighs 1 / t. The loss bounds the likelihood.

    -ln p(x | source)  <=  E_t E_S  1/t  sum_{i in S} -ln p(x_i | source, x_not-S)

With t ~ U(0, 1) and each slot in S with probability t by itself, this is the negative ELBO of Sahoo et al. 2024 (MDLM,
arXiv 2406.07524, eq. 10) and Nie et al. 2025 (LLaDA, arXiv 2502.09992, eq. 3). A set of n of N slots then has the
weight  int t^(n-1) (1-t)^(N-n) dt = 1 / (n C(N, n)).  Drawing n ~ U{1..N} and weighing N / n gives every set the same
weight (LLaDA, eq. 14), with a finite variance, which 1 / t has not: that is what is done here.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jielong.base.errors import UserError
from jielong.train.mask_predict import numbers, subsets

if TYPE_CHECKING:
    from jielong.infer.slots import Marks
    from jielong.nets.transformer import Transformer

MOST = 14  # slots whose subsets are all looked at


def hide(counts: npt.NDArray[np.int64], generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Weight N / n for the n hidden ones of a row's N slots; (B, S)."""
    chosen = numbers(counts, generator)
    return subsets(counts, chosen, generator) * (counts / chosen)[:, None]


def bound(model: Transformer, marks: Marks, source: npt.ArrayLike, target: npt.ArrayLike, batch: int = 512) -> float:
    """The bound itself, in nats: all 2^N - 1 sets of hidden slots, each with its weight. float64 sums.

    Raises UserError for more than MOST slots.
    """
    import torch

    from jielong.train.parallel import Pairs, each, filling

    given, wanted = (np.asarray(ids, dtype=np.int64).reshape(-1) for ids in (source, target))
    size = len(wanted)
    if not 1 <= size <= MOST:
        raise UserError(f"the bound of {size} slots has 2^{size} terms: give 1 to {MOST} slots")
    sets = [chosen for n in range(1, size + 1) for chosen in combinations(range(size), n)]
    total = 0.0
    for first in range(0, len(sets), batch):
        part = sets[first : first + batch]
        weights = np.zeros((len(part), size))
        for row, chosen in zip(weights, part):
            row[list(chosen)] = 1 / (len(chosen) * math.comb(size, len(chosen)))
        rows = Pairs([given] * len(part), [wanted] * len(part))
        some = filling(rows, marks, lambda counts, generator, w=weights: w, np.random.default_rng(0))  # type: ignore[misc]
        with torch.no_grad():
            total += float((each(model, marks, some).double().cpu().numpy() * some.weights).sum())
    return total
