"""One batch whose rows have different adapters, beside the same batch with one, with none, and with one merged.

Every contestant writes the same number of tokens greedily, from prompts of 16 tokens, over the same base; each adapter
is a LoRA at every matrix of the blocks. Rounds are interleaved and begin with another contestant each time, and a ratio
is taken round by round.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from jielong.base import device
from jielong.base.result import Interval, Result, Row
from jielong.base.talk import Talk
from jielong.bench.infer import PROMPT, SIZES, Contestant, compete, prompts, random_model
from jielong.infer.core import Core
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.nets import quant
from jielong.nets.adapters import attach
from jielong.nets.adapters.adapter import Adapter
from jielong.nets.adapters.config import Lora
from jielong.nets.transformer import Transformer

ADAPTERS, STREAMS, RANK = 16, (1, 4, 16, 64), 8
BAR = 1.5
SEVERAL = "different adapters, times as long as one"
BESIDE = ("one adapter, times as long as none", "different adapters, times as long as none",
          "different adapters, times as long as one merged",
          "exact, different adapters, times as long as one")  # fmt: skip


def lora(model: Transformer, rank: int, seed: int) -> Adapter:
    """An adapter as after training: small, and not zero."""
    adapter = attach.fresh(model, Lora(rank=rank), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in adapter.parameters():
        parameter.data.add_(torch.empty_like(parameter).normal_(0.0, 0.02, generator=generator))
    return adapter.eval().requires_grad_(False)


def contestant(
    name: str, model: Transformer, names: Sequence[str], tokens: int, adapters: Mapping[str, Adapter],
    mode: Any = "fast",
) -> Contestant:  # fmt: skip
    """One text for each of `names`, the adapter that writes it ("": none). Kept from round to round; what is known of
    the prompts is forgotten."""
    core = Core(model, mode=mode, streams=len(names), length=PROMPT + tokens, adapters=adapters)
    settings, asked = Sampling(max_tokens=tokens, temperature=0), prompts(model.config, len(names))

    def write() -> list[int]:
        core.clear()
        rows = [core.submit(Request(p, settings, adapter=each)) for p, each in zip(asked, names, strict=True)]
        while core.busy:
            core.step()
        return rows[0].text[PROMPT:]

    return Contestant(name, write, tokens)


def run(
    talk: Talk, rounds: int = 5, tokens: int = 64, sizes: tuple[str, ...] = ("1M", "15M"),
    streams: Sequence[int] = STREAMS, rank: int = RANK, adapters: int = ADAPTERS,
) -> Result:  # fmt: skip
    """Everything, as one result. The bar is for as many rows as there are adapters, or more."""
    torch.set_num_threads(device.threads())
    device.keep_memory()
    rows: list[Row] = []
    for name in sizes:
        model = random_model(SIZES[name])
        beside = {f"a{i}": lora(model, rank, i) for i in range(adapters)}
        for each in streams:
            rows += _batch(f"{name}, {each} row{'s' if each > 1 else ''}", model, beside, each, tokens, rounds, talk)
        small = copy.deepcopy(model)
        quant.quantise(small, 8)
        rows += _integers(f"{name} in 8 bits, {adapters} rows", small, beside, tokens, rounds, talk)
    meta = {"threads": torch.get_num_threads(), "tokens": tokens, "prompt": PROMPT, "adapters": adapters, "rank": rank}
    title = "Many adapters in one batch"
    return Result("bench_adapters", title, tuple(rows), meta={**meta, "at_most": [SEVERAL, *BESIDE]})


def _batch(group: str, model: Transformer, adapters: Mapping[str, Adapter], streams: int, tokens: int, rounds: int,
           talk: Talk) -> list[Row]:  # fmt: skip
    names = list(adapters)
    merged = copy.deepcopy(model)
    attach.attach(merged, copy.deepcopy(adapters[names[0]]))
    attach.merge(merged)
    one, different = [names[0]] * streams, [names[i % len(names)] for i in range(streams)]
    several = contestant("different adapters", model, different, tokens, adapters)
    single = contestant("one adapter", model, one, tokens, adapters)
    none = contestant("no adapter", model, [""] * streams, tokens, {})
    plain = contestant("one merged", merged, [""] * streams, tokens, {})
    exact = [contestant(f"exact, {c}", model, n, tokens, adapters, "exact")
             for c, n in (("different", different), ("one", one))]  # fmt: skip
    compete([several, single, none, plain, *exact], rounds, group, talk, "adapters")
    bar = BAR if streams >= len(names) else None
    found = [_ratio(SEVERAL, several, single, group, bar)]
    pairs = (single, none), (several, none), (several, plain), (exact[0], exact[1])
    found += [_ratio(name, a, b, group, None) for name, (a, b) in zip(BESIDE, pairs, strict=True)]
    return [*(_speed(c, streams, group) for c in (several, single, none, plain)), *found]


def _integers(group: str, model: Transformer, adapters: Mapping[str, Adapter], tokens: int, rounds: int,
              talk: Talk) -> list[Row]:  # fmt: skip
    """A base in 8 bits, whose adapters stay floats."""
    names = list(adapters)
    several = contestant("different adapters", model, names, tokens, adapters)
    single = contestant("one adapter", model, names[:1] * len(names), tokens, adapters)
    none = contestant("no adapter", model, [""] * len(names), tokens, {})
    compete([several, single, none], rounds, group, talk, "adapters")
    return [*(_speed(c, len(names), group) for c in (several, single, none)),
            _ratio(SEVERAL, several, single, group, BAR), _ratio(BESIDE[1], several, none, group, None)]  # fmt: skip


def _speed(one: Contestant, streams: int, group: str) -> Row:
    speeds = sorted(streams / s for s in one.seconds)
    return Row(one.name, streams / one.median, Interval(speeds[0], speeds[-1], 1.0, "range"), len(speeds),
               unit="tokens/s", group=group)  # fmt: skip


def _ratio(name: str, slow: Contestant, quick: Contestant, group: str, bar: float | None) -> Row:
    """Round by round, one's seconds over the other's."""
    ratios = sorted(a / b for a, b in zip(slow.seconds, quick.seconds, strict=True))
    return Row(name, statistics.median(ratios), Interval(ratios[0], ratios[-1], 1.0, "range"), len(ratios), bar=bar,
               unit="times", group=group)  # fmt: skip


def summary(result: Result) -> Iterator[tuple[Any, ...]]:
    """Rows of a table for people."""
    for row in result.rows:
        value = f"{row.estimate:,.0f}" if row.unit == "tokens/s" else f"{row.estimate:.2f}"
        yield row.group, row.name, value, row.unit, f"{row.bar:g}" if row.bar else ""


def versions() -> Mapping[str, Any]:
    """What was measured with."""
    return {"torch": device.version("torch")}
