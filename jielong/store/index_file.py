"""The file of an index: who may open it, what it was made with, and one writer at a time.

All that a writer does is one transaction of SQLite's write-ahead log: who reads meanwhile goes on reading what there
was, a killed writer leaves what there was, and what was deleted is written over (`secure_delete`).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from jielong.base.errors import UserError
from jielong.base.plain import dumps, loads
from jielong.store.file import MARK as STORE
from jielong.store.file import WAIT, opened, told, uri

MARK = 0x4A4C4958  # SQLite's "application id" of an index: JLIX
FORMAT = 1
TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    number INTEGER PRIMARY KEY, source TEXT NOT NULL, path TEXT NOT NULL, digest TEXT NOT NULL, rights INTEGER NOT NULL,
    title TEXT NOT NULL, UNIQUE (source, path));
CREATE TABLE rights (number INTEGER PRIMARY KEY, clauses TEXT NOT NULL UNIQUE);
CREATE TABLE sources (name TEXT PRIMARY KEY, folder TEXT NOT NULL, rules TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE blocks (number INTEGER PRIMARY KEY, rights INTEGER NOT NULL, lengths BLOB NOT NULL);
CREATE TABLE passages (
    number INTEGER PRIMARY KEY, document INTEGER NOT NULL, place INTEGER NOT NULL, begin INTEGER NOT NULL,
    length INTEGER NOT NULL, page INTEGER NOT NULL, heading TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX by_document ON passages (document, place);
CREATE TABLE postings (term TEXT, block INTEGER, data BLOB NOT NULL, PRIMARY KEY (term, block)) WITHOUT ROWID;
CREATE TABLE vectors (number INTEGER PRIMARY KEY, data BLOB NOT NULL);
"""


@dataclass(frozen=True)
class About:
    """What an index was made with: words in a passage and in what two share; the model of its vectors by the name that
    decides and the one for people, and how many numbers a vector has (0: no vectors)."""

    size: int
    overlap: int
    model: str = ""
    model_name: str = ""
    width: int = 0


def reading(path: str | Path) -> sqlite3.Connection:
    """A connection that sees the index as it stands now. UserError when there is none, naming what there is."""
    connection = opened(path, f"there is no index at {path}: make one with `jielong index FOLDER --out {path}`", _whole)
    connection.execute("PRAGMA cache_size=-131072")
    return connection


def _whole(connection: sqlite3.Connection, path: Path) -> None:
    if not _is_index(connection, path):
        raise UserError(f"{path} is an empty index: make it with `jielong index FOLDER --out {path}`")


@contextmanager
def writing(path: str | Path) -> Iterator[tuple[sqlite3.Connection, bool]]:
    """A connection to the index at `path`, and whether it is new; all that is written in the block comes to be at its
    end, or not at all. UserError for what is no index, and while another program writes for longer than WAIT."""
    path = Path(path)
    if os.path.lexists(path) and not path.is_file():
        raise UserError(f"{path} is not a file: choose another name")
    before = path.exists()
    if not before and not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent}: make it, or choose another --out")
    with told(path), closing(_writer(path)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            new = not _is_index(connection, path)
            if new:
                for command in TABLES.split(";\n"):  # not a script: that would end the transaction
                    connection.execute(command)
                connection.execute(f"PRAGMA user_version={FORMAT}")
                connection.execute(f"PRAGMA application_id={MARK}")
            yield connection, new
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _writer(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(uri(path, "mode=rwc"), uri=True, timeout=WAIT, isolation_level=None)
    try:
        if _is_index(connection, path):
            connection.execute("PRAGMA secure_delete=ON")
        else:  # before the first transaction, while the file is empty
            connection.execute("PRAGMA page_size=8192")
        connection.execute("PRAGMA cache_size=-65536")
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode=WAL").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _is_index(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether it is one of this format; False for an empty file. UserError for anything else."""
    mark = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if mark == STORE:
        raise UserError(f"{path} is a store of tokens (of `jielong index --model`) and no index of passages: "
                        "choose another file")  # fmt: skip
    if mark != MARK and not empty:
        raise UserError(f"{path} is an SQLite file that is no index: choose another file")
    if mark == MARK and version != FORMAT:
        raise UserError(f"{path} is an index of format {version} and this version reads {FORMAT}: remove the file, "
                        "and index the folder again")  # fmt: skip
    return mark == MARK


def read_about(connection: sqlite3.Connection) -> About:
    """What the index was made with."""
    rows = dict(connection.execute("SELECT name, value FROM about"))
    return About(**{field.name: loads(rows[field.name]) for field in fields(About) if field.name in rows})


def write_about(connection: sqlite3.Connection, about: About) -> None:
    """Write it down."""
    rows: list[tuple[str, Any]] = [(name, dumps(value)) for name, value in asdict(about).items()]
    connection.executemany("INSERT OR REPLACE INTO about (name, value) VALUES (?, ?)", rows)


def check_model(about: About, path: str | Path, model: str, name: str) -> None:
    """UserError when vectors are of another model than this one, naming both."""
    if model and about.model and model != about.model:
        raise UserError(f"{path} has vectors of {about.model_name} ({about.model[:12]}), not of {name} ({model[:12]}): "
                        "use that model, or index again into another file")  # fmt: skip
