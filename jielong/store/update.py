"""A folder of documents into an index, and again after files were added, changed or deleted.

    report = update("papers.db", "papers")

What a file holds is known by its hash: only what changed is read, cut and embedded anew. All of it is one transaction:
another program waits or is told, and one that is killed leaves the index as it was. A document's passages lie in a
block of those that the same people may read (`postings`); what is deleted is gone from the lists, the statistics and
the file.
"""

from __future__ import annotations

import heapq
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from jielong.base.errors import UserError
from jielong.base.files import digest
from jielong.base.plain import dumps, loads
from jielong.data.documents import Content, iterate, kinds
from jielong.data.sources import suffix
from jielong.store import postings
from jielong.store.chunks import OVERLAP, SIZE, Chunk, cut
from jielong.store.index import Embed, unit
from jielong.store.index_file import About, check_model, read_about, write_about, writing
from jielong.store.postings import SLOTS
from jielong.store.rights import Rules, clauses
from jielong.store.words import terms

TOGETHER = 64  # passages that are embedded at a time
LONGEST = (1 << 16) - 1  # a passage counts as so many terms at most

Read = Callable[[Iterable[Path]], Iterator[tuple[Path, "Content | str"]]]


@dataclass
class Report:
    """What was done: documents, by their names; of skipped ones the line that says why."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    same: int = 0
    others: int = 0  # files of kinds that are not read


@dataclass(frozen=True)
class Old:
    """A document as the index has it."""

    number: int
    digest: str
    rights: str


def update(
    path: str | Path,
    folder: str | Path,
    *,
    rules: Rules | None = None,
    embed: Embed | None = None,
    model: str = "",
    model_name: str = "",
    size: int = SIZE,
    overlap: int = OVERLAP,
    remove: bool = False,
    progress: Callable[[int, int], object] | None = None,
    read: Read = iterate,
) -> Report:
    """Make the index at `path` hold the documents of `folder` as they are now (of a file: this one).

    `rules`: who may read what (`rights`); those given last stay until others are given. `embed`, with the name that
    decides and the one for people of its `model`: vectors too; an index has them of all passages or of none. `remove`:
    take the folder out. `progress(done, all)` is told of changed documents. Several folders of different names may be
    in one index. UserError for what cannot be, WorkFailed on a full disk; in either case nothing was changed.
    """
    source, files, others = _files(Path(folder), remove)
    if not 0 <= overlap < size:
        raise UserError(f"passages of {size} words that share {overlap}: give a size of 1 or more, and share less")
    with writing(path) as (connection, new):
        about = About(size, overlap, model, model_name)
        if not new:
            about = _same(read_about(connection), about, path, embed is not None)
        rules = _source(connection, source, rules, path)
        writer = Writer(connection, about, embed)
        report = Report(others=others)
        old = _held(connection, source.name)
        if Path(folder).is_dir():
            for name in sorted(old.keys() - files.keys()):
                writer.remove(old[name].number)
                report.deleted.append(f"{source.name}/{name}")
        _put(writer, report, source.name, files, old, rules, progress, read)
        writer.finish()
        if remove:
            connection.execute("DELETE FROM sources WHERE name = ?", (source.name,))
        if new and not writer.made:
            raise UserError(f"{folder}: none of its documents could be read" + "".join(
                f"; {line}" for line in report.skipped[:3]))  # fmt: skip
        write_about(connection, writer.about)
    return report


def _files(folder: Path, remove: bool) -> tuple[Path, dict[str, Path], int]:
    """The folder, its documents by their names in it, and how many files are of other kinds. Hidden files, and links
    that lead out of the folder, are left out."""
    folder = folder.expanduser()
    if not folder.exists():
        raise UserError(f"{folder}: no such file or folder")
    root = (folder if folder.is_dir() else folder.parent).resolve()
    if folder.is_file():
        if suffix(folder) not in kinds():
            raise UserError(f"{folder}: known are {', '.join(kinds())}")
        return root, {} if remove else {folder.name: root / folder.name}, 0
    files, others = {}, 0
    for here, below, names in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".")]
        for path in (Path(here, name) for name in names if not name.startswith(".")):
            if suffix(path) not in kinds() or not path.is_file() or not path.resolve().is_relative_to(root):
                others += 1
            else:
                files[path.relative_to(root).as_posix()] = path
    if not files and not remove:
        raise UserError(f"{folder}: no documents in it ({', '.join(kinds())}); to take it out of the index: --remove")
    return root, {} if remove else files, others


def _same(has: About, wants: About, path: str | Path, embeds: bool) -> About:
    """The index's own settings. UserError where they are not those that are wanted."""
    check_model(has, path, wants.model, wants.model_name)
    if embeds and not has.width:
        raise UserError(f"{path} has no vectors: index again into another file with --embed")
    if has.width and not embeds:
        raise UserError(f"{path} has vectors of {has.model_name}: what is new needs them too, give --embed")
    if (has.size, has.overlap) != (wants.size, wants.overlap):
        raise UserError(f"{path} has passages of {has.size} words that share {has.overlap}, not of {wants.size} and "
                        f"{wants.overlap}: index with its own, or into another file")  # fmt: skip
    return has


def _source(connection: sqlite3.Connection, root: Path, rules: Rules | None, path: str | Path) -> Rules:
    """Note the folder; the rules that hold for it. UserError where another folder of that name is in the index."""
    name = root.name
    found = connection.execute("SELECT folder, rules FROM sources WHERE name = ?", (name,)).fetchone()
    if found and found[0] != str(root) and Path(found[0]).is_dir():  # one that is not there any more was moved
        raise UserError(f"{path} has another folder called {name} ({found[0]}): rename one, or choose another --out")
    rules = rules if rules is not None else loads(found[1]) if found else {}
    row = (name, str(root), dumps(dict(rules)))
    connection.execute("INSERT OR REPLACE INTO sources (name, folder, rules) VALUES (?, ?, ?)", row)
    return rules


def _held(connection: sqlite3.Connection, source: str) -> dict[str, Old]:
    rows = connection.execute(
        "SELECT path, d.number, digest, clauses FROM documents AS d JOIN rights AS r ON r.number = d.rights "
        "WHERE source = ?", (source,),
    )  # fmt: skip
    return {path: Old(number, digest, clauses) for path, number, digest, clauses in rows}


def _put(
    writer: Writer, report: Report, source: str, files: dict[str, Path], old: dict[str, Old], rules: Rules,
    progress: Callable[[int, int], object] | None, read: Read,
) -> None:  # fmt: skip
    """What is new or changed into the index."""
    changed: dict[Path, tuple[str, str, str]] = {}
    for name in sorted(files):
        wanted = clauses(rules, name)
        try:
            sha = digest(files[name])
        except UserError as error:
            report.skipped.append(str(error))
            sha = ""
        has = old.get(name)
        if has and (has.digest, has.rights) == (sha, wanted):
            report.same += 1
            continue
        if has:  # first: what it was is not true any more, whether the new one can be read or not
            writer.remove(has.number)
        if sha:
            changed[files[name]] = (name, sha, wanted)
    for done, (path, found) in enumerate(read(changed), 1):
        name, sha, wanted = changed[path]
        if isinstance(found, str):
            report.skipped.append(found)
        elif writer.add(source, name, sha, wanted, found):
            (report.changed if name in old else report.added).append(f"{source}/{name}")
        else:
            report.skipped.append(f"{path}: no words in it")
        if progress is not None:
            progress(done, len(changed))


class Writer:
    """Adds documents to an index and takes them out; call `finish` at the end."""

    def __init__(self, connection: sqlite3.Connection, about: About, embed: Embed | None) -> None:
        self.connection, self.about, self.embed = connection, about, embed
        self.postings = postings.Writer(connection)
        rows = connection.execute("SELECT number, rights, lengths FROM blocks ORDER BY number")
        self.blocks = {number: (of, np.frombuffer(data, "<u2").copy()) for number, of, data in rows}
        self.used = {number: len(lengths) for number, (_, lengths) in self.blocks.items()}
        self.free: dict[int, list[int]] = {}  # of a block: the slots that are free, a heap
        self.touched: set[int] = set()
        self.waiting: list[tuple[int, str]] = []  # passages to be embedded
        self.made = 0

    def add(self, source: str, path: str, sha: str, clauses: str, content: Content) -> bool:
        """A document; whether there was a passage in it."""
        chunks = list(cut(content.text, content.sections, self.about.size, self.about.overlap))
        if not chunks:
            return False
        self.connection.execute("INSERT OR IGNORE INTO rights (clauses) VALUES (?)", (clauses,))
        (rights,) = self.connection.execute("SELECT number FROM rights WHERE clauses = ?", (clauses,)).fetchone()
        row = (source, path, sha, rights, content.title)
        document = self.connection.execute(
            "INSERT INTO documents (source, path, digest, rights, title) VALUES (?, ?, ?, ?, ?)", row
        ).lastrowid
        assert document is not None
        for place, chunk in enumerate(chunks, 1):
            self._passage(document, place, rights, chunk)
        self.made += 1
        return True

    def remove(self, document: int) -> None:
        """A document's passages, terms and vectors."""
        rows = self.connection.execute("SELECT number, heading, text FROM passages WHERE document = ?", (document,))
        for number, heading, text in rows.fetchall():
            block, slot = divmod(number, SLOTS)
            self.postings.remove(number, list(dict.fromkeys(terms(searched(heading, text)))))
            self.blocks[block][1][slot] = 0
            self.touched.add(block)
            if block in self.free:
                heapq.heappush(self.free[block], slot)
            self.connection.execute("DELETE FROM vectors WHERE number = ?", (number,))
        self.connection.execute("DELETE FROM passages WHERE document = ?", (document,))
        self.connection.execute("DELETE FROM documents WHERE number = ?", (document,))

    def finish(self) -> None:
        """Write what waits; blocks and rights that nothing has any more go."""
        self._embed(1)
        self.postings.flush()
        for number in sorted(self.touched):
            rights, lengths = self.blocks[number]
            self.connection.execute("DELETE FROM blocks WHERE number = ?", (number,))
            if lengths.any():
                row = (number, rights, lengths[: self.used[number]].astype("<u2").tobytes())
                self.connection.execute("INSERT INTO blocks (number, rights, lengths) VALUES (?, ?, ?)", row)
        self.connection.execute("DELETE FROM rights WHERE number NOT IN (SELECT rights FROM documents)")

    def _passage(self, document: int, place: int, rights: int, chunk: Chunk) -> None:
        counts = Counter(terms(searched(chunk.heading, chunk.text)))
        block, slot = self._slot(rights)
        number = block * SLOTS + slot
        self.blocks[block][1][slot] = min(sum(counts.values()), LONGEST)
        self.touched.add(block)
        self.postings.add(number, counts)
        row = (number, document, place, chunk.begin, len(chunk.text), chunk.page, chunk.heading, chunk.text)
        self.connection.execute(
            "INSERT INTO passages (number, document, place, begin, length, page, heading, text) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row,
        )  # fmt: skip
        if self.embed is not None:
            self.waiting.append((number, searched(chunk.heading, chunk.text)))
            self._embed(TOGETHER)

    def _slot(self, rights: int) -> tuple[int, int]:
        """A free place in a block of these rights."""
        for block, (of, lengths) in self.blocks.items():
            if of != rights:
                continue
            free = self.free.get(block)
            if free is None:  # a heap: sorted
                free = self.free[block] = np.flatnonzero(lengths[: self.used[block]] == 0).tolist()
            if free:
                return block, heapq.heappop(free)
            if self.used[block] < SLOTS:
                if self.used[block] == len(lengths):
                    self.blocks[block] = of, np.concatenate([lengths, np.zeros(max(64, len(lengths)), "<u2")])[:SLOTS]
                self.used[block] += 1
                return block, self.used[block] - 1
        block = max(self.blocks, default=0) + 1
        self.blocks[block], self.used[block] = (rights, np.zeros(64, "<u2")), 0
        self.postings.fresh.add(block)
        return self._slot(rights)

    def _embed(self, least: int) -> None:
        """Vectors of the passages that wait, once there are so many."""
        if self.embed is None or len(self.waiting) < least:
            return
        vectors = unit(self.embed([text for _, text in self.waiting]))
        width = self.about.width or vectors.shape[-1]
        if vectors.shape != (len(self.waiting), width):
            raise UserError(f"{self.about.model_name} gives vectors of {vectors.shape[-1]} numbers, and the index has "
                            f"such of {width}: index with the model it was made with")  # fmt: skip
        self.about = replace(self.about, width=width)
        rows = [(number, v.astype("<f2").tobytes()) for (number, _), v in zip(self.waiting, vectors)]
        self.connection.executemany("INSERT INTO vectors (number, data) VALUES (?, ?)", rows)
        self.waiting = []


def searched(heading: str, text: str) -> str:
    """What a passage is found by: it and the headings it stands under."""
    return f"{heading}\n{text}" if heading else text
