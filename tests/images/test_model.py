"""A picture model in a folder: every kind comes back and draws the same; what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jielong.base.errors import UserError
from jielong.images import parts
from jielong.images.autoencoder import Autoencoder
from jielong.images.autoencoder import Config as AutoConfig
from jielong.images.denoiser import Config as DenoiserConfig
from jielong.images.dit import DitConfig
from jielong.images.flow import Config as FlowConfig
from jielong.images.gan import Config as GanConfig
from jielong.images.maskgit import Config as MaskConfig
from jielong.images.model import PictureModel, Scale, load, save, units_of
from jielong.images.path import Path as NoisePath
from jielong.images.raster import Config as RasterConfig
from jielong.images.vae import Config as VaeConfig
from jielong.images.words import WordsConfig
from jielong.units import bpe
from jielong.units.pixels import Palette

PALETTE = Palette(np.array([[0, 0, 0], [128, 0, 0], [255, 255, 255]], np.uint8))
TEXTS = ["a red dog", "a blue cat"]


def model(kind: str, coarse: str = "") -> PictureModel:
    codec = bpe.train(TEXTS, 270, at_most=True)
    words = WordsConfig(codec.size, 8, 32, 1)
    auto = Autoencoder(AutoConfig(8, 8, 3, 4, 16, 1, coarse, 2, (3, 3), 9)) if coarse else None  # type: ignore[arg-type]
    configs: dict[str, Any] = {
        "denoiser": DenoiserConfig(DitConfig(2 if coarse else 3, 2 if coarse else 8, 2 if coarse else 8, 2, 32, 1, 32),
                                   words, NoisePath("cosine", "v"), "uniform", steps=3, solver="ddpm"),
        "raster": RasterConfig(32, 1, words, guidance=2.0),
        "maskgit": MaskConfig(32, 1, words, steps=2, order="halton"),
        "vae": VaeConfig(4, 4, 16, 1, words=words),
        "flow": FlowConfig(3, 8, 8, 2, 16, 2, words),
        "gan": GanConfig(3, 8, 8, 4, 8, 16, 1, words=words),
    }  # fmt: skip
    palette = PALETTE if kind in ("raster", "maskgit", "vae") and not coarse else None
    generator = parts.make(kind, configs[kind], *units_of(kind, (8, 8), auto, palette))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    scale = Scale((0.5, -0.5), (2.0, 0.5)) if coarse == "kl" else Scale()
    return PictureModel(kind, generator.eval(), (8, 8), 3, auto and auto.eval(), palette, codec, (), scale, {"step": 3})


@pytest.mark.parametrize(
    "kind, coarse",
    [("denoiser", ""), ("denoiser", "kl"), ("raster", ""), ("raster", "fsq"), ("maskgit", "vq"), ("maskgit", ""),
     ("vae", ""), ("flow", ""), ("gan", "")],
)  # fmt: skip
def test_it_comes_back_and_draws_the_same(kind: str, coarse: str, tmp_path: Path) -> None:
    made = model(kind, coarse)
    drawn = made.draw(TEXTS * 2, seed=3)
    assert drawn.shape == (4, 8, 8, 3) and drawn.dtype == np.uint8
    save(tmp_path / "m", made)
    back = load(tmp_path / "m")
    assert np.array_equal(back.draw(TEXTS * 2, seed=3), drawn) and back.info == {"step": 3} and back.kind == kind
    assert not np.array_equal(made.draw(TEXTS * 2, seed=4), drawn) or kind in ("vae", "maskgit")
    assert back.generator.config == made.generator.config


def test_classes_instead_of_words(tmp_path: Path) -> None:
    words = WordsConfig(2, 1, 32, 1)
    generator = parts.make("gan", GanConfig(1, 8, 8, 4, 8, 16, 1, words=words))
    digits = PictureModel("gan", generator.eval(), (8, 8), 1, classes=("zero", "one"))
    save(tmp_path / "d", digits)
    assert load(tmp_path / "d").draw(["one", "zero"]).shape == (2, 8, 8, 1)
    with pytest.raises(UserError, match="it draws zero, one; there is no 'two'"):
        digits.draw(["two"])


def test_what_is_no_picture_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no picture model"):
        load(tmp_path)
    save(tmp_path / "m", model("flow"))
    config = tmp_path / "m" / "generator" / "config.json"
    said = json.loads(config.read_text())
    config.write_text(json.dumps({**said, "steps": "many"}))
    with pytest.raises(UserError, match=r"config.json: steps: Input should be a valid integer"):
        load(tmp_path / "m")
    config.write_text(json.dumps({**said, "wide": 32}))
    with pytest.raises(UserError, match="does not hold the weights"):
        load(tmp_path / "m")
    config.write_text(json.dumps({**said, "_class_name": "os.system"}))
    with pytest.raises(UserError, match="names no part of a picture model"):
        load(tmp_path / "m")
