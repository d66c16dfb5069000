"""Checkpoints: a Hugging Face folder in, the same folder out, and one file of our own beside it.

    save(folder, model, codec, info)          # config.json, model.safetensors, tokenizer, jielong.json, README.md
    loaded = load("runs/demo")                # a checkpoint folder, or a run: its newest checkpoint

A shape that fits a known family is saved as that family (Qwen3), any other as `model_type: jielong`, and the
message names the option that prevents it. Nothing is unpickled; weights are read as safetensors only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jielong.base import files
from jielong.base.errors import UserError
from jielong.nets import config as configs
from jielong.nets import qwen3
from jielong.nets.config import TransformerConfig
from jielong.nets.transformer import Transformer
from jielong.units import codec as codecs
from jielong.units.codec import Tokenizer

OWN = "jielong"
INFO = "jielong.json"


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory. `info` is `jielong.json`, empty for folders of other makers."""

    model: Transformer
    codec: Tokenizer
    info: Mapping[str, Any] = field(default_factory=dict)
    path: Path = Path()

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
) -> str:
    """Write the folder whole or not at all. Returns why the shape is no known family ("" when it is).

    `extra`: tensors of a training state, written beside the model as `state.safetensors`.
    """
    from safetensors.torch import save_file

    reason = qwen3.why_not(model.config)
    weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    if reason:
        data: dict[str, Any] = {"model_type": OWN, OWN: configs.to_json(model.config)}
    else:
        data, weights = qwen3.to_json(model.config), _rename(model.config, weights)
    ends = sorted({codec.end, codec.turn_end})
    data |= {"eos_token_id": codec.end, "bos_token_id": None, "pad_token_id": codec.end}
    with files.atomic_dir(folder, overwrite=overwrite) as place:
        save_file({name: value.contiguous() for name, value in weights.items()}, place / "model.safetensors",
                  metadata={"format": "pt"})  # fmt: skip
        if extra:
            save_file(
                {name: value.contiguous() for name, value in extra.items()}, place / "state.safetensors"
            )
        files.write_json(place / "config.json", data)
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


def load(path: str | Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Loaded:
    """Read a checkpoint folder, or the newest checkpoint of a run folder.

    Raises UserError for a folder that is none, half-written or foreign weights, missing or extra tensors, a
    configuration field that is not honoured, and a tokenizer that does not fit.
    """
    folder = resolve(path)
    data = files.read_json(folder / "config.json")
    config = read_config(data, folder)
    info = files.read_json(folder / INFO) if (folder / INFO).is_file() else {}
    codec = codecs.load(folder)
    codecs.check_fits(codec, config.vocab, info.get("tokenizer", ""))
    model = Transformer(config, seed=None)
    _fill(model, _read_weights(folder), folder, data.get("model_type") == OWN)
    return Loaded(model.to(device=device, dtype=dtype).eval(), codec, info, folder)


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
        raise UserError(
            f"{path} is not there; name a checkpoint folder or a run (jielong demo makes runs/demo)"
        )
    raise UserError(f"{path} holds no checkpoint: no config.json in it, nor in its checkpoints/")


def read_config(data: Any, folder: Path) -> TransformerConfig:
    """`config.json` -> our configuration. Raises UserError naming what cannot be honoured."""
    kind = data.get("model_type") if isinstance(data, Mapping) else None
    try:
        if kind == OWN:
            return configs.from_json(data[OWN])
        if kind == qwen3.MODEL_TYPE:
            return qwen3.from_json(data)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise UserError(f"{folder / 'config.json'} does not make sense ({error})") from error
    raise UserError(
        f"{folder / 'config.json'} is of model_type {kind!r}; read here: {qwen3.MODEL_TYPE}, {OWN}"
    )


def _rename(config: TransformerConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under Qwen3's names."""
    return {
        theirs: weights[ours][start : start + rows] if rows else weights[ours]
        for theirs, ours, start, rows in qwen3.tensors(config)
    }


def _read_weights(folder: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    index = folder / "model.safetensors.index.json"
    names = (
        sorted(set(files.read_json(index)["weight_map"].values()))
        if index.is_file()
        else ["model.safetensors"]
    )
    weights: dict[str, Tensor] = {}
    for name in names:
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise UserError(f"{path} is not there; weights are read from safetensors files only")
        try:
            weights |= load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(f"{path} is half-written or no safetensors file ({error})") from error
    return weights


def _fill(model: Transformer, weights: dict[str, Tensor], folder: Path, own: bool) -> None:
    """Copy the weights in; every tensor must be there, none may be left over, and shapes must agree."""
    state = model.state_dict()
    if own:
        plan = [(name, name, 0, 0) for name in state]
    else:
        plan = list(qwen3.tensors(model.config))
        if model.config.tied:
            weights.pop("lm_head.weight", None)  # some writers keep a copy of the tied head
    missing = [theirs for theirs, *_ in plan if theirs not in weights]
    extra = sorted(set(weights) - {theirs for theirs, *_ in plan})
    if missing or extra:
        what = [f"lacks {_few(missing)}"] * bool(missing) + [
            f"has {_few(extra)} that this shape has not"
        ] * bool(extra)
        raise UserError(
            f"{folder}: model.safetensors {' and '.join(what)}; config.json belongs to other weights"
        )
    for theirs, ours, start, rows in plan:
        place = state[ours][start : start + rows] if rows else state[ours]
        if place.shape != weights[theirs].shape:
            raise UserError(
                f"{folder}: {theirs} has shape {list(weights[theirs].shape)}, config.json says {list(place.shape)}"
            )
        place.copy_(weights[theirs])


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


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
        lines += [
            f"| {name} | {value:.4g} |" for name, value in metrics.items() if isinstance(value, (int, float))
        ]
    return "\n".join(lines) + "\n"
