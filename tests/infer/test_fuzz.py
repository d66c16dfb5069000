"""Ten thousand schedules: no page lost or doubled, nobody starves, and in exact mode the same bytes.

The model here is a function of the text that the *pages* hold, so a page that was mixed up, freed too soon or copied
wrongly changes what is written. `JIELONG_SCHEDULES` sets how many schedules are tried (make test-all: 10,000).
"""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jielong.infer.blocks import Blocks
from jielong.infer.core import Core
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.infer.schedule import Row, Scheduler
from jielong.nets.pages import page_bytes

from .conftest import random_model

SIZE = 4
SCHEDULES = int(os.environ.get("JIELONG_SCHEDULES", "300"))


def spoken(text: tuple[int, ...]) -> int:
    """The next token: anything that depends on every token before."""
    return hash(text) % 5


class Machine(RuleBasedStateMachine):
    """A scheduler, pages that hold the tokens themselves, and a model that reads them back."""

    @initialize(count=st.integers(9, 24), streams=st.integers(1, 6), chunk=st.integers(1, 20), keep=st.booleans())
    def begin(self, count: int, streams: int, chunk: int, keep: bool) -> None:
        self.blocks = Blocks(count, SIZE, keep)
        self.scheduler = Scheduler(self.blocks, streams, chunk)
        self.memory = [[-1] * SIZE for _ in range(count)]
        self.live: dict[Row, int] = {}  # and the step at which each came
        self.steps = self.number = 0

    @rule(start=st.integers(0, 3), length=st.integers(1, 14), limit=st.integers(1, 12), client=st.sampled_from("abc"),
          n=st.integers(1, 3))  # fmt: skip
    def ask(self, start: int, length: int, limit: int, client: str, n: int) -> None:
        prompt = tuple((start + i // 5) % 4 for i in range(length))
        for _ in range(n):
            row = Row(self.number, Request(prompt, Sampling(), client=client), limit)
            self.number += 1
            self.scheduler.add(row)
            self.live[row] = self.steps

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 99))
    def hang_up(self, which: int) -> None:
        row = sorted(self.live, key=lambda r: r.number)[which % len(self.live)]
        self.scheduler.leave(row)
        del self.live[row]

    @precondition(lambda self: self.live)
    @rule(count=st.integers(1, 4))
    def step(self, count: int) -> None:
        for _ in range(count):
            self._step()

    @precondition(lambda self: self.live)
    @rule(back=st.integers(1, 3))
    def refuse_a_draft(self, back: int) -> None:
        """A verifier took back what was read ahead: the row reads it again."""
        for row in self.scheduler.running:
            if row.unread == 1 and row.read - back >= len(row.request.prompt):
                if row.read - back < row.named * SIZE:
                    with pytest.raises(ValueError, match="are known"):
                        self.scheduler.crop(row, row.read - back)
                else:
                    self.scheduler.crop(row, row.read - back)

    def _step(self) -> None:
        work = self.scheduler.plan()
        assert work or not self.live, "somebody waits and nothing is done"
        assert len({w.row for w in work}) == len(work)
        assert sum(w.width for w in work) <= max(self.scheduler.chunk, 0) + len(work)
        self.steps += 1
        for w in work:
            for place in range(w.row.read, w.row.read + w.width):
                self.memory[w.row.table[place // SIZE]][place % SIZE] = w.row.text[place]
        ready = [w.row for w in work if w.row.unread == w.width]
        self.scheduler.done(work)
        for row in list(ready):
            held = tuple(t for page in row.table for t in self.memory[page])[: row.read]
            assert held == tuple(row.text), "the pages hold another text"
            if not row.written:
                for twin, source, copy in list(self.scheduler.twins(row)):
                    if copy:
                        self.memory[copy] = list(self.memory[source])
                    ready.append(twin)
        for row in ready:
            row.text.append(spoken(tuple(row.text)))
            if row.written == row.limit:
                self.scheduler.leave(row)
                del self.live[row]

    @invariant()
    def every_page_is_counted_once(self) -> None:
        if hasattr(self, "blocks"):
            self.blocks.check(row.table for row in self.scheduler.running)
            assert {*self.scheduler.rows()} == {*self.live}
            assert len(self.scheduler.running) <= self.scheduler.streams

    def teardown(self) -> None:
        """Left alone, everybody comes to an end: nobody starves."""
        if hasattr(self, "live"):
            bound = 200 + 40 * sum(len(r.request.prompt) + r.limit for r in self.live)
            while self.live and bound:
                self._step()
                bound -= 1
            assert not self.live, "somebody starves"
            assert self.blocks.used == 0


TestSchedules = pytest.mark.slow(Machine.TestCase) if SCHEDULES > 1000 else Machine.TestCase
TestSchedules.settings = settings(
    max_examples=SCHEDULES, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("seed", range(4))
def test_exact_bytes_under_any_schedule(seed: int) -> None:
    """Requests that come, go and are put off at random: each that ends has the bytes it has alone."""
    chance = random.Random(seed)
    model = random_model(context=96)
    requests = []
    for i in range(14):
        prompt = tuple((chance.randrange(3) + j // 9) % 40 + 1 for j in range(chance.randrange(1, 50)))
        requests.append(Request(prompt, Sampling(seed=i, max_tokens=chance.randrange(1, 20)), client="ab"[i % 2]))
    reference = Core(model, mode="exact")
    alone = [_run(reference, [r], None)[0] for r in requests]
    core = Core(model, mode="exact", streams=1 + chance.randrange(5), chunk=3 + chance.randrange(40),
                memory=(9 + chance.randrange(12)) * page_bytes(model.config))  # fmt: skip
    found = _run(core, requests, chance)
    assert sum(f is not None for f in found) > 7
    assert all(f is None or f == a for f, a in zip(found, alone))


def _run(core: Core, requests: list[Request], chance: random.Random | None) -> list[Any]:
    coming = list(enumerate(requests))
    rows: dict[Row, int] = {}
    given: list[list[Any]] = [[] for _ in requests]
    cancelled = set()
    while coming or core.busy:
        while coming and (chance is None or chance.random() < 0.5):
            i, request = coming.pop(0)
            rows[core.submit(request)] = i
        if chance is not None and rows and chance.random() < 0.03:
            row = chance.choice([*core.scheduler.rows()] or [next(iter(rows))])
            if row in set(core.scheduler.rows()):
                core.cancel(row)
                cancelled.add(rows[row])
        for token in core.step():
            given[rows[token.row]].append((token.id, token.logprob, token.reason))
        core.scheduler.blocks.check(row.table for row in core.scheduler.running)
    return [None if i in cancelled else g for i, g in enumerate(given)]


def test_a_page_taken_twice_is_seen() -> None:
    """The machine can fail: a scheduler that gives one page to two texts is caught."""
    blocks = Blocks(6, SIZE)
    pages = blocks.take(2)
    with pytest.raises(AssertionError, match="owners and counts differ"):
        blocks.check([pages, pages[:1]])
    blocks.free.append(pages[0])
    with pytest.raises(AssertionError, match="lost or doubled"):
        blocks.check([pages])


def test_noise_does_not_depend_on_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chance is addressed: torch's and numpy's own generators are not asked."""
    model = random_model()
    core = Core(model)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    request = Request((1, 2, 3), Sampling(seed=5, max_tokens=10))
    assert _run(core, [request], None) == _run(core, [request], None)
