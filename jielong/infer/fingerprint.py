"""A name for weights: draws, traces and caches are kept under it."""

from __future__ import annotations

import hashlib
from typing import Any

import torch


def fingerprint(model: Any, codec: Any) -> str:
    """32 hex digits that stand for every tensor of the model, its shape, and the tokenizer."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((type(model).__name__, getattr(model, "config", None))).encode())
    digest.update(str(getattr(codec, "fingerprint", codec.size)).encode())
    states = dict(model.state_dict()) if hasattr(model, "state_dict") else {}
    for each, adapter in getattr(model, "adapters", {}).items():  # merged or not: they are part of what is written
        states |= {f"{each}.{name}": tensor for name, tensor in adapter.state_dict().items()}
    for name, tensor in states.items():
        digest.update(name.encode())
        if isinstance(tensor, torch.Tensor):
            flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8).cpu().numpy()
            digest.update(flat.data)
    return digest.hexdigest()
