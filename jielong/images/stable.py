"""A Stable Diffusion folder, both ways: what `diffusers.StableDiffusionPipeline` saves and loads, without diffusers.

    write(place, stable)      tokenizer/ text_encoder/ unet/ vae/ scheduler/ model_index.json
    stable = load(folder)     stable.draw(["a red circle"], seed=0) -> (n, H, W, 3) bytes

The sampler is DDIM on the `scaled_linear` path from noise predicted, as in Stable Diffusion 1. Weights are read as
safetensors only; nothing of the folder is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jielong.base import files
from jielong.base.errors import UserError
from jielong.images import clip_text, guidance, solvers
from jielong.images.clip_text import ClipText
from jielong.images.path import Path as NoisePath
from jielong.images.path import gaussian
from jielong.images.pictures import Bytes, to_bytes
from jielong.images.stable_autoencoder import StableAutoencoder
from jielong.nets import autoencoder_kl, unet
from jielong.nets.unet import Unet
from jielong.units import clip_words
from jielong.units.clip_words import ClipWords

INDEX, CONFIG, STEPS = "model_index.json", "config.json", 50
NET, TEXT = "diffusion_pytorch_model.safetensors", "model.safetensors"
PARTS = {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
         "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
         "scheduler": ["diffusers", "DDIMScheduler"]}  # fmt: skip
SAYS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}


@dataclass(frozen=True)
class Stable:
    """The parts. `offset` of DDIM's times (the pipeline insists on 1); `first`: whether the last step ends at the
    first time, as in Stable Diffusion 1, and not at the picture itself."""

    codec: ClipWords
    text: ClipText
    net: Unet
    autoencoder: StableAutoencoder
    path: NoisePath = field(default_factory=lambda: NoisePath("scaled_linear", "eps"))
    offset: int = 1
    first: bool = False
    scale: float = 7.5
    channels: int = 3

    def times(self, steps: int) -> list[float]:
        """Of DDIM, as diffusers' "leading" ones."""
        every = [t + self.offset for t in self.path.times(steps, "leading")[:-1]]
        return [*every, 0.0 if self.first else self.path.clean]

    def latents(self, texts: Sequence[str], noise: Tensor, steps: int, scale: float) -> Tensor:
        """(N, d, h, w), multiplied by the autoencoder's factor as its noise is, from noise (N, d, h, w)."""
        *_, made = self.walk(texts, noise, steps, scale)
        return made

    @torch.no_grad()
    def walk(self, texts: Sequence[str], noise: Tensor, steps: int, scale: float) -> Iterator[Tensor]:
        """The same after every step."""
        words, none = (self.text(torch.tensor([self.codec.row(text) for text in some]))
                       for some in (texts, [""] * len(texts)))  # fmt: skip
        model = guidance.guided(self.net, words, none, scale)
        for step in solvers.ddim(model, self.path, noise, self.times(steps), eta=0.0):
            yield step.x

    @torch.no_grad()
    def pixels(self, latents: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1]."""
        return self.autoencoder.decode(latents / self.autoencoder.config.factor).clamp(-1, 1)

    def draw(self, texts: Sequence[str], seed: int = 0, steps: int = 0) -> Bytes:
        """One picture for each text, (N, H, W, C) bytes."""
        *_, made = self.film(texts, seed, steps)
        return made

    def film(self, texts: Sequence[str], seed: int = 0, steps: int = 0) -> Iterator[Bytes]:
        """What is seen after each step, from noise to the pictures."""
        noise = gaussian(seed, len(texts), self.shape, "start")
        for latents in self.walk(texts, noise, steps or STEPS, self.scale):
            yield to_bytes(self.pixels(latents))

    def guide(self, scale: float) -> Stable:
        """One to whom the words count so much."""
        return replace(self, scale=scale)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its pictures."""
        side = self.net.config.size * 2 ** (len(self.autoencoder.config.widths) - 1)
        return side, side

    @property
    def shape(self) -> tuple[int, int, int]:
        """(d, h, w) of latents."""
        return self.net.config.channels, self.net.config.size, self.net.config.size


def write(place: Path, stable: Stable) -> None:
    """All parts into a folder that is there."""
    from safetensors.torch import save_file

    def weights(net: nn.Module) -> dict[str, Tensor]:
        return {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}

    for name, said, tensors, file in (
        ("unet", unet.to_diffusers(stable.net.config), weights(stable.net), NET),
        ("vae", autoencoder_kl.to_diffusers(stable.autoencoder.config), weights(stable.autoencoder), NET),
        ("text_encoder", clip_text.write_config(stable.text.config), clip_text.to_transformers(stable.text), TEXT),
    ):  # fmt: skip
        (place / name).mkdir()
        files.write_json(place / name / CONFIG, said)
        save_file(tensors, place / name / file, metadata={"format": "pt"})
    (place / "tokenizer").mkdir()
    stable.codec.save(place / "tokenizer")
    (place / "scheduler").mkdir()
    files.write_json(place / "scheduler" / "scheduler_config.json", _scheduler(stable))
    files.write_json(place / INDEX, {
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.36.0", **PARTS,
        "feature_extractor": [None, None], "safety_checker": [None, None], "image_encoder": [None, None],
        "requires_safety_checker": False,
    })  # fmt: skip


def save(folder: str | Path, stable: Stable, overwrite: bool = False) -> None:
    """The folder whole or not at all."""
    with files.atomic_dir(folder, overwrite=overwrite) as place:
        write(place, stable)


def load(folder: str | Path) -> Stable:
    """Read what `write` or diffusers wrote. Raises UserError for another pipeline, or parts that are not built here."""
    place = Path(folder)
    if not (place / INDEX).is_file():
        raise UserError(f"{place} is no folder of diffusers: it has no {INDEX}")
    index = files.read_json(place / INDEX)
    if index.get("_class_name") != "StableDiffusionPipeline":
        raise UserError(f"{place} holds a {index.get('_class_name')}; StableDiffusionPipeline is read here")
    codec = clip_words.load(place / "tokenizer")
    text = ClipText(clip_text.read_config(files.read_json(place / "text_encoder" / CONFIG), codec.start, codec.end))
    clip_text.fill(text, _tensors(place / "text_encoder" / TEXT))
    net = Unet(unet.from_diffusers(files.read_json(place / "unet" / CONFIG)), seed=None)
    auto = StableAutoencoder(autoencoder_kl.from_diffusers(files.read_json(place / "vae" / CONFIG)), seed=None)
    for name, part in (("unet", net), ("vae", auto)):
        try:
            part.load_state_dict(_tensors(place / name / NET))
        except RuntimeError as error:
            raise UserError(f"{place / name}: {' '.join(str(error).split())[:200]}") from error
    said = files.read_json(place / "scheduler" / "scheduler_config.json")
    return Stable(codec, text.eval(), net.eval(), auto.eval(), *_read_scheduler(said))


def _scheduler(stable: Stable) -> dict[str, Any]:
    """As `scheduler_config.json` of a `DDIMScheduler`."""
    path = stable.path
    first, last = path.beta[0].item(), path.beta[-1].item()
    says = {ours: theirs for theirs, ours in SAYS.items()}[path.predicts]
    return {
        "_class_name": "DDIMScheduler", "_diffusers_version": "0.36.0", "num_train_timesteps": path.steps,
        "beta_start": first, "beta_end": last, "beta_schedule": path.schedule, "clip_sample": False,
        "set_alpha_to_one": not stable.first, "steps_offset": stable.offset, "prediction_type": says,
        "timestep_spacing": "leading",
    }  # fmt: skip


def _read_scheduler(said: Mapping[str, Any]) -> tuple[NoisePath, int, bool]:
    """Any scheduler's path: its steps are ours. Raises UserError for a path that is not built here."""
    kind, says = said.get("beta_schedule", "linear"), SAYS.get(said.get("prediction_type", "epsilon"))
    if kind not in ("linear", "scaled_linear") or says is None or said.get("trained_betas"):
        raise UserError(f"the scheduler's path ({kind}, {said.get('prediction_type')}) is not built here")
    betas = float(said.get("beta_start", 0.0001)), float(said.get("beta_end", 0.02))
    path = NoisePath(kind, says, int(said.get("num_train_timesteps", 1000)), betas)  # type: ignore[arg-type]
    return path, int(said.get("steps_offset", 0)), not said.get("set_alpha_to_one", True)


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {name: value.float() for name, value in load_file(path).items() if not name.endswith("position_ids")}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read as safetensors ({error}); no other weights are") from error
