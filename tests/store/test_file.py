"""A store is whole or not there, is read as it stood, and is refused by name where it does not fit."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jielong.base.errors import UserError, WorkFailed
from jielong.data.read import Document
from jielong.store import file, series, store
from jielong.units import chars
from jielong.units.codec import Tokenizer
from tests.store.conftest import TEXTS, documents

WRITER = """
import sys, time
from jielong.data.read import Document
from jielong.store import store
from jielong.units import chars

def texts():
    for i in range(5000):
        if i == 4000:
            print("deep in", flush=True)
            time.sleep(60)
        yield Document("玉山 and more " + str(i), str(i))

codec = chars.train(["玉山 and more 0123456789"])
with getattr(store, sys.argv[1])(sys.argv[2], codec) as writer:
    writer.add(texts())
"""


def kill_in_the_middle(how: str, path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, how, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "deep in\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_a_killed_build_leaves_nothing_that_loads(tmp_path: Path, codec: Tokenizer) -> None:
    path = tmp_path / "s.db"
    kill_in_the_middle("build", path)
    assert not path.exists() and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(UserError, match="no store"):
        store.load(path)
    (half,) = tmp_path.iterdir()
    with pytest.raises(UserError):  # not even by its own name
        store.load(half)
    os.utime(half, (0, 0))
    with store.build(path, codec) as writer:
        writer.add(documents())
    assert [p.name for p in tmp_path.iterdir()] == ["s.db"]  # what was left is swept
    assert len(store.load(path, codec)) == len(TEXTS)


def test_a_killed_addition_leaves_what_there_was(tmp_path: Path) -> None:
    path, small = tmp_path / "s.db", chars.train(["玉山 and more 0123456789"])
    with store.build(path, small) as writer:
        writer.add(documents(("玉山 and more",)))
    kill_in_the_middle("extend", path)
    with store.load(path, small) as here:
        assert len(here) == 1 and len(here.search("玉山", 9)) == 1
        assert here.count(small.encode("and")) == 1
    with store.extend(path, small) as writer:
        writer.add(documents(("more and 玉山",)))
    with store.load(path, small) as here:
        assert len(here) == 2 and here.count(small.encode("and")) == 2


def test_a_failing_build_leaves_the_old_store(tmp_path: Path, codec: Tokenizer) -> None:
    path = tmp_path / "s.db"
    with store.build(path, codec) as writer:
        writer.add(documents())

    def failing() -> Iterator[Document]:
        yield from documents()
        raise KeyboardInterrupt

    for how in (lambda: store.build(path, codec, overwrite=True), lambda: store.extend(path, codec)):
        with pytest.raises(KeyboardInterrupt), how() as writer:
            writer.add(failing())
        assert len(store.load(path, codec)) == len(TEXTS)
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith("s.db")] == []


def test_readers_see_a_snapshot(tmp_path: Path, codec: Tokenizer) -> None:
    path = tmp_path / "s.db"
    with store.build(path, codec) as writer:
        writer.add(documents())
    with store.load(path, codec, cache=1) as reader:
        before = (reader.count(codec.encode("a")), [hit.number for hit in reader.search("Tarn")])
        with store.extend(path, codec) as writer:
            writer.add(documents(("Tarn again, and again.",) * 50))
            assert before == (reader.count(codec.encode("a")), [hit.number for hit in reader.search("Tarn")])
        assert before == (reader.count(codec.encode("a")), [hit.number for hit in reader.search("Tarn")])
        assert reader.continuations(codec.encode("Tarn"), 3) and len(reader) == len(TEXTS)
        with store.load(path, codec) as late:
            assert len(late) == len(TEXTS) + 50 and late.count(codec.encode("a")) > before[0]
        assert reader.refresh() and len(reader) == len(TEXTS) + 50 and not reader.refresh()
        assert reader.count(codec.encode("Tarn again")) == 50


def test_readers_in_threads_while_a_writer_adds(tmp_path: Path, codec: Tokenizer) -> None:
    """Whoever looks, sees the documents, their n-grams and their index of one moment."""
    path = tmp_path / "s.db"
    with store.build(path, codec) as writer:
        writer.add(documents(("apples",)))
    wrong: list[object] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            try:
                with store.load(path, codec) as here:
                    seen = (here.count(codec.encode("apples")), len(here.search("apples", 99)), len(here))
                    if len(set(seen)) != 1:
                        wrong.append(seen)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        with store.extend(path, codec) as writer:
            writer.add(documents(("apples",)))
    over.set()
    for thread in threads:
        thread.join()
    assert wrong == [] and len(store.load(path)) == 21


def test_one_writer_at_a_time(tmp_path: Path, codec: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.db"
    with store.build(path, codec) as writer:
        writer.add(documents())
    monkeypatch.setattr(file, "WAIT", 0.1)
    with store.extend(path, codec) as first:
        first.add(documents())
        with pytest.raises(UserError, match="in use"), store.extend(path, codec):
            pass
    assert len(store.load(path)) == 2 * len(TEXTS)


def test_a_store_that_is_read_is_not_replaced(tmp_path: Path, codec: Tokenizer) -> None:
    path = tmp_path / "s.db"
    with store.build(path, codec) as writer:
        writer.add(documents())
    with store.load(path), pytest.raises(UserError, match="in use"), store.build(path, overwrite=True):
        pass
    with pytest.raises(UserError, match="--overwrite"), store.build(path):
        pass
    with store.build(path, overwrite=True) as writer:
        writer.add(documents(("new",)))
    with store.extend(path) as writer:
        writer.add([])
    assert [p.name for p in tmp_path.iterdir()] == ["s.db"] and len(store.load(path)) == 1


@pytest.mark.parametrize("harm", ["overwritten", "cut", "another's page"])
def test_a_file_that_changes_under_a_reader_is_one_line(tmp_path: Path, codec: Tokenizer, harm: str) -> None:
    """Not by SQLite, but by a copy over it: what is read then is right, or refused."""
    path = tmp_path / "s.db"
    with store.build(path, codec) as writer:
        writer.add(documents(TEXTS * 400))
    right = None
    with store.load(path, codec, cache=1) as reader:
        right = reader.count(codec.encode("apples"))
        if harm == "overwritten":
            path.write_bytes(os.urandom(path.stat().st_size))
        elif harm == "cut":
            os.truncate(path, 8192)
        else:
            raw = bytearray(path.read_bytes())
            raw[20_000:] = b"\0" * (len(raw) - 20_000)
            path.write_bytes(raw)
        told = ""
        for ask in (lambda: reader.count(codec.encode("apples")), lambda: reader.search("apples"),
                    lambda: reader.document(7), lambda: reader.continuations(codec.encode("app"), 2)):  # fmt: skip
            try:
                ask()
            except UserError as error:
                told = str(error)
        assert "overwritten while it was read" in told and "\n" not in told
    assert right == 800


def test_a_page_that_is_not_what_was_written_is_found(tmp_path: Path, codec: Tokenizer) -> None:
    path = tmp_path / "s.db"
    with store.build(path, codec) as writer:
        writer.add(documents())
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE pages SET data = zeroblob(length(data)) WHERE series = 'tokens'")
    connection.close()
    with store.load(path, codec) as here, pytest.raises(UserError, match="page 0 of tokens"):
        here.count(codec.encode("a"))


def test_what_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello " * 999)
    (tmp_path / "empty").write_bytes(b"")
    sqlite3.connect(tmp_path / "other").execute("CREATE TABLE t (x)").connection.close()
    for name in ("text", "empty", "other"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(UserError, match=name):
            store.load(tmp_path / name)
        with pytest.raises(UserError), store.build(tmp_path / name, overwrite=True):
            pass  # what is not a store is not replaced by one
        with pytest.raises(UserError), store.extend(tmp_path / name):
            pass
        assert (tmp_path / name).read_bytes() == before
    with pytest.raises(UserError), store.build(tmp_path, overwrite=True):
        pass
    with store.build(tmp_path / "future"):
        pass
    with sqlite3.connect(tmp_path / "future") as connection:
        connection.execute("PRAGMA user_version=9")
    connection.close()
    with pytest.raises(UserError, match="format 9"):
        store.load(tmp_path / "future")


def test_another_tokenizer_or_model_is_refused_by_name(tmp_path: Path, codec: Tokenizer) -> None:
    path, other = tmp_path / "s.db", chars.train(["another"])
    with store.build(path, codec, model="m" * 32, codec_name="runs/mine", model_name="runs/mine") as writer:
        writer.add(documents())
        writer.add_vectors(np.ones((2, 3), np.float32), np.array([1, 2]))
    store.load(path, codec, model="m" * 32).close()
    for name, mistake in {
        "tokenizer runs/mine": lambda: store.load(path, other),
        "model runs/mine": lambda: store.load(path, codec, model="n" * 32),
        other.fingerprint[:12]: lambda: store.extend(path, other).__enter__(),
        "holds tokens": lambda: store.extend(path).__enter__(),
    }.items():
        with pytest.raises(UserError, match=name):
            mistake()
    with pytest.raises(UserError, match="do not fit"), store.extend(path, codec, model="m" * 32) as writer:
        writer.add_vectors(np.ones((2, 4), np.float32), np.array([1, 2]))
    with store.build(tmp_path / "texts") as writer:
        writer.add(documents())
        with pytest.raises(UserError, match="--vectors"):
            writer.add_vectors(np.ones((2, 3)), np.array([1, 2]))
    with pytest.raises(UserError, match="no tokens"), store.extend(tmp_path / "texts", codec):
        pass


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise error

    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    with pytest.raises(WorkFailed, match="disk is full"), file.told("s.db"):
        refuse()


def test_a_place_where_nothing_can_be_written(
    tmp_path: Path, codec: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There SQLite cannot lay its log beside the file: the file is then read as one that nobody changes."""
    with store.build(tmp_path / "s.db", codec) as writer:
        writer.add(documents())
    asked, snapshot = [], file._snapshot

    def refuse(path: Path, how: str, check: object) -> sqlite3.Connection:
        asked.append(how)
        if how == "mode=ro":
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise error
        return snapshot(path, how, check)

    monkeypatch.setattr(file, "_snapshot", refuse)
    assert len(store.load(tmp_path / "s.db", codec)) == len(TEXTS) and asked == ["mode=ro", "immutable=1"]


def test_memory_is_that_of_a_segment_not_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept back before it is written never exceeds a segment, however much comes."""
    from jielong.store import suffixes

    monkeypatch.setattr(suffixes, "SEGMENT", 1000)
    monkeypatch.setattr(series, "PAGE", 256)
    numbers: Any = SimpleNamespace(size=50, end=49, encode_batch=lambda texts: [[int(t) % 49] * 7 for t in texts])
    most = 0
    with store.build(tmp_path / "s.db", numbers) as writer:
        assert writer.suffixes is not None
        for i in range(60):
            writer.add(documents([str(i * 20 + j) for j in range(20)]))
            most = max(most, writer.suffixes.waits)
    assert 900 < most <= 1000 + suffixes.DEPTH
    with store.load(tmp_path / "s.db", numbers, cache=2000) as here:
        assert here.count([5, 5]) == 6 * sum(i % 49 == 5 for i in range(1200))
        assert here.cache.held <= 2000
