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

from jielong.nets.quant import Quantised

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


class Int8:
    """8-bit weights, one scale a row; each token's activations in 8 bits too (scale: its largest magnitude / 127)."""

    def __init__(self, weight: Quantised, bias: Tensor | None = None) -> None:
        self.packed = torch.ops.onednn.qlinear_prepack(weight.q.contiguous(), None)
        self.scales = (weight.scales[:, 0] / 127).contiguous()
        self.zeros = torch.zeros(len(weight.q), dtype=torch.int32)
        self.bias, self.half = bias, torch.tensor(128.5)

    def __call__(self, x: Tensor) -> Tensor:
        largest = torch.linalg.vector_norm(x, float("inf"), dim=-1, keepdim=True).clamp_min_(1e-12)
        # the cast cuts off what the half has raised: rounding, in one pass
        whole = torch.addcdiv(self.half, x, largest, value=127).to(torch.uint8)
        y = torch.ops.onednn.qlinear_pointwise(
            whole, 1.0, 128, self.packed, self.scales, self.zeros, None, 1.0, 0, torch.float32, "none", [], ""
        ).mul_(largest)
        return y if self.bias is None else y.add_(self.bias)

    def onto(self, stream: Tensor, x: Tensor) -> Tensor:
        return self(x).add_(stream)


class Int4:
    """4-bit weights in groups, activations in bf16."""

    def __init__(self, weight: Quantised, bias: Tensor | None = None) -> None:
        q, self.group = weight.q.to(torch.int32), weight.q.shape[1] // weight.scales.shape[1]
        self.packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(q, 1)
        self.scales, self.bias = weight.scales.transpose(0, 1).contiguous(), bias

    def __call__(self, x: Tensor) -> Tensor:
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(x.bfloat16(), self.packed, self.group, self.scales).float()
        return y if self.bias is None else y.add_(self.bias)

    def onto(self, stream: Tensor, x: Tensor) -> Tensor:
        return self(x).add_(stream)


def integer(weight: Quantised, bias: Tensor | None = None) -> Matrix:
    """The layout for a quantised matrix. A CPU without the instructions for it multiplies by the floats."""
    bias = None if bias is None else bias.detach()
    if weight.bits == 4 and packs():
        return Int4(weight, bias)
    if weight.bits == 8 and packs() and torch.cpu._is_vnni_supported():
        return Int8(weight, bias)
    return matrix(weight.values(), bias)


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
