"""What an adapter changes in one product, written out, so that rows of one batch can each have an adapter of their own.

    y = factor * (W (read * x) + b) + B A (read * x) + shift

The product with the base's own W is made once for all rows, in whatever bits it is kept; the rest is thin, and each
row's is added to that row. LoRA is B A (with DoRA `factor` and `shift` too), IA3 `factor` or `read`, BitFit `shift`.
Where a row's part is made in this order, its bits are its own (Punica's gathered products, Chen et al. 2023, arXiv
2310.18547, section 4, one row at a time).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jielong.base.errors import UserError
from jielong.nets.adapters.adapter import Adapter, Place
from jielong.nets.adapters.config import name as kind_of
from jielong.nets.adapters.targets import MATRICES


@dataclass(frozen=True)
class Thin:
    """One adapter at one matrix (N, K): a (R, K), b (N, R) and which columns of b each row of the matrix has, spans
    (N, 2); the others are zero. Float32; what is None is not there."""

    a: Tensor | None = None
    b: Tensor | None = None
    spans: Tensor | None = None
    factor: Tensor | None = None  # (N,)
    shift: Tensor | None = None  # (N,)
    read: Tensor | None = None  # (K,)


Thins = Mapping[tuple[int, str], Thin]  # by block and matrix


@torch.no_grad()
def thins(model: Any, adapter: Adapter) -> Thins:
    """All that an adapter, which need not be attached, changes in this model. UserError for one that does more than
    change products."""
    reason = refuses(adapter)
    if reason:
        raise UserError(reason)
    found = {}
    items: list[tuple[Place, Any]] = adapter.items()
    for (half, matrix), site in items:
        module = model.get_submodule(half)
        bias = getattr(module, f"{matrix}_bias")
        weight = getattr(module, matrix).detach()
        found[int(half.split(".")[1]), matrix] = site.thin(weight, None if bias is None else bias.detach())
    return found


def refuses(adapter: Adapter) -> str:
    """Why an adapter cannot stand beside others in one batch; "" where it can."""
    if all(matrix in MATRICES for _, matrix in adapter.places):
        return ""
    return (f"an adapter of kind {kind_of(adapter.config)} does more than change products: it cannot share a batch "
            "with others; serve it alone, with --adapter FOLDER without a name")  # fmt: skip


def fingerprint(adapter: Adapter) -> str:
    """32 hex digits that stand for what an adapter does: its kind, its places and all of its numbers."""
    import hashlib

    digest = hashlib.blake2b(repr((adapter.config, adapter.targets)).encode(), digest_size=16)
    for low in adapter.modules():  # a module's own scale is no tensor (PEFT's patterns)
        digest.update(repr(getattr(low, "scale", None)).encode())
    for name, tensor in adapter.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()
