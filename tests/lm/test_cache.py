"""The completion cache: ten draws stay ten draws; restarts, threads, processes, full disks, size."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jielong.base.errors import UserError, WorkFailed
from jielong.base.stats import clopper_pearson
from jielong.lm.cache import Cached, identity_of
from jielong.lm.fork import Fork
from jielong.lm.money import Paid, Price
from jielong.lm.noisy import NoisyOracle
from jielong.lm.protocol import Draw, Usage, gather
from jielong.lm.remote import Remote
from jielong.lm.scripted import Scripted
from jielong.prompting.strategy import branch
from tests.lm.faults import faulty


def counting(name: str = "scripted", **more: Any) -> Scripted:
    return Scripted(lambda prompt, index: f"{prompt}/{index}", name=name, **more)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


def test_ten_begins_with_five_and_asks_for_five(path: Path) -> None:
    lm = counting()
    cached = Cached(lm, path)
    five = cached.sample("hi", 5)
    ten = cached.sample("hi", 10)
    assert ten[:5] == five and [d.text for d in ten] == [f"hi/{i}" for i in range(10)]
    assert [(c.n, c.start) for c in lm.calls] == [(5, 0), (5, 5)]
    assert (cached.hits, cached.misses) == (5, 10) and cached.saved == Usage(5, 5, 15)
    assert [d.text for d in cached.sample("hi", 1, 12)] == ["hi/12"]
    assert [d.text for d in cached.sample("hi", 4, 10)] == [f"hi/{i}" for i in range(10, 14)]
    assert [(c.n, c.start) for c in lm.calls[2:]] == [(1, 12), (2, 10), (1, 13)]


def test_it_survives_a_restart_and_gives_back_all_of_a_draw(path: Path) -> None:
    odd = Draw("臺灣\ud800\n", (1, 2), (-0.5, float("-inf")), "length", "k", Usage(1, 2, 3), (((1, -0.5),), ()))

    class Odd(Scripted):
        async def asample(self, *args: Any, **more: Any) -> list[Draw]:
            return [odd]

    cached = Cached(Odd("", name="odd"), path)
    assert cached.sample("玉山") == [odd]
    cached.close()
    again = Cached(Scripted({}, name="odd"), path)
    assert again.sample("玉山") == [odd] and again.hits == 1


OTHERS = [{"temperature": 0.5}, {"max_tokens": 7}, {"stop": ("x",)}, {"seed": 1}, {"grammar": ("regex", "a")}]


@pytest.mark.parametrize("other", OTHERS)
def test_whatever_changes_a_request_is_another_request(path: Path, other: dict[str, Any]) -> None:
    class Tells(Scripted):
        async def asample(self, prompt: Any, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
            return [Draw(repr(sorted(sampling.items())))]

    cached = Cached(Tells("", name="any"), path)
    first, second = cached.sample("hi"), cached.sample("hi", **other)
    assert first != second and cached.hits == 0
    assert cached.sample("hi", temperature=1.0) == first  # the default, said


def test_a_prompt_is_known_in_whatever_form_it_comes(path: Path) -> None:
    lm = counting()
    cached = Cached(lm, path)
    cached.sample([{"role": "user", "content": "hi"}])
    cached.sample(({"content": "hi", "role": "user"},))
    cached.sample(np.array([1, 2]))
    cached.sample([1, 2])
    assert len(lm.calls) == 2 and cached.hits == 2


def test_models_do_not_answer_for_one_another(path: Path) -> None:
    oracles = [NoisyOracle(lambda p: "4", 0.5, seed=s) for s in (1, 2)]
    others = [branch(counting(), "x"), branch(counting(), 7), Fork(counting(), "a"), Fork(counting(), "b"),
              branch(counting(), "x", temperature=0.5)]  # fmt: skip
    assert len({identity_of(lm) for lm in (*oracles, counting(), counting("b"), *others)}) == 9
    assert identity_of(Paid(counting(), Price())) == identity_of(counting())
    with pytest.raises(UserError, match="names no model"):
        Cached(Remote("http://127.0.0.1:9/v1"), path).sample("hi")


def test_cached_draws_follow_the_models_law(path: Path) -> None:
    """The bug of caches that keep one answer a prompt: n draws were one draw n times, their vote decided nothing."""
    cached = Cached(NoisyOracle(lambda p: "4", 0.3, wrong_fn=lambda p: ["3"], seed=5), path)
    cached.sample("2 + 2?", 400)
    right = sum(d.text == "4" for d in cached.sample("2 + 2?", 400))
    assert 0.7 in clopper_pearson(right, 400, 0.99) and cached.hits == 400


def test_equal_requests_at_once_are_sent_once(path: Path) -> None:
    class Slow(Scripted):
        async def asample(self, *args: Any, **more: Any) -> list[Draw]:
            await asyncio.sleep(0.02)
            return await super().asample(*args, **more)

    lm = Slow(lambda prompt, index: f"{index}", name="slow")
    cached = Cached(lm, path)

    async def at_once() -> list[list[Draw]]:
        return await gather(*(cached.asample("hi", n) for n in (3, 5, 5, 2, 1)))

    found = asyncio.run(at_once())
    assert [len(f) for f in found] == [3, 5, 5, 2, 1] and found[1] == found[2]
    assert sum(c.n for c in lm.calls) == 5


def test_what_was_paid_for_is_kept_when_a_neighbour_fails(path: Path) -> None:
    with faulty(["ok", "ok", "500"]) as server:
        cached = Cached(Remote(server.url, "m", retries=0, timeout=5, at_once=1), path)
        with pytest.raises(WorkFailed, match="answered 500"):
            cached.sample("hi", 4)
        server.plan[:] = ["ok"]
        assert len(cached.sample("hi", 4)) == 4 and len(server.seen) == 6 and cached.hits == 2


def test_a_failed_call_is_tried_by_whoever_waits(path: Path) -> None:
    class Failing(Scripted):
        async def asample(self, *args: Any, **more: Any) -> list[Draw]:
            await asyncio.sleep(0.01)
            first = not self.calls
            found = await super().asample(*args, **more)
            if first:
                raise WorkFailed("first")
            return found

    cached = Cached(Failing({"": "x"}, name="failing"), path)

    async def two() -> list[Any]:
        return await asyncio.gather(cached.asample("hi"), cached.asample("hi"), return_exceptions=True)

    first, second = asyncio.run(two())
    assert isinstance(first, WorkFailed) and second[0].text == "x"


def test_scores_are_kept_and_streams_are_served(path: Path) -> None:
    asked = []

    def scores(prompt: str, text: str) -> float:
        asked.append(text)
        return -len(text) / 3

    cached = Cached(Scripted({"": "one two"}, scores=scores), path)
    assert [s.total for s in cached.score("p", ["a", "bb", "a"])] == [-1 / 3, -2 / 3, -1 / 3]
    assert [s.total for s in cached.score("p", ["bb", "ccc"])] == [-2 / 3, -1.0] and asked == ["a", "bb", "ccc"]
    assert "".join(cached.stream("hi")) == "one two" and cached.hits == 1
    cached.sample("hi")
    assert list(cached.stream("hi")) == ["one two"] and cached.hits == 2


def _writer(path: str, first: int, ready: Any, out: Any) -> None:
    ready.wait()
    cached = Cached(Scripted(lambda p, i: f"{os.getpid()}/{p}/{i}", name="m"), path)
    out.put([cached.sample(f"q{q}", 3)[i].text for q in range(first, first + 40) for i in range(3)])
    cached.close()


def test_two_processes_share_one_file(path: Path) -> None:
    """Made by both at once, written by both at once; what both asked for is what one of them stored."""
    context = multiprocessing.get_context("fork")
    ready, out = context.Event(), context.Queue()
    workers = [context.Process(target=_writer, args=(str(path), first, ready, out)) for first in (0, 20)]
    for worker in workers:
        worker.start()
    ready.set()
    found = [out.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(20)
    by_place = [{t.partition("/")[2]: t for t in texts} for texts in found]
    shared = set(by_place[0]) & set(by_place[1])
    assert len(shared) == 60 and all(by_place[0][k] == by_place[1][k] for k in shared)
    assert len(Cached(Scripted({}, name="m"), path).file) == 180


def _endless(path: str) -> None:
    cached = Cached(Scripted(lambda p, i: f"{p}/{i}", name="m"), path)
    for q in range(10**6):
        cached.sample(f"q{q}")


def test_a_killed_writer_leaves_what_it_stored(path: Path) -> None:
    worker = multiprocessing.get_context("fork").Process(target=_endless, args=(str(path),))
    worker.start()
    log, deadline = path.with_name("cache.db-wal"), time.monotonic() + 60
    while time.monotonic() < deadline and not (log.exists() and log.stat().st_size > 10**6):
        time.sleep(0.01)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(5)
    cached = Cached(Scripted(lambda p, i: f"{p}/{i}", name="m"), path)
    stored = len(cached.file)
    assert stored > 20
    for q in range(stored):
        cached.sample(f"q{q}")
    assert cached.misses == 0


def test_threads_share_one_object(path: Path) -> None:
    cached = Cached(counting(), path)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append([cached.sample(f"q{q}", 2) for q in range(30)]))
               for _ in range(6)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 6 and all(each == found[0] for each in found) and len(cached.file) == 60


def test_it_goes_on_in_a_child_of_fork(path: Path) -> None:
    cached = Cached(counting(), path)
    cached.sample("a")
    child = os.fork()
    if not child:
        os._exit(0 if cached.sample("a")[0].text == "a/0" and cached.sample("b")[0].text == "b/0" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert cached.sample("b")[0].text == "b/0" and cached.hits == 1


def test_the_file_stays_small_and_forgets_what_was_not_used(path: Path) -> None:
    cached = Cached(Scripted(lambda p, i: p * 200, name="m"), path, most=2**18)
    for q in range(600):
        cached.sample(f"q{q:03}", max_tokens=10**6)
        cached.sample("q000", max_tokens=10**6)
    assert path.stat().st_size <= 2**18 + 2**16 and 50 < len(cached.file) < 400
    before = cached.misses
    cached.sample("q000", max_tokens=10**6)
    cached.sample("q599", max_tokens=10**6)
    assert cached.misses == before
    cached.sample("q001", max_tokens=10**6)
    assert cached.misses == before + 1
    with pytest.raises(UserError, match="too small"):
        Cached(counting(), path, most=10)


def test_what_cannot_be_written_is_not_lost(path: Path) -> None:
    said: list[str] = []
    lm = counting()
    cached = Cached(lm, path, warn=said.append)
    cached.sample("a")
    cached.file._connection().execute("PRAGMA query_only = 1")
    assert cached.sample("b")[0].text == "b/0" == cached.sample("b")[0].text
    assert cached.sample("c")[0].text == "c/0" and len(said) == 1 and "cannot be written" in said[0]
    assert len(lm.calls) == 3


def test_other_files_are_refused_in_one_line(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(UserError, match=r"cannot use the cache .* remove it"):
        Cached(counting(), path)
    other, newer = tmp_path / "other.db", tmp_path / "newer.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(UserError, match="is a file of something else"):
        Cached(counting(), other)
    Cached(counting(), newer).close()
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(UserError, match="format 9 and this version reads 1"):
        Cached(counting(), newer)
    with pytest.raises(UserError, match="cannot use the cache"):
        Cached(counting(), tmp_path)
