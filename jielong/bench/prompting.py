"""A vote of forty chains of thought on our engine, beside forty streams that nobody thinks about.

Both write the same number of tokens in the same rounds, each begun by another: `vote(cot, n=40)` through the common
face, with and without a trace on the disk, and forty requests put straight into the engine's core. What a strategy
costs is the share of the free streams' tokens per second that is left. Its forty runs have one prompt: how often its
tokens were computed is counted (the last one once more for each run, to draw from its law).
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from jielong.base import device, noise
from jielong.base.result import Result, Row
from jielong.base.talk import Talk
from jielong.bench.infer import random_model
from jielong.infer.core import Core
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.labs import timing
from jielong.lm.local import Local, Parts
from jielong.nets.config import TransformerConfig, shape
from jielong.nets.pages import SIZE as SIZE_OF_A_PAGE
from jielong.prompting.cot import cot
from jielong.prompting.strategy import Problem
from jielong.prompting.trace import Run, Trace
from jielong.prompting.vote import vote
from jielong.units import bpe
from jielong.world.world import World

STREAMS, BAR = 40, 0.6
SIZE = shape(128, 1024, 512, 4)
FREE, VOTED, KEPT = "40 free streams", "vote(cot, n=40)", "vote(cot, n=40), with a trace"
SHARE, SHARE_KEPT = "share of the free streams", "the same with a trace"
COMPUTED = "prompt tokens computed more than once, at worst"


@dataclass
class Bench:
    """A model with random weights, and tokens written per second of each contestant, a value a round."""

    tokens: int
    config: TransformerConfig
    rates: dict[str, list[float]] = field(default_factory=dict)
    extra: int = 0  # prompt tokens that were computed again, beyond one for each run

    def __post_init__(self) -> None:
        texts = [text.text for text in World(0).texts("sums", 2000)]
        codec = bpe.train(texts, size=self.config.vocab, at_most=True)
        self.lm = Local(Parts(random_model(self.config), codec))
        self.core = Core(self.lm.model, streams=STREAMS)

    def problem(self, number: int) -> Problem:
        """Another question each round, so that nothing of it was read before."""
        return Problem(f"Round {number}: what is {number + 40}+{number + 17}? " + "Take your time. " * 4, str(number))

    def vote(self, trace: Trace | None, number: int) -> float:
        """Tokens per second of one vote."""
        problem, strategy = self.problem(number), vote(cot, n=STREAMS)
        settings = {"max_tokens": self.tokens, "temperature": 0.7}
        before, seen = self.lm.usage.completion, self.lm.engine.stats()
        kept = Trace() if trace is None else trace
        began = time.perf_counter()
        asyncio.run(kept.run(strategy, self.lm, problem, Run(str(number), settings)))
        seconds = time.perf_counter() - began
        now = self.lm.engine.stats()
        computed = (now.queries - seen.queries) - (now.hits - seen.hits)
        prompt = (now.queries - seen.queries) // STREAMS
        self.extra = max(self.extra, computed - prompt - (STREAMS - 1))
        return (self.lm.usage.completion - before) / seconds

    def free(self, number: int) -> float:
        """Tokens per second of forty requests of prompts of their own."""
        self.core.clear()
        ids = noise.integers(number + 2, below=self.config.vocab, n=STREAMS * 16).tolist()
        wanted = Sampling(max_tokens=self.tokens, temperature=0.7, stop_ids=self.lm.ends)
        began = time.perf_counter()
        prompts = [tuple(ids[i * 16 : i * 16 + 16]) for i in range(STREAMS)]
        rows = [self.core.submit(Request(prompt, wanted.with_(seed=STREAMS * (number + 2) + i)))
                for i, prompt in enumerate(prompts)]  # fmt: skip
        while self.core.busy:
            self.core.step()
        return sum(row.written for row in rows) / (time.perf_counter() - began)


def run(talk: Talk, rounds: int = 11, tokens: int = 64, config: TransformerConfig = SIZE) -> Result:
    """Interleaved rounds after a warm-up; medians, and the medians of the ratios within rounds."""
    torch.set_num_threads(device.threads())
    device.keep_memory()
    bench = Bench(tokens, config)
    with tempfile.TemporaryDirectory() as folder, talk.progress(None, "bench", "rounds") as bar:
        trace = Trace(Path(folder) / "trace.jsonl")

        def kept(number: int) -> float:
            bar.update(number + 1)
            return bench.vote(trace, 2 * number + 3)

        found = timing.rounds([bench.free, lambda number: bench.vote(None, 2 * number + 2), kept], rounds)
    bench.rates = dict(zip((FREE, VOTED, KEPT), found))
    return Result("bench_prompting", "A vote of forty beside forty free streams", tuple(_rows(bench)),
                  series=bench.rates, meta={"tokens": tokens, "rounds": rounds, "at_most": [COMPUTED]})  # fmt: skip


def _rows(bench: Bench) -> Iterator[Row]:
    for name, values in bench.rates.items():
        middle, interval = timing.middle(values)
        yield Row(name, middle, interval, len(values), unit="tokens/s", group="speed")
    free = bench.rates[FREE]
    for name, which in ((SHARE, VOTED), (SHARE_KEPT, KEPT)):
        middle, interval = timing.middle([a / b for a, b in zip(bench.rates[which], free)])
        yield Row(name, middle, interval, len(free), control=1.0, control_name=FREE, bar=BAR, unit="share",
                  group="speed")  # fmt: skip
    yield Row(COMPUTED, bench.extra, None, len(free), bar=SIZE_OF_A_PAGE - 1, unit="tokens", group="prompt",
              note="runs that come after the first has read it find its full pages")  # fmt: skip


def summary(result: Result) -> Iterator[tuple[Any, ...]]:
    """Rows of a table for people."""
    for row in result.rows:
        value = f"{row.estimate:,.0f}" if row.unit != "share" else f"{row.estimate:.2f}"
        yield row.name, value, row.unit, f"{row.bar:g}" if row.bar is not None else "", row.note


def versions() -> Mapping[str, Any]:
    """What it ran with."""
    return {"torch": device.version("torch")}
