"""The length of a target, predicted from its source: what has to be known before all its slots can be written.

    loss = -ln p(N | source),  N in 1..longest

As in mask-predict (Ghazvininejad et al. 2019, arXiv 1904.09324, section 3.3) a token of its own behind the source asks;
here the source is read without the target, as it is when a text is written.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from jielong.infer.slots import Marks, lay
from jielong.nets.transformer import Transformer


def nats(
    model: Transformer,
    marks: Marks,
    sources: Sequence[npt.NDArray[np.int64]],
    lengths: npt.NDArray[np.int64],
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """-ln p of each length, (B,)."""
    device = model.device
    laid = lay([np.append(source, marks.ask) for source in sources], [0] * len(sources), marks)
    documents = None if laid.documents is None else torch.from_numpy(laid.documents).to(device)
    hidden = model.hidden(
        torch.from_numpy(laid.ids).to(device),
        documents=documents,
        dtype=dtype if dtype != model.embed.dtype else None,
    )
    last = torch.tensor([len(source) for source in sources], device=device)
    logits_BL = model.logits(hidden[torch.arange(len(sources), device=device), last])[:, marks.ask + 1 :]
    return F.cross_entropy(logits_BL, torch.from_numpy(lengths - 1).to(device), reduction="none")
