"""Tables that people have: CSV, TSV, records, and the rows of documents, as columns and rows of plain values."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jielong.base.errors import UserError
from jielong.data.documents import Reader, check_size, kinds, text_of
from jielong.data.records import file_records
from jielong.data.sources import RECORDS, suffix

ROWS = 1_000_000
NUMBER = re.compile(r"[-+]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?([eE][-+]?\d+)?$")
Value = int | float | str | None


@dataclass(frozen=True)
class Table:
    """`rows` of as many values as there are `columns`; what looks like a number is one, an empty cell is None."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


def read_table(path: str | Path) -> Table:
    """The table in a .csv, .tsv, .jsonl, .json or .parquet file. Of a document (PDF, DOCX, HTML, Markdown, text) its
    lines: the columns are page, heading and line, for a program to take apart.

    UserError for what is no table, and for more than ROWS rows.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    kind = suffix(path)
    if kind in (".csv", ".tsv"):
        check_size(path)
        return _csv(path, "\t" if kind == ".tsv" else ",")
    if kind in RECORDS:
        return _records(path)
    if kind not in kinds():
        raise UserError(f"{path}: known are .csv, .tsv, {', '.join(RECORDS)}, {', '.join(kinds())}")
    with Reader() as reader:
        content = reader.read(path)
    rows = [(section.page or None, section.heading or None, line.strip()) for section in content.sections
            for line in content.text[section.begin : section.end].split("\n") if line.strip()]  # fmt: skip
    return Table(("page", "heading", "line"), tuple(rows))


def value(cell: str) -> Value:
    """A cell as a number where it is one (with commas between thousands or without), without spaces at its ends."""
    cell = cell.strip()
    if not NUMBER.match(cell) or re.match(r"[-+]?0\d", cell):  # 007 is a name
        return cell or None
    plain = cell.replace(",", "")
    return int(plain) if re.fullmatch(r"[-+]?\d{1,300}", plain) else float(plain)


def _csv(path: Path, mark: str) -> Table:
    text = text_of(path)
    head = text.partition("\n")[0]
    if mark == "," and head.count(";") > head.count(","):  # as spreadsheets write where the comma is in numbers
        mark = ";"
    try:
        rows = [row for row in csv.reader(text.splitlines(keepends=True), delimiter=mark, strict=True) if any(row)]
    except csv.Error as error:
        raise UserError(f"{path}: no table ({error})") from error
    if len(rows) < 2 or len(rows) > ROWS:
        raise UserError(f"{path}: {len(rows)} rows; a table has a line of names and 1 to {ROWS:,} more")
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise UserError(f"{path}: row {number} has {len(row)} cells and the first one {len(rows[0])}")
    return Table(_names(rows[0]), tuple(tuple(map(value, row)) for row in rows[1:]))


def _names(cells: Sequence[str]) -> tuple[str, ...]:
    """Names of columns, each one once."""
    names: list[str] = []
    for i, cell in enumerate(cells, 1):
        name = cell.strip() or f"column {i}"
        names.append(name if name not in names else f"{name} ({i})")
    return tuple(names)


def _records(path: Path) -> Table:
    found = []
    for record in file_records(path):
        found.append(record.fields)
        if len(found) > ROWS:
            raise UserError(f"{path}: more than {ROWS:,} rows")
    columns = tuple(dict.fromkeys(name for record in found for name in record))
    if not columns:
        raise UserError(f"{path}: no table in it")
    rows = tuple(tuple(_plain(record.get(name)) for name in columns) for record in found)
    return Table(columns, rows)


def _plain(cell: object) -> Value:
    return cell if cell is None or isinstance(cell, int | float | str) else str(cell)
