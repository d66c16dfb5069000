"""What an experiment found: rows with an estimate, its interval and its control. JSON in and out, exactly.

Round trip: ``Result.from_json(result.to_json()) == result`` for every result. Series and meta are made
plain (lists, dicts with string keys, numbers, strings, None) when the result is made, so what is compared
before and after is the same thing. Numbers that JSON cannot hold (nan, inf) are written as
``{"$float": "nan"}``, so the document stays valid JSON for every other reader.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from jielong.base.errors import UserError

FORMAT = 1


@dataclass(frozen=True)
class Interval:
    """An interval for the estimate at ``level``, in the unit of the estimate."""

    low: float
    high: float
    level: float = 0.95
    method: str = ""

    def __post_init__(self) -> None:
        for name in ("low", "high", "level"):
            object.__setattr__(self, name, float(getattr(self, name)))

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Row:
    """One measured number beside what it is to be compared with.

    ``control`` is the same measurement without the thing under test; ``truth`` what the world says the
    answer is; ``bar`` what was to be reached; ``n`` the number of independent items behind the estimate.
    """

    name: str
    estimate: float
    interval: Interval | None
    n: int
    control: float | None = None
    control_name: str = ""
    truth: float | None = None
    bar: float | None = None
    verdict: str = ""
    unit: str = ""
    group: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", int(self.n))
        object.__setattr__(self, "estimate", float(self.estimate))
        for name in ("control", "truth", "bar"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else float(value))


@dataclass(frozen=True)
class Result:
    """Rows, the series to draw, and where it all came from (machine, command, minutes, seeds, mode, sources)."""

    name: str
    title: str
    rows: tuple[Row, ...]
    series: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(self.rows))
        object.__setattr__(self, "series", plain(self.series))
        object.__setattr__(self, "meta", plain(self.meta))

    def row(self, name: str, group: str | None = None) -> Row:
        """The row of that name (and group, when given). KeyError if there is none."""
        for row in self.rows:
            if row.name == name and group in (None, row.group):
                return row
        raise KeyError(f"{self.name} has no row {name!r}; it has {', '.join(r.name for r in self.rows)}")

    def to_dict(self) -> dict[str, Any]:
        """Valid JSON values only (see the module's docstring for nan and inf)."""
        packed: dict[str, Any] = _pack({"jielong_result": FORMAT, **asdict(self)})
        return packed

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Result:
        """Raises UserError where the document is not a result or was written by a newer version."""
        document = _unpack(value)
        if not isinstance(document, dict) or document.pop("jielong_result", None) != FORMAT:
            raise UserError(f"this is not a result of format {FORMAT}; make it again with this version of jielong")
        try:
            rows = []
            for raw in document.pop("rows"):
                interval = raw.pop("interval")
                rows.append(Row(interval=None if interval is None else Interval(**interval), **raw))
            return cls(rows=tuple(rows), **document)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise UserError(f"this result has a missing or unknown field ({error}); make it again") from error

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Result:
        try:
            return cls.from_dict(json.loads(text))
        except ValueError as error:
            raise UserError(f"this result is not JSON ({error}); make it again") from error


def plain(value: Any) -> Any:
    """A copy of ``value`` in JSON's own types: tuples, numpy numbers and arrays become lists and numbers.

    Raises TypeError for anything else, rather than writing its ``repr`` and losing it.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")


def _pack(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if isinstance(value, dict):
        return {key: _pack(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_pack(item) for item in value]
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"$float"}:
            return float(value["$float"])
        return {key: _unpack(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unpack(item) for item in value]
    return value
