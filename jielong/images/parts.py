"""A net and what it looks like in a folder of its own, named as diffusers names them: `config.json` and
`diffusion_pytorch_model.safetensors`. Nothing is unpickled; a configuration is read into its dataclass or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from jielong.base import files
from jielong.base.errors import UserError

CONFIG, WEIGHTS, KIND = "config.json", "diffusion_pytorch_model.safetensors", "_class_name"
PREFIX = "Jielong"  # before a class's name: no class of diffusers is meant
# what can stand in a folder: the module, its class and the class of its configuration
KINDS = {
    "autoencoder": ("autoencoder", "Autoencoder", "Config"),
    "stable_autoencoder": ("stable_autoencoder", "StableAutoencoder", "KlConfig"),
    "clip": ("clip", "Clip", "Config"),
    "denoiser": ("denoiser", "Denoiser", "Config"),
    "raster": ("raster", "Raster", "Config"),
    "maskgit": ("maskgit", "MaskGit", "Config"),
    "vae": ("vae", "Vae", "Config"),
    "flow": ("flow", "Flow", "Config"),
    "gan": ("gan", "Gan", "Config"),
}


def save(place: Path, kind: str, model: nn.Module, more: Mapping[str, Any] | None = None) -> None:
    """Into a folder that is there. `more` stands beside the configuration."""
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    files.write_json(place / CONFIG, {KIND: PREFIX + KINDS[kind][1], **asdict(model.config), **(more or {})})  # type: ignore[call-overload]
    save_file(tensors, place / WEIGHTS, metadata={"format": "pt"})


def kind_of(place: Path) -> str:
    """Which of the kinds lies there. Raises UserError for none."""
    said = files.read_json(place / CONFIG)
    name = str(said.get(KIND, "")) if isinstance(said, dict) else ""
    kind = next((kind for kind, (_, cls, _) in KINDS.items() if name == PREFIX + cls), None)
    if kind is None:
        raise UserError(f"{place / CONFIG} names no part of a picture model of this package ({name or 'nothing'})")
    return kind


def config_of(place: Path, kind: str) -> Any:
    """The configuration in its own dataclass. Raises UserError where it does not fit."""
    from pydantic import TypeAdapter, ValidationError

    said = {name: value for name, value in files.read_json(place / CONFIG).items() if name != KIND}
    try:
        return TypeAdapter(_module(kind)[1]).validate_python(said)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{place / CONFIG}: {where}: {first['msg']}") from error


def make(kind: str, config: Any, *units: Any, seed: int = 0) -> Any:
    """A new net of this configuration; `units` for the kinds that work on rows of numbers."""
    return _module(kind)[0](config, *units, seed=seed)


def fill(place: Path, model: nn.Module) -> None:
    """The weights of a folder into a model of its shape. Raises UserError where they do not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = place / WEIGHTS
    try:
        model.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} does not hold the weights that {CONFIG} speaks of ({reason})") from error


def _module(kind: str) -> tuple[Any, Any]:
    module, cls, config = KINDS[kind]
    found = import_module(f"jielong.images.{module}")
    return getattr(found, cls), getattr(found, config)
