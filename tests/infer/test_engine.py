"""The engine: streams, whole texts, cancelling, faults, draining, statistics, events."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from jielong.base.errors import UserError, WorkFailed
from jielong.infer.engine import Engine, Event
from jielong.infer.generate import generate
from jielong.infer.pieces import Pieces
from jielong.infer.request import Piece, Request
from jielong.infer.sampling import Sampling
from jielong.infer.score import embed, score
from jielong.units import chars

from .conftest import random_model

CODEC = chars.train(["abcdefgh 玉山很高。\nxyz"])
MODEL = random_model(vocab=CODEC.size, context=128)
BIAS = {i: float("-inf") for i in range(CODEC.size) if i not in set(CODEC.encode("abcdefgh 玉山很高。\nxyz"))}
PROMPT = tuple(CODEC.encode("abc 玉"))


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(MODEL, CODEC, streams=4)
    yield made
    asyncio.run(made.close(drain=False))


async def collect(engine: Engine, request: Request) -> list[Piece]:
    return [piece async for piece in engine.stream(request)]


def asked(seed: int = 0, **settings: Any) -> Request:
    return Request(PROMPT, Sampling(**{"max_tokens": 20, "seed": seed, "logit_bias": BIAS} | settings))


def test_streams_give_the_text_that_generate_gives(engine: Engine) -> None:
    requests = [asked(seed, stop=("ab", "山很") if seed % 2 else (), logprobs=seed % 3) for seed in range(12)]

    async def together() -> Any:
        return await asyncio.gather(*(collect(engine, r) for r in requests))

    expected = generate(MODEL, [PROMPT] * 12, [r.sampling for r in requests], pieces=Pieces(CODEC))
    for pieces, whole in zip(asyncio.run(together()), expected):
        assert "".join(p.text for p in pieces) == whole.text
        assert tuple(i for p in pieces for i in p.ids) == whole.ids
        assert [len(p.ids) for p in pieces] == [1] * len(pieces)
        np.testing.assert_allclose([q for p in pieces for q in p.logprobs], whole.logprobs, atol=2e-4)
        assert [p.reason for p in pieces[:-1]] == [""] * (len(pieces) - 1)
        assert (pieces[-1].reason, pieces[-1].stopped_by) == (whole.reason, whole.stopped_by)


def test_the_first_piece_tells_of_the_prompt(engine: Engine) -> None:
    long = tuple(PROMPT * 8)
    plain = Request(long, Sampling(max_tokens=2, seed=1))
    first = asyncio.run(collect(engine, plain))[0]
    again = asyncio.run(collect(engine, plain))[0]
    assert (first.cached, again.cached) == (0, 32)
    echoed = asyncio.run(collect(engine, Request(long, Sampling(max_tokens=2, logprobs=2), echo=True)))
    (expected,) = score(MODEL, [long], [1])
    assert echoed[0].prompt_logprobs[0] is None
    np.testing.assert_allclose(echoed[0].prompt_logprobs[1:], expected, atol=2e-4)  # type: ignore[arg-type]
    assert [len(top) for top in echoed[0].prompt_top] == [0] + [2] * (len(long) - 1)
    assert echoed[1].prompt_logprobs == ()


def test_a_stream_that_is_left_frees_its_pages(engine: Engine) -> None:
    async def leave() -> None:
        stream = engine.stream(asked(max_tokens=100))
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]
        task = asyncio.ensure_future(engine.write(asked(1, max_tokens=100)))
        await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.sleep(0)
        await engine.write(asked(2, max_tokens=1))
        for _ in range(200):
            if engine.stats().used == 0:
                return
            await asyncio.sleep(0.01)

    asyncio.run(leave())
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.used) == (0, 0, 0)
    assert not engine.texts


def test_a_fault_of_the_model_ends_what_runs_and_the_engine_goes_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = engine.core.runner.step
    calls = []

    def breaks(feed: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("out of memory")
        return real(feed)

    monkeypatch.setattr(engine.core.runner, "step", breaks)
    with pytest.raises(WorkFailed, match="out of memory"):
        asyncio.run(collect(engine, asked()))
    assert len(asyncio.run(engine.write(asked())).ids) == 20


def test_a_wrong_request_is_refused_before_anything_begins(engine: Engine) -> None:
    for request, told in ((Request((), Sampling()), "empty"), (Request((10**6,), Sampling()), "token 1000000"),
                          (Request((1,) * 200, Sampling()), "context is 128"),
                          (Request((1,), Sampling(logit_bias={10**6: 1.0})), "token 1000000")):  # fmt: skip
        with pytest.raises(UserError, match=told):
            asyncio.run(collect(engine, request))
        with pytest.raises(UserError, match=told):
            asyncio.run(engine.write(request))
    assert engine.stats().steps == 0


@pytest.mark.parametrize("drain", [True, False])
def test_closing_finishes_or_cancels_what_was_begun(drain: bool) -> None:
    engine = Engine(MODEL, CODEC, streams=2)

    async def close() -> Any:
        running = [asyncio.ensure_future(collect(engine, asked(i, max_tokens=90))) for i in range(4)]
        await asyncio.sleep(0.01)
        await engine.close(drain)
        with pytest.raises(UserError, match="closing"):
            await engine.write(asked())
        return await asyncio.gather(*running)

    reasons = {pieces[-1].reason for pieces in asyncio.run(close())}
    assert reasons == ({"length"} if drain else {"cancelled"})
    assert engine.stats().used == 0


def test_events_and_statistics(engine: Engine) -> None:
    events: list[Event] = []
    engine.observe(events.append)
    asyncio.run(engine.write(asked(max_tokens=3)))
    assert [e.kind for e in events] == ["arrival", "start", "token", "token", "token", "finish"]
    assert [e.tokens for e in events] == [0, 0, 1, 2, 3, 3]
    assert events[-1].reason == "length"
    assert all(a.time <= b.time for a, b in zip(events, events[1:]))
    stats = engine.stats()
    assert (stats.written, stats.steps, stats.queries) == (3, 3, len(PROMPT))
    assert stats.blocks == 4 * 8


def test_slots_are_shared_among_clients(engine: Engine) -> None:
    ended: list[str] = []
    engine.observe(lambda e: ended.append(e.request.client) if e.kind == "finish" else None)

    async def together() -> None:
        greedy = [Request(PROMPT, Sampling(max_tokens=12, seed=i), client="many") for i in range(24)]
        modest = Request(PROMPT, Sampling(max_tokens=12, seed=99), client="one")
        await asyncio.gather(*(engine.write(r) for r in greedy), engine.write(modest))

    asyncio.run(together())
    assert ended.index("one") < 9  # not behind the other's two dozen


def test_scores_and_vectors_between_steps(engine: Engine) -> None:
    async def together() -> Any:
        return await asyncio.gather(engine.score(PROMPT, 2), engine.embed([PROMPT, PROMPT[:2]]), engine.write(asked()))

    scores, vectors, whole = asyncio.run(together())
    np.testing.assert_allclose(scores, score(MODEL, [PROMPT], [2])[0], atol=1e-5)
    np.testing.assert_allclose(vectors, embed(MODEL, [PROMPT, PROMPT[:2]]), atol=1e-5)
    assert len(whole.ids) == 20


def test_the_interpreter_ends_though_a_text_is_half_written() -> None:
    program = """
import asyncio
from jielong.infer.engine import Engine
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.units import chars

codec = chars.train(["abc"])
engine = Engine(Transformer(TransformerConfig(vocab=codec.size, context=8192)), codec)

async def begin():
    async for _ in engine.stream(Request((1, 2), Sampling(max_tokens=8000))):
        break
    asyncio.ensure_future(engine.write(Request((1, 2), Sampling(max_tokens=8000))))
    await asyncio.sleep(0.05)

asyncio.run(begin())
print("over")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "over\n", "")
