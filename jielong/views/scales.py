"""From numbers to places: linear and logarithmic axes with round ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

ROUND = (1.0, 2.0, 2.5, 5.0, 10.0)
SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def round_step(span: float, count: int) -> float:
    """The smallest of 1, 2, 2.5, 5 x 10^k that cuts `span` into `count` pieces or fewer."""
    raw = span / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * mantissa for mantissa in ROUND if power * mantissa >= raw * (1 - 1e-9))


@dataclass(frozen=True)
class Scale:
    """Maps [low, high] to [start, end] in the drawing; with `log`, by the logarithm of the value."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The place of a value; nan where it has none (not finite, or not positive on a logarithmic axis)."""
        if not math.isfinite(value) or (self.log and value <= 0):
            return math.nan
        low, high, place = self.low, self.high, value
        if self.log:
            low, high, place = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (place - low) / (high - low) * (self.end - self.start)

    def clamp(self, value: float) -> float:
        """The place of a value moved inside the axis (nan stays nan)."""
        return self.at(min(max(value, self.low), self.high))

    def ticks(self, count: int = 5) -> list[float]:
        """Round values inside [low, high], rising."""
        if self.log:
            return self._log_ticks(count)
        step = round_step(self.high - self.low, count)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]

    def _log_ticks(self, count: int) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for mantissas in ((1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
            ticks = [m * 10.0**power for power in range(first, last + 1) for m in mantissas]
            inside = [t for t in ticks if self.low * (1 - 1e-9) <= t <= self.high * (1 + 1e-9)]
            if len(inside) <= count + 1:
                break
        stride = max(1, math.ceil(len(inside) / (count + 1)))
        return inside[::stride]

    def label(self, tick: float) -> str:
        """A tick's short name: 1.5k, 2M, 0.25."""
        if tick == 0:
            return "0"
        for size, suffix in SUFFIXES:
            if abs(tick) >= size * (1 - 1e-9):
                return f"{tick / size:.4g}{suffix}".replace("-", "−")
        shown = f"{tick:.4g}" if abs(tick) >= 1e-4 else f"{tick:.0e}"
        return shown.replace("-", "−")


def fit(values: Iterable[float], start: float, end: float, *, log: bool = False, zero: bool = False) -> Scale:
    """An axis that holds all finite values, a little widened; `zero` makes it begin (or end) at nought.

    With no usable value it is [0, 1] (or [1, 10] on a logarithmic axis); with one, that value in the middle.
    """
    usable = [float(v) for v in values if math.isfinite(v) and (v > 0 or not log)]
    if not usable:
        return Scale(1.0, 10.0, start, end, True) if log else Scale(0.0, 1.0, start, end)
    low, high = min(usable), max(usable)
    if log:
        margin = (high / low) ** 0.03 if high / low > 1 + 1e-9 else 2.0
        return Scale(low / margin, high * margin, start, end, True)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-300):
        pad = abs(high) / 2 or 1.0
        return Scale(low - pad, high + pad, start, end)
    pad = (high - low) * 0.04
    low = low if zero and low == 0 else low - pad
    return Scale(low, high if zero and high == 0 else high + pad, start, end)
