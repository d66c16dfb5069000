"""Bars of rows: estimate, interval, control, truth and the bar to be reached, one set of rows beside another.

Rows of several sets (a base model and an assistant, say) meet by group and name. A share (unit "share", or
no unit and nothing outside [0, 1]) runs from 0 to 100%.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jielong.base.result import Row
from jielong.views.drawing import FAINT, GRID, INK, PAPER, WIDE, colour, label, legend, prose_width, svg
from jielong.views.markup import (
    Html,
    Prose,
    Words,
    both,
    chinese,
    coordinate,
    element,
    english,
    join,
    number,
    shorten,
)
from jielong.views.scales import Scale, fit

CONTROL, TRUTH, BAR = Words("control", "對照"), Words("truth", "真值"), Words("to be reached", "目標")
VALUE, THICK = 84.0, 11.0  # the room for values at the right; one bar
Key = tuple[str, str]


@dataclass(frozen=True)
class BarSet:
    """Rows of one system, drawn in one colour."""

    name: Prose
    rows: Sequence[Row]


def is_share(rows: Sequence[Row]) -> bool:
    """Whether these numbers are shares of one, to be printed as percentages."""
    if any(row.unit not in ("", "share") for row in rows):
        return False
    marked = any(row.unit == "share" for row in rows)
    return marked or all(0 <= v <= 1 for row in rows for v in _values(row))


def unit_of(rows: Sequence[Row]) -> str:
    """The unit to print these rows' numbers with."""
    return "share" if is_share(rows) else next((row.unit for row in rows), "")


def keys(sets: Sequence[BarSet]) -> list[Key]:
    """(group, name) of every row in order of first appearance, those of one group together."""
    found = list(dict.fromkeys((row.group, row.name) for each in sets for row in each.rows))
    groups = list(dict.fromkeys(group for group, _ in found))
    return sorted(found, key=lambda key: groups.index(key[0]))


def bars(sets: Sequence[BarSet], *, title: Prose, names: Mapping[str, Prose] | None = None) -> Html:
    """Horizontal bars from nought, with whiskers, a hollow diamond for the control, a triangle for the truth
    and a tick for the bar to be reached. `names` gives rows and groups readable or translated names."""
    named, rows = names or {}, [row for each in sets for row in each.rows]
    unit, table = unit_of(rows), [{(r.group, r.name): r for r in each.rows} for each in sets]
    room = min(300.0, max((prose_width(named.get(name, name)) for _, name in keys(sets)), default=0.0) + 22)
    whole = unit == "share" and all(0 <= v <= 1 for row in rows for v in _values(row))
    axis = fit([v for row in rows for v in _values(row)], room, WIDE - VALUE, zero=True)
    axis = Scale(0.0, 1.0, room, WIDE - VALUE) if whole else axis
    parts, y = [_legend(sets, rows)], 32.0
    top, group = y, ""
    for key in keys(sets):
        if key[0] != group:
            group = key[0]
            parts.append(label(_short(named.get(group, group), WIDE), 0.0, y + 15, font_weight="600"))
            y += 26.0
        found = [(index, each[key]) for index, each in enumerate(table) if key in each]
        parts.append(_slot(named.get(key[1], key[1]), found, axis, y, unit))
        y += len(found) * (THICK + 4) + 13.0
    content = join([_grid(axis, unit, top, y), *parts])
    return svg(WIDE, y + 22, title, _describe(sets, unit), content)


def bars_table(
    sets: Sequence[BarSet], names: Mapping[str, Prose] | None = None
) -> tuple[list[Prose], list[list[object]]]:
    """The same as headers and rows: name, every set's estimate and interval, control, truth, bar, n."""
    named, rows = names or {}, [row for each in sets for row in each.rows]
    unit, table = unit_of(rows), [{(r.group, r.name): r for r in each.rows} for each in sets]
    body: list[list[object]] = []
    for key in keys(sets):
        found = [each.get(key) for each in table]
        first = next(row for row in reversed(found) if row is not None)
        cells: list[object] = [named.get(key[1], key[1])]
        cells += [DASHES if row is None else estimate(row, unit) for row in found]
        cells += [number(value, unit) for value in (first.control, first.truth, first.bar)]
        body.append([*cells, first.n])
    return [Words("measured", "量測項目"), *(each.name for each in sets), CONTROL, TRUTH, BAR, "n"], body


DASHES = number(None)


def estimate(row: Row, unit: str) -> str:
    """An estimate with its interval, as one reads it: 95.3% [91.0, 97.8]."""
    shown = number(row.estimate, unit)
    if row.interval is None:
        return shown
    low, high = (
        number(v, unit).removesuffix("%" if unit in ("share", "%") else f" {unit}") for v in _ends(row)
    )
    return f"{shown} [{low}, {high}]"


def _ends(row: Row) -> tuple[float, float]:
    return (row.interval.low, row.interval.high) if row.interval else (row.estimate, row.estimate)


def _values(row: Row) -> list[float]:
    values = [row.estimate, *_ends(row), row.control, row.truth, row.bar]
    return [v for v in values if v is not None and not math.isnan(v)]


def _short(prose: Prose, room: float) -> Prose:
    return Words(shorten(english(prose), 12.0, room), shorten(chinese(prose), 12.0, room))


def _grid(axis: Scale, unit: str, top: float, bottom: float) -> Html:
    parts = []
    for tick in axis.ticks():
        place = axis.at(tick)
        stroke = f"stroke:{FAINT if tick == 0 else GRID}"
        parts.append(element("line", x1=place, x2=place, y1=top, y2=bottom, style=stroke))
        shown = number(tick, unit).replace(".0%", "%") if unit in ("share", "%") else axis.label(tick)
        parts.append(label(shown, place, bottom + 16, fill=FAINT, text_anchor="middle", font_size=11.0))
    return join(parts)


def _slot(name: Prose, found: Sequence[tuple[int, Row]], axis: Scale, y: float, unit: str) -> Html:
    """One name with the bars of all sets below one another, and the marks all of them share."""
    middle = y + len(found) * (THICK + 4) / 2
    parts = [label(_short(name, axis.start - 20), axis.start - 12, middle + 3, text_anchor="end")]
    for place, (index, row) in enumerate(found):
        parts.append(_bar(row, name, colour(index), axis, y + place * (THICK + 4), unit))
    target = next((row.bar for _, row in found if row.bar is not None), None)
    if target is not None and not math.isnan(target):
        at, low = axis.clamp(target), y + len(found) * (THICK + 4)
        parts.append(element("line", x1=at, x2=at, y1=y - 4, y2=low, style=f"stroke:{INK};stroke-width:2.5"))
    return join(parts)


def _bar(row: Row, name: Prose, hue: str, axis: Scale, y: float, unit: str) -> Html:
    said = f"{both(name)}: {estimate(row, unit)}, n={row.n:,}"
    shown = number(row.estimate, unit)
    zero, end = axis.clamp(0.0), axis.clamp(row.estimate)
    parts = [element("title", said)]
    if math.isnan(end):
        return element("g", join([*parts, label(shown, axis.end + 12, y + 10, fill=FAINT)]))
    box = {"x": min(zero, end), "y": y, "width": abs(end - zero), "height": THICK, "rx": 2.0}
    parts.append(element("rect", **box, style=f"fill:{hue};fill-opacity:.82"))
    middle, (low, high) = y + THICK / 2, (axis.clamp(v) for v in _ends(row))
    if row.interval is not None and not math.isnan(low + high):
        path = f"M{_at(low, middle - 3)}V{coordinate(middle + 3)}M{_at(low, middle)}H{coordinate(high)}"
        path += f"M{_at(high, middle - 3)}V{coordinate(middle + 3)}"
        parts.append(element("path", d=path, style=f"fill:none;stroke:{INK};stroke-width:1.3"))
    if row.control is not None and not math.isnan(row.control):
        parts.append(_diamond(axis.clamp(row.control), middle, row))
    if row.truth is not None and not math.isnan(row.truth):
        at = axis.clamp(row.truth)
        path = f"M{_at(at - 4, y - 4)}H{coordinate(at + 4)}L{_at(at, y + 2)}Z"
        parts.append(element("path", d=path, style=f"fill:{INK}"))
    parts.append(label(shown, axis.end + 12, y + 10, class_="value"))
    return element("g", join(parts))


def _diamond(at: float, middle: float, row: Row) -> Html:
    path = (
        f"M{_at(at - 4.5, middle)}L{_at(at, middle - 4.5)}L{_at(at + 4.5, middle)}L{_at(at, middle + 4.5)}Z"
    )
    said = element("title", f"{row.control_name or 'control'}: {number(row.control, row.unit)}")
    return element("path", said, d=path, style=f"fill:{PAPER};stroke:{INK};stroke-width:1.4")


def _at(x: float, y: float) -> str:
    return f"{coordinate(x)} {coordinate(y)}"


def _legend(sets: Sequence[BarSet], rows: Sequence[Row]) -> Html:
    """Colours of the sets and the marks that occur, at the top."""
    entries = [(each.name, colour(index)) for index, each in enumerate(sets)] if len(sets) > 1 else []
    x = sum(prose_width(name) + 33.0 for name, _ in entries)
    parts = [legend(entries, 0.0, 14.0)]
    marks = (
        (CONTROL, any(r.control is not None for r in rows), _diamond_mark),
        (TRUTH, any(r.truth is not None for r in rows), _triangle_mark),
        (BAR, any(r.bar is not None for r in rows), _tick_mark),
    )
    for name, present, mark in marks:
        if present:
            parts += [mark(x + 5.0), label(name, x + 16.0, 14.0, fill=FAINT)]
            x += prose_width(name) + 34.0
    return join(parts)


def _diamond_mark(x: float) -> Html:
    path = f"M{_at(x - 4.5, 10)}L{_at(x, 5.5)}L{_at(x + 4.5, 10)}L{_at(x, 14.5)}Z"
    return element("path", d=path, style=f"fill:{PAPER};stroke:{INK};stroke-width:1.4")


def _triangle_mark(x: float) -> Html:
    return element("path", d=f"M{_at(x - 4, 7)}H{coordinate(x + 4)}L{_at(x, 13)}Z", style=f"fill:{INK}")


def _tick_mark(x: float) -> Html:
    return element("line", x1=x, x2=x, y1=3.0, y2=17.0, style=f"stroke:{INK};stroke-width:2.5")


def _describe(sets: Sequence[BarSet], unit: str) -> Words:
    said = [f"{r.name}: {estimate(r, unit)}" for each in sets for r in each.rows]
    return Words("; ".join(said), "；".join(said))
