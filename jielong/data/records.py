"""Records with named fields, one at a time: JSONL, JSON, Parquet, and data sets of the Hugging Face hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jielong.base.errors import UserError, WorkFailed
from jielong.data.decode import chunks, lines
from jielong.data.sources import LINES, RECORDS, Files, Hub, suffix

EXTRA = "pip install 'jielong[hf]'"
_LONE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Record:
    """One record; `where` names its place: "FILE line 3", "FILE item 3", "hf:NAME:train row 3"."""

    where: str
    id: str
    fields: dict[str, Any]


def records(source: Files | Hub, encoding: str = "utf-8", field: str | None = None) -> Iterator[Record]:
    """All records. `field`: the only one that is needed (Parquet reads no other column).

    Raises UserError for what cannot be read, naming file and line; WorkFailed when a connection breaks.
    """
    if isinstance(source, Hub):
        yield from _hub(source)
        return
    for path in source.paths:
        yield from file_records(path, encoding, field)


def file_records(path: Path, encoding: str = "utf-8", field: str | None = None) -> Iterator[Record]:
    """The records of one file, by its suffix."""
    kind = suffix(path)
    if kind in LINES:
        return _json_lines(path, encoding)
    if kind == ".json":
        return _json(path, encoding)
    if kind == ".parquet":
        return _parquet(path, field)
    raise UserError(f"{path}: not a file of records; these are: {', '.join(RECORDS)}")


def whole_characters(text: str) -> str:
    """JSON can spell half a surrogate pair, which is no character and cannot be encoded: now U+FFFD."""
    return _LONE.sub("\ufffd", text)


def _json_lines(path: Path, encoding: str) -> Iterator[Record]:
    for number, line in lines(path, encoding):
        if line.strip():
            value = _parse(line, f"{path} line {number}")
            if not isinstance(value, dict):
                raise UserError(
                    f"{path} line {number}: a JSON {_kind(value)} where an object {{...}} is needed"
                )
            yield Record(f"{path} line {number}", f"{path}:{number}", value)


def _json(path: Path, encoding: str) -> Iterator[Record]:
    """A list of objects or of strings, one object, or lines of objects. The file is read into memory."""
    text = "".join(chunks(path, encoding))
    if not text.strip():
        return
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg.startswith("Extra data") and text.lstrip().startswith("{"):
            yield from _json_lines(path, encoding)  # JSONL by another name
            return
        raise UserError(f"{path} line {error.lineno}: not JSON ({error.msg}){_torn(error, text)}") from None
    except RecursionError:
        raise UserError(f"{path}: JSON nested too deeply") from None
    for number, item in enumerate(value if isinstance(value, list) else [value], 1):
        where = f"{path} item {number}"
        if isinstance(item, str):
            item = {"text": item}
        if not isinstance(item, dict):
            raise UserError(f"{where}: a JSON {_kind(item)} where an object {{...}} or a string is needed")
        yield Record(where, f"{path}:{number}", item)


def _parquet(path: Path, field: str | None) -> Iterator[Record]:
    """Row groups are streamed, a thousand rows at a time."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError(f"{path}: Parquet needs pyarrow: {EXTRA}") from None
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for batch in file.iter_batches(1024, columns=[field] if field in names else None):
                for row in batch.to_pylist():
                    number += 1
                    yield Record(f"{path} row {number}", f"{path}:{number}", row)
    except (pa.ArrowException, OSError) as error:
        line = str(error).splitlines()[0]
        raise UserError(f"{path}: not Parquet, or half-written ({line}); copy it again") from error


def _hub(source: Hub) -> Iterator[Record]:
    try:
        import datasets
    except ImportError:
        raise UserError(f"{source}: needs the library `datasets`: {EXTRA}") from None
    try:
        rows = datasets.load_dataset(source.name, source.config, split=source.split, streaming=True)
    except Exception as error:  # the library raises dozens of kinds: no such name, no split, no connection
        raise UserError(
            f"{source}: cannot be loaded ({_line(error)}); check the name and the connection"
        ) from error
    number = 0
    try:
        for row in rows:
            number += 1
            yield Record(f"{source} row {number}", f"{source}:{number}", dict(row))
    except (OSError, RuntimeError) as error:
        raise WorkFailed(f"{source}: broke off after row {number} ({_line(error)}); try again") from error


def _parse(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{where}: not JSON ({error.msg}, column {error.colno}){_torn(error, line)}"
        ) from None
    except RecursionError:
        raise UserError(f"{where}: JSON nested too deeply") from None


def _torn(error: json.JSONDecodeError, text: str) -> str:
    ended = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
    return "; it breaks off (half-written?)" if ended else ""


def _kind(value: Any) -> str:
    kinds = {list: "list", str: "string", bool: "true/false", type(None): "null"}
    return kinds.get(type(value), "number")


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
