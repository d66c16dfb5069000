"""Training tokens per second beside plain PyTorch and Hugging Face's Trainer: same shape, same rows, one run.

Every contestant trains on the same packed rows; the peers need not keep documents apart (ours does) and step with
torch's fused AdamW (ours with Muon). Rounds are interleaved and begin with another contestant each time, so that a
machine that slows down slows all of them. Each peer runs in float32 and bf16, with both kinds of attention.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from jielong.base import device, noise
from jielong.base.result import Interval, Result, Row
from jielong.base.talk import Talk
from jielong.bench.plain import PlainTransformer
from jielong.data.pack import Packer
from jielong.data.tokens import Tokens
from jielong.nets.config import TransformerConfig, shape
from jielong.nets.transformer import Transformer
from jielong.train.compiled import compile_blocks
from jielong.train.loop import Course, _Driver
from jielong.train.next_token import NextToken
from jielong.train.run import BF16

STEPS = 6  # timed in a round, after one that is not
TARGETS = {"eager": 2.0, "compiled": 1.15, "share": 0.45}
Step = Callable[[int], object]


@dataclass
class Contestant:
    """Something that trains: `step(i)` is one update on the i-th batch. Times of its rounds, in seconds a step."""

    name: str
    group: str  # "ours", "eager peer", "compiled peer"
    step: Step
    seconds: list[float] = field(default_factory=list)
    first: float = 0.0  # seconds of its first step: where it compiles, compiling

    @property
    def median(self) -> float:
        """Seconds a step."""
        return statistics.median(self.seconds)


def packer(config: TransformerConfig, batch: int) -> Packer:
    """Random documents of 8 to 60 tokens: what matters for speed is their shape."""
    lengths = noise.integers(7, "lengths", below=53, n=4000) + 8
    ids = noise.integers(7, "ids", below=config.vocab, n=int(lengths.sum())).astype(np.uint16)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Packer(Tokens(ids, starts, np.ones(len(ids), dtype=bool)), config.context, batch)


def ours(config: TransformerConfig, rows: Packer, dtype: torch.dtype, compiled: bool) -> Contestant:
    """Our loop's own step."""
    model = Transformer(config, seed=0)
    if compiled:
        compile_blocks(model)
    objective = NextToken(model, rows, None, 1, dtype)
    driver = _Driver(objective.phases[0], Course(10_000))
    name = f"jielong, {str(dtype)[6:]}" + (", compiled" if compiled else "")
    return Contestant(
        name, "ours compiled" if compiled else "ours", lambda i: driver.step(objective.batches(i), i)
    )


def plain(config: TransformerConfig, rows: Packer, autocast: bool, flash: bool, compiled: bool) -> Contestant:
    """The same shape in plain PyTorch."""
    model = PlainTransformer(config, flash)
    call: Any = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step(i: int) -> None:
        batch = rows.rows(i)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = call(torch.from_numpy(batch.ids), torch.from_numpy(batch.targets))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    kind = f"{'bfloat16 autocast' if autocast else 'float32'}, {'fused' if flash else 'plain'} attention"
    return Contestant(
        f"PyTorch, {kind}" + (", compiled" if compiled else ""),
        "compiled peer" if compiled else "eager peer",
        step,
    )


def trainer(config: TransformerConfig, rows: Packer, autocast: bool) -> Contestant | None:
    """Hugging Face's Trainer over its own Qwen3; None where transformers is not installed."""
    if not all(importlib.util.find_spec(name) for name in ("accelerate", "transformers")):
        return None
    from jielong.bench.huggingface import trainer_rounds
    from jielong.nets.families.family import write
    from jielong.nets.families.qwen import QWEN3

    fields = {
        k: v
        for k, v in write(QWEN3, config).items()
        if k not in ("architectures", "rope_theta", "rope_scaling")
    }
    name = f"HF Trainer, {'bfloat16' if autocast else 'float32'}"
    return Contestant(name, "eager peer", trainer_rounds(fields, rows, autocast))


def contestants(config: TransformerConfig, batch: int, compiled: bool) -> Iterator[Contestant]:
    """Ours and every peer's settings."""
    rows = packer(config, batch)
    fast = any(name in device.machine()["features"] for name in BF16)
    dtype = torch.bfloat16 if fast else torch.float32
    yield ours(config, rows, dtype, False)
    for autocast in (False, True):
        for flash in (True, False):
            yield plain(config, rows, autocast, flash, False)
        found = trainer(config, rows, autocast)
        if found is not None:
            yield found
    if compiled:
        yield ours(config, rows, dtype, True)
        for autocast in (False, True):
            for flash in (True, False):
                yield plain(config, rows, autocast, flash, True)


def run(
    talk: Talk,
    width: int = 128,
    layers: int = 4,
    vocab: int = 1024,
    context: int = 128,
    batch: int = 32,
    rounds: int = 7,
    compiled: bool = False,
) -> Result:
    """Tokens a second of all, ratios of ours to the best peer, and the share of the machine's matrix rate."""
    torch.set_num_threads(device.threads())
    device.keep_memory()
    config = shape(width, vocab, context, layers)
    field_ = list(contestants(config, batch, compiled))
    shares: list[float] = []
    with talk.progress(len(field_) * (rounds + 1), "bench train", "rounds") as bar:
        for number in range(-1, rounds):
            turn = field_[number % len(field_) :] + field_[: number % len(field_)]
            for place, one in enumerate(turn):
                began = time.perf_counter()
                one.step((STEPS + 1) * (number + 1))
                if number < 0:
                    one.first = time.perf_counter() - began
                else:  # the first step after a pause finds nothing in the caches: not timed
                    began = time.perf_counter()
                    for i in range(STEPS):
                        one.step((STEPS + 1) * (number + 1) + 1 + i)
                    one.seconds.append((time.perf_counter() - began) / STEPS)
                bar.update((number + 1) * len(field_) + place + 1)
            if number >= 0:
                shares.append(_rate(config, batch, context))
    return _result(config, field_, context * batch, statistics.median(shares), compiled)


def _rate(config: TransformerConfig, batch: int, context: int) -> float:
    """FLOP/s of this machine's products at the model's own shapes, in the arithmetic that ours runs in."""
    fast = any(name in device.machine()["features"] for name in BF16)
    rows, attention = batch * context, config.heads * config.head_dim
    kv = config.kv_heads * config.head_dim
    shapes = [
        (rows, config.dim, attention + 2 * kv),
        (rows, attention, config.dim),
        (rows, config.dim, 2 * config.hidden),
        (rows, config.hidden, config.dim),
        (rows, config.dim, config.vocab),
    ]
    return device.matmul_rate(shapes, "bfloat16" if fast else "float32", repeats=3, seconds=0.1)


def _result(
    config: TransformerConfig, field_: list[Contestant], tokens: int, rate: float, compiled: bool
) -> Result:
    rows = []
    for one in field_:
        speeds = sorted(tokens / s for s in one.seconds)
        note = f"first step {one.first:.1f} s" if "compiled" in one.name else ""
        rows.append(
            Row(
                one.name,
                tokens / one.median,
                Interval(speeds[0], speeds[-1], 1.0, "range"),
                len(speeds),
                unit="tokens/s",
                group=one.group,
                note=note,
            )
        )
    own = [one for one in field_ if one.group.startswith("ours")]
    for group, bar in (("eager peer", TARGETS["eager"]), ("compiled peer", TARGETS["compiled"])):
        peers = [one for one in field_ if one.group == group]
        if peers:
            best = min(peers, key=lambda one: one.median)
            rows += [_ratio(one, best, group, bar) for one in (own if group == "eager peer" else own[-1:])]
    flops = 3 * config.matrix_flops(config.context) * tokens
    for one in own:
        shares = sorted(flops / s / rate for s in one.seconds)
        rows.append(
            Row(
                f"share of the machine's matrix rate, {one.name}",
                flops / one.median / rate,
                Interval(shares[0], shares[-1], 1.0, "range"),
                len(shares),
                bar=TARGETS["share"],
                unit="share",
                group="ratios",
                note=f"{rate / 1e9:.0f} GFLOP/s",
            )
        )
    from jielong.nets.config import to_json

    return Result(
        "bench_train",
        "Training speed beside peers",
        tuple(rows),
        meta={"config": to_json(config), "mode": own[0].name},
    )


def _ratio(mine: Contestant, peer: Contestant, group: str, bar: float) -> Row:
    """Round by round, theirs over ours in seconds: how many times the peer's tokens a second."""
    ratios = sorted(b / a for a, b in zip(mine.seconds, peer.seconds, strict=True))
    return Row(
        f"{mine.name} to the best {group}",
        statistics.median(ratios),
        Interval(ratios[0], ratios[-1], 1.0, "range"),
        len(ratios),
        bar=bar,
        unit="times",
        group="ratios",
        note=peer.name,
    )


def summary(result: Result) -> list[tuple[Any, ...]]:
    """Rows of a table for people."""
    return [
        (
            row.name,
            f"{row.estimate:,.2f}" if row.unit != "tokens/s" else f"{row.estimate:,.0f}",
            row.unit,
            f"{row.bar:g}" if row.bar else "",
            row.note,
        )
        for row in result.rows
    ]


def versions() -> Mapping[str, Any]:
    """The peers' versions."""
    return {name: device.version(name) for name in ("torch", "transformers", "accelerate")}
