"""What is measured while serving, under vLLM's names, for Prometheus.

A text's times are taken where its pieces leave the engine, the time it waited where the engine tells of its first
step; what stands at a moment (running, waiting, cache) is asked of the engine when the page is read. The registry is
the server's own: nothing is global.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jielong.infer.request import Piece

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LONG = (0.01, 0.05, 0.1, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
TOKENS = tuple(float(1 << i) for i in range(18))
LABELS = ("model_name", "engine")
GAUGES = {  # vLLM's name: (what it is, how it is read from the engine's stats)
    "vllm:num_requests_running": ("Texts being written.", lambda s: s.running),
    "vllm:num_requests_waiting": ("Texts that wait for a slot.", lambda s: s.waiting),
    "vllm:kv_cache_usage_perc": ("Share of the cache's blocks in use, 0 to 1.", lambda s: s.used / max(1, s.blocks)),
}
COUNTERS = {
    "vllm:prefix_cache_queries": ("Prompt tokens looked for in the prefix cache.", lambda s: s.queries),
    "vllm:prefix_cache_hits": ("Prompt tokens found there.", lambda s: s.hits),
    "vllm:num_preemptions": ("Texts that had to give up their blocks.", lambda s: s.preemptions),
    "vllm:spec_decode_num_drafts": ("Steps of texts that had guesses.", lambda s: s.drafts),
    "vllm:spec_decode_num_draft_tokens": ("Tokens that were guessed.", lambda s: sum(s.proposed)),
    "vllm:spec_decode_num_accepted_tokens": ("Guesses that stayed.", lambda s: sum(s.accepted)),
}
BY_ADAPTER = {  # vLLM has no such counters
    "requests": "Texts asked of an adapter.", "prompt_tokens": "Tokens read for it.",
    "generation_tokens": "Tokens written by it.",
}  # fmt: skip
BY_PLACE = "vllm:spec_decode_num_accepted_tokens_per_pos"


class Now(Collector):
    """What the engine says of itself at this moment."""

    def __init__(self, stats: Callable[[], Any], labels: tuple[str, str]) -> None:
        self.stats, self.labels = stats, labels

    def collect(self) -> Iterator[Metric]:
        """Asked by prometheus_client at each reading."""
        stats = self.stats()
        for name, (what, read) in GAUGES.items():
            gauge = GaugeMetricFamily(name, what, labels=LABELS)
            gauge.add_metric(self.labels, read(stats))
            yield gauge
        for name, (what, read) in COUNTERS.items():
            counter = CounterMetricFamily(name, what, labels=LABELS)
            counter.add_metric(self.labels, read(stats))
            yield counter
        places = CounterMetricFamily(BY_PLACE, "Guesses that stayed, by place.", labels=(*LABELS, "position"))
        for place, count in enumerate(stats.accepted):
            places.add_metric((*self.labels, str(place)), count)
        yield places


class Metrics:
    """The server's instruments. `event` is for the engine to call, from its own thread."""

    def __init__(
        self, model: str, stats: Callable[[], Any], adapters: Iterable[str] = (),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:  # fmt: skip
        self.clock = clock
        self.registry = CollectorRegistry(auto_describe=False)
        labels = (model, "0")
        self.registry.register(Now(stats, labels))

        def histogram(name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
            found = Histogram(f"vllm:{name}", what, LABELS, buckets=buckets, registry=self.registry)
            return found.labels(*labels)

        def counter(name: str, what: str, more: tuple[str, ...] = ()) -> Counter:
            return Counter(f"vllm:{name}", what, (*LABELS, *more), registry=self.registry)

        self.first = histogram("time_to_first_token_seconds", "From arrival to the first token.", LONG)
        self.between = histogram("inter_token_latency_seconds", "From one token to the next.", SHORT)
        self.each = histogram("request_time_per_output_token_seconds", "The mean of that over one text.", SHORT)
        self.whole = histogram("e2e_request_latency_seconds", "From arrival to the end.", LONG)
        self.queued = histogram("request_queue_time_seconds", "From arrival to the first work on it.", LONG)
        self.read = histogram("request_prompt_tokens", "Tokens of the prompt.", TOKENS)
        self.wrote = histogram("request_generation_tokens", "Tokens written.", TOKENS)
        self.prompt = counter("prompt_tokens", "Tokens read.").labels(*labels)
        self.generation = counter("generation_tokens", "Tokens written.").labels(*labels)
        named = [Counter(f"jielong:adapter_{name}", what, (*LABELS, "adapter"), registry=self.registry)
                 for name, what in BY_ADAPTER.items()]  # fmt: skip
        self.adapters = {each: [counter.labels(*labels, each) for counter in named] for each in adapters}
        self.labels = labels
        self.arrived: dict[str, float] = {}  # texts that wait for their first step
        self.success = counter("request_success", "Texts finished, by reason.", ("finished_reason",))

    def event(self, event: Any) -> None:
        """What the engine tells: arrival, start, token, finish."""
        if event.kind == "arrival":
            self.arrived[event.request.key] = event.time
        elif event.kind in ("start", "finish"):
            came = self.arrived.pop(event.request.key, None)
            if came is not None and event.kind == "start":
                self.queued.observe(event.time - came)

    def text(self, prompt: int, adapter: str = "") -> Text:
        """A text of a prompt of so many tokens begins now."""
        return Text(self, prompt, adapter)

    def page(self) -> bytes:
        """The exposition, as Prometheus reads it."""
        return generate_latest(self.registry)


class Text:
    """The times of one text."""

    def __init__(self, metrics: Metrics, prompt: int, adapter: str = "") -> None:
        self.metrics, self.prompt, self.tokens = metrics, prompt, 0
        self.own = metrics.adapters.get(adapter, [])  # requests, tokens read, tokens written
        for counter in self.own[:1]:
            counter.inc()
        self.began = self.last = self.at_first = metrics.clock()

    def piece(self, piece: Piece) -> None:
        """A piece has come: its tokens share the time since the one before."""
        m, now = self.metrics, self.metrics.clock()
        n = len(piece.ids)
        if n and not self.tokens:
            m.first.observe(now - self.began)
            for counter in (m.prompt, *self.own[1:2]):
                counter.inc(self.prompt)
            self.at_first = now
        elif n:
            for _ in range(n):
                m.between.observe((now - self.last) / n)
        self.last = now if n else self.last
        self.tokens += n
        for counter in (m.generation, *self.own[2:]):
            counter.inc(n)
        if piece.reason:
            self._end(now, piece.reason)

    def _end(self, now: float, reason: str) -> None:
        m = self.metrics
        m.whole.observe(now - self.began)
        m.read.observe(self.prompt)
        m.wrote.observe(self.tokens)
        if self.tokens > 1:
            m.each.observe((self.last - self.at_first) / (self.tokens - 1))
        m.success.labels(*m.labels, reason).inc()
