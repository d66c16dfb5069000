"""The pictures that a result carries in its `series`: plain data, made by `lines`, `panels`, `heat_map`.

A result is JSON, so a picture in it is a mapping with a "kind". What no function here made (a bare
{"x": [...], "y": [...]}) is drawn as one line; anything else has no picture and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jielong.views.charts import Axes, Level, Panel, Series, line, line_table, multiples, panels_table
from jielong.views.heat import heat, heat_table
from jielong.views.html import figure
from jielong.views.markup import Html, Prose, Words, words

Picture = dict[str, Any]


def lines(
    title: Prose,
    series: Sequence[Series],
    *,
    axes: Axes,
    levels: Sequence[Level] = (),
    note: Prose = "",
) -> Picture:
    """Several lines as plain data for a result's series."""
    return {
        "kind": "lines",
        "title": _both(title),
        "note": _both(note),
        "axes": _axes(axes),
        "lines": [_line(s) for s in series],
        "levels": [{"name": _both(level.name), "y": level.y} for level in levels],
    }


def panels(
    title: Prose, parts: Sequence[Panel], *, axes: Axes, columns: int = 3, note: Prose = ""
) -> Picture:
    """Small charts on shared axes as plain data."""
    return {
        "kind": "panels",
        "title": _both(title),
        "note": _both(note),
        "axes": _axes(axes),
        "columns": columns,
        "panels": [
            {
                "title": _both(part.title),
                "lines": [_line(s) for s in part.series],
                "levels": [{"name": _both(level.name), "y": level.y} for level in part.levels],
            }
            for part in parts
        ],
    }


def heat_map(
    title: Prose,
    values: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    unit: str = "",
    signed: bool = False,
    across: Prose = "",
    down: Prose = "",
    note: Prose = "",
) -> Picture:
    """A matrix as plain data."""
    return {
        "kind": "heat",
        "title": _both(title),
        "note": _both(note),
        "values": [list(line_) for line_ in values],
        "rows": list(rows),
        "columns": list(columns),
        "unit": unit,
        "signed": signed,
        "across": _both(across),
        "down": _both(down),
    }


def draw(name: str, picture: Any) -> Html | None:
    """The figure with its table; None where the value is no picture. Raises ValueError where sizes differ."""
    drawn = svg_of(name, picture)
    if drawn is None:
        return None
    return figure(drawn, _title(name, picture), _table(picture), words(picture.get("note", "")))


def svg_of(name: str, picture: Any) -> Html | None:
    """The picture alone."""
    if not isinstance(picture, Mapping):
        return None
    title = _title(name, picture)
    if picture.get("kind") == "heat":
        return heat(
            picture["values"],
            picture["rows"],
            picture["columns"],
            title=title,
            unit=picture["unit"],
            signed=picture["signed"],
            across=words(picture["across"]),
            down=words(picture["down"]),
        )
    if picture.get("kind") == "panels":
        return multiples(_panels(picture), title=title, axes=_axes_of(picture), columns=picture["columns"])
    if picture.get("kind") == "lines" or _bare(picture):
        return line(_series(picture), title=title, axes=_axes_of(picture), levels=_levels(picture))
    return None


def _table(picture: Mapping[str, Any]) -> tuple[list[Prose], list[list[object]]]:
    if picture.get("kind") == "heat":
        return heat_table(picture["values"], picture["rows"], picture["columns"], picture["unit"])
    if picture.get("kind") == "panels":
        return panels_table(_panels(picture), _axes_of(picture))
    return line_table(_series(picture), _axes_of(picture))


def _title(name: str, picture: Mapping[str, Any]) -> Prose:
    return words(picture.get("title") or name.replace("_", " "))


def _both(prose: Prose) -> Any:
    return {"en": prose.en, "zh": prose.zh} if isinstance(prose, Words) else prose


def _line(series: Series) -> Picture:
    made = {"name": _both(series.name), "x": list(series.x), "y": list(series.y)}
    if series.low is not None and series.high is not None:
        made |= {"low": list(series.low), "high": list(series.high)}
    return made | {"dashed": series.dashed, "dots": series.dots, "colour": series.colour}


def _axes(axes: Axes) -> Picture:
    made: Picture = {"x": _both(axes.x), "y": _both(axes.y), "log_x": axes.log_x, "log_y": axes.log_y}
    return made | {"zero": axes.zero, "y_range": None if axes.y_range is None else list(axes.y_range)}


def _axes_of(picture: Mapping[str, Any]) -> Axes:
    made = dict(picture.get("axes") or {})
    limits = made.pop("y_range", None)
    made |= {"x": words(made.get("x", "")), "y": words(made.get("y", ""))}
    return Axes(**made, y_range=None if limits is None else (limits[0], limits[1]))


def _bare(picture: Mapping[str, Any]) -> bool:
    x, y = picture.get("x"), picture.get("y")
    return isinstance(x, list) and isinstance(y, list) and len(x) == len(y) and all(map(_real, [*x, *y]))


def _real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _series(picture: Mapping[str, Any]) -> list[Series]:
    if "lines" not in picture:
        return [Series("", picture["x"], picture["y"])]
    return [Series(**{**raw, "name": words(raw["name"])}) for raw in picture["lines"]]


def _panels(picture: Mapping[str, Any]) -> list[Panel]:
    return [Panel(words(part["title"]), _series(part), _levels(part)) for part in picture["panels"]]


def _levels(picture: Mapping[str, Any]) -> list[Level]:
    return [Level(words(raw["name"]), raw["y"]) for raw in picture.get("levels", [])]
