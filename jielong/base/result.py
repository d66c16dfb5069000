"""What an experiment found: rows with an estimate, its interval and its control. JSON in and out, exactly.

Round trip: ``Result.from_json(result.to_json()) == result`` for every result without nan (which equals
nothing, itself included; it still comes back as nan). Series and meta are made plain (lists, dicts with
string keys, numbers, strings, None) when the result is made, so both sides compare the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from jielong.base.errors import UserError
from jielong.base.plain import dumps, loads, plain

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
    """Rows, the series to draw, and where it came from (machine, command, minutes, seeds, mode, sources)."""

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

    def to_json(self) -> str:
        return dumps({"jielong_result": FORMAT, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> Result:
        """Raises UserError where the document is not a result or was written by a newer version."""
        try:
            document = loads(text)
        except ValueError as error:
            raise UserError(f"this result is not JSON ({error}); make it again") from error
        if not isinstance(document, dict) or document.pop("jielong_result", None) != FORMAT:
            raise UserError(f"this is not a result of format {FORMAT}; make it again with this version")
        try:
            rows = []
            for raw in document.pop("rows"):
                interval = raw.pop("interval")
                rows.append(Row(interval=None if interval is None else Interval(**interval), **raw))
            return cls(rows=tuple(rows), **document)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise UserError(f"this result has a missing or unknown field ({error}); make it again") from error
