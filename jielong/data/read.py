"""Documents from anything a person names: see `sources` for what that may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base.errors import UserError
from jielong.data.chats import ChatRecord as ChatRecord
from jielong.data.chats import read_chats as read_chats
from jielong.data.decode import chunks, lines
from jielong.data.records import Record, file_records, records, whole_characters
from jielong.data.sources import RECORDS, Hub, Source, Worldly, find, suffix

if TYPE_CHECKING:
    from jielong.world.world import World

BLANK, LINE = "blank", "line"


@dataclass(frozen=True, slots=True)
class Document:
    """One text; `id` says where it came from; `meta` holds what else its record held."""

    text: str
    id: str
    meta: Mapping[str, Any] = dataclass_field(default_factory=dict)


def read(
    spec: str | Path,
    *,
    field: str = "text",
    encoding: str = "utf-8",
    split_on: str | None = None,
    world: World | None = None,
) -> Iterator[Document]:
    """The documents of a file, a folder (sorted), `hf:NAME[:CONFIG][:SPLIT]` or `world:KIND[:N]`, in order.

    .txt, .md and files of unknown suffix: the file is one document, or is cut at blank lines
    (`split_on="blank"`), into lines ("line"), or at any other string, such as "<|endoftext|>". .jsonl, .json,
    .parquet: `field` of each record (a list of strings is joined by line ends). `.gz` of the text ones is
    unpacked. Documents without text are left out. In memory: a piece of the file and a document; a .json file
    whole.

    Raises UserError at once for what is not there, and while reading for what is empty or cannot be read.
    """
    source = find(spec)
    if isinstance(source, Worldly):
        return _not_empty(_from_world(source, world), source)
    if isinstance(source, Hub):
        return _not_empty((_from_record(r, field) for r in records(source)), source)
    parts = (_from_file(path, field, encoding, split_on) for path in source.paths)
    return _not_empty((document for part in parts for document in part), source)


def _not_empty(documents: Iterator[Document], source: Source) -> Iterator[Document]:
    empty = True
    for document in documents:
        if document.text.strip():
            empty = False
            yield document
    if empty:
        raise UserError(f"{source}: empty; there is no text in it")


def _from_world(source: Worldly, world: World | None) -> Iterator[Document]:
    from jielong.world.world import World

    for i, text in enumerate((world or World()).texts(source.kind, source.n)):
        yield Document(text.text, f"world:{source.kind}:{i}", {"origin": text.origin})


def _from_file(path: Path, field: str, encoding: str, split_on: str | None) -> Iterator[Document]:
    if suffix(path) in RECORDS:
        return (_from_record(record, field) for record in file_records(path, encoding, field))
    return _from_text(path, encoding, split_on)


def _from_record(record: Record, field: str) -> Document:
    if field not in record.fields:
        names = ", ".join(record.fields) or "no fields at all"
        raise UserError(f"{record.where}: no field {field!r}; it has {names}: choose one with field=...")
    text = record.fields[field]
    if isinstance(text, list) and all(isinstance(part, str) for part in text):
        text = "\n".join(text)
    if text is not None and not isinstance(text, str):
        raise UserError(f"{record.where}: field {field!r} is a {type(text).__name__}, not text")
    others = {name: value for name, value in record.fields.items() if name != field}
    return Document(whole_characters(text or ""), record.id, others)


def _from_text(path: Path, encoding: str, split_on: str | None) -> Iterator[Document]:
    if split_on is None:
        yield Document("".join(chunks(path, encoding)), str(path))
        return
    if not split_on:
        raise UserError('split_on: give "blank", "line", or the string that stands between documents')
    parts: Iterator[str]
    if split_on == LINE:
        parts = (line for _, line in lines(path, encoding))
    else:
        parts = _paragraphs(path, encoding) if split_on == BLANK else _cut(path, encoding, split_on)
    for number, part in enumerate((part for part in parts if part.strip()), 1):
        yield Document(part, f"{path}#{number}")


def _paragraphs(path: Path, encoding: str) -> Iterator[str]:
    begun: list[str] = []
    for _, line in lines(path, encoding):
        if line.strip():
            begun.append(line)
        elif begun:
            yield "\n".join(begun)
            begun.clear()
    yield "\n".join(begun)


def _cut(path: Path, encoding: str, marker: str) -> Iterator[str]:
    """The texts between markers, without line ends at their borders; a marker may lie across two pieces."""
    rest = ""
    for chunk in chunks(path, encoding):
        *whole, rest = (rest + chunk).split(marker)
        yield from (part.strip("\n") for part in whole)
    yield rest.strip("\n")
