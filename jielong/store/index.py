"""An index of documents as its readers see it: passages by words, by meaning, and by both.

    with load("papers.db") as index:
        for passage in index.search("where is the highest mountain", k=5, reader=["staff"]):
            print(passage.source, passage.text)

Words: BM25 over the terms of `words.terms` (`postings`). Meaning: the cosine of vectors. Both: reciprocal rank fusion
(Cormack, Clarke and Buettcher 2009), score = sum over the rankings of 1 / (60 + rank), of the first DEPTH of each.

A reader sees the passages that the rights of their documents allow (`rights`), and nothing else has any part in what is
found: the blocks of the others are not looked at, equals are ordered by their documents' names. So the answer is, to
the last bit, that of an index that never held the others.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from jielong.base.errors import UserError
from jielong.store import rights
from jielong.store.file import begin, told
from jielong.store.index_file import check_model, read_about, reading
from jielong.store.postings import SLOTS, Block, Ranker
from jielong.store.words import terms

Embed = Callable[[Sequence[str]], np.ndarray]  # texts -> (N, D)
By = Literal["both", "words", "vectors"]
DEPTH, FUSED = 100, 60  # of each ranking that is fused; its constant
NEAR = 1e-4  # cosines that 32 bits may mistake for one another
HELD = 1 << 30  # bytes of vectors that are kept in memory


@dataclass(frozen=True)
class Passage:
    """A piece of a document: text[begin : begin + length] of it. `score`: higher is better, of its own search only;
    `matched`: the share of the question's words it has, each by how rare it is; nan where nobody asked."""

    id: str
    document: str
    text: str
    title: str = ""
    heading: str = ""
    page: int = 0
    begin: int = 0
    score: float = 0.0
    matched: float = float("nan")

    @property
    def source(self) -> str:
        """Where it stands, for people."""
        where = [self.document, f"p. {self.page}" if self.page else "", self.heading]
        return ", ".join(part for part in where if part) + f", characters {self.begin}-{self.begin + len(self.text)}"


@dataclass(frozen=True)
class Held:
    """How much a reader can see of an index."""

    documents: int
    passages: int
    vectors: int


def load(path: str | Path, embed: Embed | None = None, *, model: str = "", model_name: str = "") -> Index:
    """An index for reading, as it stands now. `embed` makes vectors of questions, `model` is the name that decides.

    UserError where there is none, one of another version, or one whose vectors are of another model than `model`.
    """
    connection = reading(path)
    try:
        with told(path):
            return Index(Path(path), connection, embed, model, model_name)
    except BaseException:
        connection.close()
        raise


class Index:
    """What `load` gives; for any thread, one at a time."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, embed: Embed | None, model: str, model_name: str
    ) -> None:
        self.path, self.connection, self.embed, self.model = path, connection, embed, (model, model_name)
        self.lock = threading.Lock()
        self._read()

    def _read(self) -> None:
        self.about = read_about(self.connection)
        check_model(self.about, self.path, *self.model)
        self.rights = dict(self.connection.execute("SELECT number, clauses FROM rights"))
        rows = self.connection.execute("SELECT number, rights, lengths FROM blocks ORDER BY number")
        self.blocks = [Block(number, of, np.frombuffer(data, "<u2")) for number, of, data in rows]
        self._rankers: dict[tuple[int, ...], Ranker] = {}
        self._vectors: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def search(self, query: str, k: int = 10, *, reader: Collection[str] = (), by: By = "both") -> list[Passage]:
        """The best `k` passages that who belongs to the groups `reader` may read, the best first.

        "both" is by words alone where the index has no vectors, or was loaded without `embed`. UserError for a search
        by vectors there.
        """
        return self.search_many([query], k, reader=reader, by=by)[0]

    def search_many(
        self, queries: Sequence[str], k: int = 10, *, reader: Collection[str] = (), by: By = "both"
    ) -> list[list[Passage]]:
        """`search` for several questions; their vectors are made together."""
        if by not in ("both", "words", "vectors") or k < 1 or isinstance(reader, str):
            raise UserError(f"by is {by!r} and k is {k}: give both, words or vectors, k of 1 or more, and a reader's "
                            "groups as a list")  # fmt: skip
        able = bool(self.about.width) and self.embed is not None
        if by == "vectors" and not able:
            raise UserError(f"{self.path} has no vectors, or no model to ask with: index with --embed, and ask with it")
        use = by if by != "both" else "both" if able else "words"
        vectors = self._embedded(queries) if use != "words" else [None] * len(queries)
        with self.lock, told(self.path):
            may = self._may(reader)
            return [self._search(query, vector, k, may, use) for query, vector in zip(queries, vectors)]

    def held(self, reader: Collection[str] = ()) -> Held:
        """What there is for a reader."""
        with self.lock, told(self.path):
            may = {block.rights for block in self._may(reader)}
            documents = self.connection.execute("SELECT rights FROM documents")
            passages = sum(block.passages for block in self.blocks if block.rights in may)
            count = sum(of in may for (of,) in documents)
            return Held(count, passages, passages if self.about.width else 0)

    def documents(self, reader: Collection[str] = ()) -> list[str]:
        """The names of the documents a reader may read, sorted."""
        with self.lock, told(self.path):
            may = {number for number, wanted in self.rights.items() if rights.may(reader, wanted)}
            rows = self.connection.execute("SELECT source, path, rights FROM documents")
            return sorted(f"{source}/{path}" for source, path, of in rows if of in may)

    def refresh(self) -> None:
        """Look at what was written since."""
        with self.lock, told(self.path):
            begin(self.connection)
            self._read()

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _may(self, reader: Collection[str]) -> list[Block]:
        able = {number for number, wanted in self.rights.items() if rights.may(reader, wanted)}
        return [block for block in self.blocks if block.rights in able]

    def _search(self, query: str, vector: np.ndarray | None, k: int, may: list[Block], by: str) -> list[Passage]:
        most = max(k, DEPTH) if by == "both" else k
        key = tuple(block.number for block in may)
        ranker = self._rankers.get(key)
        if ranker is None:
            ranker = self._rankers[key] = Ranker(self.connection, may)
        asked = ranker.lists(terms(query))
        lists = [ranker.rank(asked, most)] if by != "vectors" else []
        if vector is not None:
            lists.append(self._nearest(vector, may, most))
        scores: dict[int, float] = {}
        for numbers, values in lists:
            order = self._ordered(dict(zip(numbers.tolist(), values.tolist())), most)
            for rank, (number, score) in enumerate(order, 1):
                scores[number] = scores.get(number, 0.0) + (1 / (FUSED + rank) if by == "both" else score)
        best = self._ordered(scores, k)
        found = self._passages([number for number, _ in best])
        matched = ranker.matched(asked, list(found))
        return [replace(found[number], score=score, matched=float(share)) for (number, score), share in
                zip(best, matched)]  # fmt: skip

    def _ordered(self, scores: Mapping[int, float], most: int) -> list[tuple[int, float]]:
        """The `most` highest, the highest first; of equals by their documents' names and their place."""
        asked = ("SELECT p.number FROM json_each(?) AS asked JOIN passages AS p ON p.number = asked.value "
                 "JOIN documents AS d ON d.number = p.document ORDER BY source, d.path, place")  # fmt: skip
        named = [number for (number,) in self.connection.execute(asked, (str(list(scores)),))]
        return sorted(((number, scores[number]) for number in named), key=lambda each: -each[1])[:most]

    def _passages(self, numbers: Sequence[int]) -> dict[int, Passage]:
        """These passages, in this order."""
        asked = ("SELECT p.number, source, d.path, place, text, title, heading, page, begin FROM json_each(?) AS asked "
                 "JOIN passages AS p ON p.number = asked.value JOIN documents AS d ON d.number = document")  # fmt: skip
        found = {}
        for number, source, path, place, text, title, heading, page, at in self.connection.execute(
            asked, (str(list(numbers)),)
        ):
            name = f"{source}/{path}"
            found[number] = Passage(f"{name}#{place}", name, text, title, heading, page, at)
        return {number: found[number] for number in numbers}

    def _embedded(self, queries: Sequence[str]) -> list[np.ndarray | None]:
        assert self.embed is not None
        vectors = unit(self.embed(list(queries)))
        if vectors.shape != (len(queries), self.about.width):
            raise UserError(f"the model gives vectors of {vectors.shape[-1]} numbers and {self.path} has such of "
                            f"{self.about.width}: ask with the model it was indexed with")  # fmt: skip
        return list(vectors)

    def _nearest(self, vector: np.ndarray, may: list[Block], most: int) -> tuple[np.ndarray, np.ndarray]:
        """Passages and their cosines, the nearest `most` and all as near as the last of them."""
        numbers, scores = [np.zeros(0, np.int64)], [np.zeros(0)]
        for block in may:
            places, rows_ND = self._rows(block)
            rough = rows_ND @ vector
            if len(rough) > most:
                near = np.flatnonzero(rough >= np.partition(rough, len(rough) - most)[len(rough) - most] - NEAR)
            else:
                near = np.arange(len(rough))
            numbers.append(places[near])
            scores.append((rows_ND[near].astype(np.float64) * vector).sum(axis=1))  # alike whatever stands around it
        return np.concatenate(numbers), np.concatenate(scores)

    def _rows(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """(N,) passages of a block and (N, D) their vectors, float32; kept while there is room."""
        held = self._vectors.get(block.number)
        if held is None:
            rows = self.connection.execute(
                "SELECT number, data FROM vectors WHERE number BETWEEN ? AND ? ORDER BY number",
                (block.number * SLOTS, block.number * SLOTS + SLOTS - 1),
            ).fetchall()
            width = self.about.width
            vectors = np.frombuffer(b"".join(data for _, data in rows), "<f2").reshape(-1, width).astype(np.float32)
            held = np.array([number for number, _ in rows], np.int64), vectors
            while self._vectors and sum(v.nbytes for _, v in self._vectors.values()) + vectors.nbytes > HELD:
                del self._vectors[next(iter(self._vectors))]
            self._vectors[block.number] = held
        return held


def unit(vectors_ND: np.ndarray) -> np.ndarray:
    """Vectors of length 1, float32. UserError for what is not finite."""
    vectors = np.asarray(vectors_ND, dtype=np.float32)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise UserError("the model gave no vectors, or such that are not finite: ask another one")
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
