"""Muon for matrices, AdamW for everything else, in one optimizer.

Muon (Jordan et al. 2024): the momentum of a matrix is replaced by the nearest orthogonal matrix, found with five
Newton-Schulz steps. Matrices of one shape are orthogonalised together as one batch: on a CPU a small model's
sixteen matrices then cost a few products instead of hundreds of calls. Tests hold it against `torch.optim.Muon`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

COEFFICIENTS = (
    3.4445,
    -4.7750,
    2.0315,
)  # the quintic that lifts small singular values fastest (Jordan et al.)


def orthogonalise(g_NRC: Tensor, steps: int = 5, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Each matrix of the batch (N, R, C) moved towards U V^T of its singular value decomposition; same shape."""
    a, b, c = COEFFICIENTS
    flip = g_NRC.shape[1] > g_NRC.shape[2]
    x = (g_NRC.mT if flip else g_NRC).to(dtype)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if flip else x


@dataclass(frozen=True)
class Rates:
    """Learning rates at the top of the schedule, and how the state decays."""

    matrices: float = 0.02
    others: float = 0.008
    weight_decay: float = 0.0
    momentum: float = 0.95
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-10
    precision: torch.dtype = torch.bfloat16  # of the Newton-Schulz steps


class Optimizer:
    """`parts`: matrix views that Muon treats one by one (a fused weight counts as several matrices)."""

    def __init__(self, matrices: Sequence[Tensor], others: Iterable[nn.Parameter], rates: Rates) -> None:
        self.rates = rates
        self.matrices = list(matrices)
        self.others = list(others)
        self.shapes: dict[tuple[int, ...], list[int]] = {}
        for i, matrix in enumerate(self.matrices):
            self.shapes.setdefault(tuple(matrix.shape), []).append(i)
        self.momenta = {
            shape: torch.zeros(len(index), *shape, device=self.matrices[index[0]].device)
            for shape, index in self.shapes.items()
        }
        self.adam = torch.optim.AdamW(
            self.others, lr=rates.others, betas=rates.betas, eps=rates.eps, weight_decay=0.0, fused=True
        )

    @torch.no_grad()
    def step(self, grads: Sequence[Tensor], scale: float) -> None:
        """One update; `grads` are those of `matrices`, in order; `scale` (0..1) multiplies both learning rates."""
        rate = self.rates.matrices * scale
        for shape, index in self.shapes.items():
            momentum = self.momenta[shape]
            batch = torch.stack([grads[i] for i in index])
            momentum.lerp_(batch, 1 - self.rates.momentum)
            update = orthogonalise(batch.lerp_(momentum, self.rates.momentum), dtype=self.rates.precision)
            # a matrix with more rows than columns would move each output less: Jordan's scale
            size = rate * max(1.0, shape[0] / shape[1]) ** 0.5
            for i, matrix_update in zip(index, update, strict=True):
                if self.rates.weight_decay:
                    self.matrices[i].mul_(1 - rate * self.rates.weight_decay)
                self.matrices[i].add_(matrix_update, alpha=-size)
        for group in self.adam.param_groups:
            group["lr"] = self.rates.others * scale
        self.adam.step()

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, as named tensors."""
        tensors = {f"muon.{'x'.join(map(str, shape))}": value for shape, value in self.momenta.items()}
        for i, values in self.adam.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{name}": torch.as_tensor(value) for name, value in values.items()}
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Back to what `state` returned."""
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            kind, *rest = name.split(".")
            if kind == "muon":
                self.momenta[tuple(int(n) for n in rest[0].split("x"))].copy_(value)
            elif kind == "adam":
                state.setdefault(int(rest[0]), {})[rest[1]] = value
        self.adam.load_state_dict({**self.adam.state_dict(), "state": state})
