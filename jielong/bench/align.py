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
TRL says itself that DPO's padding-free mode is off at present. Rounds are interleaved as in `train.py`.
"""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jielong.base import device, noise
from jielong.base.errors import UserError
from jielong.base.result import Interval, Result, Row
from jielong.base.talk import Talk
from jielong.bench import trl
from jielong.bench.huggingface import Rounds
from jielong.bench.trl import Chat, Pair, Setting
from jielong.data.pack import Packer
from jielong.data.tokens import Tokens
from jielong.nets import checkpoint
from jielong.nets.adapters.attach import attach
from jielong.nets.adapters.config import Lora
from jielong.nets.config import TransformerConfig, shape
from jielong.nets.transformer import Transformer
from jielong.train.compiled import compile_blocks
from jielong.train.loop import Course, _Driver
from jielong.train.next_token import NextToken
from jielong.train.preferences.dpo import Dpo
from jielong.train.preferences.pairs import Deck, Reference, shares
from jielong.train.preferences.plan import Plan
from jielong.train.run import BF16
from jielong.units import bpe

STEPS = 3  # timed in a round, after one that is not
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


@dataclass(frozen=True)
class Scene:
    """The checkpoint's folder, its configuration, examples, and how many a step takes."""

    folder: str
    config: TransformerConfig
    chats: list[Chat]
    pairs: list[Pair]
    rows: int  # packed rows of a step of SFT
    batch: int  # pairs of a step of DPO

    @property
    def chat_tokens(self) -> float:
        """Of a chat, on the average."""
        return statistics.fmean(len(a) + len(b) for a, b in self.chats)

    @property
    def pair_tokens(self) -> float:
        """Of a pair's two chats, on the average."""
        return statistics.fmean(2 * len(a) + len(b) + len(c) for a, b, c in self.pairs)


def examples(
    vocab: int, n: int, asked: tuple[int, int], answered: tuple[int, int], answers: int
) -> list[list[list[int]]]:
    """n times something asked and some answers, of random tokens and of lengths drawn between these bounds."""
    found = []
    for i in range(n):
        sizes = [asked, *[answered] * answers]
        lengths = [low + int(noise.integers(7, "lengths", answers, i, k, below=high - low + 1, n=1)[0])
                   for k, (low, high) in enumerate(sizes)]  # fmt: skip
        ids = (noise.integers(7, "ids", answers, i, below=vocab - 8, n=sum(lengths)) + 8).tolist()
        ends = np.cumsum([0, *lengths]).tolist()
        found.append([ids[a:b] for a, b in zip(ends, ends[1:])])
    return found


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


def contestants(scene: Scene, task: str, compiled: bool) -> Iterator[Contestant]:
    """Ours and every setting of theirs, for one task."""
    fast = any(name in device.machine()["features"] for name in BF16)
    dtypes = [torch.float32, *([torch.bfloat16] if fast else [])]
    for dtype in dtypes:
        for muon in (True, False):  # theirs is AdamW's step, which costs less
            if task == "sft":
                yield from (our_sft(scene, dtype, 0, each, muon) for each in ((False, True) if compiled else (False,)))
            elif task != "lora":
                yield our_dpo(scene, dtype, task != "dpo", muon)
        if task == "lora":
            yield from (our_sft(scene, dtype, RANK, each) for each in ((False, True) if compiled else (False,)))
    ways = [(autocast, eager, False) for autocast in (False, True)[: len(dtypes)] for eager in (False, True)]
    ways += [(autocast, eager, True) for autocast, eager, _ in ways if autocast or not fast] if compiled else []
    for way in ways:
        yield from _theirs(scene, task, Setting(*way, rank=RANK if task == "lora" else 0))


def _theirs(scene: Scene, task: str, how: Setting) -> Iterator[Contestant]:
    if task not in ("sft", "lora"):
        how = replace(how, known=task != "dpo")
        step = trl.dpo(scene.folder, scene.pairs, how, scene.batch)
        yield Contestant(f"TRL, {how.name}", task, False, step, scene.pair_tokens * scene.batch)
        return
    context, many = scene.config.context, round(scene.rows * scene.config.context / scene.chat_tokens)
    grouped = alike(scene.chats, many)
    lengths = [len(a) + len(b) for a, b in grouped]
    for rows in ("packed", "wrapped", "padded"):
        if rows == "packed" and how.eager:
            continue  # as sdpa, and gigabytes of scores
        if rows == "padded" and how.compiled:
            continue  # every length is compiled anew: minutes a step
        chats, batch = (grouped, many) if rows == "padded" else (scene.chats, scene.rows)
        tokens = {"packed": batch * scene.chat_tokens * len(chats) / _rows(scene), "wrapped": float(batch * context)}
        step = trl.sft(scene.folder, chats, replace(how, rows=rows), batch, context)
        found = Contestant(f"TRL, {how.name}, {rows}", task, False, step, tokens.get(rows, 0.0))
        if rows == "padded":
            found.each = [float(sum(lengths[i : i + many])) for i in range(0, len(lengths), many)]
        yield found


def alike(chats: list[Chat], batch: int) -> list[Chat]:
    """The chats in batches of about one length, as transformers groups them: sorted within fifty batches, these then
    in any order; whole batches only."""
    ordered: list[list[Chat]] = []
    for start in range(0, len(chats), 50 * batch):
        some = sorted(chats[start : start + 50 * batch], key=lambda chat: len(chat[0]) + len(chat[1]))
        ordered += [some[i : i + batch] for i in range(0, len(some) - batch + 1, batch)]
    mixed = noise.permutation(7, len(ordered), "batches")
    return [chat for i in mixed for chat in ordered[int(i)]]


def _rows(scene: Scene) -> int:
    """Packed rows that TRL's best-fit makes of the chats."""
    from datasets import Dataset
    from trl.data_utils import pack_dataset

    rows = Dataset.from_list([{"input_ids": a + b} for a, b in scene.chats])
    return len(pack_dataset(rows, scene.config.context))


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
        scene = staged(Path(place), width, layers, vocab, context, rows, batch, rounds)
        every = [one for task in tasks for one in _contest(talk, scene, task, rounds, compiled)]
        return _result(scene, every, tasks)


def _contest(talk: Talk, scene: Scene, task: str, rounds: int, compiled: bool) -> list[Contestant]:
    """All of one task, round by round; their processes end with it."""
    field_ = list(contestants(scene, task, compiled))
    with talk.progress(len(field_) * (rounds + 1), f"bench align: {task}", "rounds") as bar:
        for number in range(-1, rounds):
            turn = field_[number % len(field_) :] + field_[: number % len(field_)]
            for done, one in enumerate(turn):
                first = (STEPS + 1) * (number + 1)
                cpu = _busy(one, first)  # after a pause nothing is in the caches: this one is not timed
                began = time.perf_counter()
                for i in range(STEPS if number >= 0 else 0):
                    last = _busy(one, first + 1 + i)
                if number >= 0:
                    one.seconds.append(time.perf_counter() - began)
                    one.busy.append(last - cpu)
                    one.read.append(one.useful(range(first + 1, first + 1 + STEPS)))
                bar.update((number + 1) * len(field_) + done + 1)
    for one in field_:
        if isinstance(one.step, Rounds):
            one.step.close()
    return field_


def _busy(one: Contestant, number: int) -> float:
    """Make a step; the time of processors that the contestant's process has taken by then."""
    told = one.step(number)
    return told if isinstance(told, float) else time.process_time()


def staged(
    place: Path, width: int, layers: int, vocab: int, context: int, rows: int, batch: int, rounds: int
) -> Scene:
    """A checkpoint of random weights in `place`, and examples for all rounds."""
    config = shape(width, vocab, context, layers)
    model = Transformer(config, seed=0)
    letters = "".join(chr(97 + i) for i in noise.integers(7, "letters", below=26, n=40 * vocab))
    codec = bpe.train([" ".join(letters[i : i + 6] for i in range(0, len(letters), 6))], vocab)  # nobody reads them
    folder = str(place / "model")
    checkpoint.save(folder, model, codec)
    steps = (STEPS + 1) * (rounds + 1) + 1
    longest = context // 4
    chats = examples(vocab, max(64, 12 * rows * steps), (8, longest // 2), (8, longest), 1)
    pairs = examples(vocab, batch * steps, (8, longest // 2), (8, longest), 2)
    return Scene(folder, config, [(a, b) for a, b in chats], [(a, b, c) for a, b, c in pairs], rows, batch)


def _result(scene: Scene, field_: list[Contestant], tasks: tuple[str, ...]) -> Result:
    rows = []
    for one in field_:
        speeds = sorted(one.speeds)
        about = Interval(speeds[0], speeds[-1], 1.0, "range")
        note = f"{1 / _cost(one):,.0f} for each second of processors"
        rows.append(Row(one.name, one.speed, about, len(speeds), unit="tokens/s", group=one.task, note=note))
    for task in tasks:
        mine, theirs = ([one for one in field_ if one.task == task and one.ours is ours] for ours in (True, False))
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
