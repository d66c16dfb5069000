"""Rows as people want them: a picture for each unit, and one table with intervals, controls and bars."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from jielong.base.result import Row
from jielong.views.bars import BAR, CONTROL, TRUTH, BarSet, bars, estimate, is_share, keys, unit_of
from jielong.views.html import figure, paragraph, table
from jielong.views.markup import Html, Prose, Words, element, join, number, text
from jielong.views.verdicts import MISSED, REACHED, mark, target

LEGEND = Words(
    "In brackets: the interval (95% unless said otherwise). A control is the same measurement without the "
    "thing under test; n is the number of independent items.",
    "方括號內是信賴區間（未註明者為 95%）。對照是去掉受測因素後的同一量測；n 是獨立樣本數。",
)


def scorecard(
    sets: Sequence[BarSet],
    *,
    title: Prose,
    names: Mapping[str, Prose] | None = None,
    at_most: Collection[str] = (),
) -> Html:
    """Pictures and the table of one or several sets of rows. `names` gives rows and groups readable or
    translated names; `at_most` names the rows whose bar is an upper bound."""
    pictures = [_picture(part, title, names) for part in by_unit(sets) if _worth_drawing(part)]
    return join([*pictures, rows_table(sets, names=names, at_most=at_most), paragraph(LEGEND, "sub")])


def by_unit(sets: Sequence[BarSet]) -> list[list[BarSet]]:
    """The same sets cut by unit, so that every picture has one axis. Unmarked shares go with the shares."""
    found: dict[str, list[list[Row]]] = {}
    for index, each in enumerate(sets):
        for row in each.rows:
            unit = "share" if is_share([row]) else row.unit
            found.setdefault(unit, [[] for _ in sets])[index].append(row)
    return [
        [BarSet(each.name, rows) for each, rows in zip(sets, parts, strict=True)] for parts in found.values()
    ]


def _worth_drawing(part: Sequence[BarSet]) -> bool:
    """One thing measured alone needs no picture."""
    return len(keys(part)) > 1


def _picture(part: Sequence[BarSet], title: Prose, names: Mapping[str, Prose] | None) -> Html:
    unit = unit_of([row for each in part for row in each.rows])
    caption = "" if unit in ("", "share", "%") else unit
    return figure(bars(part, title=title, names=names), caption)


def rows_table(
    sets: Sequence[BarSet],
    *,
    names: Mapping[str, Prose] | None = None,
    at_most: Collection[str] = (),
) -> Html:
    """One line for each row of any set; columns that would be empty are left out."""
    named, every = names or {}, [row for each in sets for row in each.rows]
    tables = [{(row.group, row.name): row for row in each.rows} for each in sets]
    columns = {
        "control": any(row.control is not None for row in every),
        "truth": any(row.truth is not None for row in every),
        "bar": any(row.bar is not None for row in every),
        "verdict": any(row.verdict not in ("", REACHED, MISSED) for row in every),
    }
    headers: list[Prose] = [Words("measured", "量測項目")]
    headers += [each.name if len(sets) > 1 else Words("estimate", "估計值") for each in sets]
    titles = {"control": CONTROL, "truth": TRUTH, "bar": BAR, "verdict": Words("verdict", "判定")}
    headers += [titles[key] for key, present in columns.items() if present] + ["n"]
    body: list[list[object]] = []
    group = ""
    for key in keys(sets):
        if key[0] != group:
            group = key[0]
            body.append([text(named.get(group, group))])
        found = [each.get(key) for each in tables]
        body.append(_line(named.get(key[1], key[1]), found, columns, at_most))
    sides = "l" + "r" * len(sets)
    sides += (
        "".join("l" if key in ("verdict", "bar") else "r" for key, present in columns.items() if present)
        + "r"
    )
    return table(headers, body, align=sides)


def _line(
    name: Prose, found: Sequence[Row | None], columns: Mapping[str, bool], at_most: Collection[str]
) -> list[object]:
    real = [row for row in found if row is not None]
    unit, last = unit_of(real), real[-1]
    first = [text(name), *[_small(row.note) for row in real if row.note][-1:]]
    cells: list[object] = [join(first)]
    cells += [Html(number(None)) if row is None else _estimate(row, unit) for row in found]
    if columns["control"]:
        cells.append(_control(real, unit))
    if columns["truth"]:
        cells.append(number(last.truth, unit))
    if columns["bar"]:
        aim = target(last, unit, at_most)
        cells.append(number(None) if aim is None else join([aim.shown, " ", _sign(aim.reached)]))
    if columns["verdict"]:
        cells.append(mark(last.verdict) if last.verdict else Html(number(None)))
    return [*cells, f"{last.n:,}"]


def _sign(reached_: bool) -> Html:
    return mark(REACHED if reached_ else MISSED)


def _small(note: str) -> Html:
    return element("div", text(note), class_="sub")


def _estimate(row: Row, unit: str) -> Html:
    shown, _, interval = estimate(row, unit).partition(" [")
    if not interval:
        return text(shown)
    return join([shown, " ", element("span", f"[{interval}", class_="sub")])


def _control(rows: Sequence[Row], unit: str) -> Html:
    """The control of the last set that has one, with its name."""
    row = next((each for each in reversed(rows) if each.control is not None), None)
    if row is None:
        return Html(number(None))
    name = [element("div", row.control_name, class_="sub")] if row.control_name else []
    return join([text(number(row.control, unit)), *name])


def reached(sets: Sequence[Row], at_most: Collection[str] = ()) -> tuple[int, int]:
    """(bars reached, bars there are)."""
    aims = [aim for row in sets if (aim := target(row, row.unit, at_most)) is not None]
    return sum(aim.reached for aim in aims), len(aims)
