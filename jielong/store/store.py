"""A store as its users see it: build it, add to it, ask it.

with build("store.db", codec) as writer:
    writer.add(documents)
with load("store.db", codec) as store:
    store.search("where does 陳美玲 live")
    store.continuations(ids, most=4)
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jielong.base.errors import UserError
from jielong.base.plain import dumps, loads
from jielong.store import file, suffixes, vectors
from jielong.store.series import CACHE, Cache
from jielong.store.words import terms

AT_ONCE = 256  # documents that are tokenised together


class Text(Protocol):
    """A document to be stored: `data.read.Document` is one."""

    @property
    def text(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def meta(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class About:
    """What a store holds and what it was made with. A name is for people, a fingerprint decides.

    `size`, `end`: of the tokenizer, 0 and -1 without one. `width`: numbers in a vector, 0 without vectors.
    """

    codec: str = ""
    codec_name: str = ""
    size: int = 0
    end: int = -1
    model: str = ""
    model_name: str = ""
    width: int = 0
    documents: int = 0
    tokens: int = 0
    vectors: int = 0


@dataclass(frozen=True)
class Found:
    """A document, the `score` it was found with (higher is better), and where it came from."""

    number: int
    id: str
    text: str
    meta: Mapping[str, Any]
    score: float = 0.0


class Writer:
    """Adds to a store that is being built or extended; `build` and `extend` make one and end it."""

    def __init__(self, connection: sqlite3.Connection, about: About, codec: Any) -> None:
        self.connection, self.about, self.codec = connection, about, codec
        self.documents = about.documents
        self.suffixes = suffixes.Writer(connection, about.size, about.end, about.tokens) if about.size else None
        self.vectors: vectors.Writer | None = None

    def add(self, documents: Iterable[Text], progress: Callable[[int], object] | None = None) -> None:
        """Texts for search, and with a tokenizer their tokens for drafting. `progress`: how many there are so far."""
        left = iter(documents)
        while some := list(islice(left, AT_ONCE)):
            rows = [(self.documents + i, d.id, d.text, dumps(d.meta)) for i, d in enumerate(some, 1)]
            self.connection.executemany("INSERT INTO documents (number, id, text, meta) VALUES (?, ?, ?, ?)", rows)
            found = ((number, " ".join(terms(text))) for number, _, text, _ in rows)
            self.connection.executemany("INSERT INTO search (rowid, terms) VALUES (?, ?)", found)
            if self.suffixes is not None:
                for ids in self.codec.encode_batch([d.text for d in some]):
                    self.suffixes.add(ids)
            self.documents += len(some)
            if progress is not None:
                progress(self.documents)

    def add_vectors(self, vectors_ND: np.ndarray, follows_N: np.ndarray) -> None:
        """Vectors of contexts, and the tokens that followed them. UserError without a model, or of another width."""
        if not self.about.model:
            raise UserError("this store was built for no model's vectors: index again with --vectors and a --model")
        if self.vectors is None:
            width = self.about.width or vectors_ND.shape[-1]
            self.about = replace(self.about, width=width)
            self.vectors = vectors.Writer(self.connection, width, self.about.vectors)
        self.vectors.add(vectors_ND, follows_N)

    def finish(self) -> None:
        """Sort, and write down what there is."""
        tokens = self.suffixes.finish() if self.suffixes else 0
        count = self.vectors.finish() if self.vectors else self.about.vectors
        self.about = replace(self.about, documents=self.documents, tokens=tokens, vectors=count)
        rows = [(name, dumps(value)) for name, value in asdict(self.about).items()]
        self.connection.executemany("INSERT OR REPLACE INTO about (name, value) VALUES (?, ?)", rows)


@contextmanager
def build(
    path: str | Path,
    codec: Any = None,
    *,
    model: str = "",
    codec_name: str = "",
    model_name: str = "",
    overwrite: bool = False,
) -> Iterator[Writer]:
    """A new store at `path`: there as a whole when the block has ended well, else not at all.

    `codec`: with it documents' tokens are kept for drafting. `model`: the fingerprint (`infer.fingerprint`) of the
    model whose vectors will be added. UserError where something stands at `path`; with `overwrite` a store that
    nobody has open is replaced.
    """
    about = About(model=model, model_name=model_name)
    if codec is not None:
        about = replace(about, codec=named(codec), codec_name=codec_name, size=codec.size, end=codec.end)
    with file.building(path, overwrite) as connection:
        writer = Writer(connection, about, codec)
        yield writer
        writer.finish()


@contextmanager
def extend(path: str | Path, codec: Any = None, *, model: str = "") -> Iterator[Writer]:
    """Add to a store: all that is added in the block appears at its end, or nothing. Readers are not disturbed.

    UserError for another tokenizer or model than it was built with, none where it was built with one, and while
    somebody else writes.
    """
    with file.extending(path) as connection:
        about = read_about(connection)
        check(about, path, codec, model)
        if about.size and codec is None:
            raise UserError(f"{path} holds tokens: adding to it needs the tokenizer {about.codec_name or about.codec}")
        if codec is not None and not about.size:
            raise UserError(
                f"{path} was built without a tokenizer and holds no tokens: add without one, or index again"
            )
        writer = Writer(connection, about, codec)
        yield writer
        writer.finish()


def load(path: str | Path, codec: Any = None, *, model: str = "", cache: int = CACHE) -> Store:
    """A store for reading, as it stands now. `cache`: bytes kept in memory.

    UserError where there is none, and where it was built with another tokenizer than `codec` or with another model than
    the one of the fingerprint `model` (either may be left out).
    """
    connection = file.reading(path)
    try:
        with file.told(path):
            return Store(Path(path), connection, codec, model, cache)
    except BaseException:
        connection.close()
        raise


class Store:
    """What `load` gives; for any thread, one at a time. `about` says what is in it."""

    def __init__(self, path: Path, connection: sqlite3.Connection, codec: Any, model: str, cache: int) -> None:
        self.path, self.connection, self.wants = path, connection, (codec, model)
        self.lock = threading.Lock()
        self.cache = Cache(connection, cache)
        self._read()

    def _read(self) -> None:
        self.about = about = read_about(self.connection)
        check(about, self.path, *self.wants)
        self._suffixes: suffixes.Suffixes | None = None
        self._vectors: vectors.Vectors | None = None
        if about.size:
            self._suffixes = suffixes.Suffixes(self.connection, self.cache, about.size, about.end, about.tokens)

    def __len__(self) -> int:
        """Number of documents."""
        return self.about.documents

    def document(self, number: int) -> Found:
        """Document `number`, counted from 1. UserError when there is none."""
        with self._reading():
            rows = self.connection.execute(
                "SELECT id, text, meta FROM documents WHERE number = ?", (number,)
            ).fetchall()
        if not rows:
            raise UserError(f"{self.path} has no document {number}: it has 1 to {len(self)}")
        return Found(number, rows[0][0], rows[0][1], loads(rows[0][2]))

    def search(self, query: str, most: int = 10, *, every: bool = False) -> list[Found]:
        """The documents that have terms of `query` (`every`: all of them), the best first by BM25.

        Robertson and Zaragoza 2009, k1 = 1.2, b = 0.75, as SQLite's FTS5 computes it; of equals the older one first.
        """
        wanted = list(dict.fromkeys(terms(query)))
        if not wanted or most < 1:
            return []
        asked = (" AND " if every else " OR ").join(f'"{term}"' for term in wanted)
        with self._reading():
            rows = self.connection.execute(
                "SELECT number, id, text, meta, -score FROM (SELECT rowid AS found, bm25(search) AS score FROM search "
                "WHERE search MATCH ? ORDER BY score, found LIMIT ?) JOIN documents ON number = found "
                "ORDER BY score, found",
                (asked, most),
            ).fetchall()
        return [Found(number, id, text, loads(meta), score) for number, id, text, meta, score in rows]

    def count(self, gram: Sequence[int]) -> int:
        """How often these tokens occur: see `suffixes.Suffixes.count`."""
        with self._reading():
            return self._tokens().count(gram)

    def continuations(self, suffix: Sequence[int], most: int) -> suffixes.Followed:
        """What followed these tokens, and how often: see `suffixes.Suffixes.continuations`."""
        with self._reading():
            return self._tokens().continuations(suffix, most)

    def nearest(
        self, queries_QD: np.ndarray, k: int, *, first: int | None = None, exact: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances (Q, k) to the nearest vectors and the tokens (Q, k) that followed them.

        See `vectors.Vectors.nearest`.
        """
        with self._reading():
            if not self.about.vectors:
                raise UserError(f"{self.path} holds no vectors: index again with --vectors N and a --model")
            if self._vectors is None:
                about = self.about
                self._vectors = vectors.Vectors(self.connection, self.cache, about.width, about.vectors)
            far, places = self._vectors.nearest(queries_QD, k, first=first, exact=exact)
            return far, self._vectors.follows[places]

    def refresh(self) -> bool:
        """Look at what was added since; whether there was anything. A file that was replaced must be loaded again."""
        with self._reading():
            before = self.about
            file.begin(self.connection)
            self.cache.clear()
            self._read()
            return self.about != before

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tokens(self) -> suffixes.Suffixes:
        if self._suffixes is None:
            raise UserError(f"{self.path} holds no tokens: index again with --model")
        return self._suffixes

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self.lock, file.told(self.path):
            yield


def read_about(connection: sqlite3.Connection) -> About:
    """What the store at the other end says of itself."""
    rows = dict(connection.execute("SELECT name, value FROM about"))
    return About(**{field.name: loads(rows[field.name]) for field in fields(About) if field.name in rows})


def named(codec: Any) -> str:
    """The name under which a tokenizer is known: its fingerprint, or its size where it has none."""
    return str(getattr(codec, "fingerprint", f"{codec.size} tokens"))


def check(about: About, path: str | Path, codec: Any = None, model: str = "") -> None:
    """UserError when the store was built with another tokenizer or model than these, naming both."""
    if codec is not None and about.size and named(codec) != about.codec:
        built = f"{about.codec_name} {about.codec[:12]}".strip()
        raise UserError(
            f"{path} was built with the tokenizer {built}, not with {named(codec)[:12]}: use its own, or index again"
        )
    if model and about.model and model != about.model:
        built = f"{about.model_name} {about.model[:12]}".strip()
        raise UserError(
            f"{path} was built with the model {built}, not with {model[:12]}: use that model, or index again"
        )
