"""The file of a completion cache: what was said by key, and prompts' vectors by form.

Short transactions of SQLite's write-ahead log, so threads and processes share it and a killed one leaves it whole.
Values are JSON; nothing in the file is ever run.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jielong.base.errors import UserError
from jielong.base.plain import dumps, loads

MARK = 0x4A4C4343  # SQLite's "application id" of a cache: JLCC
FORMAT = 1
WAIT = 10.0  # seconds for another writer to finish
MOST = 2**30  # bytes of the file
TABLES = """
CREATE TABLE IF NOT EXISTS said (number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL,
                                 used INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS by_use ON said (used);
CREATE TABLE IF NOT EXISTS near (number INTEGER PRIMARY KEY, form BLOB NOT NULL, key BLOB NOT NULL,
                                 vector BLOB NOT NULL, UNIQUE (form, key));
"""

Form = tuple[bytes, Any]  # the requests that differ in their prompt alone, and a prompt's vector (D,)


class File:
    """The file of a cache: bytes by key, and vectors by form. Safe for threads, processes and after a fork."""

    def __init__(self, path: str | Path, most: int = MOST, warn: Callable[[str], object] | None = None) -> None:
        if most < 2**16:
            raise UserError(f"a cache of {most} bytes is too small: give 65536 or more")
        self.path, self.most, self.warn = Path(path), most, warn
        self.lock = threading.Lock()
        self.touched: dict[bytes, None] = {}
        self.unkept: dict[bytes, Any] = {}  # what could not be written
        self.vectors: dict[bytes, tuple[int, list[bytes], list[Any]]] = {}
        self._open: tuple[int, sqlite3.Connection] | None = None
        with self.lock:
            self._connection()

    def get(self, key: bytes) -> Any:
        """What was stored under a key, None where nothing was. UserError when the file is damaged."""
        with self.lock, self._told():
            row = self._connection().execute("SELECT value FROM said WHERE key = ?", (key,)).fetchone()
            if row is None:
                return self.unkept.get(key)
            self.touched[key] = None
            return loads(row[0])

    def put(self, key: bytes, value: Any, form: Form | None = None) -> Any:
        """Store a value; what stands under the key now, which is another's where that was first."""
        data = dumps(value).encode("utf-8", "surrogatepass")
        with self.lock:
            try:
                with self._writing() as connection:
                    row = (key, data, self._touch(connection))
                    connection.execute("INSERT OR IGNORE INTO said (key, value, used) VALUES (?, ?, ?)", row)
                    if form is not None:
                        place = (form[0], key, form[1].astype("<f4").tobytes())
                        connection.execute("INSERT OR IGNORE INTO near (form, key, vector) VALUES (?, ?, ?)", place)
                    (stands,) = connection.execute("SELECT value FROM said WHERE key = ?", (key,)).fetchone()
                    self._shrink(connection)
                return loads(stands)
            except sqlite3.Error as error:  # the answer was paid for: it is not lost with the disk
                self.unkept[key] = loads(data)
                if self.warn is not None and len(self.unkept) == 1:
                    self.warn(f"{self.path} cannot be written ({error}): answers are kept in memory only")
                return self.unkept[key]

    def nearest(self, form: Form, threshold: float) -> Any:
        """The value of the nearest prompt of this form whose cosine is at least `threshold`; None without."""
        import numpy as np

        name, vector = form
        with self.lock, self._told():
            last, keys, rows = self.vectors.get(name, (0, [], []))
            new = self._connection().execute(
                "SELECT number, key, vector FROM near WHERE form = ? AND number > ? ORDER BY number", (name, last)
            )
            for number, key, data in new:
                last = number
                keys.append(key)
                rows.append(np.frombuffer(data, "<f4"))
            self.vectors[name] = (last, keys, rows)
            cosines = np.stack(rows) @ vector if rows else np.zeros(0)
            order = [i for i in np.argsort(-cosines, kind="stable").tolist() if cosines[i] >= threshold]
            near = [keys[i] for i in order]
        return next((value for key in near if (value := self.get(key)) is not None), None)

    def __len__(self) -> int:
        with self.lock, self._told():
            return int(self._connection().execute("SELECT count(*) FROM said").fetchone()[0])

    def close(self) -> None:
        """Note what was used, and let go of the file."""
        with self.lock:
            if self._open is not None and self._open[0] == os.getpid():
                with suppress(sqlite3.Error):  # only the order of use is lost
                    if self.touched:
                        with self._writing() as connection:
                            self._touch(connection)
                self._open[1].close()
            self._open = None

    def _connection(self) -> sqlite3.Connection:
        """This process's connection: one must not be carried through a fork."""
        if self._open is None or self._open[0] != os.getpid():
            with self._told():
                self._open = (os.getpid(), _connect(self.path))
        return self._open[1]

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _touch(self, connection: sqlite3.Connection) -> int:
        """Note that what was found lately was used now; the number that stands for now."""
        (last,) = connection.execute("SELECT coalesce(max(used), 0) FROM said").fetchone()
        connection.executemany("UPDATE said SET used = ? WHERE key = ?", [(last + 1, key) for key in self.touched])
        self.touched.clear()
        return int(last) + 1

    def _shrink(self, connection: sqlite3.Connection) -> None:
        """Forget the sixteenth that was not used longest, until the file is small enough."""
        pages = self.most // connection.execute("PRAGMA page_size").fetchone()[0]
        while _live(connection) > pages:
            (count,) = connection.execute("SELECT count(*) FROM said").fetchone()
            if not count:
                return
            oldest = "SELECT number FROM said ORDER BY used, number LIMIT ?"
            connection.execute(f"DELETE FROM said WHERE number IN ({oldest})", (count // 16 + 1,))
            connection.execute("DELETE FROM near WHERE key NOT IN (SELECT key FROM said)")
            self.vectors.clear()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError) as error:
            raise UserError(f"cannot use the cache {self.path} ({error}): remove it, or choose another name") from error


def _live(connection: sqlite3.Connection) -> int:
    """Pages of the file that hold something."""
    pages, free = (connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "freelist_count"))
    return int(pages - free)


def _connect(path: Path) -> sqlite3.Connection:
    """A connection to the cache at `path`, made where there is none. UserError for a file that is something else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + WAIT
    while True:
        connection = sqlite3.connect(path, timeout=WAIT, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection, path)
            return connection
        except sqlite3.OperationalError as error:
            connection.close()
            # two that make the file at once: SQLite does not wait where the journal's kind is changed
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        except BaseException:
            connection.close()
            raise


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    mark, version, tables = (connection.execute(f"PRAGMA {what}").fetchone()[0]
                             for what in ("application_id", "user_version", "schema_version"))  # fmt: skip
    if tables and mark != MARK:
        raise UserError(f"{path} is a file of something else: choose another name for the cache")
    if tables and version != FORMAT:
        raise UserError(f"{path} is a cache of format {version} and this version reads {FORMAT}: remove it")
    if not tables:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        for statement in TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={MARK}")
        connection.execute(f"PRAGMA user_version={FORMAT}")
        connection.execute("COMMIT")
    connection.execute("PRAGMA synchronous=NORMAL")  # a power cut may cost the last answers, never the file
    connection.execute("PRAGMA journal_size_limit=1048576")
