"""Vectors, each with the token that followed: which ones are nearest.

Up to EXACT of them, and wherever usearch is not installed, all distances are computed, block by block. Above, usearch's
graph of neighbours (HNSW, Malkov and Yashunin 2016) finds nearly the same ones in a small part of the time.
"""

from __future__ import annotations

import importlib.util
import sqlite3
from collections.abc import Iterator
from typing import Any

import numpy as np

from jielong.base.errors import UserError
from jielong.store.series import PAGE, Cache, Series

VECTORS, FOLLOWS, GRAPH = "vectors", "follows", "graph"
EXACT = 100_000
ROWS, TOGETHER = 8192, 512  # vectors and queries between which distances are computed at a time
NUMBERS = 1 << 23  # of the vectors found that are in memory at a time


class Writer:
    """Adds vectors; call `finish` at the end. They are kept as float16."""

    def __init__(self, connection: sqlite3.Connection, width: int, written: int) -> None:
        self.connection, self.width, self.written = connection, width, written
        self.vectors = Series(connection, VECTORS, "<f2", width)
        self.follows = Series(connection, FOLLOWS, "<u4")
        self.waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self.waits = 0

    def add(self, vectors_ND: np.ndarray, follows_N: np.ndarray) -> None:
        """N vectors and the tokens that followed. UserError where they do not fit one another or the store."""
        if vectors_ND.ndim != 2 or vectors_ND.shape[1] != self.width or len(vectors_ND) != len(follows_N):
            shape = "x".join(map(str, vectors_ND.shape))
            raise UserError(
                f"{shape} vectors and {len(follows_N)} tokens do not fit a store of {self.width} numbers each"
            )
        with np.errstate(over="ignore"):
            small = vectors_ND.astype("<f2")
        if not np.isfinite(small).all():
            raise UserError("a vector is not finite, or too large for 16 bits: the model's last norm must bound it")
        self.waiting.append((small, follows_N))
        self.waits += len(small)
        if self.waits * self.width * 2 >= PAGE:
            self._flush()

    def finish(self) -> int:
        """Lay the graph of neighbours where one is used; returns how many vectors there are."""
        self._flush()
        if self.written > EXACT and has_usearch():
            _lay(self.connection, self.vectors, self.written)
        return self.written

    def _flush(self) -> None:
        if not self.waiting:
            return
        vectors, follows = (np.concatenate(each) for each in zip(*self.waiting))
        self.follows.append(self.written, follows)
        self.written = self.vectors.append(self.written, vectors)
        self.waiting, self.waits = [], 0


class Vectors:
    """The reader of `count` vectors of `width` numbers."""

    def __init__(self, connection: sqlite3.Connection, cache: Cache, width: int, count: int) -> None:
        self.cache, self.width, self.count = cache, width, count
        self.vectors = Series(connection, VECTORS, "<f2", width)
        ids = [block[:, 0] for block in Series(connection, FOLLOWS, "<u4").blocks(count)]
        self.follows = np.concatenate([np.zeros(0, np.int64), *ids])
        self.graph = _graph(connection, width, count) if count > EXACT and has_usearch() else None

    def nearest(
        self, queries_QD: np.ndarray, k: int, *, first: int | None = None, exact: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Squared Euclidean distances (Q, k) float32, the nearest first, and the places (Q, k) of these vectors.

        `k` at most the number there is (else fewer columns). `first`: only the first so many vectors; these, and
        `exact`, are found by all distances.
        """
        count = self.count if first is None else min(first, self.count)
        if queries_QD.ndim != 2 or queries_QD.shape[1] != self.width:
            raise UserError(f"a query has {queries_QD.shape[-1]} numbers and the store's vectors {self.width}")
        if k < 1 or not count:
            raise UserError("there are no vectors to look among" if not count else f"k is {k}: give 1 or more")
        queries = np.ascontiguousarray(queries_QD, dtype=np.float32)
        if self.graph is not None and not exact and count == self.count:
            found = self.graph.search(queries, min(k, count), threads=1)
            return np.atleast_2d(found.distances).astype(np.float32), np.atleast_2d(found.keys).astype(np.int64)
        return self._nearest(queries, min(k, count), count)

    def _page(self, number: int) -> np.ndarray:
        raw: np.ndarray = np.frombuffer(self.cache(VECTORS, number), "<f2").reshape(-1, self.width)
        return raw

    def _blocks(self, count: int) -> Iterator[tuple[int, np.ndarray]]:
        """The first `count` vectors as float32, a few pages at a time, with the place of each block's first."""
        rows = self.vectors.rows
        pages = max(1, ROWS // rows)
        for page in range(0, -(-count // rows), pages):
            some = [self._page(p) for p in range(page, min(page + pages, -(-count // rows)))]
            yield page * rows, np.concatenate(some)[: count - page * rows].astype(np.float32)

    def take(self, places: np.ndarray) -> np.ndarray:
        """The vectors (N, width) float32 at some places (N,)."""
        different, back = np.unique(places, return_inverse=True)
        pages, at = np.divmod(different, self.vectors.rows)
        parts = [self._page(int(page))[at[pages == page]] for page in np.unique(pages)]
        found: np.ndarray = np.concatenate(parts).astype(np.float32)[back.reshape(-1)]
        return found

    def _nearest(self, queries_QD: np.ndarray, k: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """By |x|^2 - 2qx, block after block; then those k once more by |q - x|^2, which cancels nothing."""
        import torch

        queries = torch.from_numpy(queries_QD)
        best_Qk = torch.full((len(queries), k), torch.inf)
        places_Qk = torch.zeros((len(queries), k), dtype=torch.int64)
        for begin, block in self._blocks(count):
            block_BD = torch.from_numpy(block)
            squares_B = block_BD.square().sum(dim=1)
            for at in range(0, len(queries), TOGETHER):
                some = slice(at, at + TOGETHER)
                far_QB = torch.addmm(squares_B, queries[some], block_BD.T, alpha=-2.0)
                near, index = torch.topk(far_QB, min(k, len(block)), dim=1, largest=False)
                best_Qk[some], chosen = torch.topk(torch.cat([best_Qk[some], near], dim=1), k, dim=1, largest=False)
                places_Qk[some] = torch.cat([places_Qk[some], index + begin], dim=1).gather(1, chosen)
        exact = np.empty((len(queries), k), np.float32)
        step = max(1, NUMBERS // (k * self.width))
        for at in range(0, len(queries), step):
            near_qkD = self.take(places_Qk[at : at + step].numpy()).reshape(-1, k, self.width)
            near_qkD -= queries_QD[at : at + step, None]
            exact[at : at + step] = np.einsum("qkd,qkd->qk", near_qkD, near_qkD)
        order = np.argsort(exact, axis=1, kind="stable")
        return np.take_along_axis(exact, order, 1), np.take_along_axis(places_Qk.numpy(), order, 1)


def has_usearch() -> bool:
    """Whether the library that searches many vectors is installed (`pip install 'jielong[search]'`)."""
    return importlib.util.find_spec("usearch") is not None


def _index(width: int) -> Any:
    from usearch.index import Index

    return Index(ndim=width, metric="l2sq", dtype="f16")


def _lay(connection: sqlite3.Connection, vectors: Series, count: int) -> None:
    """The graph over all vectors, on pages of its own; one that was there goes on from where it ended."""
    graph = _index(vectors.width)
    old = _saved(connection)
    if old:
        graph.load(old)
    place = 0
    for block in vectors.blocks(count):
        done = min(len(block), max(0, len(graph) - place)) if old else 0
        if done < len(block):
            graph.add(np.arange(place + done, place + len(block)), block[done:], threads=1)  # in order: the same graph
        place += len(block)
    data = bytes(graph.save())
    pages = Series(connection, GRAPH, np.uint8)
    pages.drop()
    pages.append(0, np.frombuffer(data, np.uint8))


def _saved(connection: sqlite3.Connection) -> bytes:
    pages = Series(connection, GRAPH, np.uint8)
    number = connection.execute("SELECT count(*) FROM pages WHERE series = ?", (GRAPH,)).fetchone()[0]
    return b"".join(pages.page(i).tobytes() for i in range(number))


def _graph(connection: sqlite3.Connection, width: int, count: int) -> Any:
    """The stored graph; None where there is none over exactly these vectors."""
    data = _saved(connection)
    if not data:
        return None
    graph = _index(width)
    graph.load(data)
    return graph if len(graph) == count else None
