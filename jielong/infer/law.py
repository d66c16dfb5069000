"""What is asked of each row's law: its top and what normalises it, and a draw; in one pass of the compiled step where
that is at hand."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jielong.base import noise
from jielong.nets.native import build


class Crest(NamedTuple):
    """Of logits (B, V): the first largest and where it stands (a NaN counts as largest), and log sum exp. (B,) each."""

    best: Tensor
    most: Tensor
    total: Tensor


def crest(logits_BV: Tensor) -> Crest:
    """Each row by itself: its bits do not depend on the others."""
    library = _library(logits_BV)
    if library is None:
        most_B, best_B = logits_BV.max(dim=-1)
        return Crest(best_B, most_B, logits_BV.logsumexp(dim=-1))
    rows, size = logits_BV.shape
    found = Crest(torch.empty(rows, dtype=torch.int64), torch.empty(rows), torch.empty(rows))
    places = (ctypes.c_void_p(each.data_ptr()) for each in (logits_BV, *found))
    library.jielong_crest(*places, ctypes.c_int64(rows), ctypes.c_int64(size), ctypes.c_int32(torch.get_num_threads()))
    return found


def race(logits_BV: Tensor, places_B5: np.ndarray) -> np.ndarray:
    """Tokens (B,) drawn from softmax(logits): the largest logit + Gumbel number, by the numbers at these places
    (`noise.gumbel_place`). Where two laws are alike, the same place mostly gives the same token: P(both i) =
    1 / sum_j max(p_j / p_i, q_j / q_i), which is more than any other way to draw without knowing the other law.
    """
    logits_BV = logits_BV.detach().float().cpu().contiguous()
    library, (rows, size) = _library(logits_BV), logits_BV.shape
    if library is None:
        chance = np.stack([noise.gumbel_at(place, size) for place in places_B5])
        return np.asarray((logits_BV.double().numpy() + chance).argmax(axis=1))
    places_B5, won = np.ascontiguousarray(places_B5), np.empty(rows, dtype=np.int64)
    at = (ctypes.c_void_p(each) for each in (logits_BV.data_ptr(), places_B5.ctypes.data, won.ctypes.data))
    library.jielong_race(*at, ctypes.c_int64(rows), ctypes.c_int64(size), ctypes.c_int32(torch.get_num_threads()))
    return won


def _library(logits_BV: Tensor) -> ctypes.CDLL | None:
    """The compiled step, for what it reads."""
    fits = logits_BV.is_cpu and logits_BV.dtype == torch.float32 and logits_BV.is_contiguous()
    return build.library() if fits else None
