"""LoRA: a matrix is changed by a product of two thin ones (Hu et al. 2021, arXiv 2106.09685, eq. 3).

    y = W x + s B A x,      s = alpha / r           A (r, inputs) uniform, B (rows, r) zero: at first nothing changes
    rsLoRA                  s = alpha / sqrt(r)     (Kalajdzievski 2023, arXiv 2312.03732, eq. 4)
    DoRA                    y = m / |W + s B A| * (W + s B A) x, by rows; |.| without gradient
                                                    (Liu et al. 2024, arXiv 2402.09353, eq. 5 and 11)
    PiSSA start             s B A begins as the r largest singular directions of W, and W gives them up
                                                    (Meng et al. 2024, arXiv 2404.02948, eq. 2 to 4)

The base is never touched: PiSSA's residual is W x - s B0 A0 x with the first B0 and A0 kept, which is the LoRA of rank
2 r that is saved. In several parts of one matrix (queries, keys, values) the thin products are two for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.nets import ops
from jielong.nets.adapters.config import Lora
from jielong.nets.adapters.targets import Target
from jielong.nets.adapters.thin import Thin


class Low(nn.Module):
    """The change of one module: a (r, inputs), b (rows, r), with DoRA `length` (rows,), with PiSSA what they were."""

    a0: Tensor | None
    b0: Tensor | None

    def __init__(self, config: Lora, target: Target, rank: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        bound = target.inputs**-0.5
        self.a = nn.Parameter(torch.empty(rank, target.inputs).uniform_(-bound, bound, generator=generator))
        self.b = nn.Parameter(torch.zeros(target.rows, rank))
        self.length = nn.Parameter(torch.ones(target.rows)) if config.dora else None
        self.register_buffer("a0", torch.zeros_like(self.a) if config.pissa else None)
        self.register_buffer("b0", torch.zeros_like(self.b) if config.pissa else None)
        self.scale, self.start_, self.stop = scale, target.start, target.stop

    @property
    def pair(self) -> tuple[Tensor, Tensor]:
        """A and B of the whole change: with PiSSA of twice the rank."""
        if self.a0 is None or self.b0 is None:
            return self.a, self.b
        return torch.cat([self.a, self.a0]), torch.cat([self.b, -self.b0], 1)

    def delta(self) -> Tensor:
        """s B A, (rows, inputs) float32."""
        a, b = self.pair
        return (b @ a).mul_(self.scale)

    @torch.no_grad()
    def start(self, weight: Tensor, pissa: bool) -> None:
        """From the module's own matrix (rows, inputs)."""
        weight = weight.float()
        if self.length is not None:
            self.length.copy_(torch.linalg.vector_norm(weight, dim=1))
        if pissa and self.a0 is not None and self.b0 is not None:
            rank = len(self.a)
            left, values, right = torch.linalg.svd(weight, full_matrices=False)
            root = (values[:rank] / self.scale).sqrt()
            self.a.copy_(right[:rank] * root[:, None])
            self.b.copy_(left[:, :rank] * root)
            self.a0.copy_(self.a)
            self.b0.copy_(self.b)


class LoraSite(nn.Module):
    """The changes of one matrix's modules: rows that no module has stay as they are."""

    def __init__(self, config: Lora, lows: Sequence[Low]) -> None:
        super().__init__()
        self.config = config
        ordered: list[Low] = sorted(lows, key=lambda low: low.start_)
        self.lows = nn.ModuleList(ordered)
        self.factor: Tensor | None = None  # of DoRA while merged: what the rows were multiplied by

    @property
    def parts(self) -> list[Low]:
        """In the order of their rows."""
        return list(self.lows)  # type: ignore[arg-type]

    def forward(self, x: Tensor, inner: Callable[[Tensor], Tensor], weight: Tensor, bias: Tensor | None) -> Tensor:
        """x (..., K) -> (..., N)."""
        shape, x = x.shape[:-1], x.flatten(0, -2)
        y = inner(x)
        read = F.dropout(x, self.config.dropout) if self.training and self.config.dropout else x
        pairs = [low.pair for low in self.parts]
        thin = ops.linear(read, torch.cat([a for a, _ in pairs]) if len(pairs) > 1 else pairs[0][0])
        wide = self._wide([b for _, b in pairs], len(weight)).to(y.dtype)
        y = y.addmm_(thin, wide.t())  # in place: a copy of y costs as much as the product
        if not self.config.dora:
            return y.unflatten(0, shape)
        factor = self._factor(weight).to(y.dtype)
        y = y * factor if bias is None else (y - bias.to(y.dtype)) * factor + bias.to(y.dtype)
        return y.unflatten(0, shape)

    def _wide(self, bs: list[Tensor], rows: int) -> Tensor:
        """The parts' s B at their rows, side by side in their own columns: (rows, sum of ranks)."""
        blocks, at = [], 0
        for low, b in zip(self.parts, bs, strict=True):
            blocks += [b.new_zeros(low.start_ - at, 0)] * (low.start_ > at) + [b * low.scale]
            at = low.stop
        blocks += [bs[0].new_zeros(rows - at, 0)] * (rows > at)
        return blocks[0] if len(blocks) == 1 else torch.block_diag(*blocks)

    def _factor(self, weight: Tensor) -> Tensor:
        """m / |W + s B A| of each row (N,); 1 where no module is."""
        factors, at = [], 0
        for low in self.parts:
            assert low.length is not None
            with torch.no_grad():
                norm = torch.linalg.vector_norm(weight[low.start_ : low.stop].float() + low.delta(), dim=1)
            factors += [norm.new_ones(low.start_ - at)] * (low.start_ > at) + [low.length / norm]
            at = low.stop
        factors += [factors[0].new_ones(len(weight) - at)] * (len(weight) > at)
        return torch.cat(factors)

    def start(self, weight: Tensor) -> None:
        """DoRA's lengths and PiSSA's directions."""
        for low in self.parts:
            low.start(weight[low.start_ : low.stop], self.config.pissa)

    def thin(self, weight: Tensor, bias: Tensor | None) -> Thin:
        """s B A beside W; with DoRA's factor f it is f (W x + b) + f s B A x + (1 - f) b."""
        pairs, rows, at = [low.pair for low in self.parts], len(weight), 0
        a = torch.cat([a for a, _ in pairs]).detach().float()
        b, spans = a.new_zeros(rows, len(a)), torch.zeros(rows, 2, dtype=torch.int32)
        for low, (_, wide) in zip(self.parts, pairs, strict=True):
            b[low.start_ : low.stop, at : at + wide.shape[1]] = wide.detach() * low.scale
            spans[low.start_ : low.stop] = torch.tensor([at, at + wide.shape[1]], dtype=torch.int32)
            at += wide.shape[1]
        if not self.config.dora:
            return Thin(a, b, spans)
        factor = self._factor(weight).detach().float()
        return Thin(a, b * factor[:, None], spans, factor, None if bias is None else bias.float() * (1 - factor))

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """W + s B A, with DoRA its rows of length m."""
        whole = weight.clone()
        for low in self.parts:
            whole[low.start_ : low.stop] += low.delta().to(whole.dtype)
        if self.config.dora:
            self.factor = self._factor(weight).to(whole.dtype).detach()
            whole *= self.factor[:, None]
        return whole, bias

    def unmerged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """W again."""
        whole = weight.clone() if self.factor is None else weight / self.factor[:, None]
        for low in self.parts:
            whole[low.start_ : low.stop] -= low.delta().to(whole.dtype)
        self.factor = None
        return whole, bias


def maker(
    config: Lora, seed: int = 0, ranks: Mapping[str, int] | None = None, scales: Mapping[str, float] | None = None
) -> Callable[[list[Target]], LoraSite]:
    """What makes the site of one matrix's targets; `ranks` and `scales` of modules where they are their own."""
    generator = torch.Generator().manual_seed(seed)
    ranks, scales = ranks or {}, scales or {}

    def make(targets: list[Target]) -> LoraSite:
        return LoraSite(config, [
            Low(config, t, ranks.get(t.name, config.rank), scales.get(t.name, config.scale), generator) for t in targets
        ])  # fmt: skip

    return make
