"""Adapters beside the base's matrices, call by call: what `native/beside.h` does in one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from jielong.nets import kernels
from jielong.nets.adapters.thin import Thin


class Beside:
    """One adapter at one matrix, ready to run: `rows`, the order that the matrix's own have. `exact`: one library for
    any number of rows, so that a row's bits do not depend on the others."""

    def __init__(self, thin: Thin, rows: Tensor | None, exact: bool) -> None:
        def ordered(values: Tensor | None) -> Tensor | None:
            return values if values is None or rows is None else values[rows]

        b = ordered(thin.b)
        self.read, self.factor, self.shift = thin.read, ordered(thin.factor), ordered(thin.shift)
        self.down = None if thin.a is None else kernels.matrix(thin.a, None, exact)
        self.up = None if b is None else kernels.matrix(b, None, exact)
        self.exact = exact

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """What the rows x (n, K), whose products are y (n, N), come to."""
        if self.factor is not None:
            y = y * self.factor
        if self.down is not None and self.up is not None:
            y = y + self._thin(x)
        return y if self.shift is None else y + self.shift

    def _thin(self, x: Tensor) -> Tensor:
        assert self.down is not None and self.up is not None
        if self.exact and len(x) == 1:  # one row alone is multiplied otherwise
            return self._thin(x.expand(2, -1).contiguous())[:1]
        return self.up(self.down(x))


class Several:
    """A matrix that some rows of a step have changed: (which rows, how) for each adapter."""

    def __init__(self, matrix: kernels.Matrix, changes: Sequence[tuple[Tensor, Beside]]) -> None:
        self.matrix, self.changes = matrix, changes

    def __call__(self, x: Tensor) -> Tensor:
        """(N, K) -> (N, N of the matrix)."""
        reading = [(rows, change.read) for rows, change in self.changes if change.read is not None]
        x = x.clone() if reading else x
        for rows, read in reading:
            x[rows] *= read
        y = self.matrix(x)
        for rows, change in self.changes:
            y[rows] = change(x[rows], y[rows])
        return y

    def onto(self, stream: Tensor, x: Tensor) -> Tensor:
        """The same, added."""
        return self(x).add_(stream)
