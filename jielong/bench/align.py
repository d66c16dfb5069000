"""Alignment's training speed beside TRL and PEFT: one Qwen3 checkpoint, the same examples a step, in one run.

    sft     chats of which the answers are targets          SFTTrainer
    lora    the same, a LoRA of rank 8 on every matrix      SFTTrainer with PEFT
    dpo     pairs of answers, the reference read for the first time and trained from     DPOTrainer
    dpo, later epochs     the reference's log-probabilities are known                    DPOTrainer, precomputed

What is counted are tokens of the examples, once each: of a pair what was asked counts twice, as both answers stand
after it, however often a contestant reads it; padding counts nothing. A step's examples are the same for all. Theirs
runs at every setting that is anybody's fastest somewhere: float32 and bf16 autocast, torch's fused attention and
transformers' own, rows packed by best fit, cut from a stream (attention then crosses from chat to chat; ours never
does), and padded among chats of about one length; ratios are to the best.
TRL says itself that DPO's padding-free mode is off at present. Of many settings each makes one round alone; our best
two and their best three then go on, round by round by turns as in `train.py`.
"""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jielong.base import device
from jielong.base.errors import UserError
from jielong.base.result import Interval, Result, Row
from jielong.base.talk import Talk
from jielong.bench import trl
from jielong.bench.examples import Scene, alike, rows_of, staged
from jielong.bench.huggingface import Rounds
from jielong.bench.trl import Setting
from jielong.data.pack import Packer
from jielong.data.tokens import Tokens
from jielong.nets import checkpoint
from jielong.nets.adapters.attach import attach
from jielong.nets.adapters.config import Lora
from jielong.train.compiled import compile_blocks
from jielong.train.loop import Course, _Driver
from jielong.train.next_token import NextToken
from jielong.train.preferences.dpo import Dpo
from jielong.train.preferences.pairs import Deck, Reference, shares
from jielong.train.preferences.plan import Plan
from jielong.train.run import BF16

STEPS = 3  # timed in a round, after one that is not
FINAL = {True: 2, False: 3}  # of ours and of theirs that go on to the rounds that count
BAR = 2.0
RANK = 8
TASKS = ("sft", "lora", "dpo", "dpo, later epochs")
Step = Callable[[int], object]


@dataclass
class Contestant:
    """`step(i)` is one update on the i-th batch, of `tokens` useful tokens on the average, or of `each[i]`. Seconds of
    its rounds, and useful tokens in these."""

    name: str
    task: str
    ours: bool
    step: Step
    tokens: float
    seconds: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)  # of processors: what it costs where others are at work too
    read: list[float] = field(default_factory=list)
    each: list[float] = field(default_factory=list)

    def useful(self, steps: range) -> float:
        """Tokens of these steps."""
        return sum(self.each[i % len(self.each)] if self.each else self.tokens for i in steps)

    @property
    def speeds(self) -> list[float]:
        """Useful tokens a second, round by round."""
        return [tokens / seconds for tokens, seconds in zip(self.read, self.seconds, strict=True)]

    @property
    def speed(self) -> float:
        """Their median."""
        return statistics.median(self.speeds)


def our_sft(
    scene: Scene, dtype: torch.dtype, rank: int = 0, compiled: bool = False, muon: bool = True
) -> Contestant:
    """Our loop's own step over packed rows."""
    documents = ((np.array(a + b, dtype=np.int64), np.arange(len(a + b)) >= len(a)) for a, b in scene.chats)
    packer = Packer(Tokens.from_documents(documents), scene.config.context, scene.rows, narrow=True)
    model = checkpoint.load(scene.folder).model.train()
    adapter = attach(model, Lora(rank=rank)).train() if rank else None
    if compiled:
        compile_blocks(model)
    objective = NextToken(model, packer, None, 1, dtype, adapter=adapter)
    driver = _Driver(objective.phases[0], Course(10_000, muon=muon))
    name = _name(dtype, muon and not rank) + ", compiled" * compiled
    tokens = scene.chat_tokens * len(scene.chats) / (packer.steps_per_epoch or 1.0)
    return Contestant(name, "lora" if rank else "sft", True, lambda i: driver.step(objective.batches(i), i), tokens)


def our_dpo(scene: Scene, dtype: torch.dtype, known: bool, muon: bool = True) -> Contestant:
    """Our loop's own step over pairs; `known`: of the reference all is kept already."""
    documents = ((np.array(a + b, dtype=np.int64), np.arange(len(a + b)) >= len(a))
                 for a, *both in scene.pairs for b in both)  # fmt: skip
    model = checkpoint.load(scene.folder).model.train()
    still = checkpoint.load(scene.folder).model.requires_grad_(False)
    deck = Deck(Tokens.from_documents(documents), 2, 0, shares(scene.config))
    reference = Reference(still, deck, scene.batch, dtype)
    if known:
        reference.kept.update({i: torch.tensor([-100.0, -100.0]) for i in range(len(deck))})
    objective = Dpo(model, Plan(), reference, None, 1, dtype)
    driver = _Driver(objective.phases[0], Course(10_000, muon=muon))
    task = TASKS[3] if known else TASKS[2]
    tokens = scene.pair_tokens * scene.batch
    return Contestant(_name(dtype, muon), task, True, lambda i: driver.step(objective.batches(i), i), tokens)


def _name(dtype: torch.dtype, muon: bool) -> str:
    return f"jielong, {str(dtype)[6:]}, {'Muon' if muon else 'AdamW'}"


Make = Callable[[], Contestant]


def contestants(scene: Scene, task: str, compiled: bool) -> Iterator[Make]:
    """What makes ours and every setting of theirs, for one task."""
    fast = any(name in device.machine()["features"] for name in BF16)
    dtypes = [torch.float32, *([torch.bfloat16] if fast else [])]
    ours = (False, True) if compiled else (False,)
    for dtype in dtypes:
        if task == "lora":
            yield from (partial(our_sft, scene, dtype, RANK, each) for each in ours)
            continue
        for muon in (True, False):  # theirs is AdamW's step, which costs less
            if task == "sft":
                yield from (partial(our_sft, scene, dtype, 0, each, muon) for each in ours)
            else:
                yield partial(our_dpo, scene, dtype, task != "dpo", muon)
    ways = [(autocast, eager, False) for autocast in (False, True)[: len(dtypes)] for eager in (False, True)]
    ways += [(autocast, eager, True) for autocast, eager, _ in ways if autocast or not fast] if compiled else []
    for way in ways:
        yield from _theirs(scene, task, Setting(*way, rank=RANK if task == "lora" else 0))


def _theirs(scene: Scene, task: str, how: Setting) -> Iterator[Make]:
    if task not in ("sft", "lora"):
        if not how.compiled:  # every length is compiled anew: minutes a step
            yield partial(_their_dpo, scene, task, replace(how, known=task != "dpo"))
        return
    for rows in ("packed", "wrapped", "padded"):
        if rows == "packed" and how.eager:
            continue  # as sdpa, and gigabytes of scores
        if rows == "padded" and how.compiled:
            continue  # as above
        yield partial(_their_sft, scene, task, replace(how, rows=rows))


def _their_dpo(scene: Scene, task: str, how: Setting) -> Contestant:
    step = trl.dpo(scene.folder, scene.pairs, how, scene.batch)
    return Contestant(f"TRL, {how.name}", task, False, step, scene.pair_tokens * scene.batch)


def _their_sft(scene: Scene, task: str, how: Setting) -> Contestant:
    context, many = scene.config.context, round(scene.rows * scene.config.context / scene.chat_tokens)
    padded = how.rows == "padded"
    chats = alike(scene.chats, many) if padded else scene.chats
    batch = many if padded else scene.rows
    step = trl.sft(scene.folder, chats, how, batch, context)
    found = Contestant(f"TRL, {how.name}, {how.rows}", task, False, step, float(batch * context))
    if how.rows == "packed":
        found.tokens = batch * scene.chat_tokens * len(chats) / rows_of(scene)
    if padded:
        lengths = [len(a) + len(b) for a, b in chats]
        found.each = [float(sum(lengths[i : i + many])) for i in range(0, len(lengths), many)]
    return found


def run(
    talk: Talk, width: int = 256, layers: int = 4, vocab: int = 2048, context: int = 256, rows: int = 16,
    batch: int = 16, rounds: int = 7, tasks: tuple[str, ...] = TASKS, compiled: bool = False,
) -> Result:  # fmt: skip
    """Useful tokens a second of all, and ratios of ours to the best of theirs. UserError where TRL is not installed."""
    missing = [name for name in ("trl", "peft", "datasets") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} is not installed here: pip install trl peft")
    torch.set_num_threads(device.threads())
    device.keep_memory()
    with tempfile.TemporaryDirectory() as place:
        scene = staged(Path(place), width, layers, vocab, context, rows, batch, (STEPS + 1) * (rounds + 1) + 1)
        every = [one for task in tasks for one in _contest(talk, scene, task, rounds, compiled)]
        return _result(scene, every, tasks)


def _contest(talk: Talk, scene: Scene, task: str, rounds: int, compiled: bool) -> list[Contestant]:
    """All of one task: a round of each alone, then those that may be the fastest, by turns; a process ends with it."""
    makes = list(contestants(scene, task, compiled))
    first: list[tuple[Contestant, Make]] = []
    with talk.progress(len(makes), f"bench align: {task}, one by one", "settings") as bar:
        for make in makes:
            one = make()
            _round(one, 0)
            _end([one])
            first.append((one, make))
            bar.update(len(first))
    first.sort(key=lambda each: -each[0].speed)
    chosen = [pair for ours, most in FINAL.items() for pair in [p for p in first if p[0].ours is ours][:most]]
    final = [make() for _, make in chosen]
    with talk.progress(len(final) * (rounds + 1), f"bench align: {task}", "rounds") as bar:
        for number in range(rounds + 1):
            turn = final[number % len(final) :] + final[: number % len(final)]
            for done, one in enumerate(turn):
                _round(one, number, timed=number > 0)
                bar.update(number * len(final) + done + 1)
    _end(final)
    return final + [one for one, make in first if make not in [made for _, made in chosen]]


def _round(one: Contestant, number: int, timed: bool = True) -> None:
    """One step that is not timed (after a pause nothing is in the caches), and `STEPS` that are."""
    begin = (STEPS + 1) * number
    cpu = _busy(one, begin)
    began = time.perf_counter()
    for i in range(STEPS):
        last = _busy(one, begin + 1 + i)
    if timed:
        one.seconds.append(time.perf_counter() - began)
        one.busy.append(last - cpu)
        one.read.append(one.useful(range(begin + 1, begin + 1 + STEPS)))


def _end(some: list[Contestant]) -> None:
    """Let go of processes: each holds a gigabyte or more."""
    for one in some:
        if isinstance(one.step, Rounds):
            one.step.close()
        one.step = _ended


def _ended(i: int) -> object:
    raise RuntimeError("this contestant has ended")


def _busy(one: Contestant, number: int) -> float:
    """Make a step; the time of processors that the contestant's process has taken by then."""
    told = one.step(number)
    return told if isinstance(told, float) else time.process_time()


def _result(scene: Scene, field_: list[Contestant], tasks: tuple[str, ...]) -> Result:
    rows = []
    for one in field_:
        speeds = sorted(one.speeds)
        about = Interval(speeds[0], speeds[-1], 1.0, "range")
        note = f"{1 / _cost(one):,.0f} for each second of processors" + ", one round alone" * (len(speeds) == 1)
        rows.append(Row(one.name, one.speed, about, len(speeds), unit="tokens/s", group=one.task, note=note))
    for task in tasks:
        most = max((len(one.seconds) for one in field_ if one.task == task), default=0)
        mine, theirs = ([one for one in field_ if one.task == task and one.ours is ours and len(one.seconds) == most]
                        for ours in (True, False))  # fmt: skip
        if not mine or not theirs:
            continue
        own, peer = (max(group, key=lambda one: one.speed) for group in (mine, theirs))
        ratios = sorted(a / b for a, b in zip(own.speeds, peer.speeds, strict=True))
        about = Interval(ratios[0], ratios[-1], 1.0, "range")
        rows.append(Row(f"{task}: jielong to the best of TRL", statistics.median(ratios), about, len(ratios), bar=BAR,
                        unit="times", group="ratios", note=f"{own.name}; {peer.name}"))  # fmt: skip
        own, peer = (min(group, key=_cost) for group in (mine, theirs))
        rows.append(Row(f"{task}: the same by time of processors", _cost(peer) / _cost(own), None, len(ratios),
                        unit="times", group="ratios", note=f"{own.name}; {peer.name}"))  # fmt: skip
    rows += _shares(scene, field_)
    from jielong.nets.config import to_json

    meta = {"config": to_json(scene.config), "rows": scene.rows, "batch": scene.batch, "rank": RANK}
    return Result("bench_align", "Alignment's speed beside TRL and PEFT", tuple(rows), meta=meta)


def _cost(one: Contestant) -> float:
    """Seconds of processors for a useful token."""
    return statistics.median(busy / read for busy, read in zip(one.busy, one.read, strict=True))


def _shares(scene: Scene, field_: list[Contestant]) -> Iterator[Row]:
    """The share of the machine's matrix rate that our steps reach. A backward pass costs two forward ones, beside an
    adapter one; the reference one more. What both answers of a pair share is read once, logits are those of targets."""
    config = scene.config
    fast = any(name in device.machine()["features"] for name in BF16)
    kv, attention = config.kv_heads * config.head_dim, config.heads * config.head_dim
    n = scene.rows * config.context
    shapes = [(n, config.dim, attention + 2 * kv), (n, attention, config.dim), (n, config.dim, 2 * config.hidden),
              (n, config.hidden, config.dim)]  # fmt: skip
    rate = device.matmul_rate(shapes, "bfloat16" if fast else "float32", repeats=3, seconds=0.1)
    passes = dict(zip(TASKS, (3, 2, 4, 3), strict=True))
    for task, times in passes.items():
        mine = [one for one in field_ if one.ours and one.task == task]
        if mine:
            best = max(mine, key=lambda one: one.speed)
            share = times * _flops(scene, task) * best.speed / rate
            yield Row(f"{task}: share of the machine's matrix rate", share, None, len(best.seconds), unit="share",
                      group="ratios", note=f"{best.name}; {rate / 1e9:.0f} GFLOP/s")  # fmt: skip


def _flops(scene: Scene, task: str) -> float:
    """Operations of one forward pass for one useful token."""
    config, head = scene.config, 2.0 * scene.config.dim * scene.config.vocab
    blocks = config.matrix_flops(round(scene.chat_tokens)) - head
    if task in ("sft", "lora"):
        return blocks + head * statistics.fmean(len(b) for _, b in scene.chats) / scene.chat_tokens
    targets = statistics.fmean(len(b) + len(c) for _, b, c in scene.pairs)
    return (blocks * statistics.fmean(sum(map(len, pair)) for pair in scene.pairs) + head * targets) / scene.pair_tokens


def summary(result: Result) -> list[tuple[Any, ...]]:
    """Rows of a table for people."""
    return [
        (f"{row.group}: {row.name}" if row.unit == "tokens/s" else row.name,
         f"{row.estimate:,.0f}" if row.unit == "tokens/s" else f"{row.estimate:,.2f}", row.unit,
         f"{row.bar:g}" if row.bar else "", row.note)
        for row in result.rows
    ]  # fmt: skip


def versions() -> Mapping[str, Any]:
    """The peers' versions."""
    return {name: device.version(name) for name in ("torch", "transformers", "accelerate", "trl", "peft")}
