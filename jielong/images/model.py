"""A picture model whole: what draws, what it draws with, and what the words are to it.

    model.draw(["a red circle"], seed=0)       (n, H, W, C) bytes

    FOLDER/model_index.json      what lies here        FOLDER/jielong.json     how it came to be
    FOLDER/generator/            what draws            FOLDER/autoencoder/     where it draws in a coarse grid
    FOLDER/tokenizer/            where it reads words  FOLDER/palette.json     where it writes colours
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jielong.base import files
from jielong.base.errors import UserError
from jielong.images import parts, stable
from jielong.images.autoencoder import Autoencoder
from jielong.images.pictures import Bytes, to_bytes
from jielong.images.stable import Stable
from jielong.images.tokens import Codes, Pixels
from jielong.images.words import table
from jielong.units import codec as codecs
from jielong.units import pixels
from jielong.units.codec import Tokenizer
from jielong.units.pixels import Palette

INDEX, INFO, MODEL = "model_index.json", "jielong.json", "model"
ON_ROWS = ("raster", "maskgit", "vae")  # kinds that draw numbers of pixels or codes
OWN = "JielongPictureModel"
AT_ONCE = 256  # pictures drawn together


@dataclass(frozen=True)
class Scale:
    """How numbers of an autoencoder are brought to mean 0 and spread 1, by channel."""

    mean: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()

    def apply(self, z: Tensor) -> Tensor:
        """As a generator sees them."""
        return (z - self._by(self.mean)) / self._by(self.spread) if self.mean else z

    def undo(self, z: Tensor) -> Tensor:
        """As the autoencoder sees them."""
        return z * self._by(self.spread) + self._by(self.mean) if self.mean else z

    @staticmethod
    def _by(values: Sequence[float]) -> Tensor:
        return torch.tensor(values)[:, None, None]


@dataclass(frozen=True)
class PictureModel:
    """`size` (H, W) and `channels` of its pictures; `classes`: names of the numbers it is told instead of words."""

    kind: str
    generator: Any
    size: tuple[int, int]
    channels: int
    autoencoder: Autoencoder | None = None
    palette: Palette | None = None
    codec: Tokenizer | None = None
    classes: tuple[str, ...] = ()
    scale: Scale = Scale()
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def latent(self) -> bool:
        """Whether the generator draws numbers of the autoencoder's grid."""
        return self.autoencoder is not None and self.kind not in ON_ROWS

    def words(self, texts: Sequence[str]) -> Tensor | None:
        """(N, T) ids of what is asked for; None for a model that is told nothing.

        Raises UserError for a class that is not known, or a text of which it has no word at all.
        """
        if self.classes:
            unknown = [text for text in texts if text not in self.classes]
            if unknown:
                raise UserError(f"it draws {', '.join(self.classes)}; there is no {unknown[0]!r}")
            return torch.tensor([[self.classes.index(text)] for text in texts])
        if self.codec is None:
            return None
        config = self.generator.config.words
        return torch.from_numpy(table(self.codec, texts, config.length, config.pad))

    def finish(self, made: Tensor) -> Bytes:
        """What the generator drew, as bytes."""
        if self.latent and self.autoencoder is not None:
            made = self.autoencoder.decode(self.scale.undo(made))
        return to_bytes(made)

    def draw(self, texts: Sequence[str], seed: int = 0, steps: int = 0) -> Bytes:
        """One picture for each text, (N, H, W, C) bytes; the same whatever is drawn beside it but for rounding."""
        words, found = self.words(texts), []
        for first in range(0, len(texts), AT_ONCE):
            some = None if words is None else words[first : first + AT_ONCE]
            n = min(AT_ONCE, len(texts) - first)
            found.append(self.finish(self.generator.sample(some, n, seed + first, steps)))
        return np.concatenate(found)


    def guide(self, scale: float) -> PictureModel:
        """One to whom the words count so much. Raises UserError for a kind that cannot be guided."""
        if not hasattr(self.generator.config, "guidance") or self.generator.config.words is None:
            raise UserError(f"a {self.kind} without words, or of one pass, cannot be guided: leave --guidance out")
        self.generator.config = replace(self.generator.config, guidance=scale)
        return self

    def film(self, texts: Sequence[str], seed: int = 0, steps: int = 0) -> Iterator[Bytes]:
        """What is seen after each step, from noise to the pictures; of generators of one pass, these alone."""
        words, n = self.words(texts), len(texts)
        if self.kind == "denoiser":
            for step in self.generator.walk(words, n, seed, steps):
                yield self.finish(step.x)
        elif self.kind == "maskgit":
            for ids in self.generator.passes(words, n, seed, steps):
                yield self.finish(self.generator.units.decode(ids))
        else:
            yield self.finish(self.generator.sample(words, n, seed, steps))


def write(place: Path, model: PictureModel, info: Mapping[str, Any]) -> None:
    """All of it into a folder that is there and empty."""
    for name, kind, net in (("generator", model.kind, model.generator),
                            ("autoencoder", "autoencoder", model.autoencoder)):  # fmt: skip
        if net is not None:
            (place / name).mkdir()
            parts.save(place / name, kind, net)
    if model.codec is not None:
        (place / "tokenizer").mkdir()
        model.codec.save(place / "tokenizer")
    if model.palette is not None:
        model.palette.save(place)
    said = {"_class_name": OWN, "height": model.size[0], "width": model.size[1],
            "channels": model.channels, "classes": list(model.classes), "mean": list(model.scale.mean),
            "spread": list(model.scale.spread)}  # fmt: skip
    files.write_json(place / INDEX, said)
    files.write_json(place / INFO, dict(info))


def save(folder: str | Path, model: PictureModel, overwrite: bool = False) -> None:
    """The folder whole or not at all."""
    with files.atomic_dir(folder, overwrite=overwrite) as place:
        write(place, model, model.info)


def load(folder: str | Path) -> PictureModel | Stable:
    """Read what `save` wrote, the model of a run, or a Stable Diffusion folder. Raises UserError for another thing."""
    place = _found(Path(folder))
    said = files.read_json(place / INDEX)
    if isinstance(said, dict) and said.get("_class_name") != OWN:
        return stable.load(place)
    try:
        size, channels = (int(said["height"]), int(said["width"])), int(said["channels"])
        scale = Scale(tuple(map(float, said["mean"])), tuple(map(float, said["spread"])))
        classes = tuple(map(str, said["classes"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{place / INDEX} is not that of a picture model of this package ({error!r})") from error
    autoencoder = _net(place / "autoencoder") if (place / "autoencoder").is_dir() else None
    palette = pixels.load(place) if (place / pixels.FILE).is_file() else None
    codec = codecs.load(place / "tokenizer") if (place / "tokenizer").is_dir() else None
    kind = parts.kind_of(place / "generator")
    units = units_of(kind, size, autoencoder, palette)
    generator = _net(place / "generator", *units)
    info = files.read_json(place / INFO) if (place / INFO).is_file() else {}
    return PictureModel(kind, generator, size, channels, autoencoder, palette, codec, classes, scale, info)


def units_of(
    kind: str, size: tuple[int, int], autoencoder: Autoencoder | None, palette: Palette | None
) -> list[Any]:  # fmt: skip
    """What a generator of rows of numbers writes; nothing for the others."""
    if kind not in ON_ROWS:
        return []
    if autoencoder is None and palette is None:
        raise UserError(f"a {kind} needs a palette or an autoencoder with codes beside it")
    return [Codes(autoencoder) if autoencoder is not None else Pixels(palette, *size)]  # type: ignore[arg-type]


def _net(place: Path, *units: Any) -> Any:
    kind = parts.kind_of(place)
    net = parts.make(kind, parts.config_of(place, kind), *units)
    parts.fill(place, net)
    return net.eval()


def _found(folder: Path) -> Path:
    for place in (folder, folder / MODEL):
        if (place / INDEX).is_file():
            return place
    raise UserError(f"{folder} holds no picture model: make one with `jielong train image --out {folder}`")
