"""Mask-predict training: a uniform number of the target's slots is masked and predicted from the source and the rest.

    n ~ U{1..N},  S ~ the subsets of n slots, all as likely        loss = -sum_{i in S} ln p(x_i | source, x_not-S)

Every masked slot weighs the same (Ghazvininejad et al. 2019, arXiv 1904.09324, section 3.1).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def hide(counts: npt.NDArray[np.int64], generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Weight 1 for the hidden slots of each row; (B, S)."""
    return subsets(counts, numbers(counts, generator), generator).astype(np.float64)


def numbers(counts: npt.NDArray[np.int64], generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """How many slots of each row are hidden: uniform on 1..counts for each row, and spread evenly over the rows.

    One number u serves all: row b takes (u + b / B) mod 1 (Kingma et al. 2021, arXiv 2107.00630, appendix I.1), which
    is uniform for each and makes the mean over rows steadier.
    """
    shares = (generator.random() + np.arange(len(counts)) / len(counts)) % 1.0
    return np.minimum(1 + (shares * counts).astype(np.int64), counts)


def subsets(
    counts: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64], generator: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """`chosen[b]` of the first `counts[b]` slots of each row, all such sets as likely; (B, S)."""
    slots = int(counts.max())
    lots = np.where(np.arange(slots)[None, :] < counts[:, None], generator.random((len(counts), slots)), np.inf)
    rank = np.argsort(np.argsort(lots, axis=1), axis=1)
    return np.asarray(rank < chosen[:, None])
