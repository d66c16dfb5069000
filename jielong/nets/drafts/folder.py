"""A trained drafter as a folder: its weights as safetensors, and `jielong.json` saying what they are and for whom.

    Beside(model.config).save(folder, head, codec, info)
    loaded = Beside(model.config).load(folder, codec)     # UserError where another model is meant
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from jielong.base import files
from jielong.base.errors import UserError
from jielong.base.plain import dumps
from jielong.nets import config as configs
from jielong.nets import drafts
from jielong.nets.checkpoint import INFO
from jielong.nets.config import TransformerConfig
from jielong.units.codec import Tokenizer

KEY = "drafter"  # in jielong.json
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Loaded:
    """A drafter in memory: `model` is its `Head`, `info` its `jielong.json`."""

    model: Any
    kind: str
    info: Mapping[str, Any] = field(default_factory=dict)
    path: Path = Path()


@dataclass(frozen=True)
class Beside:
    """Folders of drafters for models of this configuration."""

    target: TransformerConfig

    def save(
        self, folder: str | Path, model: Any, codec: Tokenizer, info: Mapping[str, Any] | None = None,
        overwrite: bool = False, extra: Mapping[str, Tensor] | None = None,
    ) -> None:  # fmt: skip
        """Write the folder whole or not at all; arguments as of `checkpoint.save`."""
        from safetensors.torch import save_file

        told = {"kind": drafts.name(model), "config": asdict(model.config), "model": fingerprint(self.target)}
        state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        with files.atomic_dir(folder, overwrite=overwrite) as place:
            save_file(state, place / WEIGHTS)
            if extra:
                save_file({name: value.contiguous() for name, value in extra.items()}, place / "state.safetensors")
            files.write_json(place / INFO, {"tokenizer": codec.fingerprint, KEY: told, **(info or {})})

    def load(self, path: str | Path, codec: Tokenizer | None = None) -> Loaded:
        """Read a drafter's folder, or the newest in a run's `checkpoints/`. UserError for a folder that is none, is
        broken, or was made for a model of another shape or (where `codec` is given) another tokenizer."""
        folder = find(path)
        if folder is None:
            raise UserError(f"{path} holds no drafter: make one with `jielong train draft MODEL`")
        info = files.read_json(folder / INFO)
        told = info[KEY]
        other = "shape" if told.get("model") != fingerprint(self.target) else ""
        if codec is not None and info.get("tokenizer") != codec.fingerprint:
            other = "tokenizer"
        if other:
            raise UserError(f"the drafter in {path} was trained for a model of another {other}: train one for this "
                            "model with `jielong train draft`")  # fmt: skip
        try:
            config, module = drafts.kind(told["kind"])
            model = module(config(**told["config"]), self.target, 0)
            model.load_state_dict(_tensors(folder / WEIGHTS))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            line = str(error).split("\n")[0]
            raise UserError(f"{folder}: a damaged drafter ({line:.200}); train it again") from error
        return Loaded(model.eval(), told["kind"], info, folder)


def find(path: str | Path) -> Path | None:
    """The drafter's folder that `path` means: itself, or a run's newest; None where there is none."""
    path = Path(path)
    for folder in (path, *sorted((path / "checkpoints").glob("step-*"), reverse=True)):
        if (folder / INFO).is_file() and (folder / WEIGHTS).is_file():
            info = files.read_json(folder / INFO)
            return folder if isinstance(info, dict) and isinstance(info.get(KEY), dict) else None
    return None


def fingerprint(target: TransformerConfig) -> str:
    """Of a model's shape."""
    return files.digest(dumps(configs.to_json(target)).encode())


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}); train the drafter again") from error
