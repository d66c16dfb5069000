"""Matrices laid out for running a model: which library multiplies, in which layout, is chosen once when it is loaded.

    times = matrix(weight, bias)
    times(x_ND)                      # x @ weight.T + bias
    times.onto(stream_ND, x_NK)      # stream + x @ weight.T + bias, in one pass

A large float32 matrix is packed for oneDNN, which reads it at the speed of memory even for one row; small ones go to
the BLAS, whose calls cost less. Packed products have a second virtue that exact mode stands on: a row's bits do
not depend on how many other rows there are, from two rows on.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

SMALL = 1 << 18  # numbers in a matrix, below which a call costs more than its work
LARGE = 1 << 22  # numbers in a model, from which its matrices come from memory each time, small ones too
FEW = 8  # rows up to which a small matrix goes to the BLAS
HINT = 32  # rows a matrix is packed for: the layout serves one row as well as hundreds


class Matrix(Protocol):
    """Something that stands for `x @ weight.T + bias`."""

    def __call__(self, x: Tensor) -> Tensor: ...
    def onto(self, stream: Tensor, x: Tensor) -> Tensor: ...


class Dense:
    """The BLAS that torch was built with."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight, self.bias, self.turned = weight, bias, weight.t()

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def onto(self, stream: Tensor, x: Tensor) -> Tensor:
        return torch.addmm(stream if self.bias is None else stream + self.bias, x, self.turned)


class Packed:
    """oneDNN, with the weights in its own layout."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), HINT)
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")

    def onto(self, stream: Tensor, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise.binary(x, stream, self.packed, self.bias, "add")


class Either:
    """A small matrix in both layouts: the BLAS for a few rows, oneDNN for many."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.few, self.many = Dense(weight, bias), Packed(weight, bias)

    def __call__(self, x: Tensor) -> Tensor:
        return self.few(x) if x.shape[0] <= FEW else self.many(x)

    def onto(self, stream: Tensor, x: Tensor) -> Tensor:
        return self.few.onto(stream, x) if x.shape[0] <= FEW else self.many.onto(stream, x)


def packs() -> bool:
    """Whether this build of torch has oneDNN's packed products."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


def matrix(weight: Tensor, bias: Tensor | None = None, packed: bool = False) -> Matrix:
    """The layout for a float matrix (N, K). `packed`: one library for any number of rows, where it can be."""
    weight = weight.detach()
    bias = None if bias is None else bias.detach()
    if weight.dtype != torch.float32 or not weight.is_cpu or not packs():
        return Dense(weight, bias)
    if packed or weight.numel() >= SMALL:
        return Packed(weight, bias)
    return Either(weight, bias)
