"""Several processes that train together, as torchrun starts them; alone, everything here is rank 0 of 1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist


@contextmanager
def group() -> Iterator[None]:
    """Join the group that torchrun's environment describes (gloo, or nccl on GPUs); leave it at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """This process's number; 0 where there is only one."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def anywhere(flag: bool) -> bool:
    """Whether it is so in any process."""
    if count() == 1:
        return flag
    votes = torch.tensor([float(flag)], device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(votes)
    return bool(votes)


def wait() -> None:
    """Until all have come here."""
    if count() > 1:
        dist.barrier()


def total(value: float) -> float:
    """The sum over all processes."""
    if count() == 1:
        return value
    sums = torch.tensor([value], dtype=torch.float64, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(sums)
    return float(sums)
