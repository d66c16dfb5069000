"""Long arrays in a store: rows of numbers on pages, read a page at a time, each page with a checksum."""

from __future__ import annotations

import sqlite3
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jielong.store.file import damaged, told

PAGE = 1 << 18  # bytes, about
CACHE = 256 << 20  # bytes of pages that a reader keeps


class Series:
    """An array (N, width) of `dtype` under a name; N is the caller's to keep.

    A page holds a whole number of rows. Appending keeps no more than one page in memory.
    """

    def __init__(self, connection: sqlite3.Connection, name: str, dtype: Any, width: int = 1) -> None:
        self.connection, self.name, self.dtype, self.width = connection, name, np.dtype(dtype), width
        self.rows = max(1, PAGE // (self.dtype.itemsize * width))

    def append(self, before: int, values: Any) -> int:
        """Put rows after the first `before` ones; returns how many there are then."""
        new = np.asarray(values).reshape(-1, self.width)
        page, filled = divmod(before, self.rows)
        if filled:
            new = np.concatenate([self.page(page)[:filled], new])
        new = np.ascontiguousarray(new, dtype=self.dtype)  # last: joining turns the bytes to this machine's order
        for at in range(0, len(new), self.rows):
            self.put(page + at // self.rows, new[at : at + self.rows].tobytes())
        return page * self.rows + len(new)

    def put(self, page: int, data: bytes) -> None:
        """Write one page, over the one that was there."""
        row = (self.name, page, zlib.crc32(data), data)
        self.connection.execute("INSERT OR REPLACE INTO pages (series, page, crc, data) VALUES (?, ?, ?, ?)", row)

    def page(self, number: int) -> np.ndarray:
        """(rows, width) of one page, the last one shorter. UserError when it is missing or its checksum is wrong."""
        data = read_page(self.connection, self.name, number)
        return np.frombuffer(data, dtype=self.dtype).reshape(-1, self.width)

    def blocks(self, count: int) -> Iterator[np.ndarray]:
        """The first `count` rows, page after page."""
        for page in range(-(-count // self.rows)):
            yield self.page(page)[: count - page * self.rows]

    def drop(self) -> None:
        """Remove all pages."""
        self.connection.execute("DELETE FROM pages WHERE series = ?", (self.name,))


def read_page(connection: sqlite3.Connection, name: str, number: int) -> bytes:
    """The bytes of a page."""
    file = Path(connection.execute("PRAGMA database_list").fetchone()[2] or "the store")
    with told(file):
        found = connection.execute(
            "SELECT crc, data FROM pages WHERE series = ? AND page = ?", (name, number)
        ).fetchone()
    if found is None or zlib.crc32(found[1]) != found[0]:
        raise damaged(file, f"page {number} of {name} is {'missing' if found is None else 'not what was written'}")
    data: bytes = found[1]
    return data


class Cache:
    """Pages of one connection that were read lately, at most so many bytes of them."""

    def __init__(self, connection: sqlite3.Connection, most: int = CACHE) -> None:
        self.connection, self.most, self.held = connection, most, 0
        self.pages: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def __call__(self, name: str, number: int) -> bytes:
        key = (name, number)
        data = self.pages.get(key)
        if data is not None:
            self.pages.move_to_end(key)
            return data
        data = self.pages[key] = read_page(self.connection, name, number)
        self.held += len(data)
        while self.held > self.most and len(self.pages) > 1:
            self.held -= len(self.pages.popitem(last=False)[1])
        return data

    def clear(self) -> None:
        """Forget all of them."""
        self.pages.clear()
        self.held = 0
