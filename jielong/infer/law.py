"""The top of each row's law and what normalises it, in one pass where the compiled step is at hand."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from jielong.nets.native import build


class Crest(NamedTuple):
    """Of logits (B, V): the first largest and where it stands (a NaN counts as largest), and log sum exp. (B,) each."""

    best: Tensor
    most: Tensor
    total: Tensor


def crest(logits_BV: Tensor) -> Crest:
    """Each row by itself: its bits do not depend on the others."""
    library = build.library() if logits_BV.is_cpu and logits_BV.dtype == torch.float32 else None
    if library is None or not logits_BV.is_contiguous():
        most_B, best_B = logits_BV.max(dim=-1)
        return Crest(best_B, most_B, logits_BV.logsumexp(dim=-1))
    rows, size = logits_BV.shape
    found = Crest(torch.empty(rows, dtype=torch.int64), torch.empty(rows), torch.empty(rows))
    places = (ctypes.c_void_p(each.data_ptr()) for each in (logits_BV, *found))
    library.jielong_crest(*places, ctypes.c_int64(rows), ctypes.c_int64(size), ctypes.c_int32(torch.get_num_threads()))
    return found
