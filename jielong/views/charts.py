"""Line charts and small multiples as SVG: several series, logarithmic axes, bands, levels, direct labels.

Every picture names itself (title, desc) and has a table that says the same (`line_table`). Where a series
has more points than the picture has pixels, the lowest and the highest of each run of points are drawn, so
no spike is lost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jielong.views.drawing import FAINT, GRID, PAPER, WIDE, colour, label, legend, prose_width, spread, svg
from jielong.views.markup import Html, Prose, Words, both, chinese, coordinate, element, english, join, number
from jielong.views.scales import Scale, fit

MOST_POINTS = 600
TABLE_ROWS = 24


@dataclass(frozen=True)
class Series:
    """One line: y over x, perhaps with a band from `low` to `high`. All sequences are equally long.

    Values that cannot be drawn (nan, infinities, non-positive ones on a logarithmic axis) leave a gap.
    """

    name: Prose
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    dashed: bool = False
    dots: bool = False
    colour: int | None = None

    def __post_init__(self) -> None:
        for other in (self.y, self.low, self.high):
            if other is not None and len(other) != len(self.x):
                raise ValueError(f"{english(self.name)}: {len(self.x)} x values and {len(other)} beside them")
        if (self.low is None) != (self.high is None):
            raise ValueError(f"{english(self.name)}: a band needs both low and high")


@dataclass(frozen=True)
class Level:
    """A horizontal line at a known value: a bound, chance, the exact entropy."""

    name: Prose
    y: float


@dataclass(frozen=True)
class Panel:
    """One of several small charts on shared axes."""

    title: Prose
    series: Sequence[Series]
    levels: Sequence[Level] = ()


@dataclass(frozen=True)
class Axes:
    """What both axes are called and how they run. `y_range` fixes the vertical axis."""

    x: Prose = ""
    y: Prose = ""
    log_x: bool = False
    log_y: bool = False
    zero: bool = False
    y_range: tuple[float, float] | None = None


PLAIN = Axes()


def line(
    series: Sequence[Series],
    *,
    title: Prose,
    axes: Axes = PLAIN,
    levels: Sequence[Level] = (),
    size: tuple[float, float] = (WIDE, 320.0),
) -> Html:
    """One chart with a label at the end of every line. See `Series`, `Level` and `Axes`."""
    names = [s.name for s in series] + [level.name for level in levels]
    room = min(max((prose_width(name) for name in names), default=0.0) + 14, size[0] * 0.4)
    box = (52.0, 30.0 if axes.y else 14.0, size[0] - max(room, 16.0), size[1] - (42.0 if axes.x else 26.0))
    x, y = _scales(series, levels, axes, box)
    parts = [_frame(x, y, axes, box), _plot(series, levels, x, y), _end_labels(series, levels, x, y, box)]
    if axes.y:
        parts.append(label(axes.y, 4.0, 14.0, fill=FAINT))
    if axes.x:
        parts.append(label(axes.x, (box[0] + box[2]) / 2, size[1] - 6, fill=FAINT, text_anchor="middle"))
    return svg(*size, title, _describe(series, levels), join(parts))


def multiples(panels: Sequence[Panel], *, title: Prose, axes: Axes = PLAIN, columns: int = 3) -> Html:
    """Small charts side by side on shared axes, so that heights compare; one legend for all."""
    columns = max(1, min(columns, len(panels)))
    wide, tall, gap, top = WIDE / columns, 176.0, 12.0, 28.0
    series = [s for panel in panels for s in panel.series]
    levels = [level for panel in panels for level in panel.levels]
    parts = [legend([(s.name, colour(_hue(s, i))) for i, s in _distinct(panels)], 4.0, 14.0)]
    for index, panel in enumerate(panels):
        left, upper = index % columns * wide, top + index // columns * tall
        box = (left + 44.0, upper + 26.0, left + wide - gap, upper + tall - 26.0)
        x, y = _scales(series, levels, axes, box)
        heading = label(panel.title, box[0], upper + 14.0, font_weight="600")
        parts += [heading, _frame(x, y, axes, box, 3), _plot(panel.series, panel.levels, x, y)]
    height = top + math.ceil(len(panels) / columns) * tall + (18.0 if axes.x else 0.0)
    if axes.x:
        parts.append(label(axes.x, WIDE / 2, height - 6, fill=FAINT, text_anchor="middle"))
    if axes.y:
        parts.append(label(axes.y, WIDE - 4, 14.0, fill=FAINT, text_anchor="end"))
    return svg(WIDE, height, title, _describe(series, levels), join(parts))


def line_table(series: Sequence[Series], axes: Axes = PLAIN) -> tuple[list[Prose], list[list[object]]]:
    """Headers and rows that say what the chart shows: every x (at most some two dozen, evenly chosen)."""
    return [axes.x or "x", *(s.name for s in series)], _lines_of(series, [s.name for s in series])


def panels_table(panels: Sequence[Panel], axes: Axes = PLAIN) -> tuple[list[Prose], list[list[object]]]:
    """The same for small multiples: the panels one below another, a column for each name of a series."""
    names = [s.name for _, s in _distinct(panels)]
    rows: list[list[object]] = []
    for panel in panels:
        rows += [[panel.title], *_lines_of(panel.series, names)]
    return [axes.x or "x", *names], rows


def _lines_of(series: Sequence[Series], names: Sequence[Prose]) -> list[list[object]]:
    """A row for each x, with the value of every named series there (None where it has none)."""
    columns = {s.name: {float(x): float(y) for x, y in zip(s.x, s.y, strict=True)} for s in series}
    places = sorted({place for column in columns.values() for place in column})
    if len(places) > TABLE_ROWS:
        chosen = {round(i * (len(places) - 1) / (TABLE_ROWS - 1)) for i in range(TABLE_ROWS)}
        places = [place for index, place in enumerate(places) if index in chosen]
    return [[place, *(columns.get(name, {}).get(place) for name in names)] for place in places]


def _distinct(panels: Sequence[Panel]) -> list[tuple[int, Series]]:
    """The first series of every name, with its place within its panel."""
    seen: dict[Prose, tuple[int, Series]] = {}
    for panel in panels:
        for index, s in enumerate(panel.series):
            seen.setdefault(s.name, (index, s))
    return list(seen.values())


def _hue(series: Series, index: int) -> int:
    return index if series.colour is None else series.colour


def _scales(
    series: Sequence[Series], levels: Sequence[Level], axes: Axes, box: tuple[float, float, float, float]
) -> tuple[Scale, Scale]:
    left, top, right, bottom = box
    x = fit([v for s in series for v in s.x], left, right, log=axes.log_x)
    if axes.y_range is not None:
        return x, Scale(*axes.y_range, bottom, top, axes.log_y)
    heights = [v for s in series for part in (s.y, s.low, s.high) if part is not None for v in part]
    heights += [level.y for level in levels]
    return x, fit(heights, bottom, top, log=axes.log_y, zero=axes.zero)


def _frame(x: Scale, y: Scale, axes: Axes, box: tuple[float, float, float, float], count: int = 5) -> Html:
    """Grid lines, the base line and the ticks' names."""
    left, _, right, bottom = box
    parts = []
    for tick in y.ticks(count):
        place = y.at(tick)
        parts.append(element("line", x1=left, x2=right, y1=place, y2=place, style=f"stroke:{GRID}"))
        parts.append(label(y.label(tick), left - 7, place + 4, fill=FAINT, text_anchor="end", font_size=11.0))
    parts.append(element("line", x1=left, x2=right, y1=bottom, y2=bottom, style=f"stroke:{FAINT}"))
    for tick in x.ticks(count if count < 5 else 7):
        place = x.at(tick)
        parts.append(element("line", x1=place, x2=place, y1=bottom, y2=bottom + 4, style=f"stroke:{FAINT}"))
        parts.append(
            label(x.label(tick), place, bottom + 17, fill=FAINT, text_anchor="middle", font_size=11.0)
        )
    return join(parts)


def _plot(series: Sequence[Series], levels: Sequence[Level], x: Scale, y: Scale) -> Html:
    parts = []
    for level in levels:
        place = y.clamp(level.y)
        stroke = f"stroke:{FAINT};stroke-dasharray:2 4;stroke-width:1.5"
        parts.append(element("line", x1=x.start, x2=x.end, y1=place, y2=place, style=stroke))
    for index, s in enumerate(series):
        hue = colour(_hue(s, index))
        if s.low is not None and s.high is not None:
            shape = _band(s, s.low, s.high, x, y)
            if shape:
                parts.append(element("path", d=shape, style=f"fill:{hue};fill-opacity:.16"))
        dash = ";stroke-dasharray:6 4" if s.dashed else ""
        stroke = f"fill:none;stroke:{hue};stroke-width:2;stroke-linejoin:round;stroke-linecap:round{dash}"
        points = _points(s, x, y)
        parts.append(element("path", d=_path(points), style=stroke))
        if s.dots or sum(not math.isnan(p[1]) for p in points) < 2:
            parts += [_dot(s, place, hue, x, y) for place in range(len(s.x))]
    return join(parts)


def _dot(series: Series, place: int, hue: str, x: Scale, y: Scale) -> Html:
    across, up = x.at(float(series.x[place])), y.at(float(series.y[place]))
    if math.isnan(across) or math.isnan(up):
        return Html("")
    said = f"{both(series.name)}: {number(float(series.x[place]))}, {number(float(series.y[place]))}"
    return element(
        "circle", element("title", said), cx=across, cy=up, r=3.2, style=f"fill:{hue};stroke:{PAPER}"
    )


def _points(series: Series, x: Scale, y: Scale) -> list[tuple[float, float]]:
    """Places in the drawing, nan where there is a gap; thinned to the extremes of each run when too many."""
    points = [(x.at(float(a)), y.at(float(b))) for a, b in zip(series.x, series.y, strict=True)]
    if len(points) <= MOST_POINTS:
        return points
    kept: list[tuple[float, float]] = []
    run = math.ceil(len(points) / (MOST_POINTS / 2))
    heights = [up for _, up in points]
    for start in range(0, len(points), run):
        piece = range(start, min(start + run, len(points)))
        real = [i for i in piece if not math.isnan(heights[i])] or [start]
        ends = (min(real, key=heights.__getitem__), max(real, key=heights.__getitem__))
        kept += [points[i] for i in sorted(set(ends))]
    return [points[0], *kept, points[-1]]


def _path(points: Sequence[tuple[float, float]]) -> str:
    commands, pen = [], False
    for across, up in points:
        if math.isnan(across) or math.isnan(up):
            pen = False
            continue
        commands.append(f"{'L' if pen else 'M'}{coordinate(across)} {coordinate(up)}")
        pen = True
    return "".join(commands)


def _band(series: Series, low: Sequence[float], high: Sequence[float], x: Scale, y: Scale) -> str:
    """The outline of the band, up along `high` and back along `low`; points with a gap are left out."""
    triples = zip(series.x, low, high, strict=True)
    places = [(x.at(float(a)), y.clamp(float(b)), y.clamp(float(c))) for a, b, c in triples]
    whole = [p for p in places if not any(map(math.isnan, p))]
    outline = [(a, c) for a, _, c in whole] + [(a, b) for a, b, _ in reversed(whole)]
    return _path(outline) + "Z" if len(whole) > 1 else ""


def _end_labels(
    series: Sequence[Series],
    levels: Sequence[Level],
    x: Scale,
    y: Scale,
    box: tuple[float, float, float, float],
) -> Html:
    """Names to the right of the lines' ends, pushed apart so that none covers another."""
    wanted: list[tuple[float, Prose, str]] = [(y.clamp(level.y), level.name, FAINT) for level in levels]
    for index, s in enumerate(series):
        real = [p for p in _points(s, x, y) if not math.isnan(p[0]) and not math.isnan(p[1])]
        if real:
            wanted.append((real[-1][1], s.name, colour(_hue(s, index))))
    wanted.sort(key=lambda item: item[0])
    places = spread([place for place, _, _ in wanted], 15.0, box[1], box[3])
    parts = [
        label(name, box[2] + 8, place + 4, style=f"fill:{fill}")
        for place, (_, name, fill) in zip(places, wanted, strict=True)
    ]
    return join(parts)


def _describe(series: Sequence[Series], levels: Sequence[Level]) -> Words:
    """First, last, lowest and highest value of every line, for those who hear the picture."""
    en, zh = [], []
    for s in series:
        real = [float(v) for v in s.y if math.isfinite(v)]
        if real:
            first, last, low, high = (number(v) for v in (real[0], real[-1], min(real), max(real)))
            en.append(f"{english(s.name)}: from {first} to {last}, lowest {low}, highest {high}.")
            zh.append(f"{chinese(s.name)}：從 {first} 到 {last}，最低 {low}，最高 {high}。")
    for level in levels:
        en.append(f"{english(level.name)}: {number(level.y)}.")
        zh.append(f"{chinese(level.name)}：{number(level.y)}。")
    return Words(" ".join(en), "".join(zh))
