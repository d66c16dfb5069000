"""The file of a store: opened for reading as it stood, written whole or not at all, added to in one step.

A store is built under a temporary name and renamed, so a killed build leaves nothing that loads. What is added later
is one transaction of SQLite's write-ahead log: who reads meanwhile goes on reading what there was.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from jielong.base.errors import UserError, WorkFailed
from jielong.base.files import atomic_file

MARK = 0x4A4C5354  # SQLite's "application id" of a store: JLST
FORMAT = 1
WAIT = 5.0  # seconds for another writer to finish
TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (number INTEGER PRIMARY KEY, id TEXT NOT NULL, text TEXT NOT NULL, meta TEXT NOT NULL);
CREATE INDEX by_id ON documents (id);
CREATE TABLE segments (number INTEGER PRIMARY KEY, begin INTEGER NOT NULL, length INTEGER NOT NULL);
CREATE TABLE pages (series TEXT NOT NULL, page INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL);
CREATE UNIQUE INDEX by_page ON pages (series, page);
CREATE VIRTUAL TABLE search USING fts5 (terms, content='', tokenize='ascii');
"""  # 'ascii' takes terms as they are: all that is not ASCII is a letter to it, and blanks stand between terms


@contextmanager
def told(path: str | Path) -> Iterator[None]:
    """SQLite's refusals in one line."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        if primary == sqlite3.SQLITE_FULL:
            raise WorkFailed(f"the disk is full: {path} was not written; make room first") from error
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise UserError(f"{path} is in use by another program: let it end, or choose another name") from error
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_ERROR):
            raise damaged(path, str(error)) from error
        raise UserError(f"cannot use {path} ({error}): check the place, or index again") from error


def damaged(path: str | Path, why: str) -> UserError:
    """The one line for a file that is no store, is not whole, or was overwritten while it was read."""
    return UserError(f"{path} is not a whole store, or was overwritten while it was read ({why}): index again")


def reading(path: str | Path) -> sqlite3.Connection:
    """A connection that sees the store as it stands now, whatever is added later. UserError when it is none."""
    return opened(path, f"there is no store at {path}: make one with `jielong index world --out {path}`", _check)


def opened(path: str | Path, absent: str, check: Callable[[sqlite3.Connection, Path], object]) -> sqlite3.Connection:
    """A connection that sees a file as it stands now. `check` raises for one of another kind; UserError `absent` where
    there is no file."""
    path = Path(path)
    if not path.is_file():
        raise UserError(absent)
    with told(path):
        try:
            return _snapshot(path, "mode=ro", check)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CANTOPEN or not os.access(path, os.R_OK):
                raise
            # a place where no log can be laid beside the file: nobody writes there either
            return _snapshot(path, "immutable=1", check)


def _snapshot(path: Path, how: str, check: Callable[[sqlite3.Connection, Path], object]) -> sqlite3.Connection:
    connection = sqlite3.connect(uri(path, how), uri=True, isolation_level=None, check_same_thread=False)
    try:
        begin(connection)
        check(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def begin(connection: sqlite3.Connection) -> None:
    """Everything read from here on is of this moment."""
    if connection.in_transaction:
        connection.execute("COMMIT")
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _check(connection: sqlite3.Connection, path: Path) -> None:
    mark = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if mark != MARK:
        raise UserError(f"{path} is an SQLite file that is no whole store: make one with `jielong index`")
    if version != FORMAT:
        raise UserError(f"{path} is a store of format {version} and this version reads {FORMAT}: index again")


@contextmanager
def building(path: str | Path, overwrite: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection to a new store that takes the name when the block ends well.

    Raises UserError where something stands there (unless it is a store, nobody reads it and `overwrite` is asked for),
    WorkFailed on a full disk.
    """
    path = Path(path)
    if os.path.lexists(path):
        if not overwrite:
            raise UserError(f"{path} exists; give another --out, or --overwrite")
        _retire(path)
    with atomic_file(path) as temporary, told(path):
        with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            # no journal: what is interrupted here is thrown away whole
            for setting in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-65536"):
                connection.execute(f"PRAGMA {setting}")
            connection.executescript(TABLES)
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
            # last: until it bears the mark it is no store, by whatever name it is found
            for setting in (f"user_version={FORMAT}", f"application_id={MARK}", "journal_mode=WAL"):
                connection.execute(f"PRAGMA {setting}")
        if path.exists():  # somebody may have begun to read or write it while this was made
            _retire(path)


@contextmanager
def extending(path: str | Path) -> Iterator[sqlite3.Connection]:
    """A connection to a store that is there; all that is written in the block comes to be at its end, or not at all."""
    reading(path).close()
    with told(path), closing(sqlite3.connect(uri(Path(path), "mode=rw"), uri=True, timeout=WAIT,
                                             isolation_level=None)) as connection:  # fmt: skip
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")


def _retire(path: Path) -> None:
    """Make sure that a file is a store nobody has open, and that no log of it is left to be mixed with another's."""
    if not path.is_file():
        raise UserError(f"{path} is not a file: choose another name")
    reading(path).close()
    with told(path), closing(sqlite3.connect(path, timeout=0.2, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE").fetchone()


def uri(path: Path, how: str) -> str:
    """The file as SQLite is asked for it."""
    return f"file:{quote(str(path.absolute()))}?{how}"
