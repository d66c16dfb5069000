"""Heat maps (attention, confusion, any matrix) as SVG: one hue by strength, or two by sign."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jielong.views.drawing import FAINT, GRID, INK, PAPER, WIDE, colour, label, legend, svg
from jielong.views.markup import Html, Prose, Words, element, join, number, shorten, width

LABEL_ROOM = 120.0


def heat(
    values: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: Prose,
    unit: str = "",
    signed: bool = False,
    limit: float | None = None,
    across: Prose = "",
    down: Prose = "",
) -> Html:
    """A matrix (len(rows) x len(columns)); nan is an empty cell (a masked position).

    Strength is |value| / limit (the largest by default). With `signed`, negative values take the second hue.
    Raises ValueError where the sizes do not fit, or a value is negative without `signed`.
    """
    matrix = [[float(v) for v in line] for line in values]
    if len(matrix) != len(rows) or any(len(line) != len(columns) for line in matrix):
        raise ValueError(f"{len(matrix)} lines of values for {len(rows)} rows and {len(columns)} columns")
    real = [v for line in matrix for v in line if math.isfinite(v)]
    if not signed and any(v < 0 for v in real):
        raise ValueError("negative values need signed=True")
    most = limit or max(map(abs, real), default=1.0) or 1.0
    cell = min(44.0, max(7.0, (WIDE - LABEL_ROOM) / max(len(columns), 1)))
    left = min(LABEL_ROOM, max((width(_shown(r), 11.0) for r in rows), default=0.0) + 12)
    head = min(90.0, max((width(_shown(c), 11.0) for c in columns), default=0.0) * 0.87 + 14)
    top = head + (20.0 if across or down else 4.0)
    parts = [_axis_names(across, down), _names(rows, columns, left, top, cell)]
    for i, line in enumerate(matrix):
        for j, value in enumerate(line):
            said = f"{rows[i]} → {columns[j]}: {number(value, unit)}"
            parts.append(_cell(value, most, said, unit, (left + j * cell, top + i * cell, cell)))
    bottom = top + len(rows) * cell
    parts.append(_key(most, unit, signed, left, bottom + 20))
    wide = max(left + len(columns) * cell + head * 0.6, left + 190.0)
    peak = number(max(real, key=abs, default=math.nan), unit)
    desc = Words(f"The strongest value is {peak}.", f"最強的值是 {peak}。")
    return svg(wide, bottom + 28, title, desc, join(parts))


def heat_table(
    values: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str], unit: str = ""
) -> tuple[list[Prose], list[list[object]]]:
    """Headers and rows of the same numbers."""
    body: list[list[object]] = [
        [name, *(number(float(v), unit) for v in line)] for name, line in zip(rows, values, strict=True)
    ]
    return ["", *columns], body


def _shown(name: str) -> str:
    """A token's name as it can be seen: a space and a line's end have signs."""
    return shorten(name.replace(" ", "␣").replace("\n", "⏎") or "∅", 11.0, 96.0)


def _axis_names(across: Prose, down: Prose) -> Html:
    parts = [label(down, 0.0, 12.0, fill=FAINT, font_size=11.0)] if down else []
    if across:
        parts.append(label(across, LABEL_ROOM, 12.0, fill=FAINT, font_size=11.0))
    return join(parts)


def _names(rows: Sequence[str], columns: Sequence[str], left: float, top: float, cell: float) -> Html:
    parts = []
    for i, name in enumerate(rows):
        y = top + (i + 0.5) * cell + 4
        parts.append(label(_shown(name), left - 6, y, text_anchor="end", font_size=11.0))
    for j, name in enumerate(columns):
        x = left + (j + 0.5) * cell + 3
        turn = f"rotate(-60 {x:.1f} {top - 5:.1f})"
        parts.append(label(_shown(name), x, top - 5, font_size=11.0, transform=turn))
    return join(parts)


def _cell(value: float, most: float, said: str, unit: str, place: tuple[float, float, float]) -> Html:
    x, y, size = place
    box = {"x": x + 0.5, "y": y + 0.5, "width": size - 1, "height": size - 1, "rx": min(2.0, size / 6)}
    tip = element("title", said)
    if not math.isfinite(value):
        return element("rect", tip, **box, style=f"fill:none;stroke:{GRID}")
    strength = min(abs(value) / most, 1.0)
    hue = colour(1 if value < 0 else 0)
    parts = [element("rect", tip, **box, style=f"fill:{hue};fill-opacity:{0.04 + 0.96 * strength:.3f}")]
    if size >= 32:
        shown = f"{value * 100:.0f}" if unit == "share" else number(value).replace("0.", ".", 1)
        ink = PAPER if strength > 0.55 else INK
        middle = {"text_anchor": "middle", "font_size": 10.0, "fill": ink}
        parts.append(label(shown, x + size / 2, y + size / 2 + 3.5, **middle))
    return join(parts)


def _key(most: float, unit: str, signed: bool, x: float, y: float) -> Html:
    if signed:
        return legend([(f"+{number(most, unit)}", colour(0)), (f"−{number(most, unit)}", colour(1))], x, y)
    steps = [
        element(
            "rect", x=x + 24 * i, y=y - 9, width=24.0, height=10.0, style=f"fill:{colour(0)};fill-opacity:{s}"
        )
        for i, s in enumerate((0.04, 0.28, 0.52, 0.76, 1.0))
    ]
    ends = label(f"0 – {number(most, unit)}", x + 128, y, fill=FAINT, font_size=11.0)
    return join([*steps, ends])
