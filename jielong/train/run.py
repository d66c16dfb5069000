"""A training run in a folder: packed tokens in, checkpoints and metrics out, resumable at any moment.

runs/NAME/run.json          what was asked for, and the fingerprint of the data
runs/NAME/metrics.jsonl     one line a step
runs/NAME/checkpoints/      step-00000600/: a Hugging Face folder, or a drafter's; the newest also holds the training
                            state
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jielong.base import device, files
from jielong.base.errors import UserError
from jielong.base.talk import Talk
from jielong.data.pack import NothingToTrain, Packer, too_long
from jielong.data.tokenise import byte_lengths
from jielong.data.tokens import Tokens
from jielong.infer.slots import INFO as PARALLEL
from jielong.nets import checkpoint, drafts, reward
from jielong.nets.adapters import config as adapting
from jielong.nets.adapters.adapter import Adapter
from jielong.nets.adapters.attach import fingerprint as fingerprint_of
from jielong.nets.adapters.folder import Upon
from jielong.nets.config import TransformerConfig
from jielong.nets.drafts.folder import Beside
from jielong.nets.reward import RewardModel
from jielong.nets.transformer import Transformer
from jielong.train import loop
from jielong.train.compiled import compiled, pays
from jielong.train.loop import Course, State
from jielong.train.muon import Rates
from jielong.train.next_token import NextToken
from jielong.train.objective import Objective
from jielong.train.processes import rank
from jielong.train.settings import Settings, from_json, to_json
from jielong.units.codec import Tokenizer

RUN = "run.json"
STATE = "state.safetensors"
TEXTS = "texts"
HEAD = "head"  # in run.json
OBJECTIVE = "objective"  # in a work's info: what else decides its result
SHARE = 0.4  # of the matrix rate that a whole step keeps up, about
BF16 = ("avx512_bf16", "amx_bf16")


@dataclass(frozen=True)
class Work:
    """A model, its tokens and what to do with them. `info` goes into the checkpoint's `jielong.json`.

    `kinds`: further validation sets by name, whose documents are measured whole. `per_step`: tokens that a step reads,
    where its rows are not all full. `objective`: what is learnt of the
    tokens, for a given arithmetic (None: to predict the next one). `beside`: `model` is no Transformer but a head that
    guesses for this one (`nets/drafts`), which stays as it is. `texts`: what was written for this run alone is kept in
    its folder, in `texts/`.
    """

    model: Any
    codec: Tokenizer
    train: Tokens
    validation: Tokens | None
    settings: Settings
    info: Mapping[str, Any]
    kinds: Mapping[str, Tokens] = field(default_factory=dict)
    objective: Callable[[Work, torch.dtype], Objective] | None = None
    beside: Transformer | None = None
    texts: Tokens | None = None
    per_step: int = 0

    @property
    def step_tokens(self) -> int:
        """Tokens that a step reads."""
        return self.per_step or self.settings.step_tokens

    @property
    def config(self) -> TransformerConfig:
        """Of the Transformer that is trained, or that a head stands beside."""
        config: TransformerConfig = (self.beside or self.model).config
        return config

    @property
    def flops(self) -> float:
        """Of one token's training: a backward pass costs two forward ones, and what stays as it is has none."""
        context = self.settings.context
        if self.beside is None:
            return 3.0 * self.config.matrix_flops(context)
        if self.adapted:
            return 2.0 * self.config.matrix_flops(context)
        return self.config.matrix_flops(context) + 3.0 * float(self.model.flops(context))

    @property
    def adapted(self) -> bool:
        """Whether what is trained is an adapter, attached to the Transformer beside it."""
        return isinstance(self.model, Adapter)

    @property
    def head(self) -> dict[str, Any] | None:
        """What tells a head or an adapter, and the model that it stands beside, from others; None for a Transformer."""
        if self.beside is None:
            return None
        if self.adapted:
            return {"config": adapting.to_json(self.model.config), "base": fingerprint_of(self.beside)}
        table = files.digest(self.beside.embed.detach().float().cpu().numpy().tobytes())
        return {"kind": drafts.name(self.model), "config": asdict(self.model.config), "table": table}

    @property
    def format(self) -> Any:
        """`save` and `load` of what is trained."""
        if isinstance(self.model, RewardModel):
            return reward
        if self.beside is None:
            return checkpoint
        return Upon(self.beside, self.model.family) if self.adapted else Beside(self.config)


def start(
    work: Work,
    folder: Path,
    talk: Talk,
    label: str = "train",
    track: Callable[[Mapping[str, Any]], None] | None = None,
) -> dict[str, float]:
    """Train `work` in `folder` from its first step; returns the last figures. The folder must be the run's own."""
    told = {"settings": to_json(work.settings), "data": fingerprint(work), HEAD: work.head, **work.info}
    if rank() == 0:
        if work.texts is not None:
            work.texts.save(folder / TEXTS)
        files.write_json(folder / RUN, told)
    return _train(work, folder, talk, label, None, track)


def resume(
    work: Work,
    folder: Path,
    talk: Talk,
    label: str = "train",
    track: Callable[[Mapping[str, Any]], None] | None = None,
) -> dict[str, float]:
    """Go on where the newest saved state stands (from the start where there is none yet).

    Raises UserError when the settings or the data are not those of the run.
    """
    if not (folder / RUN).exists() and (folder / files.RUN_MARK).exists():  # stopped before anything was written
        return start(work, folder, talk, label, track)
    told = files.read_json(folder / RUN)
    if from_json(told["settings"]) != work.settings:
        changed = [k for k, v in to_json(work.settings).items() if told["settings"].get(k) != v]
        raise UserError(f"{folder} was begun with other settings ({', '.join(changed)}); resume it with the same")
    if told["data"] != fingerprint(work):
        raise UserError(f"{folder} was begun with other data or another tokenizer; resume it with the same")
    if told.get(HEAD) != work.head:
        raise UserError(f"{folder} was begun with another drafter, adapter or base; resume it with the same")
    if any(told.get(key) != work.info.get(key) for key in (PARALLEL, OBJECTIVE)):
        raise UserError(f"{folder} was begun with another objective or reference; resume it with the same")
    for left in (folder / "checkpoints").glob(".step-*.tmp"):  # of a writer that was killed
        shutil.rmtree(left, ignore_errors=True)
    state = newest(folder)
    if state is None:
        return _train(work, folder, talk, label, None, track)
    saved = work.format.load(state)
    if saved.info.get("done"):
        raise UserError(f"{folder} has finished; there is nothing to resume")
    work.model.load_state_dict(saved.model.state_dict())
    return _train(work, folder, talk, label, _read_state(state), track)


def newest(folder: Path) -> Path | None:
    """The newest checkpoint of a run, or None."""
    found = sorted(p for p in (folder / "checkpoints").glob("step-*") if (p / checkpoint.INFO).is_file())
    return found[-1] if found else None


def finished(folder: Path, format: Any = checkpoint) -> Any:
    """The last checkpoint of a run that has come to its end, as its format loads it; None before."""
    state = newest(folder)
    if state is None or not files.read_json(state / checkpoint.INFO).get("done"):
        return None
    return format.load(state)


def fingerprint(work: Work) -> str:
    """Of the tokens and the tokenizer."""
    parts = [np.ascontiguousarray(a) for a in (work.train.ids, work.train.starts, work.train.train)]
    return files.digest(b"".join(part.tobytes() for part in parts) + work.codec.fingerprint.encode())


def arithmetic(settings: Settings, where: str) -> torch.dtype:
    """bf16 where it wins: on GPUs, and on processors with bf16 products; float32 elsewhere."""
    if settings.precision != "auto":
        return torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
    features = device.machine()["features"]
    wins = where.startswith("cuda") or any(name in features for name in BF16)
    return torch.bfloat16 if wins else torch.float32


def _train(
    work: Work,
    folder: Path,
    talk: Talk,
    label: str,
    state: State | None,
    track: Callable[[Mapping[str, Any]], None] | None,
) -> dict[str, float]:
    settings = work.settings
    torch.set_num_threads(device.threads())
    device.keep_memory()
    where = str((work.beside or work.model).device)
    dtype = arithmetic(settings, where)
    objective = work.objective(work, dtype) if work.objective else next_token(work, dtype, talk)
    rates = Rates(settings.matrix_rate, settings.other_rate, settings.weight_decay)
    course = Course(
        settings.length,
        min(settings.warmup, max(1, settings.length // 5)),
        settings.decay,
        settings.clip,
        rates,
        max(1, settings.length // settings.validate) if settings.validate else 0,
        settings.save_every,
        settings.muon,
    )

    def save(now: State, figures: Mapping[str, float]) -> None:
        done = now.step == settings.length
        info = {
            **work.info,
            "step": now.step,
            "done": done,
            "tokens": now.step * work.step_tokens,
            "settings": to_json(settings),
            "threads": torch.get_num_threads(),
            "precision": str(dtype)[6:],
            "metrics": {name: value for name, value in figures.items() if not name.startswith("grad")},
        }
        place = folder / "checkpoints" / f"step-{now.step:08d}"
        extra = None if done else {"step": torch.tensor(now.step), **now.tensors}
        work.format.save(place, work.model, work.codec, info, overwrite=True, extra=extra)
        for old in (folder / "checkpoints").glob("step-*"):
            if old != place:
                shutil.rmtree(old)

    rate = matrix_rate(work, dtype)
    read: Any = work.beside if work.adapted else getattr(work.model, "body", work.model)  # whose blocks run
    quicker = (work.beside is None or work.adapted) and pays(read, settings)
    if quicker:
        talk.say("the first step waits some ten seconds for the compiler")
    with compiled(read, quicker):
        return loop.run(objective, course, folder, talk, label, save, state, track, work.flops, rate)


def next_token(work: Work, dtype: torch.dtype, talk: Talk | None = None) -> NextToken:
    """To predict the next token of this work's rows."""
    settings = work.settings
    table = byte_lengths(work.codec)
    packer = Packer(work.train, settings.context, settings.batch, settings.seed, table, narrow=True)
    held = _held(work, table)
    kinds = {
        name: Packer(tokens, settings.context, settings.batch, 0, table, whole=True)
        for name, tokens in work.kinds.items()
    }
    if talk is not None and rank() == 0 and (line := too_long([packer, held], work.config.context)):
        talk.warn(line)
    adapter = work.model if work.adapted else None
    return NextToken(work.beside or work.model, packer, held, settings.accumulate, dtype, kinds, adapter)


def _held(work: Work, table: Any) -> Packer | None:
    """The rows of validation; None without it, or where none of its chats has an answer within a row."""
    if work.validation is None:
        return None
    try:
        return Packer(work.validation, work.settings.context, work.settings.batch, 0, table)
    except NothingToTrain:
        return None


def predict(work: Work) -> float:
    """Seconds that training will take here: its operations at the share of the matrix rate that a step keeps up."""
    settings = work.settings
    dtype = arithmetic(settings, str((work.beside or work.model).device))
    torch.set_num_threads(device.threads())
    return work.flops * settings.length * work.step_tokens / (matrix_rate(work, dtype) * SHARE)


def matrix_rate(work: Work, dtype: torch.dtype) -> float:
    """FLOP/s of this machine at the products that this model's step is made of, each by its share of the work."""
    config, rows = work.config, work.settings.context * work.settings.batch
    attention, kv = config.heads * config.head_dim, config.kv_heads * config.head_dim
    wide = config.hidden * (2 if config.gated else 1)
    shapes = [
        (rows, config.dim, attention + 2 * kv),
        (rows, attention, config.dim),
        (rows, config.dim, wide),
        (rows, config.hidden, config.dim),
        (rows, config.dim, config.vocab),
    ]
    return device.matmul_rate(shapes, str(dtype)[6:], (work.beside or work.model).device.type, repeats=3, seconds=0.02)


def _read_state(folder: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(folder / STATE)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{folder / STATE} cannot be read ({error}); the run cannot be resumed") from error
    return State(int(tensors.pop("step")), tensors)
