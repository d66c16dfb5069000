"""An index ranks as the formula says, shows nobody what he may not see nor its effect, and is whole after anything."""

from __future__ import annotations

import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from jielong.base.errors import UserError
from jielong.store import file, index_file, postings, store
from jielong.store.index import By, Index, Passage, load
from jielong.store.rights import clauses, may, read_rules
from jielong.store.update import Report, update
from jielong.store.words import terms

WORDS = "the of and river mountain lives Tarn apples Wren Karl 山 玉山 臺灣 最高 的 住在 蘋果 喜歡 台南".split()


def texts(count: int, seed: int, words: Sequence[str] = tuple(WORDS)) -> list[str]:
    draw = random.Random(seed)
    weights = [1 / (i % 10 + 1) for i in range(len(words))]
    return [" ".join(draw.choices(words, weights, k=draw.randint(1, 30))) for _ in range(count)]


def folder(at: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_text(text, encoding="utf-8")
    return at


def embed(some: Sequence[str]) -> np.ndarray:
    """A text as how often it has each of some words, and a little of its length."""
    return np.array([[*(text.count(word) for word in WORDS[::2]), 0.1 + len(text) / 100] for text in some])


def flat(found: Sequence[Passage]) -> list[tuple[str, float, float]]:
    return [(each.id, each.score, each.matched) for each in found]


def by_hand(documents: dict[str, str], query: str) -> list[tuple[str, float]]:
    """BM25 as in the docstring of `postings`, the plain way."""
    counts = {name: Counter(terms(text)) for name, text in documents.items()}
    mean = sum(sum(c.values()) for c in counts.values()) / len(counts)
    scores = {}
    for name, has in counts.items():
        total = 0.0
        for term in terms(query):
            n = sum(term in other for other in counts.values())
            if has[term]:
                norm = 1.2 * (1 - 0.75 + 0.75 * sum(has.values()) / mean)
                total += math.log(1 + (len(counts) - n + 0.5) / (n + 0.5)) * has[term] / (has[term] + norm)
        if total:
            scores[name] = total
    return sorted(scores.items(), key=lambda each: (-round(each[1], 9), each[0]))


@pytest.mark.parametrize("long, few", [(4096, 16), (1, 1), (1, 3)])  # the last two: lists are looked up in
def test_words_rank_as_the_formula_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: int, few: int
) -> None:
    monkeypatch.setattr(postings, "LONG", long)
    monkeypatch.setattr(postings, "FEW", few)
    documents = {f"{i:03}.txt": text for i, text in enumerate(texts(150, 1))}
    update(tmp_path / "i.db", folder(tmp_path / "f", documents))
    with load(tmp_path / "i.db") as index:
        for query in ["玉山 river", "臺灣最高的山", "Karl Wren lives in Tarn", "river river the", "nowhere", "", "的"]:
            for k in (1, 3, 20, 500):
                wanted = by_hand(documents, query)[:k]
                found = index.search(query, k)
                assert [each.document for each in found] == [f"f/{name}" for name, _ in wanted]
                assert [each.score for each in found] == pytest.approx([score for _, score in wanted])


def test_many_blocks_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = {f"{i:03}.txt": text for i, text in enumerate(texts(60, 2))}
    at = folder(tmp_path / "f", documents)
    update(tmp_path / "one.db", at, embed=embed, model="m")
    monkeypatch.setattr(postings, "SLOTS", 7)
    monkeypatch.setattr(postings, "WAITING", 50)
    for module in ("index", "update"):
        monkeypatch.setattr(f"jielong.store.{module}.SLOTS", 7)
    update(tmp_path / "many.db", at, embed=embed, model="m")
    with load(tmp_path / "many.db", embed) as many:
        assert len(many.blocks) == 9
        found = [flat(many.search(query, 9, by=by)) for query in ("玉山", "river of apples") for by in ALL]
    monkeypatch.undo()
    with load(tmp_path / "one.db", embed) as one:
        assert found == [flat(one.search(query, 9, by=by)) for query in ("玉山", "river of apples") for by in ALL]


ALL: tuple[By, ...] = ("words", "vectors", "both")


def test_who_may_not_read_sees_nothing_and_no_effect(tmp_path: Path) -> None:
    """For every reader the answer is, bit for bit, that of an index that never held what he may not read."""
    documents = {f"{kind}/{i}.txt": text for kind in ("open", "boss", "staff", "boss/staff")
                 for i, text in enumerate(texts(25, len(kind)))}  # fmt: skip
    documents["boss/only.txt"] = "zebra " * 50
    rules = {"boss/*": ["boss"], "*staff/*": ["staff", "auditor"]}
    at = folder(tmp_path / "f", documents)
    update(tmp_path / "all.db", at, rules=rules, embed=embed, model="m")
    queries = ["玉山 river", "the mountain", "zebra", "蘋果", "Karl"]
    with load(tmp_path / "all.db", embed) as index:
        for who in ([], ["boss"], ["staff"], ["auditor", "boss"], ["nobody"]):
            seen = {name: text for name, text in documents.items() if may(who, clauses(rules, name))}
            part = tmp_path / ("-".join(who) or "none")
            update(tmp_path / f"{part.name}.db", folder(part / "f", seen), embed=embed, model="m")
            with load(tmp_path / f"{part.name}.db", embed) as never:
                assert index.held(who) == never.held() and index.documents(who) == never.documents()
                for query in queries:
                    for by in ALL:
                        found = index.search(query, 8, reader=who, by=by)
                        assert flat(found) == flat(never.search(query, 8, by=by))
                        assert {each.document[2:] for each in found} <= seen.keys()
        assert index.search("zebra", by="words") == [] and index.search("zebra", reader=["boss"])
        with pytest.raises(UserError, match="list"):
            index.search("zebra", reader="boss")


def test_rights_stay_until_others_are_given(tmp_path: Path) -> None:
    at, path = folder(tmp_path / "f", {"a.txt": "apples", "b.txt": "pears"}), tmp_path / "i.db"
    update(path, at, rules={"a*": ["x"]})
    folder(at, {"a2.TXT": "apples again", "b.txt": "pears again"})
    assert update(path, at).added == ["f/a2.TXT"]
    with load(path) as index:
        assert index.documents() == ["f/b.txt"] and len(index.documents(["x"])) == 3
        assert sorted(update(path, at, rules={}).changed) == ["f/a.txt", "f/a2.TXT"]
        assert index.documents() == ["f/b.txt"]  # as it was when it was loaded
        index.refresh()
        assert len(index.documents()) == 3


def test_rules_are_read_or_refused(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('"pay/*" = ["boss", "books"]\n"*.md" = ["staff"]')
    rules = read_rules(tmp_path / "r.toml")
    wanted = clauses(rules, "pay/2026/May.MD")
    assert not may(["boss"], wanted) and may(["books", "staff"], wanted) and may([], clauses(rules, "a.txt"))
    for wrong in ('"a" = "boss"', '"a" = []', "a b", '"a" = [1]'):
        (tmp_path / "r.toml").write_text(wrong)
        with pytest.raises(UserError):
            read_rules(tmp_path / "r.toml")


def contents(path: Path) -> dict[str, object]:
    """All that an index has, without what only says in which order it came there."""
    with load(path) as index:
        rows = index.connection.execute(
            "SELECT p.number, source || '/' || path || '#' || place, text, page, heading, begin, clauses "
            "FROM passages p JOIN documents d ON d.number = p.document JOIN rights r ON r.number = d.rights"
        ).fetchall()
        names = {row[0]: row[1] for row in rows}
        lists: dict[tuple[str, str], int] = {}
        for term, block, data in index.connection.execute("SELECT term, block, data FROM postings"):
            slots, times = postings.unpacked(data)
            assert (np.diff(slots.astype(int)) > 0).all() and times.all()
            lists |= {(term, names[block * postings.SLOTS + int(s)]): int(t) for s, t in zip(slots, times)}
        lengths = {names[block.number * postings.SLOTS + int(slot)]: int(block.lengths[slot])
                   for block in index.blocks for slot in np.flatnonzero(block.lengths)}  # fmt: skip
        vectors = {names[number]: data for number, data in index.connection.execute("SELECT * FROM vectors")}
        return {"rows": sorted(row[1:] for row in rows), "lists": lists, "lengths": lengths, "vectors": vectors}


def test_updates_come_to_what_a_new_index_has(tmp_path: Path) -> None:
    """Whatever was added, changed, deleted and forbidden in whatever order."""
    draw, at, path = random.Random(3), tmp_path / "f", tmp_path / "i.db"
    held = {f"{i}.txt": text for i, text in enumerate(texts(30, 3))}
    update(path, folder(at, held), embed=embed, model="m", size=12, overlap=3)
    for turn in range(6):
        before = dict(held)
        for name in draw.sample(sorted(held), 8):
            if draw.random() < 0.5:
                del held[name]
                (at / name).unlink()
            else:
                held[name] = texts(1, draw.randint(100, 10**6))[0]
        held |= {f"new{turn}-{i}.txt": text for i, text in enumerate(texts(5, 50 + turn))}
        folder(at, held)
        rules = {"*[02468].txt": [f"group {turn % 2}"]}
        report = update(path, at, rules=rules, embed=embed, model="m", size=12, overlap=3)
        assert len(report.added) == 5 and len(report.deleted) == len(before.keys() - held.keys())
        fresh = tmp_path / f"{turn}.db"
        update(fresh, at, rules=rules, embed=embed, model="m", size=12, overlap=3)
        assert contents(path) == contents(fresh)
    assert update(path, at, embed=embed, model="m", size=12, overlap=3) == Report(same=len(held))


def test_what_is_deleted_is_gone_from_the_file(tmp_path: Path) -> None:
    path, secret = tmp_path / "i.db", "Xylophonist"
    at = folder(tmp_path / "f", {"a.txt": "apples " * 900, "s.txt": f"the {secret} plays " * 300})
    update(path, at)
    assert secret.encode() in path.read_bytes() and b"xylophonist" in path.read_bytes()
    (at / "s.txt").unlink()
    assert update(path, at).deleted == ["f/s.txt"]
    held = b"".join(each.read_bytes() for each in tmp_path.glob("i.db*"))
    assert secret.encode() not in held and b"xylophonist" not in held and b"s.txt" not in held
    assert update(path, at, remove=True).deleted == ["f/a.txt"]
    with load(path) as index:
        assert index.search("apples") == [] and index.blocks == [] and index.held().documents == 0


def test_vectors_and_fusion(tmp_path: Path) -> None:
    documents = {f"{i:02}.txt": text for i, text in enumerate(texts(40, 7))}
    update(tmp_path / "i.db", folder(tmp_path / "f", documents), embed=embed, model="m")
    query = "river apples 玉山"
    with load(tmp_path / "i.db", embed, model="m") as index:
        near = index.search(query, 40, by="vectors")
        q = embed([query])[0]
        cosine = {f"f/{n}": float(q @ v / np.linalg.norm(q) / np.linalg.norm(v))
                  for n, v in zip(documents, embed(list(documents.values())))}  # fmt: skip
        assert [each.score for each in near] == pytest.approx([cosine[e.document] for e in near], abs=2e-3)
        assert [e.score for e in near] == sorted((e.score for e in near), reverse=True) and len(near) == 40
        words = index.search(query, 40, by="words")
        ranks = [{each.id: i for i, each in enumerate(some, 1)} for some in (words, near)]
        fused = {name: sum(1 / (60 + rank[name]) for rank in ranks if name in rank) for name in ranks[1]}
        both = index.search(query, 40)
        assert {each.id: each.score for each in both} == pytest.approx(fused)
        assert [e.score for e in both] == sorted(fused.values(), reverse=True)
        assert both[0].matched <= 1 and index.search("zebra", 3, by="both")[0].matched == 0
    with load(tmp_path / "i.db") as index:  # without a model to ask with: by words
        assert flat(index.search(query, 5)) == flat(index.search(query, 5, by="words"))
        with pytest.raises(UserError, match="no vectors, or no model"):
            index.search(query, by="vectors")


def test_others_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, at = tmp_path / "i.db", folder(tmp_path / "f", {"a.txt": "apples"})
    with pytest.raises(UserError, match="no index at"):
        load(path)
    update(path, at, embed=embed, model="m", model_name="mine")
    for how, told in [({}, "vectors of mine"), ({"embed": embed, "model": "other", "model_name": "yours"}, "yours"),
                      ({"embed": embed, "model": "m", "size": 9, "overlap": 1}, "of 240 words"),
                      ({"embed": lambda t: embed(t)[:, 1:], "model": "m"}, "numbers")]:  # fmt: skip
        (at / "a.txt").write_text(f"apples {told}")
        with pytest.raises(UserError, match=told):
            update(path, at, **how)
    with pytest.raises(UserError, match="mine"):
        load(path, model="other", model_name="yours")
    with load(path) as index:
        assert [each.text for each in index.search("apples")] == ["apples"]
    with monkeypatch.context() as patch:
        patch.setattr(index_file, "FORMAT", 2)
        for use in (load, lambda p: update(p, at, embed=embed, model="m")):
            with pytest.raises(UserError, match="format 1 and this version reads 2"):
                use(path)
    with store.build(tmp_path / "s.db"):
        pass
    sqlite3.connect(tmp_path / "x.db").execute("CREATE TABLE t (x)")
    (tmp_path / "t.db").write_text("no database" * 100)
    for name, told in [("s.db", "store of tokens"), ("x.db", "no index"), ("t.db", "not a"), (".", "not a file|index")]:
        before = (tmp_path / name).read_bytes() if name != "." else b""
        for use in (load, lambda p: update(p, at)):
            with pytest.raises(UserError, match=told):
                use(tmp_path / name)
        assert name == "." or (tmp_path / name).read_bytes() == before


def test_folders_by_their_names(tmp_path: Path) -> None:
    path, one = tmp_path / "i.db", folder(tmp_path / "one" / "f", {"a.txt": "apples", "x.bin": "?", ".h.txt": "hidden"})
    two = folder(tmp_path / "two" / "g", {"b.txt": "pears"})
    (two / "link.txt").symlink_to(one / "a.txt")  # out of the folder
    os.mkfifo(two / "pipe.txt")
    assert update(path, one).others == 1 and update(path, two).others == 2
    with load(path) as index:
        assert index.documents() == ["f/a.txt", "g/b.txt"]
    with pytest.raises(UserError, match="another folder called f"):
        update(path, folder(tmp_path / "three" / "f", {"c.txt": "plums"}))
    (tmp_path / "one").rename(tmp_path / "moved")
    assert update(path, tmp_path / "moved" / "f").same == 1
    (two / "b.txt").write_text("plums")
    assert update(path, two / "b.txt").changed == ["g/b.txt"]
    (two / "b.txt").unlink()
    with pytest.raises(UserError, match="no documents in it"):  # a disk that is not there must not empty the index
        update(path, two)
    with pytest.raises(UserError, match="no such"):
        update(path, tmp_path / "nowhere")
    assert update(path, two, remove=True).deleted == ["g/b.txt"]


def test_broken_files_are_skipped_and_counted(tmp_path: Path) -> None:
    at = folder(tmp_path / "f", {"a.txt": "apples", "b.txt": "ok", "c.txt": "!?", "d.json": "{"})
    (at / "b.txt").write_bytes(b"caf\xe9")
    report = update(tmp_path / "i.db", at)
    assert report.added == ["f/a.txt"] and len(report.skipped) == 3
    assert all(line.startswith(str(at)) and "\n" not in line for line in report.skipped)
    (at / "a.txt").write_bytes(b"\xff\xfe broken now")
    report = update(tmp_path / "i.db", at)
    with load(tmp_path / "i.db") as index:
        assert index.search("apples") == [] and len(report.skipped) == 4
    with pytest.raises(UserError, match="none of its documents"):
        update(tmp_path / "j.db", at)
    with pytest.raises(UserError, match=r"no index at|empty index"):
        load(tmp_path / "j.db")


WRITER = """
import sys, time
from jielong.store import update
from jielong.store.postings import Writer

def read(paths):
    for i, each in enumerate(update.iterate(paths)):
        if i == 30:
            print("deep in", flush=True)
            time.sleep(60)
        yield each

import jielong.store.postings as postings
postings.WAITING = 10
update.update(sys.argv[1], sys.argv[2], read=read)
"""


@pytest.mark.parametrize("new", [True, False])
def test_a_killed_writer_leaves_the_old_index(tmp_path: Path, new: bool) -> None:
    path, at = tmp_path / "i.db", tmp_path / "f"
    if not new:
        update(path, folder(at, {"old.txt": "the old apples"}))
        before = contents(path)
    folder(at, {f"{i}.txt": text for i, text in enumerate(texts(40, 5))})
    process = subprocess.Popen([sys.executable, "-c", WRITER, path, at], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "deep in\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    if new:
        with pytest.raises(UserError, match="index"):
            load(path)
    else:
        assert contents(path) == before
    assert len(update(path, at).added) == 40
    update(tmp_path / "fresh.db", at)
    assert contents(path) == contents(tmp_path / "fresh.db")


def test_two_writers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, at = tmp_path / "i.db", folder(tmp_path / "f", {"a.txt": "apples"})
    monkeypatch.setattr(index_file, "WAIT", 0.1)
    assert file.WAIT > 1
    update(path, at)
    with index_file.writing(path), pytest.raises(UserError, match="in use"):
        update(path, at)
    monkeypatch.setattr(index_file, "WAIT", 60)
    folders = [folder(tmp_path / f"f{i}", {"a.txt": f"number {i}"}) for i in range(3)]
    code = ("import sys; from jielong.store import index_file, update; index_file.WAIT = 60; "
            "update.update(sys.argv[1], sys.argv[2])")  # fmt: skip
    processes = [subprocess.Popen([sys.executable, "-c", code, path, each]) for each in folders]
    assert [process.wait() for process in processes] == [0, 0, 0]
    with load(path) as index:
        assert index.documents() == ["f/a.txt", "f0/a.txt", "f1/a.txt", "f2/a.txt"]


def look_everywhere(path: Path) -> None:
    with load(path) as index:
        for word in WORDS:
            index.search(word, 200)


def test_an_index_that_was_cut_is_told(tmp_path: Path) -> None:
    path = tmp_path / "i.db"
    update(path, folder(tmp_path / "f", {f"{i}.txt": text for i, text in enumerate(texts(200, 9))}))
    whole = path.read_bytes()
    for size in (100, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError):
            look_everywhere(path)


def test_in_threads(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    update(tmp_path / "i.db", folder(tmp_path / "f", {f"{i}.txt": t for i, t in enumerate(texts(50, 4))}))
    with load(tmp_path / "i.db") as index, ThreadPoolExecutor(4) as pool:
        one = [flat(index.search(word, 9)) for word in WORDS]
        assert all(list(pool.map(lambda w: flat(index.search(w, 9)), WORDS)) == one for _ in range(5))
        assert isinstance(index, Index)
