"""From pictures to a picture model: which parts a kind needs, in what order they are trained, and for how long.

    latent     an autoencoder (KL), then flow matching in its grid: the default
    matching   flow matching on pixels           ddpm       noise predicted on pixels
    pixels     pixel after pixel                 codes      an autoencoder (FSQ), then code after code
    maskgit    the same codes, the surest first  vae, flow, gan     pixels in one pass
    stable     Stable Diffusion's parts, small: a CLIP first, for its text encoder (`stable_recipe`)

Minutes become steps by a pure function: operations of a step at a stated rate. A run is resumed at the stage where it
stopped, and inside it at the step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from jielong.base import device, files
from jielong.base.errors import UserError
from jielong.base.talk import Talk
from jielong.images import parts
from jielong.images.autoencoder import Autoencoder
from jielong.images.autoencoder import Config as AutoConfig
from jielong.images.denoiser import Config as DenoiserConfig
from jielong.images.dit import DitConfig
from jielong.images.fit import Fit
from jielong.images.flow import Config as FlowConfig
from jielong.images.gan import Config as GanConfig
from jielong.images.maskgit import Config as MaskConfig
from jielong.images.model import MODEL, PictureModel, Scale, save, units_of
from jielong.images.path import Path as NoisePath
from jielong.images.pictures import Feed, Pictures, to_net
from jielong.images.raster import Config as RasterConfig
from jielong.images.stable import Stable
from jielong.images.vae import Config as VaeConfig
from jielong.images.words import WordsConfig, table
from jielong.train import keep
from jielong.train.settings import Settings
from jielong.units import bpe, pixels
from jielong.units.codec import Tokenizer

KINDS = ("latent", "matching", "ddpm", "pixels", "codes", "maskgit", "vae", "flow", "gan", "stable")
COARSE = {"latent": "kl", "codes": "fsq", "maskgit": "fsq"}  # kinds that need an autoencoder first, and which
FIRST = 0.2  # of the minutes: the autoencoder's
RATE = 1.2e11  # FLOP/s that a step keeps up on two cores with bf16 arithmetic: it only turns minutes into steps
VOCAB, LONGEST, COLOURS = 512, 32, 64


@dataclass(frozen=True)
class Plan:
    """`width` and `layers` of the Transformer (or convolutions) that draws; steps of CLIP (`zeroth`, for stable alone),
    of the autoencoder (`first`) and of what draws."""

    kind: str = "latent"
    width: int = 128
    layers: int = 6
    batch: int = 128
    zeroth: int = 0
    first: int = 0
    steps: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"there is no kind {self.kind!r}: there are {', '.join(KINDS)}")


@dataclass(frozen=True)
class Read:
    """What words or classes are to a model."""

    codec: Tokenizer | None
    classes: tuple[str, ...]
    config: WordsConfig | None
    ids: NDArray[np.int64] | None  # (N, M, T)


def train(plan: Plan, pictures: Pictures, folder: Path, talk: Talk, resume: bool = False) -> PictureModel | Stable:
    """All stages in `folder/stages`, then the model in `folder/model`. Raises UserError for a finished run."""
    if (folder / MODEL).is_dir():
        raise UserError(f"{folder} has finished; there is nothing to resume")
    if plan.kind == "stable":
        from jielong.images import stable_recipe

        return stable_recipe.train(plan, pictures, folder, talk, resume)
    seen, held = pictures.split(seed=plan.seed)
    said = reading(pictures, width=plan.width)
    where = (seen, held, folder / "stages", talk, resume)
    autoencoder = _autoencoder(plan, *where) if plan.kind in COARSE else None
    palette = pixels.learn(seen.pixels, COLOURS, plan.seed) if plan.kind in ("pixels", "vae") else None
    latents, scale = latents_of(autoencoder, seen) if plan.kind == "latent" else (None, Scale())
    kind, config = _generator(plan, pictures, said.config, autoencoder)
    torch.manual_seed(plan.seed)
    generator = parts.make(kind, config, *units_of(kind, pictures.size, autoencoder, palette), seed=plan.seed)
    ids = _ids(said, seen), _ids(said, held)
    shown = (latents if latents is not None else seen.pixels), _held(autoencoder, scale, plan, held)
    feeds = Feed(shown[0], ids[0], plan.batch, plan.seed), Feed(shown[1], ids[1], plan.batch, plan.seed)
    stage("generator", kind, generator, feeds, settings_of(plan, plan.steps, kind), *where[2:],
          decay=0.0 if kind == "gan" else 0.995)  # fmt: skip
    info = {"command": "train image", "kind": plan.kind, "seed": plan.seed, "pictures": len(pictures),
            "data": pictures.fingerprint, "machine": device.machine()}  # fmt: skip
    model = PictureModel(kind, generator.eval(), pictures.size, pictures.channels, autoencoder, palette, said.codec,
                         said.classes, scale, info)  # fmt: skip
    save(folder / MODEL, model)
    return model


def reading(pictures: Pictures, width: int) -> Read:
    """A tokenizer of the captions, or the classes; neither where nothing is said."""
    if pictures.captions:
        codec = bpe.train((text for texts in pictures.captions for text in texts), VOCAB, at_most=True)
        most = max(len(texts) for texts in pictures.captions)
        found = [[codec.encode(text) for text in texts] for texts in pictures.captions]
        length = min(LONGEST, max((len(each) for texts in found for each in texts), default=1))
        config = WordsConfig(codec.size, length, width)
        ids = np.stack([table(codec, [*texts, *[texts[0] if texts else ""] * (most - len(texts))], length, config.pad)
                        for texts in pictures.captions])  # fmt: skip
        return Read(codec, (), config, ids)
    if pictures.labels is not None:
        names = pictures.classes or tuple(map(str, range(int(pictures.labels.max()) + 1)))
        return Read(None, names, WordsConfig(len(names), 1, width), pictures.labels[:, None, None])
    return Read(None, (), None, None)


def _ids(said: Read, part: Pictures) -> NDArray[np.int64] | None:
    return None if said.ids is None or part.places is None else said.ids[part.places]


def _autoencoder(
    plan: Plan, seen: Pictures, held: Pictures, folder: Path, talk: Talk, resume: bool
) -> Autoencoder:  # fmt: skip
    config = AutoConfig(*seen.size, seen.channels, bottleneck=COARSE[plan.kind])  # type: ignore[arg-type]
    model = Autoencoder(config, plan.seed)
    feeds = Feed(seen.pixels, None, plan.batch, plan.seed), Feed(held.pixels, None, plan.batch, plan.seed)
    settings = settings_of(plan, plan.first, "autoencoder")
    stage("autoencoder", "autoencoder", model, feeds, settings, folder, talk, resume)
    return model.eval()


def latents_of(autoencoder: Autoencoder | None, seen: Pictures) -> tuple[torch.Tensor, Scale]:
    assert autoencoder is not None
    parts_ = [autoencoder.encode(to_net(seen.pixels[i : i + 512])) for i in range(0, len(seen), 512)]
    z = torch.cat(parts_)
    mean, spread = z.mean((0, 2, 3)).tolist(), z.std((0, 2, 3)).clamp(min=1e-4).tolist()
    scale = Scale(tuple(mean), tuple(spread))
    return scale.apply(z), scale


def _held(autoencoder: Autoencoder | None, scale: Scale, plan: Plan, held: Pictures) -> Any:
    if plan.kind != "latent" or autoencoder is None:
        return held.pixels
    return scale.apply(autoencoder.encode(to_net(held.pixels)))


def _generator(
    plan: Plan, pictures: Pictures, words: WordsConfig | None, autoencoder: Autoencoder | None
) -> tuple[str, Any]:  # fmt: skip
    """The part that draws, and its configuration."""
    (height, width), channels, said = pictures.size, pictures.channels, words.dim if words else 0
    dim, layers, kind = plan.width, plan.layers, plan.kind
    if kind == "latent" and autoencoder is not None:
        net = DitConfig(*autoencoder.latent, patch=1, dim=dim, layers=layers, words=said)
        return "denoiser", DenoiserConfig(net, words)
    if kind in ("matching", "ddpm"):
        net = DitConfig(channels, height, width, 4, dim, layers, said)
        path = NoisePath() if kind == "matching" else NoisePath("cosine", "eps")
        own: Mapping[str, Any] = {} if kind == "matching" else {"law": "uniform", "steps": 50, "solver": "ddim"}
        return "denoiser", DenoiserConfig(net, words, path, **own)
    if kind in ("pixels", "codes"):
        return "raster", RasterConfig(dim, layers, words)
    found: dict[str, Any] = {
        "maskgit": MaskConfig(dim, layers, words),
        "vae": VaeConfig(wide=dim, words=words),
        "flow": FlowConfig(channels, height, width, wide=dim, words=words),
        "gan": GanConfig(channels, height, width, wide=dim, words=words),
    }
    return kind, found[kind]


def settings_of(plan: Plan, steps: int, kind: str) -> Settings:
    """Rates that suit convolutions (all by AdamW but flat matrices) and Transformers."""
    other = {"autoencoder": 0.004, "gan": 0.001, "flow": 0.002}.get(kind, 0.004)
    return Settings(max(1, steps), context=1, batch=plan.batch, other_rate=other, weight_decay=0.0, seed=plan.seed)


def stage(
    name: str, kind: str, model: nn.Module, feeds: tuple[Feed, Feed], settings: Settings, folder: Path, talk: Talk,
    resume: bool, decay: float = 0.0, show: Callable[[int], None] | None = None,
) -> None:  # fmt: skip
    """One part trained on the first feed and measured on the second, in a folder of its own; taken as it is where it
    was finished before."""
    place = folder / name
    done = keep.newest(place)
    if resume and done is not None and files.read_json(done / keep.INFO).get("done"):
        parts.fill(done, model)
        return
    objective = Fit(model, *feeds, decay=decay, show=show)

    def final() -> None:
        if objective.mean is not None:
            objective.mean.exchange()

    job = keep.Job(model, objective, settings, _Kept(kind), _data(feeds[0]), {"stage": name, "kind": kind}, final)
    (keep.resume if resume else keep.start)(job, place, talk, name)


@dataclass(frozen=True)
class _Kept:
    """A part in a checkpoint's folder."""

    kind: str

    def write(self, place: Path, model: nn.Module, info: Mapping[str, Any]) -> None:
        parts.save(place, self.kind, model)

    def fill(self, place: Path, model: nn.Module) -> None:
        parts.fill(place, model)


def _data(feed: Feed) -> str:
    shown = feed.pixels if isinstance(feed.pixels, np.ndarray) else feed.pixels.numpy()
    words = b"" if feed.words is None else feed.words.tobytes()
    return files.digest(np.ascontiguousarray(shown).tobytes() + words)


def planned(minutes: float, kind: str, pictures: Pictures, seed: int = 0) -> Plan:
    """So many minutes of the reference machine. Raises UserError for no time."""
    if not 0 < minutes < float("inf"):
        raise UserError(f"--minutes must be above 0, not {minutes}")
    plan = Plan(kind, seed=seed)
    if kind == "stable":
        from jielong.images import stable_recipe

        return stable_recipe.planned(plan, minutes)
    if kind in COARSE:
        auto = AutoConfig(*pictures.size, pictures.channels)
        places, w = auto.grid[0] * auto.grid[1], auto.wide
        once = 3.0 * places * 2 * 2 * auto.blocks * (9 * w * w + w * w) * plan.batch
        plan = replace(plan, first=max(1, int(FIRST * minutes * 60 * RATE / once)))
        minutes *= 1 - FIRST
    return replace(plan, steps=max(1, int(minutes * 60 * RATE / _flops(plan, pictures))))


def _flops(plan: Plan, pictures: Pictures) -> float:
    """Of one step of what draws: forward, and twice that backward."""
    down, across = pictures.size
    tokens = {"pixels": down * across}.get(plan.kind, down * across // 16)
    rows = tokens + (LONGEST if pictures.captions else 1)
    block = rows * 10 * plan.width**2 * 2 + 4 * rows * rows * plan.width
    return 3.0 * plan.batch * plan.layers * block

