"""A trained adapter as a folder: PEFT's two files, and `jielong.json` saying what it is and for which base.

    Upon(model, family).save(folder, adapter, codec, info)
    loaded = Upon(model, family).load(folder, codec)      # UserError where another base is meant
    loaded = with_adapter(checkpoint, folder)             # the base with the adapter merged into it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from jielong.base import files
from jielong.base.errors import UserError
from jielong.nets.adapters import attach, config, peft_format
from jielong.nets.adapters.adapter import Adapter
from jielong.nets.adapters.targets import family_of, targets
from jielong.nets.checkpoint import INFO, REWARD, Loaded
from jielong.nets.families.family import Family
from jielong.nets.transformer import Transformer
from jielong.units.codec import Tokenizer

if TYPE_CHECKING:
    from jielong.nets.adapters.config import Config

KEY = "adapter"  # in jielong.json
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True)
class Found:
    """An adapter in memory, not attached: `info` is its `jielong.json`, empty for those of PEFT's."""

    model: Adapter
    info: Mapping[str, Any] = field(default_factory=dict)
    path: Path = Path()


@dataclass(frozen=True)
class Upon:
    """Folders of adapters for this base, whose modules have this family's names."""

    base: Transformer
    family: Family

    def save(
        self, folder: str | Path, model: Adapter, codec: Tokenizer, info: Mapping[str, Any] | None = None,
        overwrite: bool = False, extra: Mapping[str, Tensor] | None = None,
    ) -> None:  # fmt: skip
        """Write the folder whole or not at all; arguments as of `checkpoint.save`."""
        from safetensors.torch import save_file

        base = str((info or {}).get("model", ""))
        if peft_format.known(model.config):
            said, tensors = peft_format.written(model, targets(self.base.config, self.family), base)
        else:  # PEFT has no such method: our own names, and jielong.json alone says what it is
            said, tensors = {}, {name: value.detach().cpu() for name, value in model.state_dict().items()}
        told = {**config.to_json(model.config), "base": self.fingerprint}
        with files.atomic_dir(folder, overwrite=overwrite) as place:
            save_file(tensors, place / WEIGHTS, metadata={"format": "pt"})
            if extra:
                save_file({name: value.contiguous() for name, value in extra.items()}, place / "state.safetensors")
            if said:
                files.write_json(place / CONFIG, said)
            judge = {REWARD: {"heads": list(model.heads)}} if model.heads else {}
            files.write_json(place / INFO, {"tokenizer": codec.fingerprint, **(info or {}), **judge, KEY: told})
            files.atomic_write(place / "README.md", card(model, base, info or {}))

    def load(self, path: str | Path, codec: Tokenizer | None = None) -> Found:
        """Read an adapter's folder, or the newest in a run's `checkpoints/`. UserError for a folder that is none, is
        broken, or was made for another base or (where `codec` is given) another tokenizer."""
        folder = find(path)
        if folder is None:
            raise UserError(f"{path} holds no adapter ({WEIGHTS}): make one with `jielong train sft --adapter lora`")
        info = files.read_json(folder / INFO) if (folder / INFO).is_file() else {}
        told = info.get(KEY) if isinstance(info, dict) else None
        if isinstance(told, dict) and told.get("base") != self.fingerprint:
            raise UserError(f"the adapter in {path} was trained on another base (its fingerprint is "
                            f"{told.get('base')!s:.12}, this one's {self.fingerprint:.12}): name the model it was "
                            f"trained on{_named(info)}")  # fmt: skip
        if codec is not None and info.get("tokenizer", codec.fingerprint) != codec.fingerprint:
            raise UserError(f"the adapter in {path} was trained with another tokenizer")
        own = _own(told)
        try:
            adapter = self._read(folder, own)
        except UserError as error:
            raise UserError(f"{folder}: {error}") from error
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise UserError(f"{folder}: {CONFIG} does not make sense ({error!s:.200})") from error
        names = (info.get(REWARD) or {}).get("heads", adapter.heads)
        if len(names) != len(adapter.heads):
            raise UserError(f"{folder}: {INFO} names {len(names)} heads, and the adapter has {len(adapter.heads)}")
        adapter.heads = tuple(str(name) for name in names)
        return Found(adapter.to(self.base.device), info, folder)

    def _read(self, folder: Path, own: Config | None) -> Adapter:
        if own is None or peft_format.known(own):
            said = files.read_json(folder / CONFIG)
            return peft_format.read(said, _tensors(folder), self.base.config, self.family, own)
        adapter, tensors = attach.fresh(self.base, own, self.family), _tensors(folder)
        if "head" in tensors:
            adapter.judges([str(i) for i in range(len(tensors["head"]))], tensors["head"])
        try:
            adapter.load_state_dict(tensors)
        except RuntimeError as error:
            line = " ".join(str(error).split())
            raise UserError(f"the tensors are another adapter's ({line:.200})") from error
        return adapter.eval()

    @property
    def fingerprint(self) -> str:
        """The base's."""
        return attach.fingerprint(self.base)


def find(path: str | Path) -> Path | None:
    """The adapter's folder that `path` means: itself, or a run's newest; None where there is none."""
    path = Path(path)
    places = (path, *sorted((path / "checkpoints").glob("step-*"), reverse=True))
    return next((place for place in places if (place / WEIGHTS).is_file()), None)


def upon(loaded: Loaded) -> Upon:
    """For a base as it was read."""
    return Upon(loaded.model, family_of(loaded.config, loaded.said))


def with_adapter(loaded: Loaded, path: str | Path) -> Loaded:
    """A base that was read, with the adapter in a folder merged into its matrices where that can be."""
    found = upon(loaded).load(path, loaded.codec)
    if found.model.heads:
        raise UserError(f"{path} makes a reward model of its base, which judges answers and writes none: jielong score")
    attach.attach(loaded.model, found.model)
    if attach.merges(found.model):
        attach.merge(loaded.model)
    return replace(loaded, info={**loaded.info, KEY: str(path)})


def card(adapter: Adapter, base: str, info: Mapping[str, Any]) -> str:
    """The adapter's page."""
    use = "Run it with `jielong chat MODEL --adapter PATH`, or with `peft.PeftModel.from_pretrained(model, PATH)`."
    if adapter.heads:
        use = ('Ask it with `jielong score "a question" "an answer" --model PATH`, or with PEFT on the base as a model '
               "for sequence classification.")  # fmt: skip
    size = sum(parameter.numel() for parameter in adapter.parameters())
    lines = [
        "---", "library_name: peft", *([f"base_model: {base}"] if base else []), "tags: [jielong]", "---",
        "# An adapter made with Jielong", "",
        f"{config.name(adapter.config)}, {size:,} trained numbers at {len(adapter.targets)} matrices.", "",
        "Trained with", "", "```", str(info.get("command", "jielong")), "```", "",
        use,
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _own(told: Any) -> Config | None:
    """What our own file says that the adapter is."""
    return config.from_json({k: v for k, v in told.items() if k != "base"}) if isinstance(told, dict) else None


def _named(info: Mapping[str, Any]) -> str:
    return f" ({info['model']})" if info.get("model") else ""


def _tensors(folder: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(folder / WEIGHTS)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{WEIGHTS} is half-written or no safetensors file ({error!s:.200}); fetch it again") from error
