"""Checkpoints: a Hugging Face folder in, the same folder out, and one file of our own beside it.

    save(folder, model, codec, info)          # config.json, model.safetensors, tokenizer, jielong.json, README.md
    loaded = load("runs/demo")                # a checkpoint folder, or a run: its newest checkpoint
    copy(loaded, folder, kind="bf16")         # as it was read: names and files, here with another type

A shape that fits a known family (`families.known`) is saved as that family, any other as `model_type: jielong`, and
the message names the option that prevents it. Nothing is unpickled; weights are read as safetensors only.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jielong.base import files
from jielong.base.errors import UserError
from jielong.nets import config as configs
from jielong.nets import quant, weights
from jielong.nets.config import TransformerConfig
from jielong.nets.families import known
from jielong.nets.families.family import Family, Part, full_name, plan, write
from jielong.nets.transformer import Transformer
from jielong.nets.weights import Stored
from jielong.units import codec as codecs
from jielong.units.codec import Tokenizer

OWN = "jielong"
INFO = "jielong.json"
CONFIG = "config.json"
HEAD = "lm_head.weight"
REWARD = "reward"  # in `jielong.json` of a reward model: `nets/reward.py`
# What stands beside weights in a folder of somebody's, and is copied as it is.
BESIDE = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "generation_config.json", "tokenizer.model", "vocab.json", "merges.txt", "README.md", "LICENSE", "LICENSE.txt",
    "NOTICE", INFO,
)  # fmt: skip
KINDS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}  # types to write: our name, config.json's


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory. `info` is `jielong.json`, empty for folders of other makers; `said` is `config.json`
    as it stands there, `stored` what the files are."""

    model: Transformer
    codec: Tokenizer
    info: Mapping[str, Any] = field(default_factory=dict)
    path: Path = Path()
    said: Mapping[str, Any] = field(default_factory=dict)
    stored: Stored = field(default_factory=Stored)

    @property
    def config(self) -> TransformerConfig:
        """The model's shape."""
        return self.model.config


def save(
    folder: str | Path,
    model: Transformer,
    codec: Tokenizer,
    info: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    extra: Mapping[str, Tensor] | None = None,
    more: Mapping[str, Tensor] | None = None,
    said: Mapping[str, Any] | None = None,
) -> str:
    """Write the folder whole or not at all. Returns why the shape is no known family ("" when it is).

    `extra`: tensors of a training state, written beside the model as `state.safetensors`. `more`: tensors that belong
    to the model but not to the Transformer; `said`: what `config.json` says of them.
    """
    from safetensors.torch import save_file

    family, reason = known.fitting(model.config)
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    if family is None:
        data: dict[str, Any] = {"model_type": OWN, OWN: configs.to_json(model.config)}
    else:
        data = write(family, model.config)
    ends = sorted({codec.end, codec.turn_end})
    data |= said or {}
    data |= {"eos_token_id": codec.end, "bos_token_id": None, "pad_token_id": codec.end}
    with files.atomic_dir(folder, overwrite=overwrite) as place:
        tensors = {part.theirs: weights.take(state, part) for part in parts(family, model)}
        weights.write(place, tensors | dict(more or {}))
        if extra:
            save_file({name: value.contiguous() for name, value in extra.items()}, place / "state.safetensors")
        files.write_json(place / CONFIG, data)
        files.write_json(
            place / "generation_config.json",
            {
                "eos_token_id": ends if len(ends) > 1 else ends[0],
                "pad_token_id": codec.end,
                "do_sample": True,
            },
        )
        codec.save(place)
        files.write_json(place / INFO, {"tokenizer": codec.fingerprint, **(info or {})})
        files.atomic_write(place / "README.md", card(model, info or {}))
    return reason


def load(
    path: str | Path, device: str = "cpu", dtype: torch.dtype = torch.float32, spare: Sequence[str] = ()
) -> Loaded:
    """Read a checkpoint folder, or the newest checkpoint of a run folder. `spare`: tensors that are somebody else's.

    Raises UserError for a folder that is none, half-written or foreign weights, missing or extra tensors, a
    configuration field that is not honoured, and a tokenizer that does not fit.
    """
    folder = resolve(path)
    said = files.read_json(folder / CONFIG)
    family, config = read_config(said, folder)
    info = files.read_json(folder / INFO) if (folder / INFO).is_file() else {}
    if info.get(REWARD) is not None and not spare:
        raise UserError(f"{path} is a reward model: it judges answers and writes none; name the model it should judge")
    codec = codecs.load(folder)
    codecs.check_fits(codec, config.vocab, info.get("tokenizer", ""))
    if quant.KEY in said:
        integers = quant.load(folder, config).to(device=device, dtype=dtype).eval()
        return Loaded(integers, codec, info, folder, said)
    stored = weights.look(folder)
    weights.check_size(config, sum(map(math.prod, stored.shapes.values())), folder)
    model = Transformer(config, seed=None)
    needed = parts(family, model)
    names = {full: name for full, name in _names(family, stored).items() if name not in spare}
    # some writers keep a copy of the tied head
    weights.check(model, needed, stored, names, spare=[HEAD] if family and config.tied else [])
    table = next(part.theirs for part in needed if part.ours == "embed")
    if family and config.tied and HEAD in names and not weights.same(stored, names[HEAD], names[table]):
        raise UserError(f"{folder}: {HEAD} is not {table}, as config.json says: set tie_word_embeddings to false")
    weights.fill(model, needed, stored, names)
    return Loaded(model.to(device=device, dtype=dtype).eval(), codec, info, folder, said, stored)


def copy(loaded: Loaded, folder: str | Path, kind: str = "", shard: float = 0.0, overwrite: bool = False) -> None:
    """Write a checkpoint that was read: bit for bit, but for what is asked. `kind`: one of KINDS for all weights (""
    leaves each its own); `shard`: bytes of a file (0: the files there were).

    Raises UserError for a shape that no known family has: other programs could not read it.
    """
    family, _ = read_config(loaded.said, loaded.path)
    if family is None:
        reason = known.fitting(loaded.config)[1]
        raise UserError(f"{loaded.path} fits no family that other programs know: {reason}")
    if quant.KEY in loaded.said:
        raise UserError(f"{loaded.path} holds rounded weights: export the model it was made from")
    if kind and kind not in KINDS:
        raise UserError(f"weights are written as {', '.join(KINDS)}, not {kind}")
    state = {name: value.detach().cpu() for name, value in loaded.model.state_dict().items()}
    by_name = {part.theirs: part for part in parts(family, loaded.model)}
    tensors = {}
    for full, name in _names(family, loaded.stored).items():
        part = by_name.get(full) or Part(HEAD, "embed")  # a copy of the tied head: of its own, not the same memory
        type_ = kind.upper() or loaded.stored.types[name]
        tensors[name] = weights.take(state, part).to(weights.TYPES[type_], copy=full not in by_name)
    said = {**loaded.said, **{key: KINDS[kind] for key in ("dtype", "torch_dtype") if kind and key in loaded.said}}
    with files.atomic_dir(folder, overwrite=overwrite) as place:
        weights.write(place, tensors, shard, None if shard else loaded.stored.files)
        if said != loaded.said:
            files.write_json(place / CONFIG, said)
        else:
            shutil.copyfile(loaded.path / CONFIG, place / CONFIG)
        for name in BESIDE:
            if (loaded.path / name).is_file():
                shutil.copyfile(loaded.path / name, place / name)


def parts(family: Family | None, model: Transformer) -> list[Part]:
    """Which rows of our tensors each tensor of a folder is; without a family they go by our names."""
    names = model.state_dict().keys()
    return [Part(name, name) for name in names] if family is None else list(plan(family, model.config, names))


def _names(family: Family | None, stored: Stored) -> dict[str, str]:
    """Full name -> name in the files."""
    return stored.renamed(lambda name: name if family is None else full_name(family, name))


def resolve(path: str | Path) -> Path:
    """The checkpoint folder that `path` means: itself, a run's newest in `checkpoints/`, a demo's assistant."""
    path = Path(path)
    if (path / "config.json").is_file():
        return path
    for run in (path, path / "assistant"):
        inside = sorted(p for p in (run / "checkpoints").glob("*") if (p / "config.json").is_file())
        if inside:
            return inside[-1]
    if not path.exists():
        raise UserError(f"{path} is not there; name a checkpoint folder or a run (jielong demo makes runs/demo)")
    if any(file for inside in ("", "checkpoints/*/") for file in path.glob(f"{inside}adapter_model.safetensors")):
        raise UserError(f"{path} holds an adapter and no model: name the model that it was trained on")
    raise UserError(f"{path} holds no checkpoint: no config.json in it, nor in its checkpoints/")


def read_config(data: Any, folder: Path) -> tuple[Family | None, TransformerConfig]:
    """`config.json` -> its family (None: our own) and our configuration. Raises UserError naming what cannot be
    honoured."""
    try:
        if not isinstance(data, Mapping):
            raise TypeError("it is not an object {...}")
        if data.get("model_type") == OWN:
            return None, configs.from_json(data[OWN])
        return known.read_known(data)
    except UserError as error:
        raise UserError(f"{folder / CONFIG}: {str(error).removeprefix('config.json ')}") from error
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise UserError(f"{folder / CONFIG} does not make sense ({error!s:.200})") from error


def card(model: Transformer, info: Mapping[str, Any]) -> str:
    """The model card: what it is, how it was made, how to run it."""
    size = sum(parameter.numel() for parameter in model.parameters())
    shape = model.config
    lines = [
        "---", "library_name: transformers", "tags: [jielong]", "pipeline_tag: text-generation", "---",
        f"# {info.get('name', 'A model')} made with Jielong", "",
        f"A Transformer of {size:,} parameters: {shape.layers} blocks, {shape.dim} wide, {shape.heads} heads, "
        f"{shape.vocab} tokens, context {shape.context}.", "",
        "Trained from nothing with", "", "```", str(info.get("command", "jielong")), "```", "",
        "Run it with `jielong chat PATH`, or load it with `transformers.AutoModelForCausalLM`.",
    ]  # fmt: skip
    metrics = info.get("metrics") or {}
    if metrics:
        lines += ["", "| measure | value |", "|---|---|"]
        lines += [f"| {name} | {value:.4g} |" for name, value in metrics.items() if isinstance(value, (int, float))]
    return "\n".join(lines) + "\n"
