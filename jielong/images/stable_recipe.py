"""Stable Diffusion's parts from nothing, small: CLIP, whose text side then reads for the U-Net; the autoencoder; the
U-Net, which predicts the noise in its grid. What is left is a folder that diffusers loads.

The text encoder goes on learning with the U-Net: CLIP alone need not tell left from right.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jielong.base.errors import UserError
from jielong.base.talk import Talk
from jielong.images import clip, denoiser, recipe, stable
from jielong.images.clip import Clip
from jielong.images.clip_text import ClipText, TextConfig
from jielong.images.denoiser import Denoiser
from jielong.images.model import MODEL
from jielong.images.path import Path as NoisePath
from jielong.images.pictures import Feed, Pictures, to_net
from jielong.images.recipe import Plan, settings_of, stage
from jielong.images.stable import Stable
from jielong.images.stable_autoencoder import StableAutoencoder
from jielong.nets.autoencoder_kl import KlConfig
from jielong.nets.unet import Unet, UnetConfig
from jielong.units import clip_words

VOCAB, LENGTH, TEXT = 1024, 32, 96  # ids, ids of a row, width of the text encoder
CLIP, FIRST = 0.2, 0.2  # of the minutes
COSTS = {"clip": 2.5, "autoencoder": 18.0, "unet": 6.0}  # GFLOP of one picture's training, at 32 x 32


def train(plan: Plan, pictures: Pictures, folder: Path, talk: Talk, resume: bool = False) -> Stable:
    """The stages, then the folder of diffusers in `folder/model`. Raises UserError for pictures without captions."""
    side = pictures.size[0]
    if not pictures.captions or pictures.channels != 3 or side % 8:
        raise UserError("Stable Diffusion reads captions and draws in colour, in sizes that 8 divides: give it such")
    seen, held = pictures.split(seed=plan.seed)
    texts = [text for each in pictures.captions for text in each]
    codec = clip_words.train(texts, VOCAB, LENGTH)
    most = max(len(each) for each in pictures.captions)
    ids = np.array([[codec.row(each[i % len(each)]) for i in range(most)] for each in pictures.captions])
    words = ids[seen.places], ids[held.places]
    place = (folder / "stages", talk, resume)

    config = TextConfig(codec.size, codec.start, codec.end, LENGTH, TEXT, 2, TEXT // 32, 4 * TEXT)
    both = Clip(clip.Config(config, side, side), plan.seed)
    shown = fed(plan, (seen.pixels, held.pixels), words)
    stage("clip", "clip", both, shown, settings_of(plan, plan.zeroth, "clip"), *place)

    auto = StableAutoencoder(KlConfig(widths=(32, 64, 64), groups=16, size=side), plan.seed)
    shown = fed(plan, (seen.pixels, held.pixels), (None, None))
    stage("autoencoder", "stable_autoencoder", auto, shown, settings_of(plan, plan.first, "autoencoder"), *place)
    latents = _encoded(auto, seen), _encoded(auto, held)
    factor = float(1 / latents[0].std())
    auto.config = replace(auto.config, factor=factor)

    width = plan.width // 32 * 32
    net = UnetConfig(side // 4, 4, (width, 2 * width), (True, True), 1, 4, TEXT, 16)
    draws = Denoiser(denoiser.Config(net, config, NoisePath("scaled_linear", "eps"), "uniform"), plan.seed)
    draws.words.load_state_dict(both.reads.state_dict())
    shown = fed(plan, (latents[0] * factor, latents[1] * factor), words)
    stage("unet", "denoiser", draws, shown, settings_of(plan, plan.steps, "unet"), *place, decay=0.995)
    text, unet = draws.words, draws.net
    assert isinstance(text, ClipText) and isinstance(unet, Unet)
    whole = Stable(codec, text.eval(), unet.eval(), auto.eval())
    stable.save(folder / MODEL, whole)
    return whole


def planned(plan: Plan, minutes: float) -> Plan:
    """Steps of the three stages in so many minutes of the reference machine."""
    total = minutes * 60 * recipe.RATE / 1e9 / plan.batch
    shares = {"clip": CLIP, "autoencoder": FIRST, "unet": 1 - CLIP - FIRST}
    steps = {name: max(1, int(share * total / COSTS[name])) for name, share in shares.items()}
    return replace(plan, zeroth=steps["clip"], first=steps["autoencoder"], steps=steps["unet"], width=64)


def fed(plan: Plan, pixels: tuple[Any, Any], words: tuple[Any, Any]) -> tuple[Feed, Feed]:
    """What is learnt from, and what is held out."""
    return Feed(pixels[0], words[0], plan.batch, plan.seed), Feed(pixels[1], words[1], plan.batch, plan.seed)


def _encoded(auto: StableAutoencoder, part: Pictures) -> torch.Tensor:
    return torch.cat([auto.encode(to_net(part.pixels[i : i + 256])) for i in range(0, len(part), 256)])
