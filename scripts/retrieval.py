"""The index of documents beside bm25s, and how long a search takes: docs/results/retrieval.json.

    .venv-referees/bin/python scripts/retrieval.py                        # some minutes of one core
    .venv-referees/bin/python scripts/retrieval.py --keep build/passages  # keep the large index for the next time

Recall: the questions of DRCD's development set, its 1,000 paragraphs as passages, and the share of questions whose own
paragraph is among the first k. bm25s gets the same terms (words, Chinese characters and pairs) and ranks them by each
of its formulas; the bar is what it reaches by the one it has chosen itself, the note says the best of all.

Speed: 100,000 passages of sentences of the same paragraphs, drawn with replacement, of the length that the index cuts
documents to; the same questions, one after the other in one process, the file in the system's memory, once by words
and once by words and by vectors of 256 random numbers (the time of the model that makes them is not the index's).
Drawn again and again, a sentence's rare terms are many times as frequent as in texts that people wrote, which makes
their lists longer. On a machine that others use the times are theirs too: the load is noted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jielong.base import noise, stats
from jielong.base.result import Result, Row
from jielong.labs import store
from jielong.store.chunks import SIZE, words
from jielong.store.index import By, load
from jielong.store.update import update
from jielong.store.words import terms

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
SENTENCE = re.compile(r"[^。！？]+[。！？]?")
LONGEST = 20_000  # words of a passage: a record is one
TIMED, WIDTH, BAR_MS = 400, 256, 20.0
METHODS = ("lucene", "robertson", "atire", "bm25l", "bm25+")  # of bm25s; the first is its default


def read(data: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Paragraphs, questions, and of each question its paragraph."""
    articles = json.loads((data / "drcd_zh_tw/DRCD_dev.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    asked = [(qa["question"], i) for i, paragraph in enumerate(paragraphs) for qa in paragraph["qas"]]
    return [p["context"] for p in paragraphs], [q for q, _ in asked], np.array([i for _, i in asked])


def texts(folder: Path, some: Sequence[str]) -> Path:
    """Passages as files of a thousand records."""
    folder.mkdir(parents=True, exist_ok=True)
    for at in range(0, len(some), 1000):
        lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in some[at : at + 1000]]
        (folder / f"{at // 1000:05}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def ranked(path: Path, questions: Sequence[str], most: int) -> np.ndarray:
    """(Q, most) the paragraphs that the index finds, -1 where it finds fewer."""
    found = np.full((len(questions), most), -1)
    with load(path) as index:
        for row, question in enumerate(questions):
            for column, passage in enumerate(index.search(question, most)):
                file, place = re.findall(r"(\d+)\.jsonl#(\d+)$", passage.id)[0]
                found[row, column] = int(file) * 1000 + int(place) - 1
    return found


def ranked_by_bm25s(paragraphs: Sequence[str], questions: Sequence[str], most: int, method: str) -> np.ndarray:
    """The same by bm25s, from the same terms."""
    import bm25s

    vocabulary: dict[str, int] = {}
    ids = [[vocabulary.setdefault(term, len(vocabulary)) for term in terms(text)] for text in paragraphs]
    asked = [[vocabulary[term] for term in terms(text) if term in vocabulary] for text in questions]
    index = bm25s.BM25(method=method)
    index.index((ids, vocabulary), show_progress=False)
    return np.asarray(index.retrieve(asked, k=most, show_progress=False)[0])


def recall(paragraphs: Sequence[str], questions: Sequence[str], gold: np.ndarray) -> list[Row]:
    """Recall at 1 and 5, ours beside bm25s's."""
    with tempfile.TemporaryDirectory() as folder:
        update(Path(folder) / "i.db", texts(Path(folder) / "drcd", paragraphs), size=LONGEST, overlap=0)
        ours = ranked(Path(folder) / "i.db", questions, 5) == gold[:, None]
    theirs = {m: ranked_by_bm25s(paragraphs, questions, 5, m) == gold[:, None] for m in METHODS}
    rows = []
    for k in (1, 5):
        mine, chosen = ours[:, :k].any(1), theirs[METHODS[0]][:, :k].any(1)
        best = max(METHODS, key=lambda m: theirs[m][:, :k].any(1).mean())
        note = f"bm25s's best formula, {best}: {theirs[best][:, :k].any(1).mean():.4f}"
        rows.append(Row(f"recall@{k}", mine.mean(), stats.wilson(int(mine.sum()), len(mine)), len(mine),
                        control=chosen.mean(), control_name="bm25s, same terms", bar=chosen.mean() if k == 5 else None,
                        verdict="met" if mine.mean() >= chosen.mean() else "missed", unit="share",
                        group="DRCD, 1,000 paragraphs", note=note))  # fmt: skip
        rows.append(Row(f"recall@{k}, ours less bm25s's", float(mine.mean() - chosen.mean()),
                        stats.paired_bootstrap(mine.astype(float), chosen.astype(float)), len(mine), unit="share",
                        group="DRCD, 1,000 paragraphs", note=f"{int((mine & ~chosen).sum())} questions found by ours "
                        f"alone, {int((chosen & ~mine).sum())} by bm25s alone"))  # fmt: skip
    return rows


def drawn(paragraphs: Sequence[str], count: int, most: int) -> list[str]:
    """Passages of sentences drawn from all, each of `most` words at most."""
    sentences = [sentence for each in paragraphs for sentence in SENTENCE.findall(each) if words(sentence)]
    draw, made = noise.rng("drawn", 0), list[str]()
    sizes = [words(sentence) for sentence in sentences]
    for _ in range(count):
        some: list[str] = []
        size = 0
        for i in draw.integers(len(sentences), size=most).tolist():
            if some and size + sizes[i] > most:
                break
            some.append(sentences[i])
            size += sizes[i]
        made.append("".join(some))
    return made


def embed(some: Sequence[str]) -> np.ndarray:
    """Random numbers in a text's name."""
    return np.stack([noise.rng("vector", text).standard_normal(WIDTH) for text in some])


def speed(paragraphs: Sequence[str], questions: Sequence[str], count: int, size: int, folder: Path) -> list[Row]:
    """Milliseconds of a search among so many passages."""
    path = folder / f"{count}-{size}.db"
    if not path.exists():
        began = time.process_time()
        files = texts(folder / f"texts{count}-{size}", drawn(paragraphs, count, size))
        update(path, files, embed=embed, model="random", size=LONGEST, overlap=0)
        print(f"built in {time.process_time() - began:.0f} s of a core", flush=True)
    asked = [questions[i] for i in noise.permutation(0, len(questions), "timed")[:TIMED]]
    rows, ways = list[Row](), ("words", "both")
    known = dict(zip(asked, embed(asked)))
    with load(path, lambda some: np.stack([known[text] for text in some])) as index:
        found = index.held().passages
        times: dict[By, list[float]] = {way: [] for way in ways}  # type: ignore[misc]
        for number, question in enumerate([*asked[:20], *asked]):  # the first ones read the file
            for way in times:
                began = time.perf_counter()
                index.search(question, 5, by=way)
                if number >= 20:
                    times[way].append(1000 * (time.perf_counter() - began))
    for way, some in times.items():
        median = float(np.median(some))
        bar, what = BAR_MS if way == "words" else None, f"{found:,} passages of {size} words"
        rows.append(Row(f"a search by {'words' if way == 'words' else 'words and vectors'}, median", median,
                        stats.bootstrap(some, np.median), len(some), bar=bar, unit="ms", group=what,
                        verdict="" if bar is None else "met" if median <= bar else "missed",
                        note=f"9 of 10 within {np.quantile(some, 0.9):.1f} ms; load of the machine "
                        f"{os.getloadavg()[0]:.1f}; {path.stat().st_size / 1e6:.0f} MB"))  # fmt: skip
    return rows


def main(arguments: Any) -> None:
    began = time.monotonic()
    paragraphs, questions, gold = read(arguments.data)
    rows = [] if arguments.no_recall else recall(paragraphs, questions, gold)
    with tempfile.TemporaryDirectory() as folder:
        rows += speed(paragraphs, questions, arguments.passages, arguments.words, arguments.keep or Path(folder))
    for row in rows:
        print(f"{row.group}: {row.name} {row.estimate:.4f} {row.unit} {row.interval} {row.note}", flush=True)
    meta = store.origin("jielong.store.update", command="python scripts/retrieval.py",
                        minutes=(time.monotonic() - began) / 60, seeds=(0,))  # fmt: skip
    if not arguments.no_recall:
        title = "An index of documents: what is found, and how fast"
        store.save(Result("retrieval", title, tuple(rows), meta=meta), arguments.out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("JIELONG_DATA") or DATA))
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=SIZE)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--no-recall", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results")
    main(parser.parse_args())
